// Package datadir is the identity of a metadata node's data directory: whose it
// is, in which format, and the node's id.
package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"hangar/shared/fault"
	"hangar/shared/object"
)

const (
	// format is written to new directories; a higher one is refused.
	format   = 1
	idFile   = "node-id"
	rowsDir  = "rows"
	product  = "hangar"
	service  = "meta"
	maxBytes = 256 // of an id file that is believed
)

// Dir is a data directory that belongs to a metadata node.
type Dir struct {
	Path string
	Node object.NodeID
}

// Rows is where the ordered store is.
func (d Dir) Rows() string { return filepath.Join(d.Path, rowsDir) }

// Open returns the directory at path. A new or empty one becomes a node with a
// new id, durably. Errors: Invalid (it belongs to another service, to a newer
// version, or has lost its id), Denied (it cannot be used), Corrupt.
func Open(path string) (Dir, error) {
	if path == "" {
		return Dir{}, fault.New(fault.Invalid, "no data directory is set")
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return Dir{}, fault.Wrap(fault.Denied, err, "data directory")
	}
	d := Dir{Path: path}
	b, err := readAtMost(filepath.Join(path, idFile), maxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.create(); err != nil {
			return Dir{}, err
		}
		b, err = readAtMost(filepath.Join(path, idFile), maxBytes)
	}
	if err != nil {
		return Dir{}, fault.Wrap(fault.Denied, err, "data directory")
	}
	d.Node, err = parse(string(b))
	if err != nil {
		return Dir{}, fmt.Errorf("data directory %s: %w", path, err)
	}
	return d, nil
}

func readAtMost(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > limit {
		return nil, fmt.Errorf("%s is no node id", path)
	}
	return os.ReadFile(path)
}

// parse reads an id file.
func parse(s string) (object.NodeID, error) {
	first, rest, _ := strings.Cut(s, "\n")
	var name, owner string
	var version int
	if n, err := fmt.Sscanf(first, "%s %s %d", &name, &owner, &version); n != 3 || err != nil || name != product {
		return object.NodeID{}, fault.New(fault.Corrupt, "%s does not name a node", idFile)
	}
	switch {
	case owner != service:
		return object.NodeID{}, fault.New(fault.Invalid, "it belongs to the %s service", owner)
	case version > format:
		return object.NodeID{}, fault.New(fault.Invalid, "its format %d is newer than this program, which knows %d", version, format)
	case version < 1:
		return object.NodeID{}, fault.New(fault.Corrupt, "%s names format %d", idFile, version)
	}
	id, err := object.ParseNodeID(strings.TrimSuffix(rest, "\n"))
	return id, fault.Wrap(fault.Corrupt, err, "%s", idFile)
}

// create writes a new id, unless another process does so first.
func (d Dir) create() (err error) {
	if _, err := os.Stat(d.Rows()); err == nil {
		return fault.New(fault.Invalid, "%s holds rows but no %s: restore the file, or start with an empty directory", d.Path, idFile)
	}
	f, err := os.CreateTemp(d.Path, "."+idFile+"-*")
	if err != nil {
		return fault.Wrap(fault.Denied, err, "cannot write in the data directory")
	}
	defer func() { _ = os.Remove(f.Name()) }() // best effort: the id is its other name
	_, err = fmt.Fprintf(f, "%s %s %d\n%s\n", product, service, format, object.NewNodeID())
	err = errors.Join(err, f.Sync(), f.Close())
	// A link, unlike a rename, never replaces the id another process has made.
	if err == nil {
		if err = os.Link(f.Name(), filepath.Join(d.Path, idFile)); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	if err == nil {
		err = syncDir(d.Path)
	}
	return fault.Wrap(fault.Denied, err, "cannot write in the data directory")
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
