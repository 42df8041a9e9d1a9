package store

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/object"
	"hangar/shared/segment"
)

const grace = 10 * time.Minute

// epoch is that of the ring by which tests write.
const epoch = 1

// world is a store with what decides about its owners: a clock and a verifier
// that the test holds.
type world struct {
	*Store
	dir   string
	opts  Options
	clock atomic.Int64
	close func()

	mu       sync.Mutex
	verdicts map[blockapi.Owner]blockapi.Verdict
	broken   bool
	// during runs while a verdict is under way.
	during func(blockapi.Owner)
}

// Verify implements blockapi.Verifier: owners are alive unless said otherwise.
func (w *world) Verify(_ context.Context, o blockapi.Owner) (blockapi.Verdict, error) {
	w.mu.Lock()
	v, told := w.verdicts[o]
	broken, during := w.broken, w.during
	w.mu.Unlock()
	if during != nil {
		during(o)
	}
	switch {
	case broken:
		return blockapi.Unknown, errors.New("no quorum")
	case told:
		return v, nil
	}
	return blockapi.Alive, nil
}

func (w *world) kill(o blockapi.Owner) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verdicts[o] = blockapi.Dead
}

func (w *world) pass(d time.Duration) { w.clock.Add(int64(d)) }

func newWorld(t testing.TB, change ...func(*Options)) *world {
	w := &world{dir: t.TempDir(), verdicts: make(map[blockapi.Owner]blockapi.Verdict)}
	w.opts = Options{
		Buffers:  &blockcodec.Buffers{},
		Grace:    grace,
		Verifier: w,
		Clock:    func() time.Duration { return time.Duration(w.clock.Load()) },
		Segments: segment.Options{SegmentBytes: 1 << 20, ReserveBytes: 1},
	}
	for _, f := range change {
		f(&w.opts)
	}
	w.clock.Store(int64(time.Hour))
	w.start(t)
	t.Cleanup(func() { w.close() })
	return w
}

// start opens the store and runs its committer; background work is the test's.
func (w *world) start(t testing.TB) {
	t.Helper()
	idx, err := badgerkv.Open(filepath.Join(w.dir, "index"), badgerkv.Options{ReserveBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(w.dir, idx, w.opts)
	if err != nil {
		t.Fatal(err)
	}
	w.Store = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.committer.Run(ctx) }()
	w.close = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, s.Close(), idx.Close()); err != nil {
			t.Error(err)
		}
	})
}

