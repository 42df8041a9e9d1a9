package store

import (
	"testing"

	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
)

// Content that is brought again heals a block that cannot be read, for its old
// owners as well: a Put must not refer to what is known to be lost.
func TestPutHealsAnUnreadableBlock(t *testing.T) {
	w := newWorld(t)
	plain := blocktest.Random(5000)
	h := w.put(t, blocktest.Owner(), plain)
	b, found, err := w.find(h)
	if err != nil || !found {
		t.Fatal(err)
	}
	spoil(t, w, b.Location)
	if _, err := w.Get(t.Context(), h); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("a spoilt block: %v", err)
	}
	w.put(t, blocktest.Owner(), plain)
	if !w.has(t, h) {
		t.Fatal("the block still cannot be read")
	}
	if n := w.refs(t, h); n != 2 {
		t.Errorf("%d references, want both", n)
	}
	w.put(t, blocktest.Owner(), plain)
	if n := w.Counters().Known.Load(); n != 1 {
		t.Errorf("%d puts of known blocks, want the last: it is whole again", n)
	}
	u, err := w.Usage()
	if err != nil || u.Blocks != 1 {
		t.Errorf("%+v, %v", u, err)
	}
	w.restart(t)
	if !w.has(t, h) {
		t.Error("after a restart the block cannot be read")
	}
}
