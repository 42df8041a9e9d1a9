package control

import (
	"maps"
	"slices"
	"time"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/register"
)

// The services that keep data, hence have roles and a ring.
const (
	ServiceMeta   = "meta"
	ServiceBlocks = "blocks"
)

// StorageServices lists them.
var StorageServices = []string{ServiceMeta, ServiceBlocks}

// Ring returns the ring of a storage service.
func (l *Layout) Ring(service string) *layout.Ring {
	if service == ServiceMeta {
		return &l.Meta
	}
	return &l.Blocks
}

// Joint reports whether a ring is joint: data is on its way.
func (l *Layout) Joint() bool { return l.Meta.Joint() || l.Blocks.Joint() }

// Placement is what a layout is to become.
type Placement struct {
	Roles          []Role
	ZoneRedundancy int
	Bits           uint8
	Meta, Blocks   layout.Assignment
}

// Begin returns the layout after l that leads to p. A ring without an
// assignment takes its first one at once, one whose assignment stays is left
// alone, any other becomes joint. While a change is under way nothing else can
// begin: Conflict.
func (l *Layout) Begin(p Placement, now time.Time) (Layout, error) {
	if l.Change != nil || l.Joint() {
		return Layout{}, fault.New(fault.Conflict,
			"layout version %d is still being put in place: wait until it is done, or abort it first", l.Version)
	}
	next := *l
	next.Version++
	next.Roles, next.ZoneRedundancy = p.Roles, p.ZoneRedundancy
	for _, s := range StorageServices {
		a := p.Meta
		if s == ServiceBlocks {
			a = p.Blocks
		}
		ring := next.Ring(s)
		if ring.Epoch == 0 {
			*ring = layout.Ring{Epoch: 1, Bits: p.Bits, Nodes: a.Nodes, Assign: a.Assign}
			continue
		}
		if len(ring.Assign) != len(a.Assign) {
			return Layout{}, fault.New(fault.Invalid, "the number of partitions is fixed when a cluster is born")
		}
		if joint := ring.Begin(a); joint.Moves() > 0 {
			*ring = *joint
		}
	}
	if next.Joint() {
		next.Change = &Change{Began: now.UTC(), RolesBefore: l.Roles, ZoneRedundancyBefore: l.ZoneRedundancy}
	}
	return next, nil
}

// TakeLows writes down the low marks of all partitions of rows, gathered for
// the joint epoch from a majority of those that held them before. What was
// written for that epoch already, by another driver, holds. Like the other
// changes of a layout below it returns an error, and leaves l alone, when there
// is nothing to change.
func (l *Layout) TakeLows(epoch uint64, lows map[layout.Partition]register.Tag) error {
	if !l.Meta.Joint() || l.Meta.Epoch != epoch || l.MetaLowsEpoch >= epoch {
		return errUnchanged
	}
	merged := maps.Clone(l.MetaLows)
	if merged == nil {
		merged = map[layout.Partition]register.Tag{}
	}
	for p := range l.Meta.Assign {
		p := layout.Partition(p)
		low, ok := lows[p]
		if !ok {
			return fault.New(fault.Invalid, "the low mark of partition %d is missing", p)
		}
		if low = low.Max(merged[p]); !low.IsZero() {
			merged[p] = low
		}
	}
	l.MetaLows, l.MetaLowsEpoch = merged, epoch
	return nil
}

// EndRing makes the next assignment of a service's ring, joint in that epoch,
// the only one. The caller knows that all its data is in place.
func (l *Layout) EndRing(service string, epoch uint64) error {
	ring := l.Ring(service)
	switch {
	case !ring.Joint() || ring.Epoch != epoch:
		return errUnchanged
	case service == ServiceMeta && l.MetaLowsEpoch != epoch:
		return fault.New(fault.Conflict, "the low marks of epoch %d are not written down", epoch)
	}
	*ring = *ring.End(false)
	if !l.Joint() {
		l.Change = nil
	}
	return nil
}

// Abort takes version back: joint rings return to where they came from, and so
// do the roles of their services. A ring that has ended already stays where it
// is, with its roles. Further changes may follow, hence the version moves on.
func (l *Layout) Abort(version uint64) error {
	if l.Change == nil {
		return fault.New(fault.Conflict, "no layout change is under way")
	}
	if l.Version != version {
		return fault.New(fault.Conflict, "version %d is under way, not %d", l.Version, version)
	}
	for _, s := range StorageServices {
		ring := l.Ring(s)
		if !ring.Joint() {
			continue
		}
		*ring = *ring.End(true)
		var roles []Role
		for _, r := range l.Roles {
			if r.Service != s {
				roles = append(roles, r)
			}
		}
		for _, r := range l.Change.RolesBefore {
			if r.Service == s {
				roles = append(roles, r)
			}
		}
		l.Roles = roles
	}
	sortRoles(l.Roles)
	l.ZoneRedundancy = l.Change.ZoneRedundancyBefore
	l.Change, l.AbortedVersion = nil, version
	l.Version++
	return nil
}

// Skip notes that nothing is waited for that only nodes could do.
func (l *Layout) Skip(version uint64, nodes []object.NodeID) error {
	if l.Change == nil {
		return fault.New(fault.Conflict, "no layout change is under way")
	}
	if l.Version != version {
		return fault.New(fault.Conflict, "version %d is under way, not %d", l.Version, version)
	}
	known := len(l.Change.Skip)
	for _, n := range nodes {
		if !slices.Contains(l.Change.Skip, n) {
			l.Change.Skip = append(l.Change.Skip, n)
		}
	}
	if len(l.Change.Skip) == known {
		return errUnchanged
	}
	slices.SortFunc(l.Change.Skip, func(a, b object.NodeID) int { return slices.Compare(a[:], b[:]) })
	return nil
}
