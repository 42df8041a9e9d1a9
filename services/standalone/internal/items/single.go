package items

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"hangar/client/k2v"
	"hangar/services/standalone/internal/terminal"
)

func (a *app) get() *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use: "get BUCKET PARTITION SORT", Short: "Show an item", Args: cobra.ExactArgs(3),
		Long:    "Show an item: its values, and the causality token that replaces them. --raw\nprints the value as it is and nothing else; an item in conflict is then an error.",
		Example: "  hangar k2v get mail mailboxes INBOX\n  hangar k2v get mail mailboxes INBOX --raw",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client(cmd, args[0])
			if err != nil {
				return err
			}
			item, err := c.ReadItem(cmd.Context(), args[1], args[2])
			if errors.Is(err, k2v.ErrNotFound) {
				return hint{fmt.Sprintf("there is no item %q in the partition %q", args[2], args[1]), err}
			}
			if err != nil {
				return a.explain(c, err)
			}
			switch {
			case a.JSON():
				return writeJSON(cmd.OutOrStdout(), lineOf(item))
			case raw:
				return writeRaw(cmd.OutOrStdout(), item)
			}
			return a.printItem(cmd, item)
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print the value as it is")
	return cmd
}

func writeRaw(w io.Writer, item k2v.Item) error {
	v, err := item.Value()
	switch {
	case errors.Is(err, k2v.ErrNotFound):
		return hint{fmt.Sprintf("the item %q is deleted", item.SortKey), err}
	case err != nil:
		return hint{fmt.Sprintf("the item %q has %d concurrent values: look at them without --raw, and write one with hangar k2v insert --replace", item.SortKey, len(item.Values)), err}
	}
	_, err = w.Write(v)
	return err
}

func (a *app) printItem(cmd *cobra.Command, item k2v.Item) error {
	p := a.Page(cmd)
	t := terminal.NewTable()
	t.Row("Partition", terminal.Strong(item.PartitionKey))
	t.Row("Sort key", terminal.Strong(item.SortKey))
	t.Row("Holds", state(item))
	t.Row("Token", item.Token)
	p.Table(t)
	for _, v := range item.Values {
		p.Line()
		p.Line(terminal.Faint(terminal.Bytes(int64(len(v)))))
		if s, ok := preview(v, longPreview).(string); ok {
			p.Text(s)
		} else {
			p.Line(preview(v, longPreview))
		}
	}
	return p.Flush()
}

// maxValue is far more than a server takes; it keeps a wrong file from filling
// the memory.
const maxValue = 64 << 20

func (a *app) insert() *cobra.Command {
	var file, token string
	var replace bool
	cmd := &cobra.Command{
		Use: "insert BUCKET PARTITION SORT [VALUE]", Short: "Write an item", Args: cobra.RangeArgs(3, 4),
		Long: `Write a value: VALUE, or what is in a file, or comes from standard input with
--file -. Without a token it replaces nothing: if the item has a value already it
then has two. --causality replaces what the read that printed the token saw;
--replace whatever is there when this command looks.`,
		Example: `  hangar k2v insert mail mailboxes INBOX 'hello'
  hangar k2v insert mail mailboxes INBOX 'hello again' --replace
  hangar k2v insert mail mailboxes INBOX --file ./value`,
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := valueOf(cmd, args[3:], file)
			if err != nil {
				return err
			}
			c, err := a.client(cmd, args[0])
			if err != nil {
				return err
			}
			seen := k2v.Token(token)
			if replace {
				if seen, err = present(cmd, c, args[1], args[2]); err != nil {
					return a.explain(c, err)
				}
			}
			if err := c.InsertItem(cmd.Context(), args[1], args[2], seen, value); err != nil {
				return a.explain(c, err)
			}
			return a.done(cmd, map[string]any{"pk": args[1], "sk": args[2], "bytes": len(value)},
				fmt.Sprintf("Wrote %s to %s / %s", terminal.Bytes(int64(len(value))), args[1], args[2]))
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "read the value from a `FILE`; - is standard input")
	cmd.Flags().StringVar(&token, "causality", "", "replace what the read with this `TOKEN` saw")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace what is there now")
	cmd.MarkFlagsMutuallyExclusive("causality", "replace")
	return cmd
}

