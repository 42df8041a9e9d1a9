// Package snapshot keeps copies of a metadata node's data directory, and makes a
// data directory of one again.
//
// A snapshot is a directory with what a data directory has (rows, bodies), made
// beside the node's work: one picture of the store, copied into a store of its
// own, and the log of bodies as far as it went just after. Files of the log to
// which nothing is written any more are hard links, where the file system is the
// same. It has no node-id, so no node starts on it by mistake; about.json says
// whose it is. docs/format/meta.md describes it.
//
// Consistency: compaction is held off while the picture is taken and the log is
// exported, so every body that a row of the picture points to is there, and the
// log goes at least as far as the journal does that the picture holds. Records of
// the journal behind that are applied when the copy is opened.
//
// Crash story: everything is written into a directory with another name and
// synced, then that is renamed. What a crash left is removed by the next one.
package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"hangar/services/meta/internal/bodies"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/object"
)

// Where a snapshot has what.
const (
	RowsDir   = "rows"
	BodiesDir = "bodies"
	aboutFile = "about.json"
)

const (
	// kept is how many snapshots there are, the newest.
	kept = 2
	// partial begins the name of one that is not finished.
	partial = ".partial-"
	// nameForm makes names that ascend with time.
	nameForm = "20060102T150405.000Z"
)

// formatVersion is that of about.json and of what a snapshot consists of.
const formatVersion = 1

// About says what a snapshot is of.
type About struct {
	Format int `json:"format"`
	// DataFormat is that of the data directory.
	DataFormat int           `json:"dataFormat"`
	Cluster    string        `json:"cluster"`
	Node       object.NodeID `json:"node"`
	// ReplicationFactor is how many copies of each row the cluster keeps.
	ReplicationFactor int       `json:"replicationFactor"`
	Made              time.Time `json:"made"`
}

// Maker makes the snapshots of a node. Safe for concurrent use.
type Maker struct {
	// Dir is where they are kept; it need not exist.
	Dir    string
	Store  kv.Store
	Bodies *bodies.Log
	// ReserveBytes of free disk space are left.
	ReserveBytes int64
	// About describes the node; Format and Made are filled in.
	About func() About
	Now   func() time.Time

	making sync.Mutex
}

// Make keeps one more snapshot, durable when it returns, and removes all but the
// newest two. Errors: Conflict (one is being made), StorageFull, Corrupt (the
// store lacks rows that it should have: nothing is kept).
func (m *Maker) Make(ctx context.Context) error {
	if !m.making.TryLock() {
		return fault.New(fault.Conflict, "a snapshot is being made")
	}
	defer m.making.Unlock()
	if err := m.clear(); err != nil {
		return fault.Wrap(fault.StorageFull, err, "left-overs of a snapshot")
	}
	about := m.About()
	about.Format, about.Made = formatVersion, m.Now().UTC()
	name := about.Made.Format(nameForm)
	at := filepath.Join(m.Dir, partial+name)
	for _, sub := range []string{RowsDir, BodiesDir} {
		if err := os.MkdirAll(filepath.Join(at, sub), 0o700); err != nil {
			return fault.Wrap(fault.StorageFull, err, "make a snapshot")
		}
	}
	err := m.fill(ctx, at)
	if err == nil {
		err = fault.Wrap(fault.StorageFull, finish(at, about), "make a snapshot")
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(at))
	}
	err = os.Rename(at, filepath.Join(m.Dir, name))
	if err == nil {
		err = syncPath(m.Dir)
	}
	if err == nil {
		err = m.prune()
	}
	return fault.Wrap(fault.StorageFull, err, "keep a snapshot")
}

// fill copies bodies and rows.
func (m *Maker) fill(ctx context.Context, at string) error {
	release := sync.OnceFunc(m.Bodies.Hold())
	defer release()
	return m.Store.View(func(r kv.Reader) error {
		if err := m.Bodies.Export(filepath.Join(at, BodiesDir)); err != nil {
			return err
		}
		release()
		to, err := badgerkv.Open(filepath.Join(at, RowsDir), badgerkv.Options{
			MemTableBytes: copyTable, CacheBytes: copyTable, ReserveBytes: m.ReserveBytes, NoSync: true,
		})
		if err != nil {
			return err
		}
		err = copyRows(ctx, r, to)
		if err == nil {
			err = to.Sync()
		}
		return errors.Join(err, to.Close())
	})
}

// finish says what is in a snapshot and makes all of it durable.
func finish(at string, about About) error {
	b, err := json.MarshalIndent(about, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(at, aboutFile), append(b, '\n'), 0o600); err != nil {
		return err
	}
	return syncTree(at)
}

// list returns the finished snapshots, oldest first.
func (m *Maker) list() ([]string, error) {
	entries, err := os.ReadDir(m.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if _, wrong := time.Parse(nameForm, e.Name()); wrong == nil && e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// Newest is when the newest snapshot was made, zero when there is none. Errors:
// Denied.
func (m *Maker) Newest() (when time.Time, err error) {
	names, err := m.list()
	if err != nil || len(names) == 0 {
		return when, fault.Wrap(fault.Denied, err, "list snapshots")
	}
	return time.Parse(nameForm, names[len(names)-1])
}

// prune removes all but the newest.
func (m *Maker) prune() error {
	names, err := m.list()
	for ; err == nil && len(names) > kept; names = names[1:] {
		err = os.RemoveAll(filepath.Join(m.Dir, names[0]))
	}
	return err
}

// clear removes what a crash left.
func (m *Maker) clear() error {
	left, err := filepath.Glob(filepath.Join(m.Dir, partial+"*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// Read returns what a snapshot is of. Errors: NotFound, Corrupt, Invalid.
func Read(from string) (a About, err error) {
	b, err := os.ReadFile(filepath.Join(from, aboutFile))
	if err != nil {
		return a, fault.Wrap(fault.NotFound, err, "%s is no snapshot", from)
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fault.Wrap(fault.Corrupt, err, "%s", filepath.Join(from, aboutFile))
	}
	if a.Format != formatVersion {
		return a, fault.New(fault.Invalid, "a snapshot of format %d; this program knows %d", a.Format, formatVersion)
	}
	return a, nil
}

// syncTree makes a directory durable with all in it.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncPath(path)
	})
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
