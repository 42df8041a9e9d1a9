package ops

import (
	"cmp"
	"context"
	"slices"

	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// The services that keep data, hence have roles.
const (
	ServiceMeta   = control.ServiceMeta
	ServiceBlocks = control.ServiceBlocks
)

// maxRoles bounds a layout.
const maxRoles = 4096

// LayoutPlan is a layout with what it means for people.
type LayoutPlan struct {
	Layout control.Layout
	// Moves and Space say what it does to the present one, Message the same
	// line by line.
	Moves   []Move
	Space   []Space
	Message []string
}

// Stage adds changes to the staged ones, replacing earlier changes of the same
// nodes. A role without a Service takes that of the node's present role, or
// what the node says of itself.
func (o *Ops) Stage(ctx context.Context, changes []control.RoleChange, zoneRedundancy *int) (Receipt, error) {
	current, _, err := o.store.Layout(ctx)
	if err != nil {
		return Receipt{}, err
	}
	for i := range changes {
		if err := o.completeRole(current, &changes[i]); err != nil {
			return Receipt{}, err
		}
	}
	if zoneRedundancy != nil && *zoneRedundancy < 0 {
		return Receipt{}, fault.New(fault.Invalid, "zone redundancy is at least 1, or maximum")
	}
	rev, err := o.store.StageLayout(ctx, func(s *control.StagedLayout) error {
		for _, c := range changes {
			s.Changes = slices.DeleteFunc(s.Changes, func(x control.RoleChange) bool { return x.Node == c.Node })
			s.Changes = append(s.Changes, c)
		}
		if zoneRedundancy != nil {
			s.ZoneRedundancy = zoneRedundancy
		}
		if len(s.Changes) > maxRoles {
			return fault.New(fault.Invalid, "a layout has at most %d nodes", maxRoles)
		}
		return nil
	})
	return o.done(ctx, rev, err)
}

func (o *Ops) completeRole(current *control.Layout, c *control.RoleChange) error {
	if c.Role == nil {
		return nil
	}
	r := c.Role
	r.Node = c.Node
	if r.Service == "" && current != nil {
		if i := slices.IndexFunc(current.Roles, func(x control.Role) bool { return x.Node == c.Node }); i >= 0 {
			r.Service = current.Roles[i].Service
		}
	}
	if r.Service == "" {
		for _, n := range o.fleet.Nodes() {
			if n.ID == c.Node {
				r.Service = n.Service
			}
		}
	}
	switch {
	case r.Service == "":
		return fault.New(fault.Invalid, "node %s is not known: say its service, meta or blocks", c.Node)
	case r.Service != ServiceMeta && r.Service != ServiceBlocks:
		return fault.New(fault.Invalid, "node %s is a %s, which has no role in the layout", c.Node, r.Service)
	case r.Zone == "" || len(r.Zone) > 64:
		return fault.New(fault.Invalid, "node %s needs a zone of 1 to 64 bytes", c.Node)
	case r.CapacityBytes < 1:
		return fault.New(fault.Invalid, "node %s needs a capacity", c.Node)
	}
	return nil
}

// Revert drops the staged changes.
func (o *Ops) Revert(ctx context.Context) (Receipt, error) {
	rev, err := o.store.RevertLayout(ctx)
	return o.done(ctx, rev, err)
}

// Preview computes what applying the staged changes would lead to.
func (o *Ops) Preview(ctx context.Context) (LayoutPlan, error) {
	p, _, _, err := o.plan(ctx)
	return p, err
}

// Apply makes the staged changes the layout. version must be the present one
// plus one, so that nobody applies what somebody else staged.
func (o *Ops) Apply(ctx context.Context, version uint64) (LayoutPlan, Receipt, error) {
	p, expect, staged, err := o.plan(ctx)
	if err != nil {
		return p, Receipt{}, err
	}
	if version != p.Layout.Version {
		return p, Receipt{}, fault.New(fault.Invalid, "version %d was asked for, the next one is %d", version, p.Layout.Version)
	}
	rev, err := o.store.ApplyLayout(ctx, p.Layout, expect, staged)
	if err == nil {
		o.note(ctx, &p.Layout)
	}
	receipt, err := o.done(ctx, rev, err)
	return p, receipt, err
}

// note keeps the history. A failure costs people a line, hence only a warning;
// whoever notes next makes up for it.
func (o *Ops) note(ctx context.Context, l *control.Layout) {
	if _, err := o.store.NoteLayout(ctx, l, o.now()); err != nil {
		o.log.WarnContext(ctx, "the layout is missing in the history", "version", l.Version, "error", err)
	}
}

// plan computes the layout after the present one, with the revisions it was
// computed from.
func (o *Ops) plan(ctx context.Context) (p LayoutPlan, expect, staged control.Revision, err error) {
	current, expect, err := o.store.Layout(ctx)
	if err != nil {
		return p, 0, 0, err
	}
	if current == nil {
		current = &control.Layout{}
	}
	changes, staged, err := o.store.Staged(ctx)
	if err != nil {
		return p, 0, 0, err
	}
	p, err = o.place(current, changes)
	return p, expect, staged, err
}

// place computes the layout that changes make of current.
func (o *Ops) place(current *control.Layout, changes *control.StagedLayout) (p LayoutPlan, err error) {
	cluster := o.View().Cluster
	if cluster.ID == "" {
		return p, fault.New(fault.Unavailable, "the cluster does not exist yet")
	}
	if current.Change != nil {
		_, err := current.Begin(control.Placement{}, o.now()) // says why not
		return p, err
	}
	to := merge(current, changes)
	to.Bits = cluster.PartitionBits
	if to.Meta, err = o.assign(cluster, current, &to, ServiceMeta); err != nil {
		return p, err
	}
	if to.Blocks, err = o.assign(cluster, current, &to, ServiceBlocks); err != nil {
		return p, err
	}
	if p.Layout, err = current.Begin(to, o.now()); err != nil {
		return p, err
	}
	for _, s := range control.StorageServices {
		p.Space = append(p.Space, space(s, current, &p.Layout))
		p.Moves = append(p.Moves, o.moves(s, p.Layout.Ring(s))...)
	}
	p.explain()
	return p, nil
}

// merge applies staged changes to the roles.
func merge(l *control.Layout, s *control.StagedLayout) control.Placement {
	p := control.Placement{Roles: slices.Clone(l.Roles), ZoneRedundancy: l.ZoneRedundancy}
	if s == nil {
		return p
	}
	for _, c := range s.Changes {
		p.Roles = slices.DeleteFunc(p.Roles, func(r control.Role) bool { return r.Node == c.Node })
		if c.Role != nil {
			p.Roles = append(p.Roles, *c.Role)
		}
	}
	slices.SortFunc(p.Roles, func(a, b control.Role) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), slices.Compare(a.Node[:], b.Node[:]))
	})
	if s.ZoneRedundancy != nil {
		p.ZoneRedundancy = *s.ZoneRedundancy
	}
	return p
}

