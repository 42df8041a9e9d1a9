package snapshot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"hangar/shared/fault"
)

// Restore copies a snapshot to where there is nothing yet, durably. The directory is no node's before it is given an identity: until
// then a node refuses it. Errors: AlreadyExists (to is not empty), Denied,
// StorageFull.
func Restore(from, to string) error {
	switch entries, err := os.ReadDir(to); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fault.Wrap(fault.Denied, err, "read %s", to)
	case len(entries) > 0:
		return fault.New(fault.AlreadyExists, "%s is not empty: a snapshot is only restored to a new directory", to)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fault.Wrap(fault.Denied, err, "make %s", to)
	}
	for _, sub := range []string{RowsDir, BodiesDir} {
		// Without links: the node will write to the files.
		if err := os.CopyFS(filepath.Join(to, sub), os.DirFS(filepath.Join(from, sub))); err != nil {
			return fault.Wrap(fault.StorageFull, err, "restore %s", from)
		}
	}
	err := syncTree(to)
	if err == nil {
		err = syncPath(filepath.Dir(filepath.Clean(to)))
	}
	return fault.Wrap(fault.StorageFull, err, "restore %s", from)
}
