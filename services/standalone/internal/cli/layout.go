package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

type layoutRole struct {
	ID string `json:"id"`
	nodeRole
	StoredPartitions *int   `json:"storedPartitions"`
	UsableCapacity   *int64 `json:"usableCapacity"`
	Remove           bool   `json:"remove,omitempty"`
}

type clusterLayout struct {
	Version           int              `json:"version"`
	PartitionSize     int64            `json:"partitionSize"`
	Parameters        *layoutSettings  `json:"parameters"`
	Roles             []layoutRole     `json:"roles"`
	StagedRoleChanges []layoutRole     `json:"stagedRoleChanges"`
	StagedParameters  *layoutSettings  `json:"stagedParameters"`
	Change            *layoutInTransit `json:"change"`
}

type layoutSettings struct {
	ZoneRedundancy any    `json:"zoneRedundancy"`
	Consistency    string `json:"consistency,omitempty"`
}

// zones says how many zones each partition is to span.
func (s *layoutSettings) zones() string {
	if least, ok := s.ZoneRedundancy.(map[string]any); ok {
		return fmt.Sprint("at least ", least["atLeast"])
	}
	return "as many as possible"
}

func layoutCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "layout", GroupID: "cluster", Short: "Say which nodes hold data, and where they stand",
		Long: `A layout gives storage nodes a zone and a capacity. Changes are staged by
assign, remove and config, looked at with preview, and take effect together
with apply. Data then moves while the cluster goes on serving; watch shows how
far it is.`,
		Example: `  hangar layout assign 8f3a… --zone cellar --capacity 2T
  hangar layout remove 51c0…
  hangar layout preview
  hangar layout apply --wait`,
	}
	var staged bool
	show := &cobra.Command{
		Use: "show", Short: "Show the layout, what is staged and what is under way", Args: cobra.NoArgs,
		Example: "  hangar layout show\n  hangar layout show --staged",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if staged {
				return c.preview(cmd)
			}
			var l clusterLayout
			if err := c.get(cmd.Context(), "GetClusterLayout", nil, &l); err != nil {
				return err
			}
			return c.showLayout(cmd.OutOrStdout(), l)
		},
	}
	show.Flags().BoolVar(&staged, "staged", false, "show what applying the staged changes would do")
	cmd.AddCommand(show, layoutAssign(c), layoutRemove(c), layoutConfig(c),
		&cobra.Command{
			Use: "preview", Short: "Show what applying the staged changes would do", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return c.preview(cmd) },
		},
		layoutApply(c), layoutRevert(c), layoutHistory(c), layoutWatch(c), layoutSkip(c), layoutAbort(c))
	return cmd
}

func layoutRemove(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "remove NODE-ID…", Short: "Stage the removal of nodes, alive or dead", Args: cobra.MinimumNArgs(1),
		Example: "  hangar layout remove 51c0…",
		RunE: func(cmd *cobra.Command, args []string) error {
			var roles []any
			for _, prefix := range args {
				id, err := c.node(cmd, prefix)
				if err != nil {
					return err
				}
				roles = append(roles, map[string]any{"id": id, "remove": true})
			}
			return c.stage(cmd, map[string]any{"roles": roles})
		},
	}
}

