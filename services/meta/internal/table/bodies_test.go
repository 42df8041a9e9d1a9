package table_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"hangar/services/meta/internal/journal"
	"hangar/shared/fault"
	"hangar/shared/register"
	"hangar/shared/segment"
)

// bodyOf is a body that is kept apart and can be told from all others.
func bodyOf(key string, at int64) string {
	return strings.Repeat(fmt.Sprint(key, " at ", at, "\n"), 100)
}

// expect reads a row and checks its tag and body; at 0 means no value.
func (n *node) expect(t *testing.T, key string, at int64) {
	t.Helper()
	r := n.handle(t, objectKey(key), register.Request{Kind: register.Read})
	switch {
	case at == 0 && r.Row.Value != nil:
		t.Errorf("%s is still there", key)
	case at != 0 && (r.Row.Value == nil || string(r.Row.Value.Body) != bodyOf(key, at)):
		t.Errorf("%s at %v is not that of %d", key, r.Row.Tag, at)
	}
}

func (n *node) put(t *testing.T, key string, at int64) {
	t.Helper()
	n.apply(t, objectKey(key), tag(at), value("h", bodyOf(key, at)))
}

// compact compacts what the journal no longer needs.
func (n *node) compact(ctx context.Context) error {
	if err := n.journal.Checkpoint(); err != nil {
		return err
	}
	return n.bodies.Compact(ctx)
}

// fillHalf writes rows and overwrites or deletes most of them, so that their
// segments are worth compacting. It returns what each row should hold.
func fillHalf(t *testing.T, n *node, rows int) map[string]int64 {
	t.Helper()
	want := map[string]int64{}
	for i := range rows {
		key := fmt.Sprint("row ", i)
		n.put(t, key, 1)
		want[key] = 1
	}
	for i := range rows {
		switch key := fmt.Sprint("row ", i); i % 4 {
		case 0:
			n.apply(t, objectKey(key), tag(2), nil)
			want[key] = 0
		case 1, 2:
			n.put(t, key, 2)
			want[key] = 2
		}
	}
	return want
}

func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	n := start(t, openStore(t, dir))
	want := fillHalf(t, n, 600)
	before, err := n.bodies.Usage()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // what a compaction copies may be compacted by the next
		if err := n.compact(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	after, err := n.bodies.Usage()
	if err != nil {
		t.Fatal(err)
	}
	if after.LiveBytes != before.LiveBytes || after.Bodies != 450 || after.DeadBytes > after.LiveBytes+2*256<<10 || after.DeadBytes >= before.DeadBytes {
		t.Errorf("usage %+v, before %+v", after, before)
	}
	n.verify(t)
	n.stop()
	n = start(t, openStore(t, dir))
	for key, at := range want {
		n.expect(t, key, at)
	}
	n.verify(t)
}

