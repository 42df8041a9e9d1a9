package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// layoutInTransit is a layout change under way.
type layoutInTransit struct {
	Version   int             `json:"version"`
	StartedAt time.Time       `json:"startedAt"`
	Phase     string          `json:"phase"`
	Skipped   []string        `json:"skippedNodes"`
	Services  []serviceChange `json:"services"`
}

type serviceChange struct {
	Service         string `json:"service"`
	Epoch           uint64 `json:"epoch"`
	Phase           string `json:"phase"`
	PartitionsTotal int    `json:"partitionsTotal"`
	PartitionsDone  int    `json:"partitionsDone"`
	ItemsDone       int64  `json:"itemsDone"`
	ItemsTotal      int64  `json:"itemsTotal"`
	BytesDone       int64  `json:"bytesDone"`
	BytesTotal      int64  `json:"bytesTotal"`
	EstimateSeconds *int64 `json:"estimateSeconds"`
	WaitingFor      []struct {
		Node       string `json:"node"`
		Reason     string `json:"reason"`
		Partitions int    `json:"partitions"`
	} `json:"waitingFor"`
}

// print says line by line how far the change is.
func (l *layoutInTransit) print(w io.Writer) {
	fmt.Fprintf(w, "Version %d is being put in place since %s\n", l.Version, l.StartedAt.Local().Format(time.DateTime))
	for _, s := range l.Services {
		fmt.Fprintln(w, "  "+s.line())
		for _, n := range s.WaitingFor {
			who := "waiting"
			if n.Node != "" && strings.Trim(n.Node, "0") != "" {
				who = "waiting for node " + short(n.Node)
			}
			fmt.Fprintf(w, "    %s %s (%d partitions)\n", who, n.Reason, n.Partitions)
		}
	}
	for _, n := range l.Skipped {
		fmt.Fprintf(w, "  node %s counts as dead\n", short(n))
	}
}

// line is a service's progress in one line.
func (s *serviceChange) line() string {
	out := fmt.Sprintf("%s: %s, %d of %d partitions", s.Service, s.Phase, s.PartitionsDone, s.PartitionsTotal)
	if s.ItemsTotal > 0 {
		out += fmt.Sprintf(", %d of %d items", s.ItemsDone, s.ItemsTotal)
	}
	if s.BytesTotal > 0 {
		out += fmt.Sprintf(", %s of %s", sizeOf(s.BytesDone), sizeOf(s.BytesTotal))
	}
	if s.EstimateSeconds != nil {
		out += ", about " + (time.Duration(*s.EstimateSeconds) * time.Second).String() + " left"
	}
	return out
}

// bar draws how much is done.
func (s *serviceChange) bar() string {
	const width = 30
	done, total := float64(s.PartitionsDone), float64(s.PartitionsTotal)
	if s.BytesTotal > 0 && s.PartitionsDone < s.PartitionsTotal {
		done, total = float64(s.BytesDone), float64(s.BytesTotal)
	}
	full := width
	if total > 0 {
		full = int(width * min(done/total, 1))
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", width-full) + "]"
}

func layoutWatch(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Show how far a layout change is until it is done", Args: cobra.NoArgs,
		Long: "Show how far a layout change is until it is done: a bar on a terminal, else a\nline when something changes. Leaving it stops nothing.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l clusterLayout
			if err := c.get(cmd.Context(), "GetClusterLayout", nil, &l); err != nil {
				return err
			}
			return c.watch(cmd, l)
		},
	}
}

// watch follows the change of l until it is over.
func (c *client) watch(cmd *cobra.Command, l clusterLayout) error {
	out := cmd.OutOrStdout()
	terminal := isTerminal(out)
	version, last, lines := l.Version, "", 0
	pause := 100 * time.Millisecond
	for l.Change != nil && l.Version == version {
		var text strings.Builder
		if terminal {
			for _, s := range l.Change.Services {
				fmt.Fprintf(&text, "%s %s\n", s.bar(), s.line())
			}
		} else if !c.json {
			l.Change.print(&text)
		}
		if terminal {
			erase(out, lines)
			lines = strings.Count(text.String(), "\n")
		}
		if text.String() != last || terminal {
			fmt.Fprint(out, text.String())
			last = text.String()
		}
		select {
		case <-time.After(pause):
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		}
		pause = min(2*pause, time.Second)
		l = clusterLayout{}
		if err := c.get(cmd.Context(), "GetClusterLayout", nil, &l); err != nil {
			return err
		}
	}
	if terminal {
		erase(out, lines)
	}
	if l.Version != version {
		return fmt.Errorf("version %d was aborted or replaced: the layout is at version %d", version, l.Version)
	}
	return c.show(out, l, func(w io.Writer) { fmt.Fprintf(w, "Layout version %d is in place\n", l.Version) })
}

