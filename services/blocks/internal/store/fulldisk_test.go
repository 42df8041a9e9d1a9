package store

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"hangar/services/blocks/internal/volume"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/object"
)

// TestARealFullDisk: one of three directories lies on a disk of 3 MiB that is
// filled to its last byte, with a reserve and without; the others go on, nothing
// is lost, and when they are full too the store says so.
func TestARealFullDisk(t *testing.T) {
	for name, reserve := range map[string]int64{"down to the reserve": 1 << 20, "to the last byte": 1} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, spread(t, "%a,%b=2MB,%c=2MB"), smallSegments, func(o *Options) {
				tmpfs(t, filepath.Join(filepath.Dir(o.Directories[0].Path), "a"), 3<<20)
				o.Segments.ReserveBytes = reserve
			})
			var hashes []object.Hash
			var err error
			for err == nil {
				b := blocktest.BlockOf(blocktest.Random(10_000))
				if err = w.Put(t.Context(), epoch, blocktest.Owner(), b); err == nil {
					hashes = append(hashes, b.Hash)
				}
			}
			if !fault.Is(err, fault.StorageFull) {
				t.Fatal(err)
			}
			a, b, c := w.directory(t, "a"), w.directory(t, "b"), w.directory(t, "c")
			if a.FreeBytes > reserve+20_000 || a.State != volume.Full || b.UsedBytes < 1_900_000 || c.UsedBytes < 1_900_000 || b.UsedBytes > 2_000_000 {
				t.Errorf("%+v, %d and %d bytes used", a, b.UsedBytes, c.UsedBytes)
			}
			w.restart(t)
			w.all(t, hashes)
			// A larger one is added, and the full one drained.
			w.reconfigure(t, "%a=ro,%b=2MB,%c=80MB")
			if err := w.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.reconfigure(t, "%b=2MB,%c=80MB")
			w.all(t, hashes)
		})
	}
}

// tmpfs mounts a disk of so many bytes for the time of a test.
func tmpfs(t *testing.T, dir string, size int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a disk")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.Itoa(size)); err != nil {
		t.Skipf("no disk can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
