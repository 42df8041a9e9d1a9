package store

import (
	"os"
	"path/filepath"
	"testing"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
)

// spoil changes a byte, counted from the end, of a record of the index.
func (w *world) spoil(t *testing.T, key []byte, at int) {
	t.Helper()
	err := w.committer.Update(t.Context(), func(tx *kv.Tx) error {
		v, found, err := tx.Get(key)
		if err != nil || !found {
			t.Fatalf("key %x: %v, %v", key, found, err)
		}
		v = append([]byte(nil), v...)
		v[len(v)-at]++
		tx.Set(key, v)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRecount: wrong digests and counts become right, and the last reference
// still takes the block away.
func TestRecount(t *testing.T) {
	w := newWorld(t)
	owners := []blockapi.Owner{blocktest.Owner(), blocktest.Owner()}
	plain := blocktest.Random(1000)
	h := w.put(t, owners[0], plain)
	w.put(t, owners[1], plain)
	leaf := blockapi.LeafOf(h)
	digests := func() blockapi.Digest {
		d, err := w.Digests(t.Context(), 0, blockapi.PartitionSpan(0, 0), blockapi.Digest{})
		if err != nil {
			t.Fatal(err)
		}
		return d.All
	}
	recount := func(want Recounted) {
		t.Helper()
		if got, err := w.Recount(t.Context(), leaf); err != nil || got != want {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	before := digests()
	if next, found, err := w.NextLeaf(0); next != leaf || !found || err != nil {
		t.Fatalf("leaf %x, %v, %v", next, found, err)
	}
	if _, found, err := w.NextLeaf(leaf + 1); found || err != nil {
		t.Fatalf("a leaf after the only one, %v", err)
	}
	recount(Recounted{})
	w.spoil(t, []byte{'d', h[0], h[1]}, 1)  // its bytes
	w.spoil(t, []byte{'d', h[0], h[1]}, 40) // its sum
	w.spoil(t, append([]byte{'b'}, h[:]...), 1)
	if digests() == before {
		t.Fatal("nothing was spoiled")
	}
	recount(Recounted{Digest: true, Blocks: 1})
	recount(Recounted{})
	if got := digests(); got != before {
		t.Errorf("%+v, not %+v", got, before)
	}
	for _, o := range owners {
		w.kill(o)
		w.hint(t, o)
	}
	w.pass(2 * grace)
	w.collect(t)
	if w.has(t, h) || digests() != (blockapi.Digest{}) {
		t.Errorf("the dead block is still there: %+v", digests())
	}
}

// TestVerify finds what a read finds, and what a read does not look at.
func TestVerify(t *testing.T) {
	w := newWorld(t)
	place := func(h object.Hash) int64 {
		b, found, err := w.find(h)
		if err != nil || !found {
			t.Fatal(found, err)
		}
		return b.Offset
	}
	flip := func(at int64) {
		path := filepath.Join(w.dir, "segments", "0000000000000001.seg")
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x10
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(h object.Hash){
		"content":       func(h object.Hash) { flip(place(h) + 500) },
		"record header": func(h object.Hash) { flip(place(h) - 30) },
		"plain size":    func(h object.Hash) { w.spoil(t, append([]byte{'b'}, h[:]...), 5) },
		"encoding":      func(h object.Hash) { w.spoil(t, append([]byte{'b'}, h[:]...), 9) },
	} {
		t.Run(name, func(t *testing.T) {
			o, plain := blocktest.Owner(), blocktest.Random(1000)
			h := w.put(t, o, plain)
			if n, err := w.Store.Verify(t.Context(), h); err != nil || n != 1000 {
				t.Fatalf("whole: %d, %v", n, err)
			}
			queued := w.Wanted()
			damage(h)
			if _, err := w.Store.Verify(t.Context(), h); !fault.Is(err, fault.Corrupt) || w.Wanted() != queued+1 {
				t.Fatalf("damaged: %v, %d queued", err, w.Wanted()-queued)
			}
			if err := w.Take(t.Context(), o, blocktest.BlockOf(plain)); err != nil { // as the resynchronisation does
				t.Fatal(err)
			}
			if n, err := w.Store.Verify(t.Context(), h); err != nil || n != 1000 {
				t.Errorf("replaced: %d, %v", n, err)
			}
		})
	}
	if _, err := w.Store.Verify(t.Context(), object.Hash{1}); !fault.Is(err, fault.NotFound) {
		t.Errorf("no block: %v", err)
	}
}
