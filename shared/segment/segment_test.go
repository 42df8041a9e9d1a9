package segment

import (
	"bytes"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
)

func open(t testing.TB, dir string, o Options, durable map[ID]int64) *Log {
	t.Helper()
	if o.ReserveBytes == 0 {
		o.ReserveBytes = 1
	}
	l, err := Open(dir, o, durable)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func add(t testing.TB, l *Log, b blockapi.Block) Location {
	t.Helper()
	at, err := l.Append(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(at); err != nil {
		t.Fatal(err)
	}
	l.Settle(at)
	return at
}

func check(t testing.TB, l *Log, at Location, want []byte) {
	t.Helper()
	buf := make([]byte, at.StoredBytes)
	if err := l.Read(at, buf); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf, want) {
		t.Fatal("other data came back")
	}
}

func TestAppendReadReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "segments")
	l := open(t, dir, Options{SegmentBytes: 100_000}, nil)
	var places []Location
	var blocks []blockapi.Block
	for i := range 40 {
		b := blocktest.BlockOf(blocktest.Random(1 + i*1000))
		blocks = append(blocks, b)
		places = append(places, add(t, l, b))
	}
	if n := len(l.Segments()); n < 5 {
		t.Fatalf("%d segments: the log did not roll over", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, Options{SegmentBytes: 100_000}, nil)
	for i, at := range places {
		check(t, l, at, blocks[i].Data)
	}
	last := places[len(places)-1]
	if at := add(t, l, blocktest.BlockOf([]byte("x"))); at.Segment != last.Segment || at.Offset <= last.Offset {
		t.Fatalf("after %+v the log went on at %+v", last, at)
	}
	seen := 0
	for _, s := range l.Segments() {
		err := l.Scan(s.ID, func(e Entry) error {
			if seen < len(places) && (e.Location != places[seen] || e.Hash != blocks[seen].Hash) {
				t.Fatalf("record %d: %+v, want %+v", seen, e.Location, places[seen])
			}
			seen++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen != len(places)+1 {
		t.Fatalf("scans saw %d records", seen)
	}
}

// TestTornTail cuts and spoils the last file at every kind of place: whatever
// stands before the damage stays, and the log goes on behind it.
func TestTornTail(t *testing.T) {
	first, second := blocktest.BlockOf(blocktest.Random(1000)), blocktest.BlockOf(blocktest.Random(2000))
	for name, damage := range map[string]func(t *testing.T, path string, a, b Location){
		"cut in the data":   func(t *testing.T, p string, _, b Location) { truncate(t, p, b.End()-1) },
		"cut in the header": func(t *testing.T, p string, _, b Location) { truncate(t, p, b.Offset-10) },
		"one stray byte":    func(t *testing.T, p string, _, b Location) { truncate(t, p, b.Offset-recordHeader+1) },
		"changed data":      func(t *testing.T, p string, _, b Location) { overwrite(t, p, b.Offset+7) },
		"changed header":    func(t *testing.T, p string, _, b Location) { overwrite(t, p, b.Offset-20) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, Options{}, nil)
			a, b := add(t, l, first), add(t, l, second)
			path := filepath.Join(dir, a.Segment.name())
			l.Close()
			damage(t, path, a, b)
			l = open(t, dir, Options{}, map[ID]int64{a.Segment: a.End()})
			check(t, l, a, first.Data)
			if c := add(t, l, second); c != b {
				t.Fatalf("the log went on at %+v, want %+v", c, b)
			}
		})
	}
}

func TestRememberedRecordsAreNeverCut(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{}, nil)
	first, second := blocktest.BlockOf(blocktest.Random(1000)), blocktest.BlockOf(blocktest.Random(2000))
	a, b := add(t, l, first), add(t, l, second)
	path := filepath.Join(dir, a.Segment.name())
	l.Close()
	overwrite(t, path, a.Offset)
	l = open(t, dir, Options{}, map[ID]int64{a.Segment: b.End()})
	if err := l.Read(a, make([]byte, a.StoredBytes)); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("read of a changed record: %v", err)
	}
	check(t, l, b, second.Data)
	l.Close()
	truncate(t, path, b.Offset+5)
	l = open(t, dir, Options{}, map[ID]int64{a.Segment: b.End()})
	if err := l.Read(b, make([]byte, b.StoredBytes)); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("read of a cut record: %v", err)
	}
	if c := add(t, l, first); c.Segment == a.Segment {
		t.Fatal("the log went on in a damaged file")
	}
}

