package meta

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"hangar/shared/fault"
)

// incarnationFile, in the data directory, holds the incarnation of its store: 8
// random bytes. It is in no snapshot, so that a store that was restored, and
// numbers its changes from an earlier point on, is another incarnation.
const incarnationFile = "incarnation"

// incarnation returns the incarnation of the store in a data directory. Where
// there is none, or none that can be read, there is a new one from now on, which
// does no harm. Errors: Denied.
func incarnation(dir string) (uint64, error) {
	path := filepath.Join(dir, incarnationFile)
	if b, err := os.ReadFile(path); err == nil && len(b) == 8 {
		return binary.BigEndian.Uint64(b), nil
	}
	f, err := os.CreateTemp(dir, "."+incarnationFile+"-*")
	if err != nil {
		return 0, fault.Wrap(fault.Denied, err, "cannot write in %s", dir)
	}
	defer func() { _ = os.Remove(f.Name()) }() // a leftover does no harm
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	return binary.BigEndian.Uint64(b), fault.Wrap(fault.Denied, err, "cannot write in %s", dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
