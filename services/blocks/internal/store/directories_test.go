package store

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hangar/services/blocks/internal/index"
	"hangar/services/blocks/internal/volume"
	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/datadir"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
	"hangar/shared/segment"
)

var testNode = object.NodeID{7}

// spread gives a store the directories of a configuration, in which %a, %b and
// %c stand for three of the test.
func spread(t testing.TB, config string) func(*Options) {
	root := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return func(o *Options) {
		o.Node = testNode
		configure(t, o, root, config)
	}
}

func configure(t testing.TB, o *Options, root, config string) {
	t.Helper()
	specs, err := volume.Parse(strings.ReplaceAll(config, "%", root+"/"))
	if err != nil {
		t.Fatal(err)
	}
	o.Directories = specs
}

// root is where the directories of a store lie.
func (w *world) root() string {
	for _, s := range w.opts.Directories {
		if s.Path != volume.Main {
			return filepath.Dir(s.Path)
		}
	}
	return ""
}

// reconfigure restarts the store with other directories.
func (w *world) reconfigure(t testing.TB, config string) {
	t.Helper()
	root := w.root()
	w.close()
	configure(t, &w.opts, root, config)
	w.start(t)
}

// refuse demands that the store does not open with a configuration, and says
// what to do.
func (w *world) refuse(t testing.TB, config, advice string) {
	t.Helper()
	root := w.root()
	w.close()
	was := w.opts.Directories
	configure(t, &w.opts, root, config)
	err := w.tryOpen(t)
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), advice) {
		t.Errorf("%s: %v, want advice %q", config, err, advice)
	}
	w.opts.Directories = was
}

// directory is how the directory with a name fares.
func (w *world) directory(t testing.TB, name string) Directory {
	t.Helper()
	all, err := w.Directories()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if name == volume.Main && d.Slot == 0 || d.Slot > 0 && filepath.Base(d.Path) == name {
			return d
		}
	}
	t.Fatalf("no directory %s among %+v", name, all)
	return Directory{}
}

// contents puts n blocks of about 10 kB, each with an owner of its own.
func (w *world) contents(t testing.TB, n int) (hashes []object.Hash) {
	for range n {
		hashes = append(hashes, w.put(t, blocktest.Owner(), blocktest.Random(10_000)))
	}
	return hashes
}

func (w *world) all(t testing.TB, hashes []object.Hash) {
	t.Helper()
	for _, h := range hashes {
		if !w.has(t, h) {
			t.Fatalf("block %s is gone", h)
		}
		if _, err := w.Store.Verify(context.Background(), h); err != nil {
			t.Fatal(err)
		}
	}
}

func smallSegments(o *Options) { o.Segments.SegmentBytes = 100_000 }

func TestConformanceWithThreeDirectories(t *testing.T) {
	blocktest.RunNode(t, func(t *testing.T) blockapi.Node {
		return newWorld(t, spread(t, "main,%a=2TB,%b=1TB"), smallSegments).Store
	})
}

// New blocks are spread in proportion to the capacities, everything is there
// after a restart, and a directory is known wherever it is mounted.
func TestBlocksAreSpreadByCapacity(t *testing.T) {
	w := newWorld(t, spread(t, "%a=40MB,%b=20MB"), smallSegments)
	hashes := w.contents(t, 300)
	a, b, main := w.directory(t, "a"), w.directory(t, "b"), w.directory(t, volume.Main)
	if math.Abs(float64(a.LiveBlocks)-200) > 5 || a.LiveBlocks+b.LiveBlocks != 300 || main.LiveBlocks != 0 {
		t.Errorf("%d, %d and in the main directory %d blocks", a.LiveBlocks, b.LiveBlocks, main.LiveBlocks)
	}
	if main.State != volume.Empty || a.State != volume.Writing {
		t.Errorf("states %s and %s", main.State, a.State)
	}
	w.restart(t)
	w.all(t, hashes)
	root := w.root()
	w.close()
	if err := os.Rename(filepath.Join(root, "b"), filepath.Join(root, "z")); err != nil {
		t.Fatal(err)
	}
	configure(t, &w.opts, root, "%z=20MB,%a=40MB")
	w.start(t)
	w.all(t, hashes)
	if n := w.directory(t, "z").LiveBlocks; n != b.LiveBlocks {
		t.Errorf("%d blocks in the directory that moved", n)
	}
}