// done says that something is done.
func (a *app) done(cmd *cobra.Command, v any, text string) error {
	if a.JSON() {
		return writeJSON(cmd.OutOrStdout(), v)
	}
	p := a.Page(cmd)
	p.Line(text)
	return p.Flush()
}

func valueOf(cmd *cobra.Command, arg []string, file string) ([]byte, error) {
	if (len(arg) == 1) == (file != "") {
		return nil, wrong("give either a value or --file; --file - reads standard input")
	}
	if len(arg) == 1 {
		return []byte(arg[0]), nil
	}
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, Usage{err}
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxValue+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxValue {
		return nil, wrong("the value is larger than %s: values are small things", terminal.Bytes(maxValue))
	}
	return b, nil
}

// present is the token of what an item is now; empty if there is none.
func present(cmd *cobra.Command, c *k2v.Client, partition, sort string) (k2v.Token, error) {
	item, err := c.ReadItem(cmd.Context(), partition, sort)
	if errors.Is(err, k2v.ErrNotFound) {
		return "", nil
	}
	return item.Token, err
}

func (a *app) delete() *cobra.Command {
	var token string
	var q k2v.Query
	cmd := &cobra.Command{
		Use: "delete BUCKET PARTITION [SORT]", Short: "Delete an item, a range of items, or a partition", Args: cobra.RangeArgs(2, 3),
		Long: `Delete an item: what is there when this command looks, or with --causality what
the read that printed the token saw. Without a sort key all items of the partition
are deleted, or those that --prefix, --start and --end select.`,
		Example: `  hangar k2v delete mail mailboxes INBOX
  hangar k2v delete mail mailboxes --prefix old/
  hangar k2v delete mail mailboxes --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ranged := q != (k2v.Query{})
			if len(args) == 3 && ranged || len(args) == 2 && token != "" {
				return wrong("a sort key and --causality are for one item, --prefix, --start and --end for several")
			}
			c, err := a.client(cmd, args[0])
			if err != nil {
				return err
			}
			if len(args) == 3 {
				err = a.deleteOne(cmd, c, args[1], args[2], k2v.Token(token))
			} else {
				q.PartitionKey = args[1]
				err = a.deleteRange(cmd, c, q)
			}
			return a.explain(c, err)
		},
	}
	cmd.Flags().StringVar(&token, "causality", "", "delete what the read with this `TOKEN` saw")
	bounds(cmd, &q)
	return a.Dangerous(cmd)
}

// bounds gives a command the flags that select sort keys.
func bounds(cmd *cobra.Command, q *k2v.Query) {
	cmd.Flags().StringVar(&q.Prefix, "prefix", "", "only keys that begin so")
	cmd.Flags().StringVar(&q.Start, "start", "", "the first `KEY`")
	cmd.Flags().StringVar(&q.End, "end", "", "the first `KEY` that is left out again")
}

func (a *app) deleteOne(cmd *cobra.Command, c *k2v.Client, partition, sort string, token k2v.Token) error {
	if token == "" {
		item, err := c.ReadItem(cmd.Context(), partition, sort)
		if errors.Is(err, k2v.ErrNotFound) || err == nil && len(item.Values) == 0 {
			return hint{fmt.Sprintf("there is no item %q in the partition %q", sort, partition), k2v.ErrNotFound}
		}
		if err != nil {
			return err
		}
		token = item.Token
	}
	if err := c.DeleteItem(cmd.Context(), partition, sort, token); err != nil {
		return err
	}
	return a.done(cmd, map[string]any{"deleted": 1}, fmt.Sprintf("Deleted %s / %s", partition, sort))
}

func (a *app) deleteRange(cmd *cobra.Command, c *k2v.Client, q k2v.Query) error {
	what := "all items of the partition " + q.PartitionKey
	if q.Prefix != "" || q.Start != "" || q.End != "" {
		what = "the selected items of the partition " + q.PartitionKey
	}
	if err := a.Confirm(cmd, "Delete "+what+"?"); err != nil {
		return err
	}
	counts, err := c.DeleteBatch(cmd.Context(), q)
	if err != nil {
		return err
	}
	return a.done(cmd, map[string]any{"deleted": counts[0]}, "Deleted "+count(counts[0], "item"))
}

// count is "1 thing" or "n things".
func count(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return terminal.Count(n) + " " + thing
}
