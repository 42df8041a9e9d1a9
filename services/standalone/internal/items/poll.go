package items

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"hangar/client/k2v"
	"hangar/services/standalone/internal/terminal"
)

// polling are the flags of poll.
type polling struct {
	k2v.Query
	token, seen string
	follow      bool
	timeout     time.Duration
}

func (a *app) poll() *cobra.Command {
	var f polling
	cmd := &cobra.Command{
		Use: "poll BUCKET PARTITION [SORT]", Short: "Wait for an item, or items of a partition, to change", Args: cobra.RangeArgs(2, 3),
		Long: `Wait for the next change of an item, or of the items of a partition that --prefix,
--start and --end select, and print it. With --follow print what is there and then
every change, over restarts of servers, until it is interrupted. --json prints an
item on each line, and after those of a partition a line with the member "seen":
--seen goes on from there, and --causality from the token "ct" of an item.`,
		Example: `  hangar k2v poll mail mailboxes INBOX --timeout 1m
  hangar k2v poll mail mailboxes --follow
  hangar k2v poll mail mailboxes --prefix IN --follow --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 3 && (f.Query != (k2v.Query{}) || f.seen != "") || len(args) == 2 && f.token != "" {
				return wrong("a sort key and --causality are for one item, --prefix, --start, --end and --seen for several")
			}
			c, err := a.client(cmd, args[0])
			if err != nil {
				return err
			}
			f.PartitionKey = args[1]
			if len(args) == 3 {
				err = a.pollItem(cmd, c, args[2], f)
			} else {
				err = a.pollRange(cmd, c, f)
			}
			if f.follow && errors.Is(err, context.Canceled) {
				return nil // that is how it ends
			}
			return a.explain(c, err)
		},
	}
	bounds(cmd, &f.Query)
	cmd.Flags().BoolVar(&f.follow, "follow", false, "go on until interrupted")
	cmd.Flags().StringVar(&f.token, "causality", "", "changes that the read with this `TOKEN` did not see")
	cmd.Flags().StringVar(&f.seen, "seen", "", "changes after this `MARKER` of an earlier poll")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 5*time.Minute, "how long to wait for a change, without --follow; up to 10m")
	cmd.MarkFlagsMutuallyExclusive("follow", "timeout")
	return cmd
}

func (a *app) pollItem(cmd *cobra.Command, c *k2v.Client, sort string, f polling) (err error) {
	token := k2v.Token(f.token)
	if f.follow {
		for item, err := range c.Watch(cmd.Context(), f.PartitionKey, sort, token) {
			if err == nil {
				err = a.change(cmd, item)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if token == "" {
		if token, err = present(cmd, c, f.PartitionKey, sort); err != nil {
			return err
		}
	}
	if token == "" {
		token = k2v.Unseen
	}
	item, changed, err := c.PollItem(cmd.Context(), f.PartitionKey, sort, token, f.timeout)
	if err != nil {
		return err
	}
	if !changed {
		return f.nothing()
	}
	return a.change(cmd, item)
}

func (f polling) nothing() error { return fmt.Errorf("nothing changed in %v", f.timeout) }

func (a *app) pollRange(cmd *cobra.Command, c *k2v.Client, f polling) error {
	if f.follow {
		for found, err := range c.WatchRange(cmd.Context(), f.Query, f.seen) {
			if err == nil {
				err = a.changes(cmd, found)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	seen := f.seen
	if seen == "" {
		now, _, err := c.PollRange(cmd.Context(), f.Query, "", f.timeout)
		if err != nil {
			return err
		}
		seen = now.Seen
	}
	found, changed, err := c.PollRange(cmd.Context(), f.Query, seen, f.timeout)
	if err != nil {
		return err
	}
	if !changed {
		return f.nothing()
	}
	return a.changes(cmd, found)
}

func (a *app) changes(cmd *cobra.Command, found k2v.Changes) error {
	for _, item := range found.Items {
		if err := a.change(cmd, item); err != nil {
			return err
		}
	}
	if !a.JSON() {
		return nil
	}
	return writeJSON(cmd.OutOrStdout(), map[string]string{"seen": found.Seen})
}

// change prints an item on a line.
func (a *app) change(cmd *cobra.Command, item k2v.Item) error {
	if a.JSON() {
		return writeJSON(cmd.OutOrStdout(), lineOf(item))
	}
	p := a.Page(cmd)
	p.Line(terminal.Strong(item.SortKey), "  ", state(item), "  ", first(item, shortPreview))
	return p.Flush()
}
