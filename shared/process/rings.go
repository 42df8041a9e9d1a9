package process

import (
	"context"
	"slices"

	"hangar/shared/control"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// Layouts is how a layout is followed; *control.Mirror is one.
type Layouts interface {
	// View is the newest picture.
	View() *control.View
	// Changed is closed when the layout next changes.
	Changed() <-chan struct{}
}

// Rings shows the rings of a mirror's layout. As a metaapi.Rings it is the
// metadata ring.
type Rings struct{ Mirror Layouts }

var _ metaapi.Rings = Rings{}

// Ring implements metaapi.Rings; nil before the first layout.
func (r Rings) Ring() *layout.Ring {
	if l := r.Mirror.View().Layout; l != nil {
		return &l.Meta
	}
	return nil
}

// Blocks is the ring of the block service; nil before the first layout.
func (r Rings) Blocks() *layout.Ring {
	if l := r.Mirror.View().Layout; l != nil {
		return &l.Blocks
	}
	return nil
}

// ReadOne reports whether reads take the first answer at present.
func (r Rings) ReadOne() bool { return r.Mirror.View().Cluster.Consistency.ReadsOne() }

// WriteOne reports whether writes wait for one replica only at present.
func (r Rings) WriteOne() bool { return r.Mirror.View().Cluster.Consistency.WritesOne() }

// Near returns what reports whether a node stands in a zone by the layout in
// force. With no zone none does.
func (r Rings) Near(zone string) func(object.NodeID) bool {
	return func(n object.NodeID) bool {
		l := r.Mirror.View().Layout
		return zone != "" && l != nil && slices.ContainsFunc(l.Roles, func(role control.Role) bool {
			return role.Node == n && role.Zone == zone
		})
	}
}

// Await implements metaapi.Rings.
func (r Rings) Await(ctx context.Context, epoch uint64) {
	for {
		changed := r.Mirror.Changed() // before the look, so that no change is missed
		if ring := r.Ring(); ring != nil && ring.Epoch >= epoch {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
