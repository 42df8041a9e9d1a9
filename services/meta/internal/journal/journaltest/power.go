// Package journaltest takes the power away from a journal and the store under
// it. Nothing is really synced: a Disk remembers what was, and makes from that
// a directory as a power loss may leave it.
package journaltest

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"hangar/services/meta/internal/journal"
	"hangar/shared/kv"
	"hangar/shared/segment"
)

// Where, in the directory of a Disk, the store and the journal are.
const (
	RowsDir = "rows"
	LogDir  = "bodies"
)

// ErrPower is the error of all that happens after the power has failed.
var ErrPower = errors.New("the power has failed")

// errMoved says that a directory changed while it was read.
var errMoved = errors.New("the directory has changed")

// Disk is a directory under a journal. Safe for concurrent use.
type Disk struct {
	dir string

	mu     sync.Mutex // guards the rest
	left   int        // steps until the power fails; negative: it does not
	dead   bool
	synced map[string]int64  // segment file → how far it is durable
	cut    map[string][]byte // segment file → what it was before a cut that is not synced
	logs   map[string][]byte // Badger's write-ahead logs as they were last synced
}

// New returns the disk of dir.
func New(dir string) *Disk {
	return &Disk{dir: dir, left: -1, synced: make(map[string]int64), cut: make(map[string][]byte), logs: make(map[string][]byte)}
}

// FailAfter has the power fail after so many steps: each operation on a file or
// on the store is two, so that it may fail before and after it.
func (d *Disk) FailAfter(steps int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = steps
}

// Dead reports whether the power has failed.
func (d *Disk) Dead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

func (d *Disk) step() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left == 0 {
		d.dead = true
	}
	if d.left > 0 {
		d.left--
	}
	if d.dead {
		return ErrPower
	}
	return nil
}

// do runs op between two steps.
func (d *Disk) do(op func() error) error {
	if err := d.step(); err != nil {
		return err
	}
	if err := op(); err != nil {
		return err
	}
	return d.step()
}

// OpenFile is for segment.Options.
func (d *Disk) OpenFile(path string, create bool) (segment.File, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	if !create { // what was found after the last power loss is durable
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		d.synced[path] = info.Size()
		d.mu.Unlock()
	}
	return file{f, d}, nil
}

type file struct {
	*os.File
	disk *Disk
}

func (f file) WriteAt(p []byte, off int64) (n int, err error) {
	return n, f.disk.do(func() (err error) {
		n, err = f.File.WriteAt(p, off)
		return err
	})
}

// Truncate remembers what it cuts off, which may come back while that is not
// synced.
func (f file) Truncate(size int64) error {
	return f.disk.do(func() error {
		whole, err := os.ReadFile(f.Name())
		if err != nil {
			return err
		}
		f.disk.mu.Lock()
		defer f.disk.mu.Unlock()
		if f.disk.cut[f.Name()] == nil {
			f.disk.cut[f.Name()] = whole
		}
		f.disk.synced[f.Name()] = min(f.disk.synced[f.Name()], size)
		return f.File.Truncate(size)
	})
}

func (f file) Sync() error {
	return f.disk.do(func() error {
		info, err := f.Stat()
		if err == nil {
			f.disk.mu.Lock()
			f.disk.synced[f.Name()] = info.Size()
			delete(f.disk.cut, f.Name())
			f.disk.mu.Unlock()
		}
		return err
	})
}

// Base puts b, which does not sync, on the disk.
func (d *Disk) Base(b journal.Base) journal.Base { return base{b, d} }

type base struct {
	journal.Base
	disk *Disk
}

func (b base) Commit(batch *kv.Batch) error {
	return b.disk.do(func() error { return b.Base.Commit(batch) })
}

func (b base) CommitReserved(batch *kv.Batch) error {
	return b.disk.do(func() error { return b.Base.CommitReserved(batch) })
}

// Sync implements journal.Base.
func (b base) Sync() error { return b.disk.do(b.disk.syncRows) }

func (d *Disk) syncRows() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	paths, err := filepath.Glob(filepath.Join(d.dir, RowsDir, "*.mem"))
	if err != nil {
		return err
	}
	clear(d.logs)
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			d.logs[filepath.Base(path)] = content
		}
	}
	return nil
}

// Lose writes to a new directory what a power loss leaves: of what was not
// synced any part, as r says. The power has failed, or nobody writes.
func (d *Disk) Lose(to string, r *rand.Rand) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	keep := []float64{0, 0.5, 0.95, 1}[r.IntN(4)] // of what was not synced
	if err := d.loseLog(to, r); err != nil {
		return err
	}
	for {
		err := d.loseRows(to, r, keep)
		if !errors.Is(err, errMoved) {
			return err
		}
		if err := os.RemoveAll(filepath.Join(to, RowsDir)); err != nil {
			return err
		}
	}
}

func (d *Disk) loseLog(to string, r *rand.Rand) error {
	files, err := read(filepath.Join(d.dir, LogDir))
	if err != nil {
		return err
	}
	for name, b := range files {
		path := filepath.Join(d.dir, LogDir, name)
		if cut := d.cut[path]; len(cut) > len(b) && r.IntN(2) == 0 {
			b = append(b, cut[len(b):]...)
		}
		end := d.synced[path]
		tail := b[end:]
		switch r.IntN(4) {
		case 0: // it is whole
		case 1:
			tail = tail[:0]
		case 2:
			tail = tail[:r.IntN(len(tail)+1)]
		default:
			blank(tail, r)
		}
		files[name] = b[:int(end)+len(tail)]
	}
	return write(filepath.Join(to, LogDir), files)
}

// blank makes some pieces of b zero.
func blank(b []byte, r *rand.Rand) {
	for len(b) > 0 {
		piece := b[:min(len(b), 1+r.IntN(4096))]
		if r.IntN(2) == 0 {
			clear(piece)
		}
		b = b[len(piece):]
	}
}

// loseRows keeps a share of the pages of Badger's logs that were not synced. The
// rest of its directory Badger syncs itself. Badger may still work on it in the
// background: errMoved says that it did.
func (d *Disk) loseRows(to string, r *rand.Rand, keep float64) error {
	dir := filepath.Join(d.dir, RowsDir)
	files, err := read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved
	}
	if err != nil {
		return err
	}
	again, err := read(dir)
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(files)), slices.Sorted(maps.Keys(again))) ||
		!bytes.Equal(files["MANIFEST"], again["MANIFEST"]) {
		return errMoved
	}
	for name, b := range files {
		switch {
		case name == "LOCK" || strings.HasPrefix(name, "."):
			delete(files, name)
		case strings.HasSuffix(name, ".vlog") && r.IntN(4) == 0:
			files[name] = nil
		case strings.HasSuffix(name, ".mem"):
			was, known := d.logs[name]
			if !known && r.IntN(4) == 0 {
				files[name] = nil // its length has not reached the disk
				continue
			}
			mix(b, was, r, keep)
		}
	}
	return write(filepath.Join(to, RowsDir), files)
}

// mix takes pages of b back to what they were.
func mix(b, was []byte, r *rand.Rand, keep float64) {
	const page = 4096
	zero := make([]byte, page)
	for at := 0; at < len(b); at += page {
		now, old := b[at:min(at+page, len(b))], zero
		if at < len(was) {
			old = was[at:min(at+page, len(was))]
		}
		if !bytes.Equal(now, old[:min(len(old), len(now))]) && r.Float64() >= keep {
			clear(now)
			copy(now, old)
		}
	}
}

func read(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func write(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}
