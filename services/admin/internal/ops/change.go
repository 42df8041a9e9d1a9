package ops

import (
	"context"
	"slices"

	"hangar/services/admin/internal/coordinator"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/object"
)

// ChangeStatus returns how far the layout change under way has come, nil when
// none is.
func (o *Ops) ChangeStatus(ctx context.Context) *coordinator.Status {
	if o.driver == nil {
		return nil
	}
	return o.driver.Status(ctx, o.View())
}

// Abort takes the layout version back that is under way: data stays where it
// was, and what was copied meanwhile is dropped by who got it.
func (o *Ops) Abort(ctx context.Context, version uint64) (Receipt, error) {
	l, rev, err := o.store.AbortChange(ctx, version)
	if err != nil {
		return Receipt{}, err
	}
	if o.driver != nil {
		o.driver.Counts().Aborted.Add(1)
	}
	o.note(ctx, l)
	return o.settle(ctx, rev)
}

// Skipped says which nodes nothing is waited for any more.
type Skipped struct {
	// Nodes were skipped now; Copies are those of them that were to take blocks
	// over.
	Nodes, Copies []object.NodeID
}

// SkipDead declares the nodes dead that a change under way waits for and that
// are down. It is refused when some partition of blocks would be left without a
// majority of members that have everything: then only the way back is safe.
func (o *Ops) SkipDead(ctx context.Context, version uint64) (out Skipped, r Receipt, err error) {
	l, _, err := o.store.Layout(ctx)
	switch {
	case err != nil:
		return out, r, err
	case l == nil || l.Change == nil:
		return out, r, fault.New(fault.Conflict, "no layout change is under way")
	}
	if err := o.fleet.Refresh(ctx); err != nil { // who was not heard of yet is not dead
		return out, r, err
	}
	up := o.up()
	for _, s := range control.StorageServices {
		if !l.Ring(s).Joint() {
			continue
		}
		for _, n := range l.Ring(s).Nodes {
			if !up[n] && !slices.Contains(l.Change.Skip, n) {
				out.Nodes = append(out.Nodes, n)
			}
		}
	}
	for p := range l.Blocks.Assign {
		for _, n := range gains(l, p) {
			if slices.Contains(out.Nodes, n) && !slices.Contains(out.Copies, n) {
				out.Copies = append(out.Copies, n)
			}
		}
	}
	_, rev, err := o.store.SkipNodes(ctx, version, out.Nodes, func(l *control.Layout) error {
		return fault.Wrap(fault.Conflict, coordinator.Risk(&l.Blocks, l.Change.Skip),
			"skipping these nodes is not safe: bring them back, or abort the change")
	})
	r, err = o.done(ctx, rev, err)
	return out, r, err
}

// up says which nodes are heard of.
func (o *Ops) up() map[object.NodeID]bool {
	up := map[object.NodeID]bool{}
	for _, n := range o.fleet.Nodes() {
		if n.Up {
			up[n.ID] = true
		}
	}
	return up
}

// SetConsistency changes what reads and writes wait for.
func (o *Ops) SetConsistency(ctx context.Context, mode control.Consistency) (Receipt, error) {
	rev, err := o.store.SetConsistency(ctx, mode)
	return o.done(ctx, rev, err)
}

// Duty is what a storage node is needed for.
type Duty string

// The duties of a storage node.
const (
	// DutyNone: it holds nothing that is needed and may be switched off.
	DutyNone Duty = "none"
	// DutyServing: it is a member of the layout.
	DutyServing Duty = "serving"
	// DutyJoining: it has a role and takes its data over.
	DutyJoining Duty = "joining"
	// DutyLeaving: it must stay until what it holds is elsewhere and the others
	// know.
	DutyLeaving Duty = "leaving"
)

// Duty returns what a storage node is needed for at present.
func (o *Ops) Duty(service string, n object.NodeID) Duty {
	l := o.View().Layout
	if l == nil {
		return DutyNone
	}
	ring := l.Ring(service)
	before := holds(ring.Assign, ring.Nodes, n)
	if !ring.Joint() {
		switch {
		case before:
			return DutyServing
		case ring.Epoch > 1 && (o.driver == nil || o.driver.Settled(service) != ring.Epoch):
			return DutyLeaving // cannot be told apart from one that never was there
		}
		return DutyNone
	}
	after := holds(ring.Next, ring.Nodes, n)
	switch {
	case before && after:
		return DutyServing
	case before:
		return DutyLeaving
	case after:
		return DutyJoining
	}
	return DutyNone
}

// holds reports whether n is in any of the sets.
func holds(sets [][]uint16, nodes []object.NodeID, n object.NodeID) bool {
	i := slices.Index(nodes, n)
	return i >= 0 && slices.ContainsFunc(sets, func(set []uint16) bool { return slices.Contains(set, uint16(i)) })
}
