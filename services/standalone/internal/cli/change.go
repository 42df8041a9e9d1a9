package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/adminclient"
	"hangar/services/standalone/internal/terminal"
	"hangar/shared/lifecycle"
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
func (l *layoutInTransit) print(p *terminal.Page) {
	p.Line("Version ", l.Version, " is being put in place since ", l.StartedAt.Local().Format(time.DateTime))
	for _, s := range l.Services {
		p.Line("  ", s.line())
		for _, n := range s.WaitingFor {
			who := "waiting"
			if n.Node != "" && strings.Trim(n.Node, "0") != "" {
				who = "waiting for node " + short(n.Node)
			}
			p.Line("    ", terminal.Warn(who), " ", n.Reason, " (", plural(int64(n.Partitions), "partition"), ")")
		}
	}
	for _, n := range l.Skipped {
		p.Line("  node ", short(n), " counts as dead")
	}
}

// line is a service's progress in one line.
func (s *serviceChange) line() string {
	out := fmt.Sprintf("%s: %s, %d of %d partitions", s.Service, s.Phase, s.PartitionsDone, s.PartitionsTotal)
	if s.ItemsTotal > 0 {
		out += fmt.Sprintf(", %d of %d items", s.ItemsDone, s.ItemsTotal)
	}
	if s.BytesTotal > 0 {
		out += fmt.Sprintf(", %s of %s", terminal.Bytes(s.BytesDone), terminal.Bytes(s.BytesTotal))
	}
	if s.EstimateSeconds != nil {
		out += ", about " + (time.Duration(*s.EstimateSeconds) * time.Second).String() + " left"
	}
	return out
}

// bar draws how much is done.
func (s *serviceChange) bar() string {
	if s.BytesTotal > 0 && s.PartitionsDone < s.PartitionsTotal {
		return terminal.Bar(float64(s.BytesDone), float64(s.BytesTotal))
	}
	return terminal.Bar(float64(s.PartitionsDone), float64(s.PartitionsTotal))
}

func layoutWatch(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Show how far a layout change is until it is done", Args: cobra.NoArgs,
		Long:    "Show how far a layout change is until it is done: a bar on a terminal, else a\nline when something changes. Leaving it stops nothing.",
		Example: "  hangar layout watch",
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.watch(cmd, 0) },
	}
}

// watch follows the change under way, to version unless that is 0, until it is
// over.
func (c *client) watch(cmd *cobra.Command, version int) error {
	var l clusterLayout
	a, err := c.layout(cmd, &l)
	if err != nil {
		return err
	}
	if version == 0 {
		version = l.Version
	}
	progress := terminal.NewProgress(cmd.OutOrStdout())
	for pause := 100 * time.Millisecond; l.Change != nil && l.Version == version; pause = min(2*pause, time.Second) {
		if !c.json {
			if err := progress.Show(l.Change.text(progress.Live())); err != nil {
				return err
			}
		}
		if err := lifecycle.Sleep(cmd.Context(), pause); err != nil {
			return err
		}
		l = clusterLayout{}
		if a, err = c.layout(cmd, &l); err != nil {
			return err
		}
	}
	if err := progress.Clear(); err != nil {
		return err
	}
	if l.Version != version {
		return fmt.Errorf("version %d was aborted or replaced: the layout is at version %d", version, l.Version)
	}
	return show(c, cmd, a, func(p *terminal.Page, l clusterLayout) {
		p.Line("Layout version ", l.Version, " is ", terminal.Good("in place"))
	})
}

// layout reads the layout into l.
func (c *client) layout(cmd *cobra.Command, l *clusterLayout) (adminclient.Answer, error) {
	a, err := c.get(cmd, "GetClusterLayout", nil)
	if err == nil {
		err = a.Decode(l)
	}
	return a, err
}

// text is the progress, with bars where they can be drawn in place.
func (l *layoutInTransit) text(bars bool) string {
	p := terminal.NewPage(nil, false, time.Now())
	if !bars {
		l.print(p)
		return p.String()
	}
	for _, s := range l.Services {
		p.Line(s.bar(), " ", s.line())
	}
	return p.String()
}

type layoutVersions struct {
	CurrentVersion int `json:"currentVersion"`
	Versions       []struct {
		Version      int       `json:"version"`
		Status       string    `json:"status"`
		Outcome      string    `json:"outcome"`
		StorageNodes int       `json:"storageNodes"`
		AppliedAt    time.Time `json:"appliedAt"`
	} `json:"versions"`
}

func layoutHistory(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "Show the last layouts", Args: cobra.NoArgs,
		Example: "  hangar layout history",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := c.get(cmd, "GetClusterLayoutHistory", nil)
			if err != nil {
				return err
			}
			return show(c, cmd, a, func(p *terminal.Page, h layoutVersions) {
				t := terminal.NewTable(">VERSION", "APPLIED", ">NODES", "STATE")
				for _, v := range h.Versions {
					t.Row(v.Version, p.Since(v.AppliedAt), v.StorageNodes, v.Outcome)
				}
				p.Table(t)
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
	if _, err := c.layout(cmd, &l); err != nil {
		return 0, err
	}
	if l.Change == nil {
		return 0, errors.New("no layout change is under way")
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
			if err := c.confirm(cmd, "Declare the nodes dead that are down and that the change waits for?"); err != nil {
				return err
			}
			a, err := c.post(cmd, "ClusterLayoutSkipDeadNodes", nil, map[string]any{"version": version, "allowMissingData": false})
			if err != nil {
				return err
			}
			return show(c, cmd, a, func(p *terminal.Page, out struct {
				Skipped []string `json:"ackUpdated"`
			}) {
				if len(out.Skipped) == 0 {
					p.Line("No node that the change needs is down")
				}
				for _, n := range out.Skipped {
					p.Line("Node ", n, " counts as dead")
				}
			})
		},
	}
	cmd.Flags().IntVar(&version, "version", 0, "the version under way (default: the one there is)")
	return c.dangerous(cmd)
}

func layoutAbort(c *client) *cobra.Command {
	var version int
	cmd := &cobra.Command{
		Use: "abort", Short: "Take the layout change back that is under way", Args: cobra.NoArgs,
		Long:    "Take the layout change back that is under way: data stays where it was, and\nthe layout goes back to the roles before. A service whose data is in place\nalready stays there.",
		Example: "  hangar layout abort",
		RunE: func(cmd *cobra.Command, _ []string) error {
			version, err := c.underWay(cmd, version)
			if err != nil {
				return err
			}
			a, err := c.post(cmd, "AbortClusterLayoutChange", nil, map[string]any{"version": version})
			if err != nil {
				return err
			}
			return show(c, cmd, a, printLayout)
		},
	}
	cmd.Flags().IntVar(&version, "version", 0, "the version under way (default: the one there is)")
	return cmd
}
