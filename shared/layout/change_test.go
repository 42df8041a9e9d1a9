package layout

import (
	"slices"
	"testing"

	"hangar/shared/object"
)

func node(b byte) (n object.NodeID) { n[0] = b; return n }

// one is an assignment of two partitions.
func one(nodes []object.NodeID, sets ...[]uint16) Assignment {
	return Assignment{Nodes: nodes, Assign: sets}
}

func TestChange(t *testing.T) {
	a, b, c, d := node(1), node(2), node(3), node(4)
	born := &Ring{Epoch: 1, Bits: 1, Nodes: []object.NodeID{a, b, c}, Assign: [][]uint16{{0, 1}, {1, 2}}}
	joint := born.Begin(one([]object.NodeID{d, b, c}, []uint16{1, 0}, []uint16{1, 2}))
	if joint.Epoch != 2 || !joint.Joint() || born.Joint() {
		t.Fatalf("joint ring %+v", joint)
	}
	if got := joint.Sets(0); !slices.Equal(got[0], ReplicaSet{a, b}) || !slices.Equal(got[1], ReplicaSet{b, d}) {
		t.Errorf("sets of partition 0: %v", got)
	}
	if got := joint.Gains(0); !slices.Equal(got, []object.NodeID{d}) {
		t.Errorf("partition 0 gains %v", got)
	}
	if got := joint.Gains(1); got != nil {
		t.Errorf("partition 1 gains %v", got)
	}
	end, abort := joint.End(false), joint.End(true)
	if end.Epoch != 3 || end.Joint() || slices.Contains(end.Nodes, a) {
		t.Errorf("end %+v", end)
	}
	for _, c := range []struct {
		name  string
		ring  *Ring
		node  object.NodeID
		since uint64
		is    bool
	}{
		{"born", born, a, 1, true},
		{"born, not a member", born, c, 0, false},
		{"joint, leaving", joint, a, 1, true},
		{"joint, joining", joint, d, 2, true},
		{"end, stayed", end, b, 1, true},
		{"end, joined", end, d, 2, true},
		{"end, left", end, a, 0, false},
		{"abort, stayed", abort, a, 1, true},
		{"abort, not joined", abort, d, 0, false},
		{"none", nil, a, 0, false},
	} {
		if since, is := c.ring.JoinedAt(0, c.node); is != c.is || is && since != c.since {
			t.Errorf("%s: member %v since %d, want %v since %d", c.name, is, since, c.is, c.since)
		}
	}
	// Who leaves and comes back joins anew.
	back := end.Begin(one([]object.NodeID{a, b, c}, []uint16{0, 1}, []uint16{1, 2})).End(false)
	if since, _ := back.JoinedAt(0, a); since != 4 {
		t.Errorf("came back in epoch %d, want 4", since)
	}
	if since, _ := back.JoinedAt(0, b); since != 1 {
		t.Errorf("never left, yet member since %d", since)
	}
}
