package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"hangar/shared/fault"
	"hangar/shared/object"
)

const (
	// PartFile says what a further data directory of a node is.
	PartFile   = "data-directory"
	partFormat = 1
)

// Part is a further directory in which a node keeps data: a disk beside the one
// with its identity. Its file holds three lines: "hangar SERVICE-directory
// FORMAT", the node's id, and the directory's number among those of the node.
type Part struct {
	Node   object.NodeID
	Number uint16
}

// ReadPart reads what the directory at path is; found is false when nothing says
// so. Errors: Invalid (another service's or a newer format), Corrupt, Denied.
func ReadPart(path, service string) (p Part, found bool, err error) {
	file := filepath.Join(path, PartFile)
	st, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Part{}, false, nil
	case err == nil && (!st.Mode().IsRegular() || st.Size() > maxBytes):
		return Part{}, false, fault.New(fault.Corrupt, "%s does not describe a data directory", file)
	case err != nil:
		return Part{}, false, fault.Wrap(fault.Denied, err, "cannot read %s", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return Part{}, false, fault.Wrap(fault.Denied, err, "cannot read %s", file)
	}
	p, err = parsePart(string(text), service)
	return p, err == nil, fault.Wrap(fault.KindOf(err), err, "%s", file)
}

func parsePart(text, service string) (Part, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Part{}, fault.New(fault.Corrupt, "it does not have three lines")
	}
	kind, version, _ := strings.Cut(strings.TrimPrefix(lines[0], product+" "), " ")
	if kind != service+"-directory" {
		return Part{}, fault.New(fault.Invalid, "it is no directory of the %s service", service)
	}
	if v, err := strconv.Atoi(version); err != nil || v != partFormat {
		return Part{}, fault.New(fault.Invalid, "its format %q is not known to this program", version)
	}
	node, err := object.ParseNodeID(lines[1])
	if err != nil {
		return Part{}, fault.Wrap(fault.Corrupt, err, "the node's id")
	}
	n, err := strconv.ParseUint(lines[2], 10, 16)
	if err != nil || n == 0 {
		return Part{}, fault.New(fault.Corrupt, "the number %q", lines[2])
	}
	return Part{node, uint16(n)}, nil
}

// WritePart makes the directory at path, which must be there, one of p's,
// durably. It replaces what it was before. Errors: Denied.
func WritePart(path, service string, p Part) error {
	text := fmt.Sprintf("%s %s-directory %d\n%s\n%d\n", product, service, partFormat, p.Node, p.Number)
	return fault.Wrap(fault.Denied, write(path, PartFile, text, os.Rename), "cannot write in %s", path)
}
