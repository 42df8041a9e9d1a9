package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/terminal"
)

func blockCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "block", GroupID: "care", Short: "Look after blocks that cannot be brought to where they belong",
		Example: "  hangar block list-errors\n  hangar block retry-resync --all",
	}
	cmd.AddCommand(blockErrors(c), blockShow(c), blockRetry(c), blockPurge(c))
	return cmd
}

type blockError struct {
	Hash     string `json:"blockHash"`
	RefCount int64  `json:"refcount"`
	Errors   int64  `json:"errorCount"`
	LastTry  int64  `json:"lastTrySecsAgo"`
	NextTry  int64  `json:"nextTryInSecs"`
	Message  string `json:"message"`
}

func blockErrors(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list-errors", Short: "List blocks that could not be brought", Args: cobra.NoArgs,
		Example: "  hangar block list-errors\n  hangar block list-errors --node 8f3a",
	}
	nodes := c.onNodes(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := nodes()
		if err != nil {
			return err
		}
		a, err := c.get(cmd, "ListBlockErrors", q)
		if err != nil {
			return err
		}
		return showNodes(c, cmd, a, func(p *terminal.Page, m perNode[[]blockError]) {
			t := terminal.NewTable("NODE", "BLOCK", ">OWNERS", ">ERRORS", "LAST TRY", "NEXT TRY", "REASON")
			for _, id := range m.nodes() {
				for _, e := range m.Success[id] {
					t.Row(short(id), e.Hash, terminal.Count(e.RefCount), terminal.Bad(terminal.Count(e.Errors)), p.Ago(e.LastTry), p.Ago(-e.NextTry), e.Message)
				}
			}
			p.List(t, "No block has errors")
		})
	}
	return cmd
}

type blockFacts struct {
	Hash     string `json:"blockHash"`
	RefCount int64  `json:"refcount"`
	Present  bool   `json:"present"`
	Stored   int64  `json:"storedBytes"`
	Versions []struct {
		ID      string `json:"versionId"`
		Dead    bool   `json:"refDeleted"`
		Deleted bool   `json:"versionDeleted"`
		Owner   *struct {
			Object *struct {
				Bucket string `json:"bucketId"`
				Key    string `json:"key"`
			} `json:"object"`
			Upload *struct {
				ID     string  `json:"uploadId"`
				Bucket *string `json:"bucketId"`
				Key    *string `json:"key"`
			} `json:"upload"`
		} `json:"backlink"`
	} `json:"versions"`
}

func blockShow(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "info HASH", Short: "Show which objects a block belongs to", Args: cobra.ExactArgs(1),
		Example: "  hangar block info 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	}
	nodes := c.onNodes(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a, err := c.onAll(cmd, nodes, "GetBlockInfo", map[string]string{"blockHash": args[0]})
		if err != nil {
			return err
		}
		return showNodes(c, cmd, a, printBlock)
	}
	return cmd
}

func printBlock(p *terminal.Page, m perNode[blockFacts]) {
	for _, id := range m.nodes() {
		has := terminal.Warn("does not hold it")
		if b := m.Success[id]; b.Present {
			has = terminal.Good("holds it, " + terminal.Bytes(b.Stored))
		}
		p.Line("Node ", short(id), ": ", has)
	}
	p.Line()
	t := terminal.NewTable("NODE", "BUCKET", "KEY", "VERSION", "STATE")
	for _, id := range m.nodes() {
		for _, v := range m.Success[id].Versions {
			bucket, key, state := "", "", terminal.Good("alive")
			if v.Dead || v.Deleted {
				state = terminal.Faint("dead")
			}
			if o := v.Owner; o != nil && o.Object != nil {
				bucket, key = o.Object.Bucket, o.Object.Key
			} else if o != nil && o.Upload != nil {
				bucket, key = text(o.Upload.Bucket), text(o.Upload.Key)+" (upload "+o.Upload.ID+")"
			}
			t.Row(short(id), short(bucket), key, v.ID, state)
		}
	}
	p.List(t, "No object that these nodes know has this block")
}

func blockRetry(c *client) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "retry-resync {--all | HASH…}", Short: "Try again at once to bring blocks", Args: cobra.ArbitraryArgs,
		Example: "  hangar block retry-resync --all\n  hangar block retry-resync 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 --node 8f3a",
	}
	nodes := c.onNode(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all blocks with errors")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := map[string]any{"blockHashes": args}
		switch {
		case all == (len(args) > 0):
			return wrong(fmt.Errorf("say which blocks: --all, or their hashes"))
		case all:
			in = map[string]any{"all": true}
		}
		a, err := c.onAll(cmd, nodes, "RetryBlockResync", in)
		if err != nil {
			return err
		}
		return showNodes(c, cmd, a, func(p *terminal.Page, m perNode[struct {
			Count int64 `json:"count"`
		}]) {
			for _, id := range m.nodes() {
				p.Line("Node ", short(id), ": ", plural(m.Success[id].Count, "block"), " to be tried again")
			}
		})
	}
	return cmd
}

type purged struct {
	Blocks   int64 `json:"blocksPurged"`
	Objects  int64 `json:"objectsDeleted"`
	Uploads  int64 `json:"uploadsDeleted"`
	Versions int64 `json:"versionsDeleted"`
}

func blockPurge(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "purge HASH…", Short: "Delete all objects that need blocks which are lost", Args: cobra.MinimumNArgs(1),
		Long:    "Delete all objects and unfinished uploads that need blocks which are lost for\never. What is left of them is gone then.",
		Example: "  hangar block purge 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	}
	nodes := c.onNodes(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.confirm(cmd, fmt.Sprintf("Delete all objects that have %s of these?", plural(int64(len(args)), "block"))); err != nil {
			return err
		}
		a, err := c.onAll(cmd, nodes, "PurgeBlocks", args)
		if err != nil {
			return err
		}
		return showNodes(c, cmd, a, func(p *terminal.Page, m perNode[purged]) {
			for _, id := range m.nodes() {
				x := m.Success[id]
				p.Line("Node ", short(id), ": ", plural(x.Blocks, "block"), " purged, ", plural(x.Objects, "object"), " and ", plural(x.Uploads, "upload"), " deleted")
			}
		})
	}
	return c.dangerous(cmd)
}
