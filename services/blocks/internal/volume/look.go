package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"hangar/shared/datadir"
	"hangar/shared/fault"
)

// service is whose directories they are.
const service = "blocks"

// Look finds out what is at the path of each Spec, for Reconcile. main is the
// path of the main directory. shared lists directories that are written to and
// lie on the file system of another one: that is allowed, but they fill each
// other, and fail together. Errors: Invalid for one directory under two paths or
// in another one, and those of datadir.ReadPart.
func Look(main string, specs []Spec) (seen map[string]Seen, shared []string, err error) {
	seen = make(map[string]Seen)
	real := make(map[string]string) // resolved → as configured
	devices := make(map[uint64]bool)
	for _, s := range append([]Spec{{Path: Main, Use: Drain}}, specs...) {
		path := s.Path
		if path == Main {
			path = main
		}
		resolved, err := filepath.EvalSymlinks(path)
		if errors.Is(err, fs.ErrNotExist) {
			seen[s.Path] = Seen{Missing: true}
			continue
		}
		if err != nil {
			return nil, nil, fault.Wrap(fault.Denied, err, "data directory %s", path)
		}
		if resolved, err = filepath.Abs(resolved); err != nil {
			return nil, nil, fault.Wrap(fault.Denied, err, "data directory %s", path)
		}
		for other, name := range real {
			if other == resolved && name != s.Path {
				return nil, nil, fault.New(fault.Invalid, "%s and %s are the same directory: list it once, the one of the node itself as %s", name, s.Path, Main)
			}
			if _, _, nested := nest(other, resolved); nested {
				return nil, nil, fault.New(fault.Invalid, "%s and %s lie in each other: list directories that are beside each other", name, s.Path)
			}
		}
		real[resolved] = s.Path
		st, err := os.Stat(resolved)
		if err != nil || !st.IsDir() {
			return nil, nil, fault.Wrap(fault.Invalid, errors.Join(err, errNoDirectory), "%s", path)
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && s.Use == Write {
			if devices[sys.Dev] {
				shared = append(shared, s.Path)
			}
			devices[sys.Dev] = true
		}
		if s.Path != Main {
			if seen[s.Path], err = lookAt(resolved); err != nil {
				return nil, nil, err
			}
		}
	}
	return seen, shared, nil
}

var errNoDirectory = errors.New("it is no directory")

func lookAt(path string) (Seen, error) {
	part, _, err := datadir.ReadPart(path, service)
	if err != nil {
		return Seen{}, err
	}
	files, err := filepath.Glob(filepath.Join(SegmentsOf(path), "*"))
	return Seen{Node: part.Node, Slot: Slot(part.Number), Segments: len(files) > 0}, fault.Wrap(fault.Denied, err, "read %s", path)
}