// TestCompactionAmongRequests compacts while rows are written, deleted and read.
func TestCompactionAmongRequests(t *testing.T) {
	n := startWith(t, openStore(t, t.TempDir()), segment.Options{SegmentBytes: 64 << 10})
	ctx, stop := context.WithCancel(context.Background())
	var compacting, working sync.WaitGroup
	compacting.Go(func() {
		for ctx.Err() == nil {
			if err := n.compact(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	rounds := int64(300)
	if testing.Short() {
		rounds = 60
	}
	for w := range 6 {
		working.Go(func() {
			for i := int64(1); i <= rounds; i++ {
				key := fmt.Sprint(w, "-", rand.IntN(20))
				if i%7 == 0 {
					n.apply(t, objectKey(key), tag(i), nil)
					n.expect(t, key, 0)
					continue
				}
				n.put(t, key, i)
				n.expect(t, key, i)
				other := fmt.Sprint(rand.IntN(6), "-", rand.IntN(20))
				r := n.handle(t, objectKey(other), register.Request{Kind: register.Prepare, Ballot: register.Tag{Time: 0, Node: 1}})
				r2 := n.handle(t, objectKey(other), register.Request{Kind: register.Read})
				for _, r := range []register.Reply{r, r2} {
					if v := r.Row.Value; v != nil && string(v.Body) != bodyOf(other, r.Row.Tag.Time) {
						t.Errorf("%s at %v is not whole", other, r.Row.Tag)
					}
				}
			}
		})
	}
	working.Wait()
	stop()
	compacting.Wait()
	if n.bodies.Counters().SegmentsRemoved.Load() == 0 {
		t.Error("nothing was compacted: the test shows nothing")
	}
	n.verify(t)
}

// TestRestartAmidCompaction stops a compaction at each of its commits and opens
// the store again.
func TestRestartAmidCompaction(t *testing.T) {
	stopped := int64(0)
	for stopCompaction(t, stopped) {
		stopped++
	}
	if stopped < 4 {
		t.Errorf("a compaction has only %d commits: the test shows nothing", stopped)
	}
}

// stopCompaction lets a compaction make so many commits, and reports whether it
// wanted more.
func stopCompaction(t *testing.T, commits int64) (stopped bool) {
	t.Helper()
	dir := t.TempDir()
	d := openStore(t, dir)
	f := new(failing)
	d.fail = f
	n := start(t, d)
	want := fillHalf(t, n, 500)
	f.after.Store(commits)
	f.limited.Store(true)
	stopped = n.compact(context.Background()) != nil
	n.stop()
	n = start(t, openStore(t, dir))
	defer n.stop()
	for range 2 {
		for key, at := range want {
			n.expect(t, key, at)
		}
		n.verify(t)
		if err := n.compact(context.Background()); err != nil {
			t.Error(err)
		}
	}
	return stopped
}

// TestCrashBeforeCommit: a body whose row was not committed changes nothing, and
// its space comes back.
func TestCrashBeforeCommit(t *testing.T) {
	dir := t.TempDir()
	d := openStore(t, dir)
	f := new(failing)
	d.fail = f
	n := start(t, d)
	n.put(t, "a", 1)
	f.broken.Store(true)
	for i := range int64(100) {
		q := register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(2 + i), Op: tag(2 + i), Value: value("h", strings.Repeat("x", 9000))}}
		if _, err := n.Handle(context.Background(), objectKey("a"), q); err == nil {
			t.Fatal("the commit did not fail")
		}
	}
	n.expect(t, "a", 1)
	n.stop()
	n = start(t, openStore(t, dir))
	n.expect(t, "a", 1)
	n.verify(t)
	before, _ := n.bodies.Usage()
	if err := n.compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	after, err := n.bodies.Usage()
	if err != nil || after.Bodies != 1 || before.DeadBytes < 800_000 || after.DeadBytes > 256<<10 {
		t.Errorf("usage %+v, before %+v, %v", after, before, err)
	}
	n.expect(t, "a", 1)
	n.verify(t)
}

// segments lists the files of bodies in dir, oldest first.
func segments(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "bodies", "*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files
}

// TestTornTail: what a crash left half written after the last body is cut, and
// nothing else.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	n := start(t, openStore(t, dir))
	n.put(t, "a", 1)
	n.stop()
	files := segments(t, dir)
	out, err := os.OpenFile(files[len(files)-1], os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = out.WriteString("KLBH, the beginning of a record")
		err = errors.Join(err, out.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	n = start(t, openStore(t, dir))
	n.expect(t, "a", 1)
	n.put(t, "b", 1)
	n.expect(t, "b", 1)
	n.verify(t)
}

// TestCorruptBody: a body that the disk has changed is reported, never returned,
// and keeps its segment from being removed; other rows are not touched.
func TestCorruptBody(t *testing.T) {
	dir := t.TempDir()
	n := start(t, openStore(t, dir))
	want := fillHalf(t, n, 300)
	n.stop()
	file := segments(t, dir)[0]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	body := bodyOf("row 3", 1) // every fourth row keeps its first body
	at := strings.Index(string(b), body)
	b[at+50] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	n = start(t, openStore(t, dir))
	for range 2 {
		for key, at := range want {
			if key != "row 3" {
				n.expect(t, key, at)
			}
		}
		if _, err := n.Handle(context.Background(), objectKey("row 3"), register.Request{Kind: register.Read}); !fault.Is(err, fault.Corrupt) {
			t.Errorf("a corrupt body: %v", err)
		}
		if err := n.compact(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if found, err := n.Examine(t.Context(), nil); err != nil || !found.End || len(found.Damaged) != 1 || found.Damaged[0] != objectKey("row 3") {
		t.Errorf("examined: %+v, %v", found, err)
	}
	if got := n.bodies.Counters().CorruptReads.Load(); got < 2 {
		t.Errorf("%d corrupt reads were counted", got)
	}
	n.verify(t)
	n.put(t, "row 3", 5) // heals it
	n.expect(t, "row 3", 5)
	if err := n.compact(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the damaged segment stays although nothing lives in it: %v", err)
	}
	n.verify(t)
}

// TestNoRoomForBodies: below the reserve no value is taken, rows can be read and
// deleted, and health says why.
func TestNoRoomForBodies(t *testing.T) {
	var free atomic.Int64
	free.Store(1 << 40)
	n := startWith(t, openStore(t, t.TempDir()), segment.Options{
		ReserveBytes: 1 << 20,
		FreeBytes:    func(string) (int64, error) { return free.Load(), nil },
	})
	n.put(t, "a", 1)
	n.put(t, "b", 1)
	free.Store(1 << 19)
	for _, body := range []string{"", "small", bodyOf("a", 2)} {
		q := register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(2), Op: tag(2), Value: value("h", body)}}
		if _, err := n.Handle(context.Background(), objectKey("a"), q); !fault.Is(err, fault.StorageFull) {
			t.Errorf("a body of %d bytes: %v", len(body), err)
		}
	}
	if err := n.Writable(); !fault.Is(err, fault.StorageFull) {
		t.Errorf("health: %v", err)
	}
	n.expect(t, "a", 1)
	n.apply(t, objectKey("b"), tag(2), nil)
	n.expect(t, "b", 0)
	free.Store(1 << 40)
	n.put(t, "a", 3)
	n.expect(t, "a", 3)
	n.verify(t)
}

// TestSyncFails: a row whose body could not be made durable may or may not have
// been written. Nothing more is, until the store is opened again.
func TestSyncFails(t *testing.T) {
	var fail atomic.Bool
	dir := t.TempDir()
	n := startWith(t, openStore(t, dir), segment.Options{OpenFile: func(path string, create bool) (segment.File, error) {
		flags := os.O_RDWR
		if create {
			flags |= os.O_CREATE | os.O_EXCL
		}
		f, err := os.OpenFile(path, flags, 0o600)
		return unsyncable{f, &fail}, err
	}})
	n.put(t, "a", 1)
	fail.Store(true)
	write := func(key string, at int64) error {
		q := register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(at), Op: tag(at), Value: value("h", bodyOf(key, at))}}
		_, err := n.Handle(context.Background(), objectKey(key), q)
		return err
	}
	if err := write("b", 2); !fault.Is(err, fault.Internal) {
		t.Errorf("a body that was not synced: %v", err)
	}
	n.expect(t, "b", 0)
	fail.Store(false)
	if err := write("c", 3); !fault.Is(err, fault.StorageFull) {
		t.Errorf("a write after it: %v", err)
	}
	if err := n.Writable(); !fault.Is(err, fault.StorageFull) {
		t.Errorf("health: %v", err)
	}
	n.expect(t, "a", 1)
	n.stop()
	n = start(t, openStore(t, dir))
	n.expect(t, "a", 1)
	n.expect(t, "c", 0)
	n.put(t, "c", 3)
	n.expect(t, "c", 3)
	n.verify(t)
}

type unsyncable struct {
	*os.File
	fail *atomic.Bool
}

func (u unsyncable) Sync() error {
	if u.fail.Load() {
		return errors.New("input/output error")
	}
	return u.File.Sync()
}

// TestLateWriteStoresNothing: a request that is known to come too late does not
// grow the log.
func TestLateWriteStoresNothing(t *testing.T) {
	n := fresh(t)
	n.put(t, "a", 5)
	before, _ := n.bodies.Usage()
	for _, at := range []int64{3, 5} {
		n.handle(t, objectKey("a"), register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(at), Op: tag(at), Value: value("h", bodyOf("a", at))}})
	}
	if after, err := n.bodies.Usage(); err != nil || after != before {
		t.Errorf("usage %+v, before %+v, %v", after, before, err)
	}
}

// TestForeignBodies: bodies beside rows that know nothing of them are not taken
// for dead.
func TestForeignBodies(t *testing.T) {
	dir := t.TempDir()
	n := start(t, openStore(t, dir))
	n.put(t, "a", 1)
	n.stop()
	if err := os.RemoveAll(filepath.Join(dir, "rows")); err != nil {
		t.Fatal(err)
	}
	d := openStore(t, dir)
	defer d.Close()
	if _, err := journal.Open(d.bodies, d.Base, journal.Options{}); !fault.Is(err, fault.Corrupt) {
		t.Errorf("opened: %v", err)
	}
}