func TestHalfMadeFile(t *testing.T) {
	for _, size := range []int64{0, 5, fileHeader} {
		dir := t.TempDir()
		l := open(t, dir, Options{}, nil)
		b := blocktest.BlockOf([]byte("content"))
		a := add(t, l, b)
		l.Close()
		if err := os.WriteFile(filepath.Join(dir, (a.Segment+1).name()), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir, Options{}, map[ID]int64{a.Segment: a.End()})
		check(t, l, a, b.Data)
		check(t, l, add(t, l, b), b.Data)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, at int64) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 0xFF
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// faulty is a file whose disk is full after room bytes, or whose fsync fails.
type faulty struct {
	File
	room     *atomic.Int64
	syncFail *atomic.Bool
	cutFail  *atomic.Bool
}

func (f faulty) WriteAt(p []byte, off int64) (int, error) {
	if left := f.room.Add(-int64(len(p))); left < 0 {
		n := max(int64(len(p))+left, 0)
		f.room.Store(0)
		_, _ = f.File.WriteAt(p[:n], off) // as a real disk: part of it arrives
		return int(n), syscall.ENOSPC
	}
	return f.File.WriteAt(p, off)
}

func (f faulty) Sync() error {
	if f.syncFail.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

func (f faulty) Truncate(n int64) error {
	if f.cutFail.Load() {
		return syscall.EIO
	}
	return f.File.Truncate(n)
}

func TestDiskFull(t *testing.T) {
	var room atomic.Int64
	var syncFail, cutFail atomic.Bool
	room.Store(1 << 40)
	o := Options{OpenFile: func(path string, create bool) (File, error) {
		f, err := openOS(path, create, false, false)
		return faulty{f, &room, &syncFail, &cutFail}, err
	}}
	dir := t.TempDir()
	l := open(t, dir, o, nil)
	b := blocktest.BlockOf(blocktest.Random(10_000))
	a := add(t, l, b)
	for _, left := range []int64{0, 10, recordHeader, 5000} {
		room.Store(left)
		if _, err := l.Append(b); !fault.Is(err, fault.StorageFull) {
			t.Fatalf("%d bytes left: %v", left, err)
		}
		check(t, l, a, b.Data)
	}
	room.Store(1 << 40)
	c := add(t, l, b)
	if c.Segment != a.Segment || c.Offset != a.End()+recordHeader {
		t.Fatalf("once there was room again the log went on at %+v, after %+v", c, a)
	}

	t.Run("not even a cut works", func(t *testing.T) {
		room.Store(100)
		cutFail.Store(true)
		if _, err := l.Append(b); !fault.Is(err, fault.StorageFull) {
			t.Fatal(err)
		}
		room.Store(1 << 40)
		cutFail.Store(false)
		d := add(t, l, b)
		if d.Segment == c.Segment {
			t.Fatal("the log went on in the half written file")
		}
		check(t, l, d, b.Data)
	})
	t.Run("fsync fails", func(t *testing.T) {
		at, err := l.Append(b)
		if err != nil {
			t.Fatal(err)
		}
		syncFail.Store(true)
		if err := l.Sync(at); !fault.Is(err, fault.StorageFull) {
			t.Fatal(err)
		}
		syncFail.Store(false)
		if err := l.Sync(at); !fault.Is(err, fault.StorageFull) {
			t.Fatalf("a second fsync hid the failure of the first: %v", err)
		}
		l.Settle(at)
		if d := add(t, l, b); d.Segment == at.Segment {
			t.Fatal("the log went on in a file whose fsync failed")
		}
	})
}

func TestReserve(t *testing.T) {
	var free atomic.Int64
	o := Options{ReserveBytes: 1000, FreeBytes: func(string) (int64, error) { return free.Load(), nil }}
	l := open(t, t.TempDir(), o, nil)
	b := blocktest.BlockOf(blocktest.Random(100))
	free.Store(1050)
	if _, err := l.Append(b); !fault.Is(err, fault.StorageFull) {
		t.Fatalf("append into the reserve: %v", err)
	}
	if l.Writable() != nil {
		t.Fatal("not writable although the reserve is whole")
	}
	if _, err := l.AppendMoved(b); err != nil {
		t.Fatalf("compaction into the reserve: %v", err)
	}
	free.Store(600)
	if _, err := l.AppendMoved(b); !fault.Is(err, fault.StorageFull) || l.Writable() == nil {
		t.Fatalf("compaction into the second half of the reserve: %v", err)
	}
	free.Store(2000)
	if _, err := l.Append(b); err != nil {
		t.Fatal(err)
	}
}

// slowSync counts fsyncs and holds each until the test lets it go.
type slowSync struct {
	File
	count *atomic.Int64
	gate  chan struct{}
}

func (f slowSync) Sync() error {
	if f.gate != nil {
		<-f.gate
	}
	f.count.Add(1)
	return f.File.Sync()
}

func TestSyncsAreShared(t *testing.T) {
	var count atomic.Int64
	var gate chan struct{}
	o := Options{OpenFile: func(path string, create bool) (File, error) {
		f, err := openOS(path, create, false, false)
		return &slowSync{f, &count, gate}, err
	}}
	l := open(t, t.TempDir(), o, nil)
	add(t, l, blocktest.BlockOf([]byte("a")))
	f := l.active.f.(*slowSync)
	f.gate = make(chan struct{})
	count.Store(0)
	const writers = 32
	var wg sync.WaitGroup
	var appended sync.WaitGroup
	appended.Add(writers)
	for range writers {
		wg.Go(func() {
			at, err := l.Append(blocktest.BlockOf(blocktest.Random(100)))
			appended.Done()
			if err = errors.Join(err, l.Sync(at)); err != nil {
				t.Error(err)
			}
		})
	}
	appended.Wait()
	close(f.gate)
	wg.Wait()
	if n := count.Load(); n > 2 {
		t.Fatalf("%d fsyncs for %d writers that waited together", n, writers)
	}
}

func TestRemoveUnderReaders(t *testing.T) {
	l := open(t, t.TempDir(), Options{SegmentBytes: 1000}, nil)
	b := blocktest.BlockOf(blocktest.Random(900))
	a := add(t, l, b)
	held, err := l.acquire(a.Segment)
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, b)
	if err := l.Remove(a.Segment); err != nil {
		t.Fatal(err)
	}
	if err := held.read(a, make([]byte, 900)); err != nil {
		t.Fatalf("a reader in flight: %v", err)
	}
	if err := held.release(); err != nil {
		t.Fatal(err)
	}
	if err := l.Read(a, make([]byte, 900)); !errors.Is(err, ErrGone) {
		t.Fatalf("read of a removed segment: %v", err)
	}
}

func TestUnsettledIsBusy(t *testing.T) {
	l := open(t, t.TempDir(), Options{SegmentBytes: 1000}, nil)
	b := blocktest.BlockOf(blocktest.Random(900))
	at, err := l.Append(b)
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, b)
	busy := func() bool { return l.Segments()[0].Busy }
	if !busy() {
		t.Fatal("a full segment with an unsettled record is not busy")
	}
	l.Settle(at)
	if busy() {
		t.Fatal("a full segment without unsettled records is busy")
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	h := encodeFileHeader(1)
	h[9] = formatVersion + 1
	sum := crc32.Checksum(h[:28], castagnoli)
	h[28], h[29], h[30], h[31] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
	if err := os.WriteFile(filepath.Join(dir, ID(1).name()), h[:], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}, nil); !fault.Is(err, fault.Invalid) {
		t.Fatalf("got %v, want invalid", err)
	}
}