// A store of one directory opens as ever, takes others, and goes back to one.
func TestOneDirectoryBecomesSeveralAndOneAgain(t *testing.T) {
	w := newWorld(t, smallSegments)
	hashes := w.contents(t, 50)
	w.close()
	spread(t, "main,%a")(&w.opts)
	w.start(t)
	w.all(t, hashes)
	hashes = append(hashes, w.contents(t, 50)...)
	if n := w.directory(t, "a").LiveBlocks; n < 20 {
		t.Errorf("the new directory got %d blocks", n)
	}
	w.refuse(t, "main", "ro until it is empty")
	w.start(t)
	w.reconfigure(t, "main,%a=ro")
	if err := w.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := w.directory(t, "a"); d.State != volume.Empty || d.LiveBlocks != 0 || d.UsedBytes != 0 {
		t.Errorf("after draining %+v", d)
	}
	w.close()
	w.opts.Directories = nil
	w.start(t)
	w.all(t, hashes)
}

// TestWrongDirectoriesAreRefused: never is a directory with blocks taken for gone
// or new, nor that of another node for one's own.
func TestWrongDirectoriesAreRefused(t *testing.T) {
	w := newWorld(t, spread(t, "%a,%b"), smallSegments)
	hashes := w.contents(t, 40)
	root := w.root()
	w.refuse(t, "%a", "/b=ro until it is empty")
	w.refuse(t, "%a,%b=lost", "/b=ro to move its blocks away")
	w.refuse(t, "%a,%b,%d", "create the directory")
	w.refuse(t, "%a,%b,%c=ro", "never held")
	if err := os.Rename(filepath.Join(root, "b"), filepath.Join(root, "away")); err != nil {
		t.Fatal(err)
	}
	w.refuse(t, "%a,%b", "/b=lost")
	if err := os.Mkdir(filepath.Join(root, "b"), 0o700); err != nil { // a disk that is not mounted
		t.Fatal(err)
	}
	w.refuse(t, "%a,%b", "/b=lost")
	if err := os.Remove(filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "a"), filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	w.refuse(t, "%a,%b", "the same directory")
	if err := os.Remove(filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(root, "away"), filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	if err := datadir.WritePart(filepath.Join(root, "c"), "blocks", datadir.Part{Node: object.NodeID{9}, Number: 1}); err != nil {
		t.Fatal(err)
	}
	w.refuse(t, "%a,%b,%c", "of node 09")
	w.start(t)
	w.all(t, hashes)
}

// TestDrainUnderReadersAndWriters empties a directory while blocks are read,
// written and collected: every block can be read at any time, none is written to
// it, and it ends empty.
func TestDrainUnderReadersAndWriters(t *testing.T) {
	w := newWorld(t, spread(t, "%a,%b,%c"), smallSegments)
	alive, _ := w.fill(t, 200, 2)
	w.reconfigure(t, "%a=ro,%b,%c")
	before := w.directory(t, "a")
	if before.State != volume.Draining || before.LiveBlocks == 0 {
		t.Fatalf("%+v", before)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var written []object.Hash
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
				if n%7 == 0 {
					h := w.put(t, blocktest.Owner(), blocktest.Random(5_000))
					mu.Lock()
					written = append(written, h)
					mu.Unlock()
				}
			}
		})
	}
	err := w.Drain(t.Context())
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if d := w.directory(t, "a"); d.State != volume.Empty {
		t.Errorf("%+v", d)
	}
	files, err := filepath.Glob(filepath.Join(w.root(), "a", "segments", "*"))
	if err != nil || len(files) > 0 {
		t.Errorf("%d files are left, %v", len(files), err)
	}
	sums(t, w)
	w.reconfigure(t, "%b,%c")
	w.all(t, append(alive, written...))
}

