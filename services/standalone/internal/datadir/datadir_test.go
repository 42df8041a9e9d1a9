package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAccessIsKeptAndPrivate(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadAccess(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing written: %v", err)
	}
	for _, key := range []string{"a", "b"} {
		want := Access{AccessKey: key, SecretKey: "s", AdminToken: "t"}
		if err := WriteAccess(dir, want); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadAccess(dir); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, AccessFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
	if err := os.WriteFile(filepath.Join(dir, AccessFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAccess(dir); err == nil {
		t.Error("a damaged file was read")
	}
}
