package datadir

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/object"
)

func TestIdentityStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "node")
	first, err := Open(dir, "blocks", "segments", 1)
	if err != nil || first.IsZero() {
		t.Fatal(first, err)
	}
	if again, err := Open(dir, "blocks", "segments", 1); err != nil || again != first {
		t.Fatalf("%v became %v, %v", first, again, err)
	}
	if _, err := Open(dir, "meta", "rows", 1); !fault.Is(err, fault.Invalid) {
		t.Fatalf("another service: %v", err)
	}
}

func TestTwoAtOnceAgree(t *testing.T) {
	dir := t.TempDir()
	var ids [8]object.NodeID
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			id, err := Open(dir, "blocks", "segments", 1)
			if err != nil {
				t.Error(err)
			}
			ids[i] = id
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatal("two processes made two identities")
		}
	}
}

func TestLostIdentity(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "segments"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "blocks", "segments", 1); !fault.Is(err, fault.Invalid) {
		t.Fatalf("content without an id: %v", err)
	}
}

func TestWrongFiles(t *testing.T) {
	for text, want := range map[string]fault.Kind{
		"":                  fault.Corrupt,
		"hangar blocks 1\n": fault.Corrupt,
		"hangar blocks 0\n00112233445566778899aabbccddeeff\n":  fault.Corrupt,
		"other blocks 1\n00112233445566778899aabbccddeeff\n":   fault.Corrupt,
		"hangar blocks 2\n00112233445566778899aabbccddeeff\n":  fault.Invalid,
		"hangar gateway 1\n00112233445566778899aabbccddeeff\n": fault.Invalid,
		"hangar blocks 1\n0011\n":                              fault.Corrupt,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, idFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, "blocks", "segments", 1); !fault.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
}

func TestOlderFormatIsRaised(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(dir, "meta", "rows", 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if id, err := Open(dir, "meta", "rows", 2); err != nil || id != first {
			t.Fatalf("%v became %v, %v", first, id, err)
		}
	}
	if _, err := Open(dir, "meta", "rows", 1); !fault.Is(err, fault.Invalid) {
		t.Errorf("an older program: %v", err)
	}
	if id, err := OpenUpTo(dir, "meta", "rows", 1, 2); err != nil || id != first {
		t.Errorf("a program that knows more than it needs: %v, %v", id, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("hangar blocks 1\n00112233445566778899aabbccddeeff\n")
	f.Fuzz(func(t *testing.T, text string) {
		if id, _, err := parse(text, "blocks"); err != nil && !id.IsZero() {
			t.Fatal("an id beside an error")
		}
	})
}