// What cannot be read stays where it is, until another copy has replaced it.
func TestDrainKeepsWhatItCannotRead(t *testing.T) {
	w := newWorld(t, spread(t, "%a,%b"), smallSegments)
	hashes := w.contents(t, 40)
	var bad object.Hash
	for _, h := range hashes {
		if b, _, err := w.find(h); err != nil {
			t.Fatal(err)
		} else if volume.SlotOf(b.Segment) == 1 {
			bad = h
			spoilIn(t, filepath.Join(w.root(), "a"), b.Location)
			break
		}
	}
	w.reconfigure(t, "%a=ro,%b")
	for range 2 {
		if err := w.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if d := w.directory(t, "a"); d.LiveBlocks != 1 || d.State != volume.Draining {
		t.Fatalf("%+v", d)
	}
	w.refuse(t, "%b", "ro until it is empty")
	w.start(t)
	if _, err := w.Get(t.Context(), bad); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("a spoilt block: %v", err)
	}
	owner, _, err := w.Owner(bad)
	if err != nil {
		t.Fatal(err)
	}
	plain := blocktest.Random(10) // any content: what is checked is the place
	if err := w.Take(t.Context(), owner, blockapi.Block{Hash: bad, PlainBytes: 10, Data: plain}); err != nil {
		t.Fatal(err)
	}
	if err := w.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := w.directory(t, "a"); d.State != volume.Empty {
		t.Errorf("%+v", d)
	}
}

// TestRebalance fills a new directory to its share, under readers, and then has
// nothing to do.
func TestRebalance(t *testing.T) {
	w := newWorld(t, spread(t, "%a=30MB,%b=30MB"), smallSegments)
	hashes := w.contents(t, 300)
	w.reconfigure(t, "%a=30MB,%b=30MB,%c=60MB")
	if n := w.directory(t, "c").LiveBlocks; n != 0 {
		t.Fatalf("%d blocks in a new directory", n)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				w.has(t, hashes[n%len(hashes)])
			}
		}
	})
	var r Rebalanced
	for steps := 0; !r.Done; steps++ {
		var err error
		if r, err = w.Rebalance(t.Context(), r); err != nil || steps > 100 {
			t.Fatalf("%d steps, %v", steps, err)
		}
	}
	close(stop)
	wg.Wait()
	for name, want := range map[string]float64{"a": 75, "b": 75, "c": 150} {
		if n := w.directory(t, name).LiveBlocks; math.Abs(float64(n)-want) > 12 {
			t.Errorf("%s has %d blocks, not about %v", name, n, want)
		}
	}
	if r.MovedBytes < 1_300_000 || r.MovedBytes > 1_700_000 {
		t.Errorf("%d bytes were moved", r.MovedBytes)
	}
	sums(t, w)
	w.restart(t)
	w.all(t, hashes)
	if again, err := w.Rebalance(t.Context(), Rebalanced{}); err != nil || !again.Done || again.MovedBytes > 0 {
		t.Errorf("a second one: %+v, %v", again, err)
	}
}

