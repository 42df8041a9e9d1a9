package store

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// sums compares the digests kept with those of the references themselves.
func sums(t *testing.T, w *world) {
	t.Helper()
	err := w.index.View(func(r kv.Reader) error {
		want, err := index.Summed(r)
		if err != nil {
			return err
		}
		_, got, err := index.Digests(r, blockapi.PartitionSpan(0, 0))
		if !maps.Equal(want, got) {
			t.Fatalf("digests kept %v, of the references %v", got, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDigestsFollowTheReferences: random changes, and after each of them the
// digests are those of what is there.
func TestDigestsFollowTheReferences(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	var plain [][]byte
	var owners []blockapi.Owner
	for range 6 {
		plain, owners = append(plain, blocktest.Random(100)), append(owners, blocktest.Owner())
	}
	for i := range 120 {
		o, b := owners[rnd.IntN(len(owners))], blocktest.BlockOf(plain[rnd.IntN(len(plain))])
		switch rnd.IntN(5) {
		case 0, 1:
			w.put(t, o, plain[rnd.IntN(len(plain))])
		case 2:
			if _, err := w.Reference(t.Context(), epoch, o, []object.Hash{b.Hash}); err != nil {
				t.Fatal(err)
			}
		case 3: // all of an owner, by the collection
			w.kill(o)
			w.hint(t, o)
			w.pass(2 * grace)
			w.collect(t)
			w.mu.Lock()
			delete(w.verdicts, o)
			w.mu.Unlock()
		case 4:
			e := []blockapi.Entry{{Hash: b.Hash, Owners: []blockapi.Owner{o}}}
			if err := w.Give(t.Context(), epoch, e); err != nil {
				t.Fatal(err)
			}
		}
		sums(t, w)
		if i == 60 {
			w.restart(t)
			sums(t, w)
		}
	}
}

// TestDigestsOfAnOlderIndex: an index that kept none gets them when opened.
func TestDigestsOfAnOlderIndex(t *testing.T) {
	w := newWorld(t)
	o := blocktest.Owner()
	for range 50 {
		w.put(t, o, blocktest.Random(50))
	}
	err := w.committer.Update(t.Context(), func(tx *kv.Tx) error {
		tx.Delete([]byte("mdigests"))
		for leaf := range 1 << 16 { // what an interrupted migration left is wrong
			if leaf%777 == 0 {
				tx.Set([]byte{'d', byte(leaf >> 8), byte(leaf)}, append([]byte{1}, make([]byte, 40)...))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	sums(t, w)
}

// TestListing: pages of every size hold each reference once, in order, also
// those of a block with many owners.
func TestListing(t *testing.T) {
	w := newWorld(t)
	want := map[string]bool{}
	shared := blocktest.Random(100)
	for i := range 60 {
		o, plain := blocktest.Owner(), shared
		if i%3 == 0 {
			plain = blocktest.Random(100)
		}
		want[fmt.Sprint(w.put(t, o, plain), index.IDOf(o))] = true
	}
	for _, bytes := range []int64{0, 1, 300, 5000, 1 << 30} {
		got := map[string]bool{}
		var last object.Hash
		l := blockapi.Listing{Span: blockapi.PartitionSpan(0, 0), Bytes: bytes}
		for {
			p, err := w.List(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range p.Entries {
				if string(e.Hash[:]) < string(last[:]) || e.StoredBytes != 100 {
					t.Fatalf("entry %+v after %s", e, last)
				}
				last = e.Hash
				for _, o := range e.Owners {
					got[fmt.Sprint(e.Hash, index.IDOf(o))] = true
				}
			}
			if l.After = p.Next; l.After == nil {
				break
			}
		}
		if !maps.Equal(want, got) {
			t.Errorf("pages of %d bytes: %d references, want %d", bytes, len(got), len(want))
		}
	}
	if _, err := w.List(t.Context(), blockapi.Listing{Span: blockapi.One(object.Hash{}), After: []byte("x")}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a cursor that is none: %v", err)
	}
}

// TestEpochsAreDurable: an adopted epoch refuses older writes after a restart,
// and a listing adopts before it lists.
func TestEpochsAreDurable(t *testing.T) {
	w := newWorld(t)
	h := w.put(t, blocktest.Owner(), blocktest.Random(10))
	if e, err := w.Adopt(t.Context(), 7); err != nil || e != 7 {
		t.Fatalf("%d, %v", e, err)
	}
	if e, err := w.Adopt(t.Context(), 3); err != nil || e != 7 {
		t.Fatalf("an older one: %d, %v", e, err)
	}
	w.restart(t)
	if _, err := w.Reference(t.Context(), 6, blocktest.Owner(), []object.Hash{h}); !fault.Is(err, fault.OldEpoch) {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := w.List(t.Context(), blockapi.Listing{Epoch: 9, Span: blockapi.One(h)}); err != nil || w.Epoch() != 9 {
		t.Errorf("epoch %d after a listing of 9: %v", w.Epoch(), err)
	}
	if err := w.Give(t.Context(), 8, []blockapi.Entry{{Hash: h, Owners: []blockapi.Owner{blocktest.Owner()}}}); !fault.Is(err, fault.OldEpoch) {
		t.Errorf("a drop that was decided by an older ring: %v", err)
	}
}

// TestMembership: founders are complete; who joined, or was away, is not until
// it is said to be, and all that survives a restart.
func TestMembership(t *testing.T) {
	w := newWorld(t)
	self, other := object.NewNodeID(), object.NewNodeID()
	first := &layout.Ring{Epoch: 1, Bits: 1, Nodes: []object.NodeID{self, other}, Assign: [][]uint16{{0}, {1}}}
	joint := first.Begin(layout.Assignment{Nodes: first.Nodes, Assign: [][]uint16{{0}, {0}}})
	check := func(p layout.Partition, since uint64, complete, member bool) {
		t.Helper()
		m, is := w.Held(p)
		if is != member || is && (m.Since != since || m.Complete != complete) {
			t.Errorf("partition %d: %+v, member %v", p, m, is)
		}
	}
	follow := func(r *layout.Ring) {
		t.Helper()
		if err := w.Follow(context.Background(), r, self); err != nil {
			t.Fatal(err)
		}
	}
	follow(first)
	check(0, 1, true, true)
	check(1, 0, false, false)
	follow(joint)
	check(1, 2, false, true)
	if _, err := w.List(t.Context(), blockapi.Listing{Partition: 1, Complete: true}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("listing an incomplete partition: %v", err)
	}
	if ok, err := w.SetComplete(t.Context(), 1, 2); !ok || err != nil {
		t.Fatal(ok, err)
	}
	w.restart(t)
	follow(joint.End(false))
	check(1, 2, true, true)
	if _, err := w.List(t.Context(), blockapi.Listing{Partition: 1, Complete: true, Epoch: 4}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("complete by a ring that is not followed yet: %v", err)
	}
	away := *joint.End(false)
	away.Epoch, away.Since = 9, [][]uint64{{1}, {8}}
	follow(&away)
	check(0, 1, true, true)
	check(1, 8, false, true)
	if ok, err := w.SetComplete(t.Context(), 1, 2); ok || err != nil {
		t.Errorf("complete as in an earlier membership: %v, %v", ok, err)
	}
}

// TestConfirm: a node confirms what it holds as a member of the very ring, and
// wants what it lacks.
func TestConfirm(t *testing.T) {
	w := newWorld(t)
	self, from := object.NewNodeID(), object.NewNodeID()
	o, stranger := blocktest.Owner(), blocktest.Owner()
	h, other := w.put(t, o, blocktest.Random(10)), object.Hash{1}
	ask := []blockapi.Entry{{Hash: h, Owners: []blockapi.Owner{o, stranger}}, {Hash: other, Owners: []blockapi.Owner{o}}}
	if _, err := w.Confirm(t.Context(), 1, from, ask); !fault.Is(err, fault.Unavailable) {
		t.Errorf("without a ring: %v", err)
	}
	ring := &layout.Ring{Epoch: 5, Bits: 1, Nodes: []object.NodeID{self}, Assign: [][]uint16{{0}, {0}}}
	if err := w.Follow(t.Context(), ring, self); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Confirm(t.Context(), 4, from, ask); !fault.Is(err, fault.Unavailable) {
		t.Errorf("by an older ring: %v", err)
	}
	lacking, err := w.Confirm(t.Context(), 5, from, ask)
	if !slices.Equal(lacking, []int{1, 2}) || err != nil {
		t.Errorf("lacking %v, %v", lacking, err)
	}
	due, _, err := w.Due(10)
	if err != nil || len(due) != 2 || due[0].From != from || w.Wanted() != 2 {
		t.Errorf("wanted: %+v, %v", due, err)
	}
}
