package store

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/segment"
)

// fill puts n blocks of 10 kB with an owner each, of which every dead-th dies.
func (w *world) fill(t *testing.T, n, dead int) (alive, gone []object.Hash) {
	for i := range n {
		o := blocktest.Owner()
		h := w.put(t, o, blocktest.Random(10_000))
		if i%dead == 0 {
			alive = append(alive, h)
			continue
		}
		gone = append(gone, h)
		w.kill(o)
		w.hint(t, o)
	}
	w.pass(2 * grace)
	w.collect(t)
	return alive, gone
}

func TestCompactionReclaims(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Segments.SegmentBytes = 100_000 })
	alive, _ := w.fill(t, 100, 5)
	before, err := w.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := w.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if after.DeadBytes > 200_000 || after.DeadBytes >= before.DeadBytes/2 || after.LiveBytes != before.LiveBytes {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	w.restart(t)
	for _, h := range alive {
		if !w.has(t, h) {
			t.Fatal("compaction lost a block")
		}
	}
}

func TestCompactionUnderReadersAndWriters(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Segments.SegmentBytes = 100_000 })
	alive, _ := w.fill(t, 100, 4)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if h := alive[n%len(alive)]; !w.has(t, h) {
					t.Error("a block vanished under a reader")
					return
				}
				if n%7 == 0 && !w.has(t, w.put(t, blocktest.Owner(), blocktest.Random(5_000))) {
					t.Error("a block vanished under its writer")
					return
				}
			}
		})
	}
	for range 5 {
		if err := w.Compact(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	if w.Counters().SegmentsRemoved.Load() == 0 {
		t.Fatal("nothing was compacted")
	}
}

func TestCompactionKeepsWhatItCannotRead(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Segments.SegmentBytes = 100_000 })
	alive, _ := w.fill(t, 40, 5)
	b, found, err := w.find(alive[0])
	if err != nil || !found {
		t.Fatal(err)
	}
	spoil(t, w, b.Location)
	if err := w.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Get(t.Context(), alive[0]); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("a spoilt block: %v", err)
	}
	for _, h := range alive[1:] {
		if !w.has(t, h) {
			t.Fatal("compaction lost a block")
		}
	}
}

// spoil changes a byte of a record's data on the disk.
func spoil(t *testing.T, w *world, at segment.Location) {
	t.Helper()
	path := filepath.Join(w.dir, "segments", fmt.Sprintf("%016x.seg", uint64(at.Segment)))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at.Offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xFF
	if _, err := f.WriteAt(b[:], at.Offset); err != nil {
		t.Fatal(err)
	}
}
