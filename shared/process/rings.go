package process

import (
	"context"

	"hangar/shared/control"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
)

// Rings shows the rings of a mirror's layout. As a metaapi.Rings it is the
// metadata ring.
type Rings struct{ Mirror *control.Mirror }

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