func (c *client) stage(cmd *cobra.Command, in map[string]any) error {
	var l clusterLayout
	if err := c.post(cmd.Context(), "UpdateClusterLayout", nil, in, &l); err != nil {
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
			id, err := c.node(cmd, args[0])
			if err != nil {
				return err
			}
			return c.stage(cmd, map[string]any{"roles": []any{map[string]any{"id": id, "zone": zone, "capacity": n, "tags": tags}}})
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

// fullID is how many characters a node id has.
const fullID = 32

// node finds the one node whose id begins with prefix.
func (c *client) node(cmd *cobra.Command, prefix string) (string, error) {
	if len(prefix) >= fullID {
		return prefix, nil // the service checks it, and may not have heard of it
	}
	var s clusterStatus
	if err := c.get(cmd.Context(), "GetClusterStatus", nil, &s); err != nil {
		return "", err
	}
	found := ""
	for _, n := range s.Nodes {
		if !strings.HasPrefix(n.ID, strings.ToLower(prefix)) || n.ID == found {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("several nodes begin with %q: give more of the id", prefix)
		}
		found = n.ID
	}
	if found == "" {
		return "", fmt.Errorf("no node begins with %q: see hangar status", prefix)
	}
	return found, nil
}

func layoutConfig(c *client) *cobra.Command {
	var redundancy, consistency string
	cmd := &cobra.Command{
		Use: "config", Short: "Set zone redundancy (staged) or consistency (at once)", Args: cobra.NoArgs,
		Example: "  hangar layout config --redundancy 2\n  hangar layout config --redundancy maximum\n  hangar layout config --consistency degraded",
		RunE: func(cmd *cobra.Command, _ []string) error {
			parameters := map[string]any{}
			if redundancy != "" {
				parameters["zoneRedundancy"] = redundancy
				if n, err := strconv.Atoi(redundancy); err == nil {
					parameters["zoneRedundancy"] = map[string]int{"atLeast": n}
				}
			}
			if consistency != "" {
				parameters["consistency"] = consistency
			}
			if len(parameters) == 0 {
				return errors.New("say what to set: --redundancy or --consistency")
			}
			return c.stage(cmd, map[string]any{"parameters": parameters})
		},
	}
	cmd.Flags().StringVar(&redundancy, "redundancy", "", "zones that each partition spans at least: a number, or maximum")
	cmd.Flags().StringVar(&consistency, "consistency", "", "consistent, degraded (reads may be old) or dangerous (writes may be lost)")
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

// layoutPreview keeps what only --json shows as it came.
type layoutPreview struct {
	Error     string        `json:"error,omitempty"`
	Message   []string      `json:"message"`
	Moves     any           `json:"moves"`
	Services  any           `json:"services"`
	NewLayout clusterLayout `json:"newLayout"`
}

func (c *client) ask(cmd *cobra.Command) (p layoutPreview, err error) {
	if err := c.post(cmd.Context(), "PreviewClusterLayoutChanges", nil, map[string]any{}, &p); err != nil {
		return p, err
	}
	if p.Error != "" {
		return p, errors.New(p.Error)
	}
	return p, nil
}

func (c *client) preview(cmd *cobra.Command) error {
	p, err := c.ask(cmd)
	if err != nil {
		return err
	}
	return c.show(cmd.OutOrStdout(), p, func(w io.Writer) {
		fmt.Fprintln(w, strings.Join(p.Message, "\n"))
		fmt.Fprintf(w, "\nTake effect with: hangar layout apply --version %d\n", p.NewLayout.Version)
	})
}

func layoutApply(c *client) *cobra.Command {
	var version int
	var wait bool
	cmd := &cobra.Command{
		Use: "apply", Short: "Put the staged changes into effect", Args: cobra.NoArgs,
		Long:    "Put the staged changes into effect. Without --version it shows what they do\nand asks first.",
		Example: "  hangar layout apply\n  hangar layout apply --version 4 --wait",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("version") {
				p, err := c.ask(cmd)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "%s\n\nApply version %d? [y/N] ", strings.Join(p.Message, "\n"), p.NewLayout.Version)
				answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
					return errors.Join(errors.New("nothing was applied"), ignoreEOF(err))
				}
				version = p.NewLayout.Version
			}
			var out struct {
				Message []string      `json:"message"`
				Layout  clusterLayout `json:"layout"`
			}
			if err := c.post(cmd.Context(), "ApplyClusterLayout", nil, map[string]any{"version": version}, &out); err != nil {
				return err
			}
			if wait {
				return c.watch(cmd, out.Layout)
			}
			return c.showLayout(cmd.OutOrStdout(), out.Layout)
		},
	}
	cmd.Flags().IntVar(&version, "version", 0, "the version this makes: one more than `layout show` says")
	cmd.Flags().BoolVar(&wait, "wait", false, "show the progress until all data is in place")
	return cmd
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func layoutRevert(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "revert", Short: "Drop what is staged", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l clusterLayout
			if err := c.post(cmd.Context(), "RevertClusterLayout", nil, map[string]any{}, &l); err != nil {
				return err
			}
			return c.showLayout(cmd.OutOrStdout(), l)
		},
	}
}

func (c *client) showLayout(w io.Writer, l clusterLayout) error {
	return c.show(w, l, func(w io.Writer) {
		fmt.Fprintln(w, "ID\tSERVICE\tZONE\tCAPACITY\tUSABLE\tPARTITIONS\tTAGS")
		for _, r := range l.Roles {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Service, r.Zone, size(r.Capacity), size(r.UsableCapacity), number(r.StoredPartitions), strings.Join(r.Tags, ","))
		}
		fmt.Fprintf(w, "\nLayout version %d\n", l.Version)
		if p := l.Parameters; p != nil {
			fmt.Fprintf(w, "Zones of a partition: %s. Consistency: %s\n", p.zones(), p.Consistency)
		}
		if l.Change != nil {
			fmt.Fprintln(w)
			l.Change.print(w)
		}
		for _, r := range l.StagedRoleChanges {
			if r.Remove {
				fmt.Fprintf(w, "Staged: remove %s\n", r.ID)
			} else {
				fmt.Fprintf(w, "Staged: %s in zone %s, %s\n", r.ID, r.Zone, size(r.Capacity))
			}
		}
		if l.StagedParameters != nil {
			fmt.Fprintf(w, "Staged: zones of a partition: %s\n", l.StagedParameters.zones())
		}
		if len(l.StagedRoleChanges) > 0 || l.StagedParameters != nil {
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
