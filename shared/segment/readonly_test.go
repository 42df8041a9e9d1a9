package segment

import (
	"os"
	"path/filepath"
	"testing"

	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
)

// A read-only log reads and removes, but neither cuts a torn end nor takes a
// record, nor makes its directory; its numbers begin where they were told to.
func TestReadOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "segments")
	const first = ID(3) << 48
	l, err := Open(dir, Options{First: first, ReserveBytes: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := blocktest.BlockOf(blocktest.Random(1000))
	at, err := l.Append(b)
	if err != nil {
		t.Fatal(err)
	}
	if at.Segment != first+1 {
		t.Errorf("the first segment is %x", uint64(at.Segment))
	}
	if got := l.Bytes(); got != at.End() {
		t.Errorf("%d bytes, the file has %d", got, at.End())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, at.Segment.name())
	if err := os.Truncate(path, at.End()+10); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	l, err = Open(dir, Options{First: first, ReadOnly: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Read(at, make([]byte, at.StoredBytes)); err != nil {
		t.Error(err)
	}
	if _, err := l.Append(b); !fault.Is(err, fault.StorageFull) {
		t.Errorf("append: %v", err)
	}
	if err := l.Writable(); !fault.Is(err, fault.StorageFull) {
		t.Errorf("writable: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != at.End()+10 {
		t.Errorf("the file was changed: %v, %v", st, err)
	}
	if s := l.Segments(); len(s) != 1 || s[0].Busy {
		t.Errorf("%+v", s)
	}
	seen := 0
	if err := l.Scan(at.Segment, func(Entry) error { seen++; return nil }); !fault.Is(err, fault.Corrupt) || seen != 1 {
		t.Errorf("scan saw %d: %v", seen, err)
	}
	if err := l.Remove(at.Segment); err != nil {
		t.Error(err)
	}
	if l.Bytes() != 0 {
		t.Errorf("%d bytes are left", l.Bytes())
	}
	gone := filepath.Join(dir, "gone")
	if _, err := Open(gone, Options{ReadOnly: true}, nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(gone); err == nil {
		t.Error("a read-only log made its directory")
	}
}
