package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/adminclient"
	"hangar/services/standalone/internal/terminal"
)

type nodeRole struct {
	Zone     string   `json:"zone"`
	Capacity *int64   `json:"capacity"`
	Tags     []string `json:"tags"`
	Service  string   `json:"service,omitempty"`
}

type clusterStatus struct {
	LayoutVersion int              `json:"layoutVersion"`
	Nodes         []clusterNode    `json:"nodes"`
	Change        *layoutInTransit `json:"change"`
}

type clusterNode struct {
	ID       string     `json:"id"`
	Service  string     `json:"service"`
	Zone     string     `json:"zone"`
	Version  string     `json:"garageVersion"`
	Addr     string     `json:"addr"`
	K2VAddr  string     `json:"k2vAddr"`
	Hostname string     `json:"hostname"`
	IsUp     bool       `json:"isUp"`
	LastSeen *int64     `json:"lastSeenSecsAgo"`
	Draining bool       `json:"draining"`
	Duty     string     `json:"duty"`
	Role     *nodeRole  `json:"role"`
	Data     *partition `json:"dataPartition"`
	Metadata *partition `json:"metadataPartition"`
}

// partition is the disk that a node keeps its data on.
type partition struct {
	Available int64 `json:"available"`
	Total     int64 `json:"total"`
}

// state says whether the node is heard of.
func (n clusterNode) state(p *terminal.Page) terminal.Cell {
	switch {
	case n.IsUp:
		return terminal.Good("up")
	case n.LastSeen != nil:
		return terminal.Bad("DOWN, seen " + p.Ago(*n.LastSeen))
	}
	return terminal.Bad("DOWN")
}

// stores says whether the node is of a service that keeps data.
func (n clusterNode) stores() bool { return n.Duty != "" }

// free is how much of the node's disk is left; little is a warning.
func (n clusterNode) free() terminal.Cell {
	const little = 0.1
	for _, p := range []*partition{n.Data, n.Metadata} {
		if p == nil || p.Total <= 0 {
			continue
		}
		part := float64(p.Available) / float64(p.Total)
		text := fmt.Sprintf("%s (%.0f %%)", terminal.Bytes(p.Available), 100*part)
		if part < little {
			return terminal.Warn(text)
		}
		return terminal.Faint(text)
	}
	return terminal.Cell{}
}

func statusCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "status", GroupID: "cluster", Short: "Show the nodes of the cluster", Args: cobra.NoArgs,
		Example: "  hangar status\n  hangar --data /var/lib/hangar status\n  hangar --endpoint http://10.0.0.1:3903 status --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := c.get(cmd, "GetClusterStatus", nil)
			if err != nil {
				return err
			}
			return show(c, cmd, a, printStatus)
		},
	}
}

func printStatus(p *terminal.Page, s clusterStatus) {
	t := terminal.NewTable("ID", "SERVICE", "STATE", "DUTY", "ZONE", ">CAPACITY", ">FREE", "HOST")
	var idle []string
	for _, n := range s.Nodes {
		zone, capacity := n.Zone, ""
		if n.Role != nil {
			zone, capacity = n.Role.Zone, size(n.Role.Capacity)
		} else if n.stores() && n.IsUp {
			idle = append(idle, short(n.ID))
		}
		t.Row(short(n.ID), n.Service, n.state(p), duty(n.Duty), zone, capacity, n.free(), n.Hostname)
	}
	p.Table(t)
	p.Line()
	p.Line("Layout version ", s.LayoutVersion)
	if s.Change != nil {
		s.Change.print(p)
	}
	if len(idle) > 0 {
		p.Line()
		p.Line("Without a role: ", strings.Join(idle, ", "))
		p.Line("Give one with: hangar layout assign ", idle[0], " --zone ZONE --capacity SIZE")
	}
}

// duty says what a node is needed for.
func duty(d string) terminal.Cell {
	switch d {
	case "joining", "leaving":
		return terminal.Warn(d)
	}
	return terminal.Faint(d)
}

