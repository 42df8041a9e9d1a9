package metaapi

import (
	"testing"

	"hangar/shared/layout"
	"hangar/shared/object"
)

// TestNearIsAskedFirst: whoever is near is asked for bodies, and covers a
// listing together with as few others as it takes.
func TestNearIsAskedFirst(t *testing.T) {
	ring := &layout.Ring{Epoch: 1, Bits: 1, Assign: [][]uint16{{0, 1, 2}, {3, 1, 2}}}
	for range 4 {
		ring.Nodes = append(ring.Nodes, object.NewNodeID())
	}
	for i, near := range ring.Nodes {
		p := newPlacement(ring, func(n object.NodeID) bool { return n == near })
		nodes, err := p.cover[index(false)]()
		if err != nil {
			t.Fatal(err)
		}
		if nodes[0] != near {
			t.Errorf("node %d is near, but %v cover", i, nodes)
		}
		c := &Client{}
		for part := range p.slots {
			members := newSlot(ring, layout.Partition(part)).target.Nodes
			for j, n := range members {
				if got := c.pickNear(p, members); n == near && got != j {
					t.Errorf("of partition %d member %d is near and %d is asked", part, j, got)
				}
			}
		}
	}
	if none := newPlacement(nil, func(object.NodeID) bool { return true }); len(none.near) != 0 {
		t.Error("without a ring somebody is near")
	}
}
