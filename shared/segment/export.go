package segment

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"hangar/shared/fault"
)

// Export puts a segment as far as info says, which is of this Log's Segments,
// into another directory, for a copy of the whole log to be opened there: as a
// hard link where nothing will be written to the file any more, else, and on
// another file system, as a durable copy. The caller makes the directory durable,
// and sees to it that the segment is not removed meanwhile. Errors: ErrGone,
// StorageFull.
func (l *Log) Export(info Info, dir string) error {
	s, err := l.acquire(info.ID)
	if err != nil {
		return err
	}
	to := filepath.Join(dir, info.ID.name())
	err = errNotLinked
	if !info.Busy {
		err = os.Link(s.path, to)
	}
	if err != nil {
		err = copyTo(to, io.NewSectionReader(s.f, 0, info.End))
	}
	return errors.Join(fault.Wrap(fault.StorageFull, err, "export %s", s.path), s.release())
}

var errNotLinked = errors.New("not linked")

// copyTo makes a durable file of what r reads.
func copyTo(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}
