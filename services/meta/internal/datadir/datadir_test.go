package datadir_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"hangar/services/meta/internal/datadir"
	"hangar/shared/fault"
	"hangar/shared/object"
)

func TestIdentityIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "dir")
	first, err := datadir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := datadir.Open(path)
	if err != nil || again != first || first.Node.IsZero() {
		t.Errorf("%v and %v, %v", first, again, err)
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestRacersGetOneIdentity(t *testing.T) {
	path := t.TempDir()
	var ids [8]object.NodeID
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			d, err := datadir.Open(path)
			if err != nil {
				t.Error(err)
			}
			ids[i] = d.Node
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("different ids: %v", ids)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name, content string
		kind          fault.Kind
	}{
		{"another service", "hangar blocks 1\n00112233445566778899aabbccddeeff\n", fault.Invalid},
		{"a newer format", "hangar meta 2\n00112233445566778899aabbccddeeff\n", fault.Invalid},
		{"an older format", "hangar meta 0\n00112233445566778899aabbccddeeff\n", fault.Corrupt},
		{"another product", "cellar meta 1\n00112233445566778899aabbccddeeff\n", fault.Corrupt},
		{"a short id", "hangar meta 1\n0011\n", fault.Corrupt},
		{"no id", "hangar meta 1\n", fault.Corrupt},
		{"nothing", "", fault.Corrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := t.TempDir()
			file := filepath.Join(path, "node-id")
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := datadir.Open(path); !fault.Is(err, c.kind) {
				t.Errorf("%v", err)
			}
			if b, err := os.ReadFile(file); err != nil || string(b) != c.content {
				t.Errorf("the file was changed to %q, %v", b, err)
			}
		})
	}
	t.Run("rows without an id", func(t *testing.T) {
		path := t.TempDir()
		if err := os.Mkdir(filepath.Join(path, "rows"), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := datadir.Open(path); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v", err)
		}
	})
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := datadir.Open(path); !fault.Is(err, fault.Denied) {
			t.Errorf("%v", err)
		}
	})
}
