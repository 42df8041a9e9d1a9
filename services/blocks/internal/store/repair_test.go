package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/object"
)

// due lists what is due, at most ten.
func due(t *testing.T, w *world) []index.Wanted {
	t.Helper()
	list, _, err := w.Due(10)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestWantedQueue: an entry waits after each failure, remembers it across a
// restart, can be retried and settled, and is not settled when it was wanted
// anew meanwhile.
func TestWantedQueue(t *testing.T) {
	w := newWorld(t)
	ctx, h, from := t.Context(), object.Hash{7}, object.NewNodeID()
	for range 2 { // the second changes nothing
		if err := w.Want(ctx, []index.Wanted{{Hash: h}}); err != nil {
			t.Fatal(err)
		}
	}
	first := due(t, w)
	if len(first) != 1 || w.Wanted() != 1 {
		t.Fatalf("%d due of %d", len(first), w.Wanted())
	}
	if err := w.Want(ctx, []index.Wanted{{Hash: h, Suspect: true, From: from}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Settle(ctx, first[0]); err != nil || w.Wanted() != 1 {
		t.Fatalf("settled although wanted anew: %d left, %v", w.Wanted(), err)
	}
	if err := w.Postpone(ctx, due(t, w)[0], time.Minute, errors.New(strings.Repeat("x", 1000))); err != nil {
		t.Fatal(err)
	}
	if n := len(due(t, w)); n != 0 {
		t.Fatalf("%d due right after a failure", n)
	}
	if err := w.Want(ctx, []index.Wanted{{Hash: h}}); err != nil || len(due(t, w)) != 0 {
		t.Fatalf("a wish undid the waiting: %v", err)
	}
	w.restart(t)
	list, err := w.Failing(object.Hash{}, 10)
	if err != nil || len(list) != 1 || w.Wanted() != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	e := list[0]
	if e.Tries != 1 || !e.Suspect || e.From != from || len(e.Error) != 200 || e.FirstFailed.IsZero() || !e.LastFailed.Equal(e.FirstFailed) || w.Until(e) != time.Minute {
		t.Errorf("%+v", e)
	}
	if err := w.Retry(ctx, list); err != nil {
		t.Fatal(err)
	}
	again := due(t, w)
	if len(again) != 1 || again[0].Tries != 1 {
		t.Fatalf("after a retry: %+v", again)
	}
	if err := w.Settle(ctx, again[0]); err != nil || w.Wanted() != 0 || len(due(t, w)) != 0 {
		t.Errorf("%d left, %v", w.Wanted(), err)
	}
}

func TestWantedIsBounded(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.WantedLimit = 2 })
	for i := range byte(3) {
		err := w.Want(t.Context(), []index.Wanted{{Hash: object.Hash{i}}})
		if full := i == 2; full != fault.Is(err, fault.Overloaded) {
			t.Errorf("entry %d: %v", i, err)
		}
	}
}

// TestADropIsFencedByTheEpoch: once a newer ring has been adopted, by a write
// say, what an older one decided is not dropped any more.
func TestADropIsFencedByTheEpoch(t *testing.T) {
	w := newWorld(t)
	o, plain := blocktest.Owner(), blocktest.Random(100)
	h := w.put(t, o, plain)
	p, err := w.List(t.Context(), listingOf(h))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Put(t.Context(), epoch+1, blocktest.Owner(), blocktest.BlockOf(plain)); err != nil {
		t.Fatal(err)
	}
	if err := w.Give(t.Context(), epoch, p.Entries); !fault.Is(err, fault.OldEpoch) {
		t.Errorf("an older decision: %v", err)
	}
	if err := w.Give(t.Context(), epoch+1, p.Entries); err != nil {
		t.Fatal(err)
	}
	if !w.has(t, h) || w.refs(t, h) != 1 {
		t.Error("the reference that came since is gone")
	}
	p, err = w.List(t.Context(), listingOf(h))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Give(t.Context(), epoch+1, p.Entries); err != nil || w.has(t, h) {
		t.Errorf("the block stays without a reference: %v", err)
	}
	sums(t, w)
}

func listingOf(h object.Hash) blockapi.Listing {
	return blockapi.Listing{Span: blockapi.One(h), Bytes: 1 << 20}
}