// TestRebalanceGoesOn in the middle of a segment, as after a restart.
func TestRebalanceGoesOn(t *testing.T) {
	w := newWorld(t, spread(t, "%a=4GB"), func(o *Options) { o.Segments.SegmentBytes = 48 << 20 })
	var hashes []object.Hash
	for range 100 {
		hashes = append(hashes, w.put(t, blocktest.Owner(), blocktest.Random(1<<20)))
	}
	w.reconfigure(t, "%a=4GB,%b=4GB")
	r, err := w.Rebalance(t.Context(), Rebalanced{})
	if err != nil || r.At == 0 || r.MovedBytes < 16<<20 || r.MovedBytes > 18<<20 {
		t.Fatalf("%+v, %v", r, err)
	}
	w.restart(t)
	for !r.Done {
		if r, err = w.Rebalance(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.directory(t, "b").LiveBlocks; n < 40 || n > 50 {
		t.Errorf("%d blocks were moved", n)
	}
	w.all(t, hashes)
}

// TestLostDirectory: what lay in it is unknown afterwards, references and all,
// and nothing else; the node is complete in no partition; a crash on the way is
// finished by the next start.
func TestLostDirectory(t *testing.T) {
	w := newWorld(t, spread(t, "%a,%b"), smallSegments)
	shared := blocktest.Owner() // of one block in each directory at least
	var hashes []object.Hash
	for range 60 {
		plain := blocktest.Random(10_000)
		hashes = append(hashes, w.put(t, blocktest.Owner(), plain))
		w.put(t, shared, plain)
	}
	lost := make(map[object.Hash]bool)
	for _, h := range hashes {
		b, _, err := w.find(h)
		if err != nil {
			t.Fatal(err)
		}
		lost[h] = volume.SlotOf(b.Segment) == 2
	}
	err := w.committer.Update(t.Context(), func(tx *kv.Tx) error {
		index.SetMembership(tx, 3, index.Membership{Since: 1, Complete: true})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	root := w.root()
	w.close()
	if err := os.RemoveAll(filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	configure(t, &w.opts, root, "%a,%b=lost")
	w.start(t)
	for h, gone := range lost {
		if w.has(t, h) == gone {
			t.Fatalf("lost %v, but there %v", gone, !gone)
		}
		if n := w.refs(t, h); gone && n != 0 || !gone && n != 2 {
			t.Fatalf("lost %v, but %d owners", gone, n)
		}
	}
	if p, err := w.List(t.Context(), blockapi.Listing{Span: blockapi.PartitionSpan(0, 0), Bytes: 1 << 20}); err != nil || len(p.Entries) == 0 {
		t.Fatalf("a listing after the loss: %d entries, %v", len(p.Entries), err)
	}
	if m := w.members.held[3]; m.Complete || m.Since != 1 {
		t.Errorf("it still stands for a partition: %+v", m)
	}
	sums(t, w)
	w.reconfigure(t, "%a,%b") // a new disk in the same place
	if d := w.directory(t, "b"); d.Slot != 3 || d.State != volume.Writing {
		t.Errorf("%+v", d)
	}
	w.contents(t, 20)
}

// A lost directory that comes back holds nothing any more: it is cleared.
func TestLostDirectoryComesBack(t *testing.T) {
	w := newWorld(t, spread(t, "%a,%b"), smallSegments)
	w.contents(t, 60)
	root := w.root()
	w.close()
	away := filepath.Join(root, "away")
	if err := os.Rename(filepath.Join(root, "b"), away); err != nil {
		t.Fatal(err)
	}
	configure(t, &w.opts, root, "%a,%b=lost")
	w.start(t)
	w.close()
	if err := os.Rename(away, filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	configure(t, &w.opts, root, "%a,%b")
	w.start(t)
	hashes := w.contents(t, 60)
	if err := w.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := w.directory(t, "b")
	if d.Slot != 2 || d.LiveBlocks < 20 || d.UsedBytes > d.LiveBytes+400_000 {
		t.Errorf("%+v", d)
	}
	w.all(t, hashes)
}

// TestCrashWhileADirectoryIsGivenUp stops half way and starts again.
func TestCrashWhileADirectoryIsGivenUp(t *testing.T) {
	w := newWorld(t, spread(t, "%a,%b"), smallSegments)
	w.contents(t, 60)
	err := w.index.View(func(r kv.Reader) error {
		page, err := index.LossAfter(r, 2, object.Hash{}, 7)
		if err == nil {
			err = w.committer.Update(t.Context(), func(tx *kv.Tx) error { return index.Lose(tx, page) })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	root := w.root()
	if err := os.RemoveAll(filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	w.refuse(t, "%a", "/b=lost")
	configure(t, &w.opts, root, "%a,%b=lost")
	w.start(t)
	sums(t, w)
	u, err := w.Usage()
	if err != nil || u.Blocks > 40 || u.Blocks < 20 {
		t.Errorf("%+v, %v", u, err)
	}
	w.reconfigure(t, "%a")
}

// TestFullAndFailingDirectories: whatever happens to one, the others take the
// blocks; only when none does is the store full.
func TestFullAndFailingDirectories(t *testing.T) {
	disks := &disks{free: make(map[string]int64), broken: make(map[string]bool)}
	w := newWorld(t, spread(t, "%a,%b,%c"), smallSegments, func(o *Options) {
		o.Segments.ReserveBytes = 1 << 20
		o.Segments.FreeBytes = disks.freeBytes
		o.Segments.OpenFile = disks.open
	})
	grew := func(name string, n int) bool {
		before := w.directory(t, name).LiveBlocks
		w.contents(t, n)
		return w.directory(t, name).LiveBlocks > before
	}
	if !grew("a", 9) || !grew("b", 9) || !grew("c", 9) {
		t.Fatal("not all are written to")
	}
	disks.set(func() { disks.free["a"] = 1 << 20 })
	if grew("a", 20) {
		t.Error("a full directory was written to")
	}
	if d := w.directory(t, "a"); d.State != volume.Full || d.Why == "" {
		t.Errorf("%+v", d.Status)
	}
	disks.set(func() { disks.broken["b"] = true })
	if grew("b", 20) {
		t.Error("a failing directory was written to")
	}
	if d := w.directory(t, "b"); d.State != volume.Failing || !strings.Contains(d.Why, "input/output") {
		t.Errorf("%+v", d.Status)
	}
	if err := errorsOf(w.Writable(), w.DiskFailing()); err != nil {
		t.Errorf("one directory is left, but %v", err)
	}
	disks.set(func() { disks.free["c"] = 1 << 20 })
	err := w.Put(t.Context(), epoch, blocktest.Owner(), blocktest.BlockOf(blocktest.Random(10_000)))
	if !fault.Is(err, fault.StorageFull) {
		t.Errorf("no directory is left: %v", err)
	}
	if err := w.DiskFailing(); err == nil || !strings.Contains(err.Error(), "/a/") || !strings.Contains(err.Error(), "/b/") {
		t.Errorf("it does not say what is wrong: %v", err)
	}
	disks.set(func() { disks.broken["b"] = false })
	if !grew("b", 2) {
		t.Error("a directory that works again is not used")
	}
}

// disks are the file systems of the directories: with so much room, or broken.
type disks struct {
	mu     sync.Mutex
	free   map[string]int64 // by name of the directory; guarded by mu
	broken map[string]bool  // guarded by mu
}

func (d *disks) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *disks) freeBytes(dir string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, limited := d.free[filepath.Base(filepath.Dir(dir))]; limited {
		return n, nil
	}
	return 1 << 40, nil
}

func (d *disks) open(path string, create bool) (segment.File, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0o600)
	return &brittle{File: f, of: d, name: filepath.Base(filepath.Dir(filepath.Dir(path)))}, err
}

// brittle is a file whose syncs fail while its disk is broken.
type brittle struct {
	*os.File
	of   *disks
	name string
}

func (b *brittle) Sync() error {
	b.of.mu.Lock()
	broken := b.of.broken[b.name]
	b.of.mu.Unlock()
	if broken {
		return unix.EIO
	}
	return b.File.Sync()
}

func errorsOf(errs ...error) error {
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}

// spoilIn is spoil in another directory than the main one.
func spoilIn(t *testing.T, dir string, at segment.Location) {
	t.Helper()
	spoil(t, &world{dir: dir}, at)
}
