package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

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
		Version  string     `json:"garageVersion"`
		Addr     string     `json:"addr"`
		Hostname string     `json:"hostname"`
		IsUp     bool       `json:"isUp"`
		Role     *nodeRole  `json:"role"`
		Data     *partition `json:"dataPartition"`
		Metadata *partition `json:"metadataPartition"`
	} `json:"nodes"`
}

// partition is the disk that a node keeps its data on.
type partition struct {
	Available int64 `json:"available"`
	Total     int64 `json:"total"`
}

type clusterHealth struct {
	Status           string `json:"status"`
	KnownNodes       int    `json:"knownNodes"`
	ConnectedNodes   int    `json:"connectedNodes"`
	StorageNodes     int    `json:"storageNodes"`
	StorageNodesUp   int    `json:"storageNodesUp"`
	Partitions       int    `json:"partitions"`
	PartitionsQuorum int    `json:"partitionsQuorum"`
	PartitionsAllOk  int    `json:"partitionsAllOk"`
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
				fmt.Fprintln(w, "ID\tSERVICE\tSTATE\tZONE\tCAPACITY\tFREE\tHOST")
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
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", short(n.ID), n.Service, state, zone, capacity, free, n.Hostname)
				}
				fmt.Fprintf(w, "\nLayout version %d\n", s.LayoutVersion)
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
			})
		},
	}
}

type layoutRole struct {
	ID string `json:"id"`
	nodeRole
	StoredPartitions *int   `json:"storedPartitions"`
	UsableCapacity   *int64 `json:"usableCapacity"`
	Remove           bool   `json:"remove,omitempty"`
}

type clusterLayout struct {
	Version           int          `json:"version"`
	PartitionSize     int64        `json:"partitionSize"`
	Roles             []layoutRole `json:"roles"`
	StagedRoleChanges []layoutRole `json:"stagedRoleChanges"`
}

func layoutCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "layout", GroupID: "cluster", Short: "Say which nodes hold data, and where they stand",
		Long: "A layout gives storage nodes a zone and a capacity. Changes are staged by\nassign and remove, looked at with show, and take effect together with apply.",
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "show", Short: "Show the layout and what is staged", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				var l clusterLayout
				if err := c.get(cmd.Context(), "GetClusterLayout", nil, &l); err != nil {
					return err
				}
				return c.showLayout(cmd.OutOrStdout(), l)
			},
		},
		layoutAssign(c),
		&cobra.Command{
			Use: "remove NODE-ID", Short: "Stage the removal of a node", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.stage(cmd, map[string]any{"id": args[0], "remove": true})
			},
		},
		layoutApply(c),
		&cobra.Command{
			Use: "revert", Short: "Drop what is staged", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				var l clusterLayout
				if err := c.post(cmd.Context(), "RevertClusterLayout", nil, map[string]any{}, &l); err != nil {
					return err
				}
				return c.showLayout(cmd.OutOrStdout(), l)
			},
		},
	)
	return cmd
}

func (c *client) stage(cmd *cobra.Command, role map[string]any) error {
	var l clusterLayout
	if err := c.post(cmd.Context(), "UpdateClusterLayout", nil, map[string]any{"roles": []any{role}}, &l); err != nil {
		return err
	}
	return c.showLayout(cmd.OutOrStdout(), l)
}

func layoutAssign(c *client) *cobra.Command {
	var zone, capacity string
	var tags []string
	cmd := &cobra.Command{
		Use: "assign NODE-ID", Short: "Stage a role for a node", Args: cobra.ExactArgs(1),
		Example: "  hangar layout assign 8f3a… --zone cellar --capacity 2T",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := parseSize(capacity)
			if err != nil {
				return err
			}
			if tags == nil {
				tags = []string{}
			}
			return c.stage(cmd, map[string]any{"id": args[0], "zone": zone, "capacity": n, "tags": tags})
		},
	}
	cmd.Flags().StringVar(&zone, "zone", "", "where the node stands: copies go to different zones")
	cmd.Flags().StringVar(&capacity, "capacity", "", "how much it may hold, such as 500G or 2T")
	cmd.Flags().StringSliceVar(&tags, "tag", nil, "a label for people (repeatable)")
	for _, f := range []string{"zone", "capacity"} {
		// Fails only for a flag that does not exist.
		_ = cmd.MarkFlagRequired(f)
	}
	return cmd
}

// parseSize reads 500, 500K, 20G, 1.5T (steps of 1024; a trailing B or iB is
// allowed).
func parseSize(s string) (int64, error) {
	t := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I")
	unit := int64(1)
	if i := strings.IndexAny(t, "KMGTPE"); i >= 0 && i == len(t)-1 {
		unit = 1 << (10 * (1 + strings.IndexByte("KMGTPE", t[i])))
		t = t[:i]
	}
	v, err := strconv.ParseFloat(t, 64)
	if err != nil || !(v > 0 && v*float64(unit) < 1<<63) { // false for NaN too
		return 0, fmt.Errorf("capacity %q: want a number with an optional K, M, G, T or P", s)
	}
	return int64(v * float64(unit)), nil
}

func layoutApply(c *client) *cobra.Command {
	var version int
	cmd := &cobra.Command{
		Use: "apply --version N", Short: "Put the staged changes into effect", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out struct {
				Message []string      `json:"message"`
				Layout  clusterLayout `json:"layout"`
			}
			if err := c.post(cmd.Context(), "ApplyClusterLayout", nil, map[string]any{"version": version}, &out); err != nil {
				return err
			}
			if !c.json {
				for _, line := range out.Message {
					fmt.Fprintln(cmd.OutOrStdout(), line)
				}
			}
			return c.showLayout(cmd.OutOrStdout(), out.Layout)
		},
	}
	cmd.Flags().IntVar(&version, "version", 0, "the version this makes: one more than `layout show` says")
	_ = cmd.MarkFlagRequired("version") // fails only for a flag that does not exist
	return cmd
}

func (c *client) showLayout(w io.Writer, l clusterLayout) error {
	return c.show(w, l, func(w io.Writer) {
		fmt.Fprintln(w, "ID\tSERVICE\tZONE\tCAPACITY\tUSABLE\tPARTITIONS\tTAGS")
		for _, r := range l.Roles {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Service, r.Zone, size(r.Capacity), size(r.UsableCapacity), number(r.StoredPartitions), strings.Join(r.Tags, ","))
		}
		fmt.Fprintf(w, "\nLayout version %d\n", l.Version)
		for _, r := range l.StagedRoleChanges {
			if r.Remove {
				fmt.Fprintf(w, "Staged: remove %s\n", r.ID)
			} else {
				fmt.Fprintf(w, "Staged: %s in zone %s, %s\n", r.ID, r.Zone, size(r.Capacity))
			}
		}
		if len(l.StagedRoleChanges) > 0 {
			fmt.Fprintf(w, "\nTake effect with: hangar layout apply --version %d\n", l.Version+1)
		}
	})
}

func size(n *int64) string {
	if n == nil {
		return ""
	}
	return sizeOf(*n)
}

func number(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}
