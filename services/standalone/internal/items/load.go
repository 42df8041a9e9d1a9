package items

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"hangar/client/k2v"
	"hangar/services/standalone/internal/terminal"
)

func (a *app) load() *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use: "load BUCKET FILE", Short: "Write items that were saved", Args: cobra.ExactArgs(2),
		Long: `Write the items of a file made by hangar k2v dump, or of standard input if FILE is
-. Values that an item has already are not written again, so that loading twice, or
again after it was interrupted, changes nothing more. Tokens in the file are not
used. If an item has other values they stay beside those of the file, and it is in
conflict; with --replace they are replaced.`,
		Example: "  hangar k2v load mail mail.jsonl\n  zcat mailboxes.jsonl.gz | hangar k2v load mail -\n  hangar k2v load mail mail.jsonl --replace --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			in, total, err := open(cmd.InOrStdin(), args[1])
			if err != nil {
				return err
			}
			defer in.Close()
			c, err := a.client(cmd, args[0])
			if err != nil {
				return err
			}
			if replace {
				if err := a.Confirm(cmd, "Replace other values that items have now by those of "+args[1]+"?"); err != nil {
					return err
				}
			}
			l := loading{c: c, replace: replace, total: total, progress: newProgress(cmd, true)}
			if err := l.all(cmd.Context(), in); err != nil {
				if err := l.progress.end("Stopped:", l.loaded()); err != nil {
					return err
				}
				return a.explain(c, err)
			}
			if err := l.progress.on.Clear(); err != nil {
				return err
			}
			return a.done(cmd, map[string]int64{"items": l.items, "written": l.written, "present": l.present}, "Loaded "+l.loaded())
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "replace other values that items have now")
	return a.Dangerous(cmd)
}

// open returns the file, with its size if it is known.
func open(stdin io.Reader, name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(stdin), 0, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, Usage{err}
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return f, 0, err
	}
	return f, info.Size(), nil
}

const (
	// A batch ends with the first of these.
	batchItems = 100
	batchBytes = 1 << 20
	// maxLine is more than an item with several large values.
	maxLine = 256 << 20
)

// wanted is an item as a file has it; a nil value is a deletion.
type wanted struct {
	partition, sort string
	values          [][]byte
}

// loading is a load under way.
type loading struct {
	c        *k2v.Client
	replace  bool
	progress *progress

	total, read             int64 // bytes of the file; total 0: not known
	items, written, present int64 // written and present are of values
}

func (l *loading) loaded() string {
	return fmt.Sprintf("%s; %s written, %s already there", count(l.items, "item"), count(l.written, "value"), terminal.Count(l.present))
}

// all loads a file, batch by batch.
func (l *loading) all(ctx context.Context, in io.Reader) error {
	lines := bufio.NewReaderSize(in, 1<<16)
	var batch []wanted
	bytes := 0
	for n := 1; ; n++ {
		text, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return l.batch(ctx, batch)
		}
		var item wanted
		if err == nil {
			item, err = parse(text)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		l.read += int64(len(text))
		batch = add(batch, item)
		if bytes += len(text); len(batch) < batchItems && bytes < batchBytes {
			continue
		}
		if err := l.batch(ctx, batch); err != nil {
			return err
		}
		batch, bytes = batch[:0], 0
		if err := l.progress.show(func() string {
			if l.total == 0 {
				return l.loaded()
			}
			return terminal.Bar(float64(l.read), float64(l.total)) + " " + l.loaded()
		}); err != nil {
			return err
		}
	}
}

// readLine reads a line of bounded length; io.EOF when there is none left.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("longer than %s", terminal.Bytes(maxLine))
		case err == nil, errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func parse(text []byte) (wanted, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var in line
	if err := d.Decode(&in); err != nil {
		return wanted{}, fmt.Errorf("no item of a dump: %w", err)
	}
	if d.More() || in.PartitionKey == "" || len(in.Values) == 0 {
		return wanted{}, errors.New(`no item of a dump: want {"pk": …, "sk": …, "v": [one or more]}`)
	}
	w := wanted{in.PartitionKey, in.SortKey, nil}
	for _, v := range in.Values {
		var value []byte
		if v != nil {
			var err error
			if value, err = base64.StdEncoding.DecodeString(*v); err != nil {
				return wanted{}, fmt.Errorf("a value is no base64: %w", err)
			}
		}
		w.values = append(w.values, value)
	}
	return w, nil
}

// add adds an item to a batch, or its values to the item that is there: a batch
// has every item once.
func add(batch []wanted, item wanted) []wanted {
	for i := range batch {
		if b := &batch[i]; b.partition == item.partition && b.sort == item.sort {
			b.values = append(b.values, item.values...)
			return batch
		}
	}
	return append(batch, item)
}

// batch writes what is missing of some items.
func (l *loading) batch(ctx context.Context, batch []wanted) error {
	if len(batch) == 0 {
		return nil
	}
	queries := make([]k2v.Query, len(batch))
	for i, w := range batch {
		queries[i] = k2v.One(w.partition, w.sort)
		queries[i].Tombstones = true
	}
	pages, err := l.c.ReadBatch(ctx, queries...)
	if half := len(batch) / 2; errors.Is(err, k2v.ErrTooLarge) && half > 0 {
		if err := l.batch(ctx, batch[:half]); err != nil {
			return err
		}
		return l.batch(ctx, batch[half:])
	}
	if err != nil {
		return err
	}
	plans := make([][]k2v.Insert, len(batch))
	for i, w := range batch {
		var now k2v.Item
		if len(pages[i].Items) > 0 {
			now = pages[i].Items[0]
		}
		plans[i] = plan(w, now, l.replace)
	}
	// Each round has a write of every item that lacks another value.
	for round := 0; ; round++ {
		var inserts []k2v.Insert
		for _, p := range plans {
			if round < len(p) {
				inserts = append(inserts, p[round])
			}
		}
		if len(inserts) == 0 {
			break
		}
		if err := l.c.InsertBatch(ctx, inserts); err != nil {
			return err
		}
	}
	for i, w := range batch {
		l.items++
		l.written += int64(len(plans[i]))
		l.present += int64(len(distinct(w.values)) - len(plans[i]))
	}
	return nil
}

// plan is what to write so that an item which is now so has the values that are
// wanted. All of it carries the same token, so that one write does not replace
// another: none at all, or that of what has to go.
func plan(w wanted, now k2v.Item, replace bool) (writes []k2v.Insert) {
	want := distinct(w.values)
	have := now.Values
	if now.Deleted {
		have = append(slices.Clone(have), nil)
	}
	missing := slices.DeleteFunc(slices.Clone(want), func(v []byte) bool { return contains(have, v) })
	surplus := slices.ContainsFunc(have, func(v []byte) bool { return !contains(want, v) })
	var token k2v.Token
	switch {
	case replace && surplus:
		missing, token = want, now.Token // those that stay go with the token, and come back
	case len(now.Values) == 0:
		token = now.Token // a deletion is replaced
	}
	if len(now.Values) == 0 && now.Deleted && len(missing) > 0 {
		missing = want
	}
	for _, v := range missing {
		writes = append(writes, k2v.Insert{PartitionKey: w.partition, SortKey: w.sort, Token: token, Value: v, Delete: v == nil})
	}
	return writes
}

// same compares values, where a deletion is none of them.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func contains(values [][]byte, v []byte) bool {
	return slices.ContainsFunc(values, func(o []byte) bool { return same(o, v) })
}

func distinct(values [][]byte) (out [][]byte) {
	for _, v := range values {
		if !contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}
