package datadir

import (
	"os"
	"path/filepath"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/object"
)

func TestPart(t *testing.T) {
	dir := t.TempDir()
	if _, found, err := ReadPart(dir, "blocks"); found || err != nil {
		t.Fatalf("an empty directory: %v, %v", found, err)
	}
	for _, p := range []Part{{object.NewNodeID(), 1}, {object.NewNodeID(), 65535}} {
		if err := WritePart(dir, "blocks", p); err != nil {
			t.Fatal(err)
		}
		if got, found, err := ReadPart(dir, "blocks"); err != nil || !found || got != p {
			t.Errorf("%+v became %+v, %v, %v", p, got, found, err)
		}
	}
	if _, _, err := ReadPart(dir, "meta"); !fault.Is(err, fault.Invalid) {
		t.Errorf("another service: %v", err)
	}
	if err := WritePart(filepath.Join(dir, "none"), "blocks", Part{object.NewNodeID(), 1}); !fault.Is(err, fault.Denied) {
		t.Errorf("no directory: %v", err)
	}
}

func TestWrongParts(t *testing.T) {
	id := "00112233445566778899aabbccddeeff\n"
	for text, want := range map[string]fault.Kind{
		"": fault.Corrupt, "\n\n\n": fault.Invalid,
		"hangar blocks-directory 2\n" + id + "1\n":     fault.Invalid,
		"hangar blocks 1\n" + id + "1\n":               fault.Invalid,
		"hangar blocks-directory 1\n" + id + "0\n":     fault.Corrupt,
		"hangar blocks-directory 1\n" + id + "65536\n": fault.Corrupt,
		"hangar blocks-directory 1\n" + id + "1":       fault.Corrupt,
		"hangar blocks-directory 1\nxyz\n1\n":          fault.Corrupt,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, PartFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, found, err := ReadPart(dir, "blocks"); found || !fault.Is(err, want) {
			t.Errorf("%q: got %v, %v, want %v", text, found, err, want)
		}
	}
}

func FuzzParsePart(f *testing.F) {
	f.Add("hangar blocks-directory 1\n00112233445566778899aabbccddeeff\n7\n")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parsePart(text, "blocks"); err == nil && (p.Number == 0 || p.Node.IsZero()) || err != nil && p != (Part{}) {
			t.Fatalf("%+v, %v", p, err)
		}
	})
}
