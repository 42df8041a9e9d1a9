package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/terminal"
)

type worker struct {
	ID                int64       `json:"id"`
	Name              string      `json:"name"`
	State             workerState `json:"state"`
	Errors            int64       `json:"errors"`
	ConsecutiveErrors int64       `json:"consecutiveErrors"`
	PersistentErrors  *int64      `json:"persistentErrors"`
	LastError         *struct {
		Message string `json:"message"`
		SecsAgo int64  `json:"secsAgo"`
	} `json:"lastError"`
	Tranquility *int     `json:"tranquility"`
	Progress    *string  `json:"progress"`
	QueueLength *int64   `json:"queueLength"`
	Freeform    []string `json:"freeform"`
}

// workerState is busy, throttled, idle or done.
type workerState string

// UnmarshalJSON reads a word, or an object whose only member is the state.
func (s *workerState) UnmarshalJSON(b []byte) error {
	var word string
	if json.Unmarshal(b, &word) == nil {
		*s = workerState(word)
		return nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(b, &object); err != nil {
		return err
	}
	for name := range object {
		*s = workerState(name)
	}
	return nil
}

// works says whether there is work at hand.
func (s workerState) works() bool { return s == "busy" || s == "throttled" }

func (s workerState) cell() terminal.Cell {
	switch s {
	case "busy":
		return terminal.Good(string(s))
	case "throttled":
		return terminal.Warn(string(s))
	}
	return terminal.Faint(string(s))
}

func workerCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "worker", GroupID: "care", Short: "Show and tune the background work of nodes",
		Example: "  hangar worker list --busy\n  hangar worker get scrub-tranquility\n  hangar worker set scrub-tranquility 2",
	}
	cmd.AddCommand(workerList(c), workerShow(c), workerGet(c), workerSet(c))
	return cmd
}

func workerList(c *client) *cobra.Command {
	var busy, failing bool
	cmd := &cobra.Command{
		Use: "list", Short: "List background work", Args: cobra.NoArgs,
		Example: "  hangar worker list\n  hangar worker list --busy --node 8f3a\n  hangar worker list --errors",
	}
	nodes := c.onNodes(cmd)
	cmd.Flags().BoolVar(&busy, "busy", false, "only what has work at hand")
	cmd.Flags().BoolVar(&failing, "errors", false, "only what has errors")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := c.onAll(cmd, nodes, "ListWorkers", map[string]bool{"busyOnly": busy, "errorOnly": failing})
		if err != nil {
			return err
		}
		return showNodes(c, cmd, a, printWorkers)
	}
	return cmd
}

func printWorkers(p *terminal.Page, m perNode[[]worker]) {
	t := terminal.NewTable("NODE", ">ID", "STATE", "NAME", ">TRANQ", "PROGRESS", ">QUEUE", ">ERRORS", "LAST ERROR")
	for _, id := range m.nodes() {
		for _, w := range m.Success[id] {
			t.Row(short(id), w.ID, w.State.cell(), w.Name, number(w.Tranquility), text(w.Progress), count(w.QueueLength), w.errors(), w.last(p))
		}
	}
	p.List(t, "No such work")
}

// errors is how many there were, and how many in a row at present.
func (w worker) errors() terminal.Cell {
	switch {
	case w.ConsecutiveErrors > 0:
		return terminal.Bad(fmt.Sprintf("%s (%s in a row)", terminal.Count(w.Errors), terminal.Count(w.ConsecutiveErrors)))
	case w.Errors > 0:
		return terminal.Warn(terminal.Count(w.Errors))
	}
	return terminal.Cell{}
}

func (w worker) last(p *terminal.Page) string {
	if w.LastError == nil {
		return ""
	}
	return p.Ago(w.LastError.SecsAgo)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func count(n *int64) string {
	if n == nil {
		return ""
	}
	return terminal.Count(*n)
}

func workerShow(c *client) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use: "info ID --node NODE", Short: "Show one worker of a node", Args: cobra.ExactArgs(1),
		Example: "  hangar worker info 3 --node 8f3a",
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || number < 0 {
				return wrong(fmt.Errorf("worker %q: want its number, see hangar worker list", args[0]))
			}
			id, err := c.node(cmd, node)
			if err != nil {
				return err
			}
			a, err := c.post(cmd, "GetWorkerInfo", map[string][]string{"node": {id}}, map[string]int64{"id": number})
			if err != nil {
				return err
			}
			return showNodes(c, cmd, a, printWorker)
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "the node: its id or the beginning of it")
	_ = cmd.MarkFlagRequired("node") // fails only for a flag that does not exist
	complete(cmd, "node", c.nodeNames)
	return cmd
}

func printWorker(p *terminal.Page, m perNode[worker]) {
	for _, id := range m.nodes() {
		w := m.Success[id]
		t := terminal.NewTable()
		t.Row(terminal.Strong("Worker"), w.Name)
		t.Row("Node", id)
		t.Row("State", w.State.cell())
		for _, x := range []struct{ name, value string }{
			{"Progress", text(w.Progress)}, {"Queue", count(w.QueueLength)}, {"Tranquility", number(w.Tranquility)}, {"Kept errors", count(w.PersistentErrors)},
		} {
			if x.value != "" {
				t.Row(x.name, x.value)
			}
		}
		t.Row("Errors", terminal.Count(w.Errors))
		if w.LastError != nil {
			t.Row("Last error", terminal.Bad(w.LastError.Message+", "+p.Ago(w.LastError.SecsAgo)))
		}
		for _, line := range w.Freeform {
			t.Row("Note", line)
		}
		p.Table(t)
	}
}

func workerGet(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "get [VARIABLE]", Short: "Show the run-time variables of nodes", Args: cobra.MaximumNArgs(1),
		Example: "  hangar worker get\n  hangar worker get scrub-tranquility --node 8f3a",
	}
	nodes := c.onNodes(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := map[string]any{"variable": nil}
		if len(args) > 0 {
			in["variable"] = args[0]
		}
		a, err := c.onAll(cmd, nodes, "GetWorkerVariable", in)
		if err != nil {
			return err
		}
		return showNodes(c, cmd, a, func(p *terminal.Page, m perNode[map[string]string]) {
			t := terminal.NewTable("NODE", "VARIABLE", "VALUE")
			for _, id := range m.nodes() {
				for _, name := range slices.Sorted(maps.Keys(m.Success[id])) {
					t.Row(short(id), name, m.Success[id][name])
				}
			}
			p.List(t, "There are no variables")
		})
	}
	return cmd
}

func workerSet(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "set VARIABLE VALUE", Short: "Change a run-time variable of nodes", Args: cobra.ExactArgs(2),
		Example: "  hangar worker set scrub-tranquility 2\n  hangar worker set scrub-tranquility 10 --node 8f3a",
	}
	nodes := c.onNodes(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a, err := c.onAll(cmd, nodes, "SetWorkerVariable", map[string]string{"variable": args[0], "value": args[1]})
		if err != nil {
			return err
		}
		return showNodes(c, cmd, a, done[any](args[0]+" is "+args[1]))
	}
	return cmd
}
