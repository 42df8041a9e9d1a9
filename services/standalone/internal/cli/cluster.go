package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

type nodeRole struct {
	Zone     string   `json:"zone"`
	Capacity *int64   `json:"capacity"`
	Tags     []string `json:"tags"`
	Service  string   `json:"service,omitempty"`
}

type clusterStatus struct {
	LayoutVersion int `json:"layoutVersion"`
	Nodes         []struct {
		ID       string     `json:"id"`
		Service  string     `json:"service"`
		Zone     string     `json:"zone,omitempty"`
		Version  string     `json:"garageVersion"`
		Addr     string     `json:"addr"`
		Hostname string     `json:"hostname"`
		IsUp     bool       `json:"isUp"`
		Draining bool       `json:"draining"`
		Duty     string     `json:"duty,omitempty"`
		Role     *nodeRole  `json:"role"`
		Data     *partition `json:"dataPartition"`
		Metadata *partition `json:"metadataPartition"`
	} `json:"nodes"`
	Change *layoutInTransit `json:"change"`
}

// partition is the disk that a node keeps its data on.
type partition struct {
	Available int64 `json:"available"`
	Total     int64 `json:"total"`
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

func statusCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "status", GroupID: "cluster", Short: "Show the nodes of the cluster", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s clusterStatus
			if err := c.get(cmd.Context(), "GetClusterStatus", nil, &s); err != nil {
				return err
			}
			return c.show(cmd.OutOrStdout(), s, func(w io.Writer) {
				fmt.Fprintln(w, "ID\tSERVICE\tSTATE\tDUTY\tZONE\tCAPACITY\tFREE\tHOST")
				for _, n := range s.Nodes {
					state := "up"
					if !n.IsUp {
						state = "DOWN"
					}
					zone, capacity, free := "no role", "", ""
					if n.Role != nil {
						zone = n.Role.Zone
						if n.Role.Capacity != nil {
							capacity = sizeOf(*n.Role.Capacity)
						}
					}
					for _, p := range []*partition{n.Data, n.Metadata} {
						if p != nil {
							free = sizeOf(p.Available)
						}
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", short(n.ID), n.Service, state, n.Duty, zone, capacity, free, n.Hostname)
				}
				fmt.Fprintf(w, "\nLayout version %d\n", s.LayoutVersion)
				if s.Change != nil {
					s.Change.print(w)
				}
			})
		},
	}
}

func short(id string) string { return id[:min(len(id), 16)] }

func healthCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "health", GroupID: "cluster", Short: "Say whether all data can be read and written", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var h clusterHealth
			if err := c.get(cmd.Context(), "GetClusterHealth", nil, &h); err != nil {
				return err
			}
			return c.show(cmd.OutOrStdout(), h, func(w io.Writer) {
				fmt.Fprintf(w, "Status\t%s\n", h.Status)
				fmt.Fprintf(w, "Storage nodes up\t%d of %d\n", h.StorageNodesUp, h.StorageNodes)
				fmt.Fprintf(w, "Partitions with a quorum\t%d of %d\n", h.PartitionsQuorum, h.Partitions)
				fmt.Fprintf(w, "Partitions with all copies\t%d of %d\n", h.PartitionsAllOk, h.Partitions)
				if h.Changing {
					fmt.Fprintln(w, "Layout\tchanging, see: hangar layout watch")
				}
				for _, r := range h.Reasons {
					fmt.Fprintf(w, "Reason\t%s\n", r)
				}
			})
		},
	}
}