// assign computes the assignment of a service's partitions, close to the
// present one.
func (o *Ops) assign(c control.Cluster, current *control.Layout, to *control.Placement, service string) (layout.Assignment, error) {
	in := layout.Input{Bits: c.PartitionBits, ReplicationFactor: c.ReplicationFactor, ZoneRedundancy: to.ZoneRedundancy}
	if ring := current.Ring(service); ring.Epoch > 0 {
		in.Previous = ring
	}
	for _, r := range to.Roles {
		if r.Service == service {
			in.Nodes = append(in.Nodes, layout.Node{ID: r.Node, Zone: r.Zone, Capacity: r.CapacityBytes})
		}
	}
	if len(in.Nodes) < c.ReplicationFactor {
		return layout.Assignment{}, fault.New(fault.Invalid, "%d copies need at least as many %s nodes with a role, there are %d",
			c.ReplicationFactor, service, len(in.Nodes))
	}
	return o.compute(in)
}

// PartitionUse tells, for a ring and roles, how many partitions each node
// holds and the size that every partition may have at once.
func PartitionUse(r *layout.Ring, roles []control.Role) (stored map[object.NodeID]int, partitionBytes int64) {
	stored = map[object.NodeID]int{}
	sets := r.Assign
	if r.Joint() {
		sets = r.Next // roles say where it leads
	}
	for _, set := range sets {
		for _, i := range set {
			stored[r.Nodes[i]]++
		}
	}
	partitionBytes = -1
	for _, role := range roles {
		if n := stored[role.Node]; n > 0 {
			if size := role.CapacityBytes / int64(n); partitionBytes < 0 || size < partitionBytes {
				partitionBytes = size
			}
		}
	}
	return stored, max(partitionBytes, 0)
}
