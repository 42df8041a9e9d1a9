// Package diskprobe finds out whether a disk still takes what is written to it,
// also while nobody writes: from time to time it writes a few bytes and syncs
// them, beside the requests. A disk that neither fails nor answers is found out
// too.
package diskprobe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Every is how often a disk is probed.
	Every = 10 * time.Second
	// Stall is how long a write or a sync may take before the disk counts as
	// stalled. Disks that are merely busy need a second or two.
	Stall = 10 * time.Second

	file  = ".probe"
	bytes = 4 << 10
)

// Probe watches the disk of one directory. Safe for concurrent use.
type Probe struct {
	path  string
	write func(path string) error
	log   *slog.Logger

	began    atomic.Pointer[time.Time] // of the write under way; nil when there is none
	last     atomic.Pointer[outcome]   // of the last write that ended
	failures atomic.Int64
}

type outcome struct {
	err  error
	took time.Duration
}

// New returns the probe of the file system of dir. write replaces the writing,
// for tests; nil writes to the file .probe in dir.
func New(dir string, write func(path string) error, log *slog.Logger) *Probe {
	if write == nil {
		write = writeAndSync
	}
	return &Probe{path: filepath.Join(dir, file), write: write, log: log}
}

// Run probes until ctx ends. While one write does not come back no other is
// begun, so a dead disk holds one goroutine, which no program can take back:
// Run then ends without it.
func (p *Probe) Run(ctx context.Context) error {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.once(ctx)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			return p.leave(done)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// leave gives the write under way the time that a sound disk needs.
func (p *Probe) leave(done <-chan struct{}) error {
	select {
	case <-done:
	case <-time.After(Stall):
		p.log.Warn("a probe of the disk is left behind: it does not answer", "path", p.path)
	}
	return nil
}

func (p *Probe) once(ctx context.Context) {
	began := time.Now()
	p.began.Store(&began)
	err := p.write(p.path)
	before := p.last.Swap(&outcome{err, time.Since(began)})
	p.began.Store(nil)
	if err != nil {
		p.failures.Add(1)
	}
	switch was := before != nil && before.err != nil; {
	case err != nil && !was:
		p.log.ErrorContext(ctx, "the disk takes no writes", "path", p.path, "error", err)
	case err == nil && was:
		p.log.InfoContext(ctx, "the disk takes writes again", "path", p.path)
	}
}

// Failing says why the disk is not to be relied on, nil when the last write
// went well and none is overdue. It never waits.
func (p *Probe) Failing() error {
	if began := p.began.Load(); began != nil {
		if late := time.Since(*began); late > Stall {
			return fmt.Errorf("the disk of %s is stalled: a small write has not ended for %s", p.path, late.Round(time.Second))
		}
	}
	if last := p.last.Load(); last != nil && last.err != nil {
		return fmt.Errorf("the disk of %s takes no writes: %w", p.path, last.err)
	}
	return nil
}

// Took is how long the last write took, or the one under way so far if that is
// longer.
func (p *Probe) Took() (d time.Duration) {
	if last := p.last.Load(); last != nil {
		d = last.took
	}
	if began := p.began.Load(); began != nil {
		d = max(d, time.Since(*began))
	}
	return d
}

// Failures counts the writes that failed.
func (p *Probe) Failures() int64 { return p.failures.Load() }

// writeAndSync writes something new over the probe's file: what is the same
// might not reach the disk. The file keeps its blocks, so a full disk does not
// fail it: free space is looked at elsewhere.
func writeAndSync(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint64(make([]byte, 0, bytes), uint64(time.Now().UnixNano()))
	_, err = f.WriteAt(b[:bytes], 0)
	if err == nil {
		err = unix.Fdatasync(int(f.Fd()))
	}
	return errors.Join(err, f.Close())
}
