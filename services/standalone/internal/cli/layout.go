package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/adminclient"
	"hangar/services/standalone/internal/terminal"
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

// staged says whether there is anything to apply.
func (l *clusterLayout) staged() bool {
	return len(l.StagedRoleChanges) > 0 || l.StagedParameters != nil
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
		Example: "  hangar layout assign 8f3a --zone cellar --capacity 2T\n  hangar layout remove 51c0\n  hangar layout preview\n  hangar layout apply --wait",
	}
	cmd.AddCommand(layoutShow(c), layoutAssign(c), layoutRemove(c), layoutConfig(c), layoutPreviewCommand(c),
		layoutApply(c), layoutRevert(c), layoutHistory(c), layoutWatch(c), layoutSkip(c), layoutAbort(c))
	return cmd
}

func layoutShow(c *client) *cobra.Command {
	var staged bool
	cmd := &cobra.Command{
		Use: "show", Short: "Show the layout, what is staged and what is under way", Args: cobra.NoArgs,
		Example: "  hangar layout show\n  hangar layout show --staged",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if staged {
				return c.preview(cmd)
			}
			a, err := c.get(cmd, "GetClusterLayout", nil)
			if err != nil {
				return err
			}
			return show(c, cmd, a, printLayout)
		},
	}
	cmd.Flags().BoolVar(&staged, "staged", false, "show what applying the staged changes would do")
	return cmd
}

func layoutPreviewCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "preview", Short: "Show what applying the staged changes would do", Args: cobra.NoArgs,
		Example: "  hangar layout preview",
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.preview(cmd) },
	}
}

func layoutRemove(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "remove NODE…", Short: "Stage the removal of nodes, alive or dead", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: args(true, c.nodeNames),
		Example:           "  hangar layout remove 51c0\n  hangar layout remove 51c0 77ab",
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
	a, err := c.post(cmd, "UpdateClusterLayout", nil, in)
	if err != nil {
		return err
	}
	return show(c, cmd, a, printLayout)
}

func layoutAssign(c *client) *cobra.Command {
	var zone, capacity string
	tags := []string{}
	cmd := &cobra.Command{
		Use: "assign NODE", Short: "Stage a role for a node", Args: cobra.ExactArgs(1),
		ValidArgsFunction: args(false, c.nodeNames),
		Example:           "  hangar layout assign 8f3a --zone cellar --capacity 2T",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := terminal.ParseBytes(capacity)
			if err != nil {
				return wrong(err)
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
	cmd.Flags().StringSliceVar(&tags, "tag", tags, "a label for people (repeatable)")
	for _, f := range []string{"zone", "capacity"} {
		// Fails only for a flag that does not exist.
		_ = cmd.MarkFlagRequired(f)
	}
	return cmd
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
			return c.stage(cmd, map[string]any{"parameters": parameters})
		},
	}
	cmd.Flags().StringVar(&redundancy, "redundancy", "", "zones that each partition spans at least: a number, or maximum")
	cmd.Flags().StringVar(&consistency, "consistency", "", "consistent, degraded (reads may be old) or dangerous (writes may be lost)")
	cmd.MarkFlagsOneRequired("redundancy", "consistency")
	complete(cmd, "redundancy", words("maximum", "1", "2", "3"))
	complete(cmd, "consistency", words("consistent", "degraded", "dangerous"))
	return cmd
}

// layoutPreview is what applying would do, or the reason why it cannot be done.
type layoutPreview struct {
	Error     string        `json:"error"`
	Message   []string      `json:"message"`
	NewLayout clusterLayout `json:"newLayout"`
}

// foresee asks what applying the staged changes would do.
func (c *client) foresee(cmd *cobra.Command) (a adminclient.Answer, p layoutPreview, err error) {
	if err := c.needStaged(cmd); err != nil {
		return a, p, err
	}
	if a, err = c.post(cmd, "PreviewClusterLayoutChanges", nil, map[string]any{}); err == nil {
		err = a.Decode(&p)
	}
	if err == nil && p.Error != "" {
		err = errors.New(p.Error)
	}
	return a, p, err
}