// erase takes back what was written on a terminal.
func erase(w io.Writer, lines int) {
	if lines > 0 {
		fmt.Fprintf(w, "\x1b[%dA\x1b[J", lines)
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	i, err := f.Stat()
	return err == nil && i.Mode()&os.ModeCharDevice != 0
}

func layoutHistory(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "Show the last layouts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var h struct {
				CurrentVersion int `json:"currentVersion"`
				Versions       []struct {
					Version      int       `json:"version"`
					Status       string    `json:"status"`
					Outcome      string    `json:"outcome"`
					StorageNodes int       `json:"storageNodes"`
					AppliedAt    time.Time `json:"appliedAt"`
				} `json:"versions"`
			}
			if err := c.get(cmd.Context(), "GetClusterLayoutHistory", nil, &h); err != nil {
				return err
			}
			return c.show(cmd.OutOrStdout(), h, func(w io.Writer) {
				fmt.Fprintln(w, "VERSION\tAPPLIED\tNODES\tSTATE")
				for _, v := range h.Versions {
					fmt.Fprintf(w, "%d\t%s\t%d\t%s\n", v.Version, v.AppliedAt.Local().Format(time.DateTime), v.StorageNodes, v.Outcome)
				}
			})
		},
	}
}

// underWay is the version of the change under way, unless one was given.
func (c *client) underWay(cmd *cobra.Command, version int) (int, error) {
	if cmd.Flags().Changed("version") {
		return version, nil
	}
	var l clusterLayout
	if err := c.get(cmd.Context(), "GetClusterLayout", nil, &l); err != nil {
		return 0, err
	}
	if l.Change == nil {
		return 0, fmt.Errorf("no layout change is under way")
	}
	return l.Version, nil
}

func layoutSkip(c *client) *cobra.Command {
	var version int
	cmd := &cobra.Command{
		Use: "skip-dead-nodes", Short: "Stop waiting for nodes that are down and will not come back", Args: cobra.NoArgs,
		Long:    "Declare the nodes dead that are down and that the change under way waits for.\nRefused when a partition would be left without a majority of its copies: bring\nnodes back then, or abort the change.",
		Example: "  hangar layout skip-dead-nodes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			version, err := c.underWay(cmd, version)
			if err != nil {
				return err
			}
			var out struct {
				Skipped []string `json:"ackUpdated"`
				Copies  []string `json:"syncUpdated"`
			}
			in := map[string]any{"version": version, "allowMissingData": false}
			if err := c.post(cmd.Context(), "ClusterLayoutSkipDeadNodes", nil, in, &out); err != nil {
				return err
			}
			return c.show(cmd.OutOrStdout(), out, func(w io.Writer) {
				if len(out.Skipped) == 0 {
					fmt.Fprintln(w, "No node that the change needs is down")
				}
				for _, n := range out.Skipped {
					fmt.Fprintf(w, "Node %s counts as dead\n", n)
				}
			})
		},
	}
	cmd.Flags().IntVar(&version, "version", 0, "the version under way (default: the one there is)")
	return cmd
}

func layoutAbort(c *client) *cobra.Command {
	var version int
	cmd := &cobra.Command{
		Use: "abort", Short: "Take the layout change back that is under way", Args: cobra.NoArgs,
		Long: "Take the layout change back that is under way: data stays where it was, and\nthe layout goes back to the roles before. A service whose data is in place\nalready stays there.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			version, err := c.underWay(cmd, version)
			if err != nil {
				return err
			}
			var l clusterLayout
			if err := c.post(cmd.Context(), "AbortClusterLayoutChange", nil, map[string]any{"version": version}, &l); err != nil {
				return err
			}
			return c.showLayout(cmd.OutOrStdout(), l)
		},
	}
	cmd.Flags().IntVar(&version, "version", 0, "the version under way (default: the one there is)")
	return cmd
}
