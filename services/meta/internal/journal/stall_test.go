package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"hangar/services/meta/internal/journal"
	"hangar/shared/kv"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/segment"
)

// stuckFile says when a sync begins, and waits.
type stuckFile struct {
	segment.File
	began chan<- struct{}
	let   <-chan struct{}
}

func (f stuckFile) Sync() error {
	f.began <- struct{}{}
	<-f.let
	return f.File.Sync()
}

// TestHealthDoesNotWaitForAStalledSync: whoever asks how the journal fares
// hears of a sync that does not come back instead of waiting for it too.
func TestHealthDoesNotWaitForAStalledSync(t *testing.T) {
	dir := t.TempDir()
	base, err := badgerkv.Open(filepath.Join(dir, "rows"), badgerkv.Options{MemTableBytes: 4 << 20, ReserveBytes: 1, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	began, let := make(chan struct{}), make(chan struct{})
	j, err := journal.Open(filepath.Join(dir, "bodies"), base, journal.Options{Segments: segment.Options{
		ReserveBytes: 1,
		OpenFile: func(path string, _ bool) (segment.File, error) {
			file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
			return stuckFile{file, began, let}, err
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	committed := make(chan error)
	go func() {
		var b kv.Batch
		b.Set([]byte("xk"), []byte("v"))
		committed <- j.Commit(&b)
	}()
	<-began // of the file's beginning
	let <- struct{}{}
	<-began
	if err := j.Writable(); err != nil {
		t.Errorf("while a sync is under way: %v", err)
	}
	if j.Failed() != nil || j.Log().Failing(0) == nil {
		t.Errorf("a sync that does not end: failed %v, stalled %v", j.Failed(), j.Log().Failing(0))
	}
	close(let)
	if err := <-committed; err != nil {
		t.Error(err)
	}
	if err := j.Log().Failing(0); err != nil {
		t.Error(err)
	}
	go func() {
		for range began { // the checkpoint of Close
		}
	}()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	close(began)
}