type clusterHealth struct {
	Status           string   `json:"status"`
	KnownNodes       int      `json:"knownNodes"`
	ConnectedNodes   int      `json:"connectedNodes"`
	StorageNodes     int      `json:"storageNodes"`
	StorageNodesUp   int      `json:"storageNodesUp"`
	Partitions       int      `json:"partitions"`
	PartitionsQuorum int      `json:"partitionsQuorum"`
	PartitionsAllOk  int      `json:"partitionsAllOk"`
	Changing         bool     `json:"layoutChanging"`
	Reasons          []string `json:"reasons"`
}

func healthCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "health", GroupID: "cluster", Short: "Say whether all data can be read and written", Args: cobra.NoArgs,
		Example: "  hangar health",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := c.get(cmd, "GetClusterHealth", nil)
			if err != nil {
				return err
			}
			return show(c, cmd, a, printHealth)
		},
	}
}

func printHealth(p *terminal.Page, h clusterHealth) {
	of := func(n, all int) terminal.Cell {
		text := fmt.Sprintf("%d of %d", n, all)
		if n < all {
			return terminal.Bad(text)
		}
		return terminal.Good(text)
	}
	status := terminal.Bad(h.Status)
	switch h.Status {
	case "healthy":
		status = terminal.Good(h.Status)
	case "degraded":
		status = terminal.Warn(h.Status)
	}
	t := terminal.NewTable()
	t.Row("Status", status)
	t.Row("Storage nodes up", of(h.StorageNodesUp, h.StorageNodes))
	t.Row("Partitions with a quorum", of(h.PartitionsQuorum, h.Partitions))
	t.Row("Partitions with all copies", of(h.PartitionsAllOk, h.Partitions))
	if h.Changing {
		t.Row("Layout", terminal.Warn("changing, see: hangar layout watch"))
	}
	for _, r := range h.Reasons {
		t.Row("Reason", terminal.Warn(r))
	}
	p.Table(t)
}

func nodeCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "node", GroupID: "cluster", Short: "Show single nodes",
		Long:    "Nodes are named by their id or the beginning of it.",
		Example: "  hangar node list\n  hangar node statistics --node 8f3a",
	}
	cmd.AddCommand(nodeList(c), nodeInfo(c), nodeStatistics(c))
	return cmd
}

func nodeList(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all nodes with their addresses and versions", Args: cobra.NoArgs,
		Example: "  hangar node list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := c.get(cmd, "GetClusterStatus", nil)
			if err != nil {
				return err
			}
			return show(c, cmd, a, func(p *terminal.Page, s clusterStatus) {
				t := terminal.NewTable("ID", "SERVICE", "STATE", "VERSION", "ADDRESS", "K2V ADDRESS", "HOST")
				for _, n := range s.Nodes {
					t.Row(n.ID, n.Service, n.state(p), n.Version, n.Addr, n.K2VAddr, n.Hostname)
				}
				p.Table(t)
			})
		},
	}
}

type nodeFacts struct {
	ID       string   `json:"nodeId"`
	Version  string   `json:"garageVersion"`
	Runtime  string   `json:"rustVersion"`
	Engine   string   `json:"dbEngine"`
	Hostname string   `json:"hostname"`
	Service  string   `json:"service"`
	Features []string `json:"garageFeatures"`
}

func nodeInfo(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "info", Short: "Show what nodes say of themselves", Args: cobra.NoArgs,
		Example: "  hangar node info\n  hangar node info --node 8f3a",
	}
	nodes := c.onNodes(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := nodes()
		if err != nil {
			return err
		}
		a, err := c.get(cmd, "GetNodeInfo", q)
		if err != nil {
			return err
		}
		return showNodes(c, cmd, a, func(p *terminal.Page, m perNode[nodeFacts]) {
			t := terminal.NewTable("ID", "SERVICE", "VERSION", "RUNTIME", "STORE", "HOST")
			for _, id := range m.nodes() {
				n := m.Success[id]
				t.Row(id, n.Service, n.Version, n.Runtime, n.Engine, n.Hostname)
			}
			p.Table(t)
		})
	}
	return cmd
}

type nodeFigures struct {
	Freeform    string `json:"freeform"`
	Directories []struct {
		Path          string `json:"path"`
		State         string `json:"state"`
		Why           string `json:"why"`
		CapacityBytes int64  `json:"capacityBytes"`
		UsedBytes     int64  `json:"usedBytes"`
		LiveBytes     int64  `json:"liveBytes"`
		LiveBlocks    int64  `json:"liveBlocks"`
		FreeBytes     int64  `json:"freeBytes"`
	} `json:"directories"`
}

