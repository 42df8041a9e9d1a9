// Package datadir is the identity of a node's data directory: which service it
// belongs to, in which format, and the node's id. The directory makes the node
// what it is: an empty one is a new node.
//
// The file node-id holds two lines: "hangar SERVICE FORMAT" and the id in hex.
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
	product  = "hangar"
	idFile   = "node-id"
	maxBytes = 256 // of an id file that is believed
)

// Open returns the id of the node that lives in path. A new or empty directory
// becomes a node of service with a new id, durably. format is the newest that the
// caller knows: a directory of a newer one is refused, one of an older format,
// which the caller can read, is durably marked as of format from now on, so that
// an older program refuses it. content names what only a
// directory that once had an id holds: with it, but without an id, the
// directory is refused. Errors, which name the directory: Invalid (another
// service's, of a newer version, or without its id), Denied, Corrupt.
func Open(path, service, content string, format int) (object.NodeID, error) {
	return OpenUpTo(path, service, content, format, format)
}

// OpenUpTo is Open for a caller that needs only format, and so marks the
// directory as no newer than that, but knows formats up to newest.
func OpenUpTo(path, service, content string, format, newest int) (object.NodeID, error) {
	if path == "" {
		return object.NodeID{}, fault.New(fault.Invalid, "no data directory is set")
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return object.NodeID{}, fault.Wrap(fault.Denied, err, "data directory")
	}
	file := filepath.Join(path, idFile)
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(path, content)); err == nil {
			return object.NodeID{}, fault.New(fault.Invalid,
				"%s holds %s but no %s: restore the file, or start with an empty directory", path, content, idFile)
		}
		err = write(path, idFile, identity(service, format, object.NewNodeID()), os.Link)
	}
	if err != nil {
		return object.NodeID{}, fault.Wrap(fault.Denied, err, "cannot write in %s", path)
	}
	st, err := os.Stat(file)
	if err == nil && (!st.Mode().IsRegular() || st.Size() > maxBytes) {
		return object.NodeID{}, fault.New(fault.Corrupt, "%s does not name a node", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return object.NodeID{}, fault.Wrap(fault.Denied, err, "cannot read %s", file)
	}
	id, version, err := parse(string(text), service)
	switch {
	case err != nil:
		return object.NodeID{}, fmt.Errorf("data directory %s: %w", path, err)
	case version > newest:
		return object.NodeID{}, fault.New(fault.Invalid,
			"data directory %s: its format %d is newer than this program, which knows %d", path, version, newest)
	case version < format:
		err = write(path, idFile, identity(service, format, id), os.Rename)
	}
	return id, fault.Wrap(fault.Denied, err, "cannot write in %s", path)
}

// Restore makes a directory with the content of a node that node, durably. It must
// have no id. Errors: AlreadyExists, Denied.
func Restore(path, service string, format int, node object.NodeID) error {
	if _, err := os.Lstat(filepath.Join(path, idFile)); err == nil {
		return fault.New(fault.AlreadyExists, "%s is a node's already", path)
	}
	return fault.Wrap(fault.Denied, write(path, idFile, identity(service, format, node), os.Link), "cannot write in %s", path)
}

// identity is the text of an id file.
func identity(service string, format int, id object.NodeID) string {
	return fmt.Sprintf("%s %s %d\n%s\n", product, service, format, id)
}

// parse reads an id file.
func parse(text, service string) (id object.NodeID, version int, err error) {
	first, rest, _ := strings.Cut(text, "\n")
	var name, owner string
	if n, err := fmt.Sscanf(first, "%s %s %d", &name, &owner, &version); n != 3 || err != nil || name != product || version < 1 {
		return id, 0, fault.New(fault.Corrupt, "%s does not name a node", idFile)
	}
	if owner != service {
		return id, 0, fault.New(fault.Invalid, "it belongs to the %s service, not to %s", owner, service)
	}
	id, err = object.ParseNodeID(strings.TrimSuffix(rest, "\n"))
	return id, version, fault.Wrap(fault.Corrupt, err, "%s", idFile)
}

// write makes a file with text durably and puts it in its place. os.Link, unlike
// os.Rename, never replaces a file: of two processes that make an id one wins.
func write(path, name, text string, place func(from, to string) error) error {
	f, err := os.CreateTemp(path, "."+name+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // a leftover does no harm
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), filepath.Join(path, name)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
