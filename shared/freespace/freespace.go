// Package freespace tells how much of a file system is free, without asking the
// operating system before each write.
package freespace

import (
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxAge is how long an answer is used.
	maxAge = 10 * time.Millisecond
	// margin is more than anyone writes in that time. Whoever comes closer to
	// what is needed gets a fresh answer.
	margin = 256 << 20
)

// Ask asks the operating system how much a user without privileges may still
// write to the file system of dir.
func Ask(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Bsize, nil //nolint:unconvert // differs by platform
}

// Gauge watches one file system. Safe for concurrent use.
type Gauge struct {
	dir  string
	ask  func(dir string) (int64, error)
	now  func() time.Time
	last atomic.Pointer[answer]
}

type answer struct {
	free int64
	at   time.Time
}

// New returns the gauge of the file system of dir. ask replaces the operating
// system; it is asked every time. Nil means Ask, and not every time.
func New(dir string, ask func(dir string) (int64, error)) *Gauge {
	if ask != nil {
		return &Gauge{dir: dir, ask: ask}
	}
	return &Gauge{dir: dir, ask: Ask, now: time.Now}
}

// Free returns how much is free. It may be a few milliseconds old if it is far
// more than want. The error is that of the operating system.
func (g *Gauge) Free(want int64) (int64, error) {
	if g.now == nil {
		return g.ask(g.dir)
	}
	now := g.now()
	if l := g.last.Load(); l != nil && l.free-margin >= want && now.Sub(l.at) < maxAge {
		return l.free, nil
	}
	free, err := g.ask(g.dir)
	if err == nil {
		g.last.Store(&answer{free, now})
	}
	return free, err
}

// Size asks the operating system how large the file system of dir is.
func Size(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Blocks) * st.Bsize, nil //nolint:unconvert // differs by platform
}