// FuzzTail appends arbitrary bytes to two whole records: opening must keep
// both and cut no more than what is no record.
func FuzzTail(f *testing.F) {
	b := blocktest.BlockOf([]byte("some content that does not matter"))
	e := Entry{Location: Location{Segment: 1, Offset: 1, StoredBytes: 5}, PlainBytes: 5}
	h := e.header()
	f.Add([]byte{}, uint16(0))
	f.Add(h[:], uint16(3))
	f.Add(bytes.Repeat([]byte("HBLK"), 40), uint16(90))
	f.Fuzz(func(t *testing.T, tail []byte, spoil uint16) {
		dir := t.TempDir()
		l := open(t, dir, Options{}, nil)
		first, second := add(t, l, b), add(t, l, b)
		path := filepath.Join(dir, first.Segment.name())
		l.Close()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, tail...)
		// A byte of the second record may be spoilt as well.
		spoilt := int64(spoil) >= first.End() && int64(spoil) < second.End()
		if spoilt {
			data[spoil] ^= 0x5A
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir, Options{}, map[ID]int64{first.Segment: first.End()})
		check(t, l, first, b.Data)
		if !spoilt {
			check(t, l, second, b.Data)
		}
		check(t, l, add(t, l, b), b.Data)
	})
}

func FuzzParseHeader(f *testing.F) {
	e := Entry{Location: Location{Segment: 7, Offset: 100 + recordHeader, StoredBytes: 5, Checksum: 9}, PlainBytes: 10, Encoding: blockapi.Zstd}
	h := e.header()
	f.Add(h[:], uint64(7), int64(100))
	f.Fuzz(func(t *testing.T, h []byte, id uint64, start int64) {
		e, err := parseHeader(ID(id), start, h)
		if err != nil {
			if !fault.Is(err, fault.Corrupt) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if again := e.header(); !bytes.Equal(again[:6], h[:6]) || !bytes.Equal(again[8:52], h[8:52]) {
			t.Fatal("a header does not survive its encoding")
		}
		if err := parseFileHeader(ID(id), h); err == nil {
			t.Fatal("a record header passes for a file header")
		}
	})
}
