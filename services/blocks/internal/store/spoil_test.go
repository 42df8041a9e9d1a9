package store

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"hangar/services/blocks/internal/segment"
)

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
