// Package volume is where a node's blocks lie: one or several data directories,
// usually a disk each, with a log of segments in each, offered as one. It
// decides which directory takes a new block, what a configuration means beside
// what the node remembers of its directories, and what is to be moved so that
// all are filled alike.
//
// A directory has a number, its Slot, for as long as the node lives: it stands
// in the upper bits of the numbers of its segments, so the place of every block
// says in which directory it lies, also when that directory is gone. Slot 0 is
// the main directory: that of the node's identity and of the index.
package volume

import (
	"path/filepath"
	"strconv"
	"strings"

	"hangar/shared/fault"
	"hangar/shared/segment"
)

// Slot numbers the data directories of a node. Numbers are not used again.
type Slot uint16

// slotShift is where the slot begins in a segment's number.
const slotShift = 48

// SlotOf is the directory that a segment lies in.
func SlotOf(id segment.ID) Slot { return Slot(id >> slotShift) }

// first is the number after which those of a directory's segments begin.
func (s Slot) first() segment.ID { return segment.ID(s) << slotShift }

// Use is what a directory is configured for.
type Use uint8

// The uses of a directory.
const (
	// Write: new blocks may be written to it.
	Write Use = iota
	// Drain: nothing new is written to it, and what lives in it is moved away.
	Drain
	// Lost: it is gone with everything in it.
	Lost
)

// Main stands for the main directory in a configuration.
const Main = "main"

// maxSpecs bounds the directories of one node.
const maxSpecs = 256

// Spec is a directory as it is configured.
type Spec struct {
	// Path is absolute and clean; Main for the main directory.
	Path string
	Use  Use
	// CapacityBytes is how much may be written to it; 0: what the file system has.
	CapacityBytes int64
}

// Parse reads a list of directories: "/mnt/a=2TB,/mnt/b,/mnt/old=ro". Errors:
// Invalid, which say what to do.
func Parse(text string) ([]Spec, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var specs []Spec
	for _, item := range strings.Split(text, ",") {
		s, err := parseSpec(strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		specs = append(specs, s)
	}
	if len(specs) > maxSpecs {
		return nil, fault.New(fault.Invalid, "%d data directories are more than %d", len(specs), maxSpecs)
	}
	for i, a := range specs {
		for _, b := range specs[:i] {
			if a.Path == b.Path {
				return nil, fault.New(fault.Invalid, "%s is listed twice: list each data directory once", a.Path)
			}
			if inner, outer, nested := nest(a.Path, b.Path); nested {
				return nil, fault.New(fault.Invalid, "%s lies in %s: list directories that are beside each other", inner, outer)
			}
		}
	}
	return specs, nil
}

// nest says which of two clean paths lies in the other, if one does.
func nest(a, b string) (inner, outer string, nested bool) {
	in := func(inner, outer string) bool { return strings.HasPrefix(inner, strings.TrimSuffix(outer, "/")+"/") }
	switch {
	case in(a, b):
		return a, b, true
	case in(b, a):
		return b, a, true
	}
	return "", "", false
}

func parseSpec(item string) (Spec, error) {
	path, value := item, ""
	if i := strings.LastIndexByte(item, '='); i >= 0 {
		path, value = item[:i], item[i+1:]
		if value == "" {
			return Spec{}, fault.New(fault.Invalid, "%q has nothing after =: write a capacity (2TB), ro or lost, or leave = out to use all of the disk", item)
		}
	}
	if path != Main && !filepath.IsAbs(path) {
		return Spec{}, fault.New(fault.Invalid, "%q is no absolute path: write PATH, PATH=2TB, PATH=ro or PATH=lost, or %s for the directory of the node itself", item, Main)
	}
	s := Spec{Path: filepath.Clean(path)}
	switch value {
	case "":
	case "ro":
		s.Use = Drain
	case "lost":
		s.Use = Lost
		if path == Main {
			return Spec{}, fault.New(fault.Invalid, "the main directory cannot be declared lost: it makes the node what it is. Start a new node, and remove the old one from the layout")
		}
	default:
		var err error
		if s.CapacityBytes, err = parseSize(value); err != nil {
			return Spec{}, fault.Wrap(fault.Invalid, err, "%s", path)
		}
	}
	return s, nil
}

// units are those of sizes; the first ones count for advice.
var units = []struct {
	name  string
	bytes float64
}{
	{"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15},
	{"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50},
	{"M", 1e6}, {"G", 1e9}, {"T", 1e12},
}

// parseSize reads "1.5TB", up to a few exabytes.
func parseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := text[len(number):]
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || n <= 0 {
		return 0, fault.New(fault.Invalid, "%q is no capacity: write 500GB, 2TB or 1.8TiB, ro to drain the directory, or lost when its disk is gone", text)
	}
	for _, u := range units {
		if u.name == unit {
			if n *= u.bytes; n < 1 || n > 1<<60 {
				return 0, fault.New(fault.Invalid, "%q is no capacity of a disk", text)
			}
			return int64(n), nil
		}
	}
	return 0, fault.New(fault.Invalid, "%q has an unknown unit: use MB, GB, TB or PB, or MiB, GiB, TiB or PiB", text)
}