// tryOpen opens the store and closes it again.
func (w *world) tryOpen(t testing.TB) error {
	t.Helper()
	idx, err := badgerkv.Open(filepath.Join(w.dir, "index"), badgerkv.Options{ReserveBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(w.dir, idx, w.opts)
	if err == nil {
		err = errors.Join(errors.New("it opened"), s.Close())
	}
	return errors.Join(err, idx.Close())
}

func (w *world) restart(t testing.TB) {
	t.Helper()
	w.close()
	w.start(t)
}

func (w *world) put(t testing.TB, o blockapi.Owner, plain []byte) object.Hash {
	t.Helper()
	b := blocktest.BlockOf(plain)
	if err := w.Put(context.Background(), epoch, o, b); err != nil {
		t.Fatal(err)
	}
	return b.Hash
}

func (w *world) has(t testing.TB, h object.Hash) bool {
	t.Helper()
	b, err := w.Get(context.Background(), h)
	if err != nil && !fault.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
	if err == nil {
		if err := w.codec.Verify(b); err != nil {
			t.Fatal(err)
		}
	}
	return err == nil
}

func (w *world) collect(t testing.TB) {
	t.Helper()
	if err := w.Collect(t.(*testing.T).Context()); err != nil {
		t.Fatal(err)
	}
}

// hint delivers a hint and waits until it is queued.
func (w *world) hint(t testing.TB, o blockapi.Owner) {
	t.Helper()
	r := blockapi.Released{Bucket: o.Bucket, Key: o.Key, Version: o.Version}
	if err := w.gc.suspectReleased(context.Background(), r); err != nil {
		t.Fatal(err)
	}
}

func (w *world) refs(t testing.TB, h object.Hash) int {
	t.Helper()
	var owners []index.OwnerID
	err := w.index.View(func(r kv.Reader) (err error) {
		owners, err = index.OwnersOf(r, h, 100)
		b, found, ferr := index.FindBlock(r, h)
		if found && int(b.Refs) != len(owners) {
			t.Errorf("block has %d owners and counts %d", len(owners), b.Refs)
		}
		return errors.Join(err, ferr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return len(owners)
}

func TestConformance(t *testing.T) {
	blocktest.RunNode(t, func(t *testing.T) blockapi.Node { return newWorld(t).Store })
}

func TestRestartKeepsEverything(t *testing.T) {
	w := newWorld(t)
	contents := make(map[object.Hash][]byte)
	for i := range 50 {
		plain := blocktest.Random(1 + 5000*i)
		contents[w.put(t, blocktest.Owner(), plain)] = plain
	}
	before, err := w.Usage()
	if err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	for h, want := range contents {
		if b, err := w.Get(t.Context(), h); err != nil || !bytes.Equal(b.Data, want) {
			t.Fatalf("after a restart: %v", err)
		}
	}
	if after, err := w.Usage(); err != nil || after != before || after.Blocks != 50 || after.DeadBytes != 0 {
		t.Fatalf("usage %+v before, %+v after, %v", before, after, err)
	}
}

func TestLostIndexDeletesNothing(t *testing.T) {
	w := newWorld(t)
	w.put(t, blocktest.Owner(), blocktest.Random(1000))
	w.close()
	idx, err := badgerkv.Open(filepath.Join(w.dir, "other"), badgerkv.Options{ReserveBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer idx.Close()
	if _, err := Open(w.dir, idx, w.opts); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("opened segments under another index: %v", err)
	}
}

func TestKnownBlocksAreStoredOnce(t *testing.T) {
	w := newWorld(t)
	plain := blocktest.Random(10_000)
	a, b := blocktest.Owner(), blocktest.Owner()
	h := w.put(t, a, plain)
	w.put(t, a, plain)
	w.put(t, b, plain)
	if u, err := w.Usage(); err != nil || u.Blocks != 1 || u.DeadBytes != 0 || u.LiveBytes > 11_000 {
		t.Fatalf("%+v, %v", u, err)
	}
	if n := w.refs(t, h); n != 2 {
		t.Fatalf("%d references, want 2", n)
	}
}

func TestHintDropsDeadOwner(t *testing.T) {
	w := newWorld(t)
	dead, alive := blocktest.Owner(), blocktest.Owner()
	shared, plain := blocktest.Random(1000), blocktest.Random(1000)
	only := w.put(t, dead, plain)
	both := w.put(t, dead, shared)
	w.put(t, alive, shared)
	w.kill(dead)
	w.hint(t, dead)

	w.pass(grace - time.Second)
	w.collect(t)
	if !w.has(t, only) {
		t.Fatal("dropped before the grace was over")
	}
	w.pass(2 * time.Second)
	w.collect(t)
	if w.has(t, only) {
		t.Fatal("a dead owner's block is still there")
	}
	if !w.has(t, both) || w.refs(t, both) != 1 {
		t.Fatal("a block with a living owner is gone, or the dead one still refers to it")
	}
	if u, err := w.Usage(); err != nil || u.Queued != 0 || u.DeadBytes < 1000 {
		t.Fatalf("%+v, %v", u, err)
	}
}

func TestHintAboutLivingOwner(t *testing.T) {
	w := newWorld(t)
	o := blocktest.Owner()
	h := w.put(t, o, blocktest.Random(1000))
	w.hint(t, o)
	w.pass(2 * grace)
	w.collect(t)
	if !w.has(t, h) || w.gc.queued.Load() != 0 {
		t.Fatal("a living owner was dropped or is still suspected")
	}
}

func TestHintNarrowedToManifest(t *testing.T) {
	w := newWorld(t)
	a := blocktest.Owner()
	b := a
	b.Manifest = object.NewManifestID()
	ha, hb := w.put(t, a, blocktest.Random(100)), w.put(t, b, blocktest.Random(100))
	w.kill(a)
	w.kill(b)
	r := blockapi.Released{Bucket: a.Bucket, Key: a.Key, Version: a.Version, Manifest: a.Manifest}
	if err := w.gc.suspectReleased(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	w.pass(2 * grace)
	w.collect(t)
	if w.has(t, ha) || !w.has(t, hb) {
		t.Fatal("the hint reached the wrong manifest")
	}
}

func TestNoAnswerKeepsAndRetries(t *testing.T) {
	w := newWorld(t)
	o := blocktest.Owner()
	h := w.put(t, o, blocktest.Random(1000))
	w.kill(o)
	w.hint(t, o)
	w.broken = true
	for range 5 {
		w.pass(grace << 6)
		w.collect(t)
		if !w.has(t, h) {
			t.Fatal("dropped on a question without an answer")
		}
	}
	w.broken = false
	w.restart(t) // the queue is persistent
	w.pass(24 * time.Hour)
	w.collect(t)
	if w.has(t, h) || w.gc.queued.Load() != 0 {
		t.Fatal("not dropped once the verifier answered")
	}
}

func TestTouchedOwnerIsNotAsked(t *testing.T) {
	w := newWorld(t)
	o := blocktest.Owner()
	w.put(t, o, blocktest.Random(1000))
	w.kill(o)
	w.hint(t, o)
	w.pass(grace - time.Minute)
	h := w.put(t, o, blocktest.Random(1000)) // the upload goes on
	w.pass(2 * time.Minute)
	w.collect(t)
	if n := w.Counters().Verified.Load(); n != 0 || !w.has(t, h) {
		t.Fatalf("%d questions about an owner that was just at work", n)
	}
	w.pass(grace)
	w.collect(t)
	if w.has(t, h) {
		t.Fatal("not dropped after it had gone quiet")
	}
}

// TestTouchBetweenVerdictAndDrop is the race that must lose nothing: while the
// verifier says Dead, the owner puts, or refers to, a block.
func TestTouchBetweenVerdictAndDrop(t *testing.T) {
	for name, act := range map[string]func(*world, blockapi.Owner, blockapi.Block) error{
		"put": func(w *world, o blockapi.Owner, b blockapi.Block) error {
			return w.Put(context.Background(), epoch, o, b)
		},
		"reference": func(w *world, o blockapi.Owner, b blockapi.Block) error {
			_, err := w.Reference(context.Background(), epoch, o, []object.Hash{b.Hash})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			o := blocktest.Owner()
			b := blocktest.BlockOf(blocktest.Random(1000))
			h := w.put(t, o, b.Data)
			w.kill(o)
			w.hint(t, o)
			w.pass(2 * grace)
			w.during = func(blockapi.Owner) {
				if err := act(w, o, b); err != nil {
					t.Error(err)
				}
			}
			w.collect(t)
			if !w.has(t, h) || w.refs(t, h) != 1 {
				t.Fatal("the block did not survive")
			}
			w.during = nil
			w.pass(2 * grace)
			w.collect(t)
			if w.has(t, h) {
				t.Fatal("the owner was not asked about again")
			}
		})
	}
}

// TestOtherOwnerBetweenVerdictAndDrop: somebody else comes to need the block.
func TestOtherOwnerBetweenVerdictAndDrop(t *testing.T) {
	w := newWorld(t)
	dead, other := blocktest.Owner(), blocktest.Owner()
	h := w.put(t, dead, blocktest.Random(1000))
	w.kill(dead)
	w.hint(t, dead)
	w.pass(2 * grace)
	w.during = func(blockapi.Owner) {
		if missing, err := w.Reference(context.Background(), epoch, other, []object.Hash{h}); err != nil || len(missing) > 0 {
			t.Errorf("missing %v, %v", missing, err)
		}
	}
	w.collect(t)
	if !w.has(t, h) || w.refs(t, h) != 1 {
		t.Fatal("a block that somebody refers to is gone")
	}
}

func TestSweepFindsLostHints(t *testing.T) {
	w := newWorld(t)
	var dead, alive []object.Hash
	for i := range 300 { // more than a page
		o := blocktest.Owner()
		h := w.put(t, o, blocktest.Random(10+i))
		if i%3 == 0 {
			w.kill(o)
			dead = append(dead, h)
		} else {
			alive = append(alive, h)
		}
	}
	fresh := blocktest.Owner()
	w.pass(2 * grace)
	w.kill(fresh)
	young := w.put(t, fresh, blocktest.Random(10))
	if err := w.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.collect(t)
	if !w.has(t, dead[0]) {
		t.Fatal("the sweep gave readers no grace")
	}
	w.pass(grace + time.Second)
	w.collect(t)
	for _, h := range dead {
		if w.has(t, h) {
			t.Fatal("a dead owner's block is still there")
		}
	}
	for _, h := range append(alive, young) {
		if !w.has(t, h) {
			t.Fatal("a block was lost")
		}
	}
	if due, err := w.gc.sweepDue(); err != nil || due {
		t.Fatalf("a sweep is due right after one: %v", err)
	}
	w.pass(25 * time.Hour)
	if due, err := w.gc.sweepDue(); err != nil || !due {
		t.Fatalf("no sweep is due after a day: %v", err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.QueueLimit = 3 })
	for range 5 {
		o := blocktest.Owner()
		w.put(t, o, blocktest.Random(10))
		w.hint(t, o)
	}
	if n := w.gc.queued.Load(); n != 3 {
		t.Fatalf("%d queued, want 3", n)
	}
	if n := w.Counters().HintsLost.Load(); n != 2 {
		t.Fatalf("%d hints counted as lost, want 2", n)
	}
}

func TestLargeOwnersAndReferences(t *testing.T) {
	w := newWorld(t)
	writer, copier := blocktest.Owner(), blocktest.Owner()
	hashes := make([]object.Hash, 2*index.MaxChange+100)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := i; j < len(hashes); j += 8 {
				hashes[j] = w.put(t, writer, blocktest.Random(20))
			}
		})
	}
	wg.Wait()
	if missing, err := w.Reference(t.Context(), epoch, copier, hashes); err != nil || len(missing) > 0 {
		t.Fatalf("%d missing, %v", len(missing), err)
	}
	w.kill(writer)
	w.hint(t, writer)
	w.pass(2 * grace)
	w.collect(t)
	for _, h := range hashes {
		if w.refs(t, h) != 1 {
			t.Fatal("a reference was not dropped, or one too many")
		}
	}
	w.kill(copier)
	w.hint(t, copier)
	w.pass(2 * grace)
	w.collect(t)
	if u, err := w.Usage(); err != nil || u.Blocks != 0 || u.LiveBytes != 0 {
		t.Fatalf("%+v, %v", u, err)
	}
}

func TestPutWhenDiskIsFull(t *testing.T) {
	var free atomic.Int64
	free.Store(1 << 40)
	w := newWorld(t, func(o *Options) {
		o.Segments.ReserveBytes = 1 << 30
		o.Segments.FreeBytes = func(string) (int64, error) { return free.Load(), nil }
	})
	h := w.put(t, blocktest.Owner(), blocktest.Random(1000))
	free.Store(1000)
	b := blocktest.BlockOf(blocktest.Random(1000))
	if err := w.Put(t.Context(), epoch, blocktest.Owner(), b); !fault.Is(err, fault.StorageFull) {
		t.Fatalf("got %v, want storage full", err)
	}
	if w.Writable() == nil {
		t.Fatal("the store calls itself writable")
	}
	if !w.has(t, h) || w.has(t, b.Hash) {
		t.Fatal("reads do not go on, or the refused block is there")
	}
	free.Store(1 << 40)
	if !w.has(t, w.put(t, blocktest.Owner(), b.Data)) || w.Writable() != nil {
		t.Fatal("writes do not go on once there is room")
	}
}
