package journal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"hangar/services/meta/internal/journal"
	"hangar/services/meta/internal/journal/journaltest"
	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/segment"
)

// must makes n changes of all keys and returns what p then holds.
func (p *powered) must(t *testing.T, r *rand.Rand, first uint64, n int) map[int]uint64 {
	t.Helper()
	want := map[int]uint64{}
	for i := range n {
		c := change{version: first + uint64(i), keys: []int{i % keys, (i + 7) % keys}}
		if err := p.make(&c, r); err != nil {
			t.Fatal(err)
		}
		for _, k := range c.keys {
			want[k] = c.version
		}
	}
	return want
}

func (p *powered) expect(t *testing.T, want map[int]uint64) { reconcile(t, p, want, nil) }

// stop closes everything as a service that ends does.
func (p *powered) stop(t *testing.T) {
	t.Helper()
	if err := errors.Join(p.Close(), p.base.Close()); err != nil {
		t.Error(err)
	}
}

func begin(t *testing.T, dir string) *powered {
	t.Helper()
	p, err := start(t, dir, -1)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPowerFailsAtEachStepOfACheckpoint.
func TestPowerFailsAtEachStepOfACheckpoint(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	done := false
	steps := 0
	for ; !done; steps++ {
		p := begin(t, t.TempDir())
		want := p.must(t, r, 1, 30)
		p.disk.FailAfter(steps)
		err := p.Checkpoint()
		if done = err == nil; !done && !errors.Is(err, journaltest.ErrPower) {
			t.Fatal(err)
		}
		dir := p.end(t, r)
		p = begin(t, dir)
		p.expect(t, want)
		p.stop(t)
	}
	if steps < 7 { // two each for the sync, the note and its sync
		t.Errorf("a checkpoint has only %d steps: the test shows nothing", steps)
	}
}

// watched is a Base that says in which order it is called.
type watched struct {
	journal.Base
	unsynced int // commits since the last Sync
	notes    int
	t        *testing.T
}

func (w *watched) CommitReserved(b *kv.Batch) error {
	w.unsynced++
	for _, op := range b.Ops() {
		if string(op.Key) != string(record.DurableKey()) {
			continue
		}
		w.notes++
		if w.unsynced > 1 {
			w.t.Errorf("a checkpoint was noted with %d commits unsynced", w.unsynced-1)
		}
	}
	return w.Base.CommitReserved(b)
}

func (w *watched) Sync() error {
	w.unsynced = 0
	return w.Base.Sync()
}

// TestCheckpointIsNotedAfterTheSync, and segments are given up after the note is
// synced too.
func TestCheckpointIsNotedAfterTheSync(t *testing.T) {
	dir := t.TempDir()
	base, err := badgerkv.Open(filepath.Join(dir, "rows"), badgerkv.Options{MemTableBytes: 4 << 20, ReserveBytes: 1, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{Base: base, t: t}
	j, err := journal.Open(filepath.Join(dir, "bodies"), w, journal.Options{Segments: segment.Options{SegmentBytes: 2000, ReserveBytes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	p := &powered{Store: j, base: base}
	p.must(t, rand.New(rand.NewPCG(1, 1)), 1, 20)
	before := j.Kept()
	if err := j.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if w.unsynced != 0 || w.notes != 2 {
		t.Errorf("after the checkpoint %d commits are not synced; %d notes", w.unsynced, w.notes)
	}
	if j.Kept() < before+5 {
		t.Errorf("the journal kept segment %d and now keeps %d", before, j.Kept())
	}
	p.stop(t)
}

// faults is what a test makes go wrong.
type faults struct {
	write, cut, sync, commit atomic.Bool
	// persists has the operation take effect all the same.
	persists bool
}

var errDisk = syscall.EIO

type faultyFile struct {
	*os.File
	*faults
}

func (f faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if !f.write.Load() {
		return f.File.WriteAt(p, off)
	}
	n := len(p) / 2
	if f.persists {
		n = len(p)
	}
	_, _ = f.File.WriteAt(p[:n], off)
	return n, errDisk
}

func (f faultyFile) Truncate(n int64) error {
	if f.cut.Load() {
		return errDisk
	}
	return f.File.Truncate(n)
}

func (f faultyFile) Sync() error {
	if f.sync.Load() {
		return errDisk
	}
	return f.File.Sync()
}

type faultyBase struct {
	journal.Base
	*faults
}

func (f faultyBase) CommitReserved(b *kv.Batch) error {
	if !f.commit.Load() {
		return f.Base.CommitReserved(b)
	}
	if f.persists {
		_ = f.Base.CommitReserved(b)
	}
	return fault.Wrap(fault.Internal, errDisk, "commit")
}

// faulty opens dir with f's faults.
func faulty(t *testing.T, dir string, f *faults) *powered {
	t.Helper()
	base, err := badgerkv.Open(filepath.Join(dir, "rows"), badgerkv.Options{MemTableBytes: 4 << 20, ReserveBytes: 1, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(filepath.Join(dir, "bodies"), faultyBase{base, f}, journal.Options{Segments: segment.Options{
		SegmentBytes: 10_000, ReserveBytes: 1,
		OpenFile: func(path string, create bool) (segment.File, error) {
			flags := os.O_RDWR
			if create {
				flags |= os.O_CREATE
			}
			file, err := os.OpenFile(path, flags, 0o600)
			return faultyFile{file, f}, err
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &powered{Store: j, base: base}
}

// TestFaults: whatever fails, what was acknowledged stays, the error says whether
// the commit may have happened, and when it may have, nothing follows it.
func TestFaults(t *testing.T) {
	for name, test := range map[string]struct {
		arm  func(*faults)
		want fault.Kind
	}{
		"write":           {func(f *faults) { f.write.Store(true) }, fault.StorageFull},
		"write and cut":   {func(f *faults) { f.write.Store(true); f.cut.Store(true) }, fault.Internal},
		"write and sync":  {func(f *faults) { f.write.Store(true); f.sync.Store(true) }, fault.Internal},
		"sync":            {func(f *faults) { f.sync.Store(true) }, fault.Internal},
		"ordered store":   {func(f *faults) { f.commit.Store(true) }, fault.Internal},
		"all of them":     {func(f *faults) { f.write.Store(true); f.cut.Store(true); f.commit.Store(true) }, fault.Internal},
		"sync and commit": {func(f *faults) { f.sync.Store(true); f.commit.Store(true) }, fault.Internal},
	} {
		for _, persists := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, persists=%v", name, persists), func(t *testing.T) {
				checkFault(t, test.arm, test.want, persists)
			})
		}
	}
}

func checkFault(t *testing.T, arm func(*faults), kind fault.Kind, persists bool) {
	dir := t.TempDir()
	f := &faults{persists: persists}
	p := faulty(t, dir, f)
	r := rand.New(rand.NewPCG(3, 4))
	want := p.must(t, r, 1, 25)
	arm(f)
	var b kv.Batch
	for k := range 3 { // none of these has a body: the fault meets the commit
		b.Set([]byte{'x', byte(k)}, []byte("x"))
	}
	if err := p.Commit(&b); !fault.Is(err, kind) {
		t.Errorf("commit: %v, want %v", err, kind)
	}
	*f = faults{}
	if kind == fault.Internal {
		if err := p.Commit(&b); !fault.Is(err, fault.StorageFull) || p.Writable() == nil {
			t.Errorf("a commit after one that may have happened: %v", err)
		}
	} else {
		for k, v := range p.must(t, r, 100, 5) {
			want[k] = v
		}
	}
	p.expect(t, want)
	if err := errors.Join(p.Close(), p.base.Close()); err != nil {
		t.Error(err)
	}
	p = begin(t, dir)
	p.expect(t, want)
	var found int
	err := p.View(func(r kv.Reader) error {
		for k := range 3 {
			if _, ok, err := r.Get([]byte{'x', byte(k)}); err != nil {
				return err
			} else if ok {
				found++
			}
		}
		return nil
	})
	if err != nil || found != 0 && (found != 3 || kind == fault.StorageFull) {
		t.Errorf("%d of 3 changes of the failed commit are there, %v", found, err)
	}
	for k, v := range p.must(t, r, 200, 5) {
		want[k] = v
	}
	p.expect(t, want)
	p.stop(t)
}

// TestLostRecordsAreNoticed: a journal that has lost what was acknowledged is
// refused.
func TestLostRecordsAreNoticed(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for name, harm := range map[string]func(files []string) error{
		"a file is gone":     func(files []string) error { return os.Remove(files[len(files)-2]) },
		"the end is gone":    func(files []string) error { return os.Remove(files[len(files)-1]) },
		"a record is zeroed": func(files []string) error { return zero(files[len(files)-2]) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := new(faults)
			p := faulty(t, dir, f)
			p.must(t, r, 1, 60)
			// As a process that is killed: no last checkpoint.
			if err := errors.Join(p.Log().Close(), p.base.Close()); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, "bodies", "*.seg"))
			if err != nil || len(files) < 5 {
				t.Fatal(files, err)
			}
			if err := harm(files); err != nil {
				t.Fatal(err)
			}
			p, err = start(t, dir, -1)
			if !fault.Is(err, fault.Corrupt) {
				t.Errorf("opened: %v", err)
			}
			if err := p.base.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// zero overwrites all of a file but its header.
func zero(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	clear(b[32:])
	return os.WriteFile(path, b, 0o600)
}

// TestWithoutSync: nothing is written to the journal, and a journal that was
// there before is not applied over what came after it.
func TestWithoutSync(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(8, 9))
	p := faulty(t, dir, new(faults))
	p.must(t, r, 1, 10)
	if err := errors.Join(p.Log().Close(), p.base.Close()); err != nil {
		t.Fatal(err)
	}
	base, err := badgerkv.Open(filepath.Join(dir, "rows"), badgerkv.Options{MemTableBytes: 4 << 20, ReserveBytes: 1, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(filepath.Join(dir, "bodies"), base, journal.Options{Segments: segment.Options{ReserveBytes: 1, NoSync: true}})
	if err != nil {
		t.Fatal(err)
	}
	_, before := j.Log().End()
	var b kv.Batch
	b.Set([]byte("x"), []byte("later"))
	if err := j.Commit(&b); err != nil {
		t.Fatal(err)
	}
	if _, after := j.Log().End(); after != before {
		t.Errorf("%d bytes were written to the journal", after-before)
	}
	p = &powered{Store: j, base: base}
	want := p.must(t, r, 100, 60)
	if err := errors.Join(j.Log().Close(), base.Close()); err != nil {
		t.Fatal(err)
	}
	p = begin(t, dir)
	p.expect(t, want)
	p.stop(t)
}

// TestBefore: a store from before the journal opens, keeps what it has, and gets
// a journal.
func TestBefore(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(2, 9))
	base, err := badgerkv.Open(filepath.Join(dir, "rows"), badgerkv.Options{MemTableBytes: 4 << 20, ReserveBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	var b kv.Batch
	b.Set(record.BitsKey(), []byte{8})
	if err := base.Commit(&b); err != nil {
		t.Fatal(err)
	}
	log, err := segment.Open(filepath.Join(dir, "bodies"), segment.Options{ReserveBytes: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]uint64{}
	for v := range uint64(keys) {
		c := change{version: v}
		if c.at, err = log.Append(bodyBlock(v)); err == nil {
			err = log.Sync(c.at)
		}
		b.Reset()
		b.Set(keyOf(int(v)), valueOf(c, 0))
		b.Set(record.UsageKey(c.at.Segment), record.EncodeUsage(record.Usage{LiveBodies: 1, End: c.at.End()}))
		if err := errors.Join(err, base.Commit(&b)); err != nil {
			t.Fatal(err)
		}
		want[int(v)] = v
	}
	if err := errors.Join(log.Close(), base.Close()); err != nil {
		t.Fatal(err)
	}
	p := begin(t, dir)
	p.expect(t, want)
	for k, v := range p.must(t, r, 100, 20) {
		want[k] = v
	}
	p = begin(t, p.end(t, r))
	p.expect(t, want)
	p.stop(t)
}
