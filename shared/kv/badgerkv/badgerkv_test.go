package badgerkv_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/kv/kvtest"
)

// small keeps tests fast on a full machine.
var small = badgerkv.Options{MemTableBytes: 4 << 20, CacheBytes: 4 << 20, ReserveBytes: 1}

func open(t *testing.T, dir string, opt badgerkv.Options) *badgerkv.Store {
	t.Helper()
	s, err := badgerkv.Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store { return open(t, t.TempDir(), small) })
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s, err := badgerkv.Open(dir, small)
	if err != nil {
		t.Fatal(err)
	}
	var b kv.Batch
	// More than a memory table, so that tables are written too.
	for i := range 40 {
		b.Reset()
		b.Set(fmt.Appendf(nil, "%04d", i), make([]byte, 300<<10))
		if err := s.Commit(&b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, small)
	if err := s.Verify(); err != nil {
		t.Error(err)
	}
	if s.DiskBytes() == 0 {
		t.Error("takes no space")
	}
	err = s.View(func(r kv.Reader) error {
		it := r.Iterate(nil)
		defer it.Close()
		n := 0
		for it.Next() {
			if v, err := it.Value(); err != nil || len(v) != 300<<10 {
				t.Errorf("%s: %d bytes, %v", it.Key(), len(v), err)
			}
			n++
		}
		if n != 40 {
			t.Errorf("%d keys, want 40", n)
		}
		return it.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReserveRefusesWritesOnly(t *testing.T) {
	opt := small
	opt.ReserveBytes = 1 << 60
	s := open(t, t.TempDir(), opt)
	var b kv.Batch
	b.Set([]byte("a"), []byte("1"))
	if err := s.Commit(&b); !fault.Is(err, fault.StorageFull) {
		t.Errorf("commit: %v", err)
	}
	if err := s.Writable(); !fault.Is(err, fault.StorageFull) {
		t.Errorf("writable: %v", err)
	}
	err := s.View(func(r kv.Reader) error {
		_, found, err := r.Get([]byte("a"))
		if found {
			t.Error("the refused write is there")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestOpenOnAFullDisk: with less than the reserve a store opens to be read, and
// with too little even for that it says so and harms nothing.
func TestOpenOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	free := int64(1 << 40)
	opt := small
	opt.ReserveBytes = 64 << 20
	opt.FreeBytes = func(string) (int64, error) { return free, nil }
	reopen := func(left int64) (*badgerkv.Store, error) {
		free = left
		return badgerkv.Open(dir, opt)
	}
	s, err := reopen(1 << 40)
	if err != nil {
		t.Fatal(err)
	}
	var b kv.Batch
	b.Set([]byte("a"), []byte("1"))
	if err := errors.Join(s.Commit(&b), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := reopen(15 << 20); !fault.Is(err, fault.StorageFull) || !strings.Contains(err.Error(), dir) {
		t.Errorf("opened with 15 MiB left: %v", err)
	}
	if s, err = reopen(20 << 20); err != nil {
		t.Fatalf("with 20 MiB left: %v", err)
	}
	defer s.Close()
	if err := s.Commit(&b); !fault.Is(err, fault.StorageFull) {
		t.Errorf("a commit below the reserve: %v", err)
	}
	err = s.View(func(r kv.Reader) error {
		if _, found, err := r.Get([]byte("a")); err != nil || !found {
			t.Errorf("a read below the reserve: %v, %v", found, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Run("in use", func(t *testing.T) {
		dir := t.TempDir()
		open(t, dir, small)
		if _, err := badgerkv.Open(dir, small); !fault.Is(err, fault.Conflict) {
			t.Errorf("%v", err)
		}
	})
	t.Run("not a directory", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := badgerkv.Open(file, small); !fault.Is(err, fault.Denied) {
			t.Errorf("%v", err)
		}
	})
	t.Run("read-only directory", func(t *testing.T) {
		if os.Getuid() == 0 {
			t.Skip("root may write everywhere")
		}
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if _, err := badgerkv.Open(dir, small); !fault.Is(err, fault.Denied) {
			t.Errorf("%v", err)
		}
	})
	t.Run("damaged manifest", func(t *testing.T) {
		dir := t.TempDir()
		s, err := badgerkv.Open(dir, small)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("not a manifest"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := badgerkv.Open(dir, small); !fault.Is(err, fault.Corrupt) {
			t.Errorf("%v", err)
		}
	})
}
