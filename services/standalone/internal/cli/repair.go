package cli

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/terminal"
	"hangar/shared/lifecycle"
)

// repairs are what a node can be told to do, in the API's words and ours.
var repairs = []struct{ use, kind, short string }{
	{"tables", "tables", "Compare all rows with the other replicas"},
	{"blocks", "blocks", "Look for blocks that are missing or too many"},
	{"versions", "versions", "Drop versions whose object is gone"},
	{"multipart-uploads", "multipartUploads", "Drop parts whose upload is gone"},
	{"block-refs", "blockRefs", "Drop references to blocks whose version is gone"},
	{"block-rc", "blockRc", "Count the references of all blocks again"},
	{"rebalance", "rebalance", "Spread blocks over the disks of a node again"},
	{"aliases", "aliases", "Bring names of buckets and what they name in line"},
	{"counters", "counters", "Count the objects of all buckets again"},
	{clearResyncQueue, "clearResyncQueue", "Forget which blocks are to be brought or dropped; comparing finds them again"},
}

const clearResyncQueue = "clear-resync-queue"

func repairCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "repair", GroupID: "care", Short: "Have nodes check and mend what they hold",
		Long:    "Have nodes check and mend what they hold. It runs in the background: see\nhangar worker list, or wait for it with --wait.",
		Example: "  hangar repair tables\n  hangar repair scrub start --wait\n  hangar repair blocks --node 8f3a",
	}
	for _, r := range repairs {
		sub := repairOf(c, r.use, r.short, r.kind)
		if r.use == clearResyncQueue {
			run := sub.RunE
			sub.RunE = func(cmd *cobra.Command, args []string) error {
				if err := c.confirm(cmd, "Forget which blocks are to be brought or dropped?"); err != nil {
					return err
				}
				return run(cmd, args)
			}
			c.dangerous(sub)
		}
		cmd.AddCommand(sub)
	}
	scrub := &cobra.Command{
		Use: "scrub", Short: "Read all blocks and check them",
		Example: "  hangar repair scrub start\n  hangar repair scrub pause --node 8f3a",
	}
	for _, s := range []struct{ use, short string }{
		{"start", "Begin to read and check all blocks"}, {"pause", "Stop checking for now"},
		{"resume", "Go on where it was paused"}, {"cancel", "Stop checking"},
	} {
		scrub.AddCommand(repairOf(c, s.use, s.short, map[string]string{"scrub": s.use}))
	}
	cmd.AddCommand(scrub)
	return cmd
}

func repairOf(c *client, use, short string, kind any) *cobra.Command {
	path := "hangar repair " + use
	if _, ok := kind.(map[string]string); ok {
		path = "hangar repair scrub " + use
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		Example: "  " + path + "\n  " + path + " --node 8f3a",
	}
	nodes := c.onNodes(cmd)
	wait := new(bool)
	if use != "pause" && use != "cancel" {
		cmd.Flags().BoolVar(wait, "wait", false, "show the progress until it is done")
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var before map[workerID]worker
		if *wait {
			var err error
			if before, err = c.atWork(cmd, nodes); err != nil {
				return err
			}
		}
		a, err := c.onAll(cmd, nodes, "LaunchRepairOperation", map[string]any{"repairType": kind})
		if err != nil {
			return err
		}
		if err := showNodes(c, cmd, a, done[any]("ordered")); err != nil || !*wait {
			return err
		}
		return c.awaitWorkers(cmd, nodes, before)
	}
	return cmd
}

// workerID tells the workers of a cluster apart.
type workerID struct {
	node string
	id   int64
}

// atWork lists the workers of nodes that have work at hand. Nodes that do not
// answer are an error: nobody can say what they are doing.
func (c *client) atWork(cmd *cobra.Command, nodes nodeQuery) (map[workerID]worker, error) {
	a, err := c.onAll(cmd, nodes, "ListWorkers", map[string]bool{"busyOnly": false, "errorOnly": false})
	if err != nil {
		return nil, err
	}
	var m perNode[[]worker]
	if err := a.Decode(&m); err != nil {
		return nil, err
	}
	busy := map[workerID]worker{}
	for node, workers := range m.Success {
		for _, w := range workers {
			if w.State.works() {
				busy[workerID{node, w.ID}] = w
			}
		}
	}
	return busy, m.failed()
}

// awaitWorkers shows what the workers have to do that an order set to work, all
// that work now and did not before, until they have done it.
func (c *client) awaitWorkers(cmd *cobra.Command, nodes nodeQuery, before map[workerID]worker) error {
	progress := terminal.NewProgress(cmd.ErrOrStderr())
	mine := map[workerID]bool{}
	for first, pause := true, 100*time.Millisecond; ; first, pause = false, min(2*pause, 2*time.Second) {
		busy, err := c.atWork(cmd, nodes)
		if err != nil {
			return err
		}
		for id := range busy {
			if _, old := before[id]; first && !old {
				mine[id] = true
			}
		}
		maps.DeleteFunc(mine, func(id workerID, _ bool) bool { _, works := busy[id]; return !works })
		if len(mine) == 0 {
			return progress.Clear()
		}
		if err := progress.Show(progressOf(mine, busy)); err != nil {
			return err
		}
		if err := lifecycle.Sleep(cmd.Context(), pause); err != nil {
			return err
		}
	}
}

// progressOf is a line for each worker, with a bar where it says how far it is.
func progressOf(mine map[workerID]bool, busy map[workerID]worker) string {
	var lines []string
	for id := range mine {
		w := busy[id]
		line := w.bar() + "node " + short(id.node) + ": " + w.Name
		for _, s := range []string{text(w.Progress), count(w.QueueLength)} {
			if s != "" {
				line += ", " + s
			}
		}
		lines = append(lines, terminal.Clean(line)+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// bar draws a progress that is told in percent.
func (w worker) bar() string {
	v, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text(w.Progress)), "%")), 64)
	if err != nil {
		return ""
	}
	return terminal.Bar(v, 100) + " "
}
