package items

import (
	"iter"

	"github.com/spf13/cobra"

	"hangar/client/k2v"
	"hangar/services/standalone/internal/terminal"
)

// listing are the flags of list.
type listing struct {
	k2v.Query
	limit int
}

func (a *app) list() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use: "list BUCKET [PARTITION]", Short: "List the partitions of a bucket, or the items of one", Args: cobra.RangeArgs(1, 2),
		Long: `List the partition keys of a bucket, with what is stored under each (the figures
lag a little behind writes), or the items of a partition.`,
		Example: `  hangar k2v list mail
  hangar k2v list mail mailboxes --prefix IN
  hangar k2v list mail mailboxes --conflicts`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (l.ConflictsOnly || l.Tombstones) {
				return wrong("--conflicts and --deleted are for the items of a partition: name one")
			}
			c, err := a.client(cmd, args[0])
			if err != nil {
				return err
			}
			if l.limit > 0 {
				l.Limit = l.limit + 1 // one more shows that there is more
			}
			if len(args) == 1 {
				err = a.listPartitions(cmd, c, l)
			} else {
				l.PartitionKey = args[1]
				err = a.listItems(cmd, c, l)
			}
			return a.explain(c, err)
		},
	}
	bounds(cmd, &l.Query)
	cmd.Flags().BoolVar(&l.Reverse, "reverse", false, "from the last key to the first")
	cmd.Flags().IntVar(&l.limit, "limit", 1000, "at most so `MANY`; 0: all")
	cmd.Flags().BoolVar(&l.ConflictsOnly, "conflicts", false, "only items with several concurrent values")
	cmd.Flags().BoolVar(&l.Tombstones, "deleted", false, "also items that are deleted")
	return cmd
}

func (a *app) listPartitions(cmd *cobra.Command, c *k2v.Client, l listing) error {
	all := c.Partitions(cmd.Context(), k2v.IndexQuery{Prefix: l.Prefix, Start: l.Start, End: l.End, Reverse: l.Reverse, Limit: l.Limit})
	if a.JSON() {
		return writeArray(cmd, all, l.limit, func(p k2v.Partition) any { return p })
	}
	t := terminal.NewTable("PARTITION", ">ITEMS", ">CONFLICTS", ">VALUES", ">SIZE")
	more, err := upTo(all, l.limit, func(p k2v.Partition) {
		conflicts := any(terminal.Count(p.Conflicts))
		if p.Conflicts > 0 {
			conflicts = terminal.Warn(terminal.Count(p.Conflicts))
		}
		t.Row(p.Key, terminal.Count(p.Entries), conflicts, terminal.Count(p.Values), terminal.Bytes(p.Bytes))
	}, func(p k2v.Partition) string { return p.Key })
	return a.table(cmd, t, "No items in the bucket "+c.Bucket(), more, err)
}

func (a *app) listItems(cmd *cobra.Command, c *k2v.Client, l listing) error {
	all := c.Items(cmd.Context(), l.Query)
	if a.JSON() {
		return writeArray(cmd, all, l.limit, func(i k2v.Item) any { return lineOf(i) })
	}
	t := terminal.NewTable("SORT KEY", "HOLDS", ">SIZE", "BEGINS WITH")
	more, err := upTo(all, l.limit, func(i k2v.Item) {
		t.Row(i.SortKey, state(i), terminal.Bytes(size(i)), first(i, shortPreview))
	}, func(i k2v.Item) string { return i.SortKey })
	return a.table(cmd, t, "No such items in the partition "+l.PartitionKey, more, err)
}

// table prints a table, also that of a listing that broke off, and from where it
// goes on.
func (a *app) table(cmd *cobra.Command, t *terminal.Table, none, more string, err error) error {
	if err != nil {
		return err
	}
	p := a.Page(cmd)
	p.List(t, none)
	if more != "" {
		p.Line()
		p.Line(terminal.Faint("There is more: go on with --start "), more, terminal.Faint(", or raise --limit"))
	}
	return p.Flush()
}

// upTo calls do for the first limit of all, and returns the key of the one after
// them.
func upTo[T any](all iter.Seq2[T, error], limit int, do func(T), key func(T) string) (more string, err error) {
	n := 0
	for v, err := range all {
		if err != nil {
			return "", err
		}
		if n++; limit > 0 && n > limit {
			return key(v), nil
		}
		do(v)
	}
	return "", nil
}

// writeArray writes a JSON array as its elements come.
func writeArray[T any](cmd *cobra.Command, all iter.Seq2[T, error], limit int, element func(T) any) error {
	w := cmd.OutOrStdout()
	n := 0
	for v, err := range all {
		if err != nil {
			return err
		}
		if n++; limit > 0 && n > limit {
			break
		}
		sep := ","
		if n == 1 {
			sep = "["
		}
		if _, err := w.Write([]byte(sep)); err != nil {
			return err
		}
		if err := writeJSON(w, element(v)); err != nil {
			return err
		}
	}
	end := "]\n"
	if n == 0 {
		end = "[]\n"
	}
	_, err := w.Write([]byte(end))
	return err
}
