package membership

import (
	"slices"
	"testing"

	"hangar/services/meta/internal/record"
	"hangar/shared/layout"
	"hangar/shared/object"
)

var self, other = object.NodeID{1}, object.NodeID{2}

// since is a holding, at rest.
func since(epoch uint64) record.Holding { return record.Holding{Since: epoch} }

var (
	nothing = record.Holding{}
	stale   = record.Holding{Stale: true}
)

func TestStep(t *testing.T) {
	// rest gives the one partition to node since an epoch; 0 leaves it out, as in
	// the first ring of a cluster.
	rest := func(epoch uint64, node object.NodeID, since uint64) *layout.Ring {
		r := &layout.Ring{Epoch: epoch, Nodes: []object.NodeID{node}, Assign: [][]uint16{{0}}}
		if since > 0 {
			r.Since = [][]uint64{{since}}
		}
		return r
	}
	joint := func(from *layout.Ring, to object.NodeID) *layout.Ring {
		return from.Begin(layout.Assignment{Nodes: []object.NodeID{to}, Assign: [][]uint16{{0}}})
	}
	away := rest(4, other, 1)
	tests := []struct {
		name   string
		was    record.Holding
		ring   *layout.Ring
		lows   uint64
		want   record.Holding
		gained bool
	}{
		{"a new cluster", nothing, rest(1, self, 0), 0, since(1), true},
		{"the same again", since(1), rest(1, self, 0), 0, since(1), false},
		{"a member goes on", since(3), rest(9, self, 3), 3, since(3), false},
		{"a member on its way out goes on", since(3), joint(rest(9, self, 3), other), 3, since(3), false},
		{"no member and nothing held", nothing, rest(2, other, 1), 0, nothing, false},
		{"removed", since(1), rest(3, other, 2), 2, stale, false},
		{"away for a removal and a return", since(1), rest(5, self, 4), 4, stale, false},
		{"away for a removal, returning", since(1), joint(away, self), 4, stale, false},
		{"stale and removed", stale, rest(3, other, 2), 2, stale, false},
		{"stale and a member again", stale, rest(5, self, 4), 4, stale, false},
		{"gained, low marks not gathered", nothing, joint(away, self), 3, nothing, false},
		{"gained, low marks gathered", nothing, joint(away, self), 5, since(5), true},
		{"gained while switched off", nothing, rest(8, self, 5), 7, since(5), true},
		{"gained, only older low marks known", nothing, rest(8, self, 5), 4, nothing, false},
		{"aborted after it was gained", since(5), joint(away, self).End(true), 5, stale, false},
		{"aborted before it was gained", nothing, joint(away, self).End(true), 3, nothing, false},
		{"begun again after an abort", since(5), joint(joint(away, self).End(true), self), 5, stale, false},
		{"ended", since(5), joint(away, self).End(false), 5, since(5), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			next, gained := Holdings{test.was}.Step(test.ring, self, test.lows)
			if next[0] != test.want || (len(gained) > 0) != test.gained {
				t.Errorf("%+v becomes %+v, gained %v; want %+v, %v", test.was, next[0], gained, test.want, test.gained)
			}
			again, more := next.Step(test.ring, self, test.lows)
			if !slices.Equal(again, next) || len(more) > 0 {
				t.Errorf("the same ring again makes %+v of %+v, gained %v", again, next, more)
			}
		})
	}
}

func TestDropped(t *testing.T) {
	h := Holdings{stale, since(2), stale, nothing}
	if got := h.Stale(); !slices.Equal(got, []layout.Partition{0, 2}) {
		t.Errorf("stale are %v", got)
	}
	if got := h.Dropped([]layout.Partition{0}); !slices.Equal(got, Holdings{nothing, since(2), stale, nothing}) || !h[0].Stale {
		t.Errorf("dropped: %v from %v", got, h)
	}
}
