package blockrpc_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/blockapi/blockrpc"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// later is ring in a later epoch.
func later(ring *layout.Ring, epoch uint64) *layout.Ring {
	r := *ring
	r.Epoch = epoch
	return &r
}

// TestWritesTakeTheNewerRing: nodes know a ring that the client does not see
// yet. Its writes wait for it, and then go to the nodes that it names.
func TestWritesTakeTheNewerRing(t *testing.T) {
	c := newCluster(t, 2, 1, nil, blockrpc.Options{AttemptTimeout: 5 * time.Second})
	old := *c.ring.Load()
	moved := later(ringOf([]object.NodeID{c.ids[1]}, 1), 2) // everything on the second
	for _, n := range c.nodes {
		n.Adopt(2)
	}
	if err := c.serves[c.ids[1]].Follow(moved); err != nil {
		t.Fatal(err)
	}
	var refused sync.Once
	for _, n := range c.nodes {
		n.Before(func(_ context.Context, _ string) error {
			refused.Do(func() { // the next answer refuses; then the ring arrives
				time.AfterFunc(20*time.Millisecond, func() { c.ring.Store(moved) })
			})
			return nil
		})
	}
	plain, owner := blocktest.Random(1000), blocktest.Owner()
	for int(layout.OfHash(blockcodec.Hash(plain), old.Bits))%2 != 0 { // at home on the first node by the old ring
		plain = blocktest.Random(1000)
	}
	h, err := c.Put(t.Context(), owner, plain)
	if err != nil {
		t.Fatal(err)
	}
	if held, _ := c.nodes[c.ids[0]].Has(h, owner); held {
		t.Error("the node of the old ring took the block")
	}
	if held, _ := c.nodes[c.ids[1]].Has(h, owner); !held {
		t.Error("the node of the new ring has no block")
	}
	c.ring.Store(&old)
	refused = sync.Once{}
	if err := c.Reference(t.Context(), blocktest.Owner(), []object.Hash{h}); err != nil {
		t.Errorf("Reference: %v", err)
	}
	c.ring.Store(&old)
	refused = sync.Once{}
	if got, err := c.Get(t.Context(), h); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("Get: %d bytes, %v", len(got), err)
	}
}

// TestARingThatNeverComes: a client whose mirror is cut off gives up in time.
func TestARingThatNeverComes(t *testing.T) {
	c := newCluster(t, 1, 1, nil, blockrpc.Options{WriteTimeout: 200 * time.Millisecond, AttemptTimeout: 100 * time.Millisecond})
	h, err := c.Put(t.Context(), blocktest.Owner(), blocktest.Random(1000))
	if err != nil {
		t.Fatal(err)
	}
	c.nodes[c.ids[0]].Adopt(9)
	if _, err := c.Put(t.Context(), blocktest.Owner(), blocktest.Random(1000)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Put: %v", err)
	}
	if err := c.Reference(t.Context(), blocktest.Owner(), []object.Hash{h}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Reference: %v", err)
	}
	if _, err := c.Get(t.Context(), h); err != nil {
		t.Errorf("Get of what is there: %v", err)
	}
	c.nodes[c.ids[0]].Lose(h)
	if _, err := c.Get(t.Context(), h); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Get of what may have moved: %v", err)
	}
}