func nodeStatistics(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "statistics", Short: "Show what nodes hold and what they have to do", Args: cobra.NoArgs,
		Example: "  hangar node statistics\n  hangar node statistics --node 8f3a",
	}
	nodes := c.onNodes(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := nodes()
		if err != nil {
			return err
		}
		a, err := c.get(cmd, "GetNodeStatistics", q)
		if err != nil {
			return err
		}
		return showNodes(c, cmd, a, printFigures)
	}
	return cmd
}

func printFigures(p *terminal.Page, m perNode[nodeFigures]) {
	for i, id := range m.nodes() {
		n := m.Success[id]
		if i > 0 {
			p.Line()
		}
		p.Line(terminal.Strong("Node " + short(id)))
		p.Text(n.Freeform)
		n.printDirectories(p)
	}
}

func (n nodeFigures) printDirectories(p *terminal.Page) {
	if len(n.Directories) == 0 {
		return
	}
	t := terminal.NewTable("DIRECTORY", "STATE", ">CAPACITY", ">USED", ">LIVE", ">BLOCKS", ">FREE ON DISK")
	for _, d := range n.Directories {
		capacity := "the disk"
		if d.CapacityBytes > 0 {
			capacity = terminal.Bytes(d.CapacityBytes)
		}
		state := terminal.Good(d.State)
		switch d.State {
		case "full", "failing":
			state = terminal.Bad(d.State)
		case "draining", "empty":
			state, capacity = terminal.Warn(d.State), ""
		}
		t.Row(d.Path, state, capacity, terminal.Bytes(d.UsedBytes), terminal.Bytes(d.LiveBytes), terminal.Count(d.LiveBlocks), terminal.Bytes(d.FreeBytes))
	}
	p.Table(t)
	for _, d := range n.Directories {
		if d.Why != "" {
			p.Line(terminal.Bad(d.Path+" is "+d.State), ": ", d.Why)
		}
	}
}

func statsCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "stats", GroupID: "cluster", Short: "Show what the whole cluster holds and what is free", Args: cobra.NoArgs,
		Example: "  hangar stats\n  hangar stats --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := c.get(cmd, "GetClusterStatistics", nil)
			if err != nil {
				return err
			}
			return show(c, cmd, a, func(p *terminal.Page, s clusterFigures) { s.print(p) })
		},
	}
}

type clusterFigures struct {
	Freeform      string `json:"freeform"`
	ObjectBytes   *int64 `json:"totalObjectBytes"`
	DataAvail     *int64 `json:"dataAvail"`
	MetadataAvail *int64 `json:"metadataAvail"`
	Incomplete    *bool  `json:"incompleteAvailInfo"`
}

func (s clusterFigures) print(p *terminal.Page) {
	p.Text(s.Freeform)
	t := terminal.NewTable()
	for _, x := range []struct {
		name string
		n    *int64
	}{
		{"Size of objects", s.ObjectBytes}, {"Free for data", s.DataAvail}, {"Free for metadata", s.MetadataAvail},
	} {
		if x.n != nil {
			t.Row(x.name, terminal.Bytes(*x.n))
		}
	}
	if s.Incomplete != nil && *s.Incomplete {
		t.Row("Free space", terminal.Warn("some nodes did not say theirs"))
	}
	p.Table(t)
}

// metaCommand holds what concerns the metadata of nodes.

// done prints which nodes did something.
func done[T any](what string) func(*terminal.Page, perNode[T]) {
	return func(p *terminal.Page, m perNode[T]) {
		for _, id := range m.nodes() {
			p.Line("Node ", short(id), ": ", what)
		}
		if len(m.Success)+len(m.Error) == 0 {
			p.Line("No node was asked")
		}
	}
}

// onAll calls a POST operation on the chosen nodes.
func (c *client) onAll(cmd *cobra.Command, nodes nodeQuery, op string, in any) (adminclient.Answer, error) {
	q, err := nodes()
	if err != nil {
		return adminclient.Answer{}, err
	}
	return c.post(cmd, op, q, in)
}
