package items

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hangar/client/k2v"
	"hangar/services/standalone/internal/terminal"
)

func (a *app) dump() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use: "dump BUCKET [PARTITION]", Short: "Save all items of a bucket or a partition", Args: cobra.RangeArgs(1, 2),
		Long: `Save the items of a bucket or a partition as lines of JSON: partition key "pk",
sort key "sk", causality token "ct", and the values "v" in base64, with a null for
a deletion that is concurrent to them. Items that are deleted are left out.
--output writes to a file that appears when it is complete. Items written meanwhile
may be saved or not; so may those of partitions first written in the last seconds,
which the list of partitions may lack.`,
		Example: "  hangar k2v dump mail --output mail.jsonl\n  hangar k2v dump mail mailboxes",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client(cmd, args[0])
			if err != nil {
				return err
			}
			out, err := create(cmd.OutOrStdout(), output)
			if err != nil {
				return err
			}
			defer out.discard()
			d := dumping{c: c, out: out, progress: newProgress(cmd, output != "")}
			if len(args) == 2 {
				err = d.partition(cmd.Context(), args[1])
			} else {
				err = d.bucket(cmd.Context())
			}
			if err == nil {
				err = out.finish()
			}
			if err != nil {
				return a.explain(c, err)
			}
			return d.progress.end("Saved", d.saved())
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to a `FILE` instead of standard output")
	return cmd
}

// dumping is a dump under way.
type dumping struct {
	c        *k2v.Client
	out      *output
	progress *progress
	items    int64
	bytes    int64
}

func (d *dumping) saved() string {
	return count(d.items, "item") + ", " + terminal.Bytes(d.bytes)
}

func (d *dumping) bucket(ctx context.Context) error {
	for p, err := range d.c.Partitions(ctx, k2v.IndexQuery{}) {
		if err != nil {
			return err
		}
		if err := d.partition(ctx, p.Key); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumping) partition(ctx context.Context, key string) error {
	for item, err := range d.c.Items(ctx, k2v.Query{PartitionKey: key}) {
		if err != nil {
			return err
		}
		if err := writeJSON(d.out.w, lineOf(item)); err != nil {
			return err
		}
		d.items++
		d.bytes += size(item)
		if err := d.progress.show(func() string { return d.saved() + " in partitions up to " + terminal.Clean(key) }); err != nil {
			return err
		}
	}
	return nil
}

// output is where a dump goes: a file under a name of its own until it is
// complete, or somebody else's stream.
type output struct {
	w    *bufio.Writer
	file *os.File // nil: a stream
	name string
}

func create(stream io.Writer, name string) (*output, error) {
	if name == "" {
		return &output{w: bufio.NewWriter(stream)}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return nil, Usage{err}
	}
	return &output{bufio.NewWriter(f), f, name}, nil
}

// finish writes what is left; a file is durable then.
func (o *output) finish() error {
	err := o.w.Flush()
	if o.file == nil || err != nil {
		return err
	}
	if err := o.file.Sync(); err != nil {
		return err
	}
	if err := o.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(o.file.Name(), o.name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(o.name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// discard removes a file that was not finished.
func (o *output) discard() {
	if o.file != nil {
		o.file.Close()
		_ = os.Remove(o.file.Name()) // not there after finish
	}
}

// progress tells on standard error how far something is: now and then on a
// terminal, elsewhere only at the end, and not even then where the result is on
// standard output.
type progress struct {
	on   *terminal.Progress
	tell bool
	next time.Time
}

func newProgress(cmd *cobra.Command, tell bool) *progress {
	on := terminal.NewProgress(cmd.ErrOrStderr())
	return &progress{on: on, tell: tell || on.Live()}
}

func (p *progress) show(text func() string) error {
	now := time.Now()
	if !p.on.Live() || now.Before(p.next) {
		return nil
	}
	p.next = now.Add(200 * time.Millisecond)
	return p.on.Show(text() + "\n")
}

// end says what was done.
func (p *progress) end(did, what string) error {
	if !p.tell {
		return nil
	}
	return p.on.Show(fmt.Sprintf("%s %s\n", did, what))
}
