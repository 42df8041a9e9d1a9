package badgerkv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"hangar/shared/fault"
)

// Where Badger keeps what is not yet in a table, and its log of large values, in
// which this package keeps none.
const (
	memSuffix = ".mem"
	logSuffix = ".vlog"
)

// Sync makes every commit that has returned durable, which matters with NoSync.
// Badger's own Sync does so only for the memory table that takes writes now, not
// for those that wait to be written out. A failure makes the store refuse
// commits: the kernel may have dropped the pages, and a second Sync would hide
// that. Errors: Internal.
//
// A commit is in the write-ahead log of a memory table, which is a file that
// Badger maps, or in a table: Badger syncs a table, and the manifest that names
// it, before it removes the log that the table was made from. So a log that is
// gone needs no sync, and the directory, synced last, names whatever is left.
func (s *Store) Sync() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	err := s.syncFiles()
	if err != nil {
		err = fault.Wrap(fault.Internal, err, "sync %s", s.dir)
		s.failed.CompareAndSwap(nil, &err)
	}
	return err
}

func (s *Store) syncFiles() error {
	logs, err := filepath.Glob(filepath.Join(s.dir, "*"+memSuffix))
	if err != nil {
		return err
	}
	for _, path := range logs {
		if err := syncPath(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncPath(s.dir)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// removeUnbegun removes the empty logs that a power loss leaves when a file's
// name reached the disk and its length did not, or when a log that is no longer
// needed was emptied but not yet removed. Badger takes each for a new file and
// refuses to open. No commit is in them: a log has its full length before
// anything is written to it, and a sync of its content covers the length.
func removeUnbegun(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != memSuffix && ext != logSuffix {
			continue
		}
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && info.Size() == 0 {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