// needStaged refuses to make a version of the layout that changes nothing.
func (c *client) needStaged(cmd *cobra.Command) error {
	l, err := fetch[clusterLayout](c, cmd, "GetClusterLayout", nil)
	if err != nil {
		return err
	}
	if !l.staged() {
		return errors.New("nothing is staged: stage changes first with hangar layout assign, remove or config")
	}
	return nil
}

func (c *client) preview(cmd *cobra.Command) error {
	a, _, err := c.foresee(cmd)
	if err != nil {
		return err
	}
	return show(c, cmd, a, func(p *terminal.Page, l layoutPreview) {
		p.Text(strings.Join(l.Message, "\n"))
		p.Line()
		p.Line("Take effect with: hangar layout apply --version ", l.NewLayout.Version)
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
				_, p, err := c.foresee(cmd)
				if err != nil {
					return err
				}
				page := terminal.NewPage(cmd.ErrOrStderr(), false, time.Now())
				page.Text(strings.Join(p.Message, "\n"))
				page.Line()
				if err := page.Flush(); err != nil {
					return err
				}
				version = p.NewLayout.Version
				if err := c.confirm(cmd, fmt.Sprintf("Apply version %d?", version)); err != nil {
					return err
				}
			} else if err := c.needStaged(cmd); err != nil {
				return err
			}
			return c.apply(cmd, version, wait)
		},
	}
	cmd.Flags().IntVar(&version, "version", 0, "the version this makes: one more than hangar layout show says")
	cmd.Flags().BoolVar(&wait, "wait", false, "show the progress until all data is in place")
	return c.dangerous(cmd)
}

type appliedLayout struct {
	Layout clusterLayout `json:"layout"`
}

func (c *client) apply(cmd *cobra.Command, version int, wait bool) error {
	a, err := c.post(cmd, "ApplyClusterLayout", nil, map[string]any{"version": version})
	if err != nil {
		return err
	}
	if wait {
		return c.watch(cmd, version)
	}
	return show(c, cmd, a, func(p *terminal.Page, l appliedLayout) { printLayout(p, l.Layout) })
}

func layoutRevert(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "revert", Short: "Drop what is staged", Args: cobra.NoArgs,
		Example: "  hangar layout revert",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := c.post(cmd, "RevertClusterLayout", nil, map[string]any{})
			if err != nil {
				return err
			}
			return show(c, cmd, a, printLayout)
		},
	}
}

func printLayout(p *terminal.Page, l clusterLayout) {
	t := terminal.NewTable("ID", "SERVICE", "ZONE", ">CAPACITY", ">USABLE", ">PARTITIONS", "TAGS")
	for _, r := range l.Roles {
		t.Row(r.ID, r.Service, r.Zone, size(r.Capacity), size(r.UsableCapacity), number(r.StoredPartitions), strings.Join(r.Tags, ","))
	}
	p.Table(t)
	p.Line()
	p.Line("Layout version ", l.Version)
	if s := l.Parameters; s != nil {
		p.Line("Zones of a partition: ", s.zones(), ". Consistency: ", or(s.Consistency))
	}
	if l.Change != nil {
		p.Line()
		l.Change.print(p)
	}
	for _, r := range l.StagedRoleChanges {
		if r.Remove {
			p.Line(terminal.Warn("Staged: remove " + r.ID))
		} else {
			p.Line(terminal.Warn("Staged: " + r.ID + " in zone " + r.Zone + ", " + size(r.Capacity)))
		}
	}
	if l.StagedParameters != nil {
		p.Line(terminal.Warn("Staged: zones of a partition: " + l.StagedParameters.zones()))
	}
	if l.staged() {
		p.Line()
		p.Line("Take effect with: hangar layout apply --version ", l.Version+1)
	}
}

func size(n *int64) string {
	if n == nil {
		return ""
	}
	return terminal.Bytes(*n)
}

func number(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}
