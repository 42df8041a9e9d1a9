package store

import (
	"context"
	"encoding/binary"
	"log/slog"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/lifecycle"
	"hangar/shared/object"
	"hangar/shared/work"
)

type hash = object.Hash

// The periods of background work.
const (
	compactEvery = time.Minute
	sweepCheck   = time.Minute
	clockEvery   = time.Minute
	maxCollect   = 30 * time.Second
	// drainEvery is how often it is looked whether what could not be drained can
	// be now.
	drainEvery = time.Minute
)

// workers are the store's background work, as operators see it.
type workers struct{ collect, sweep, compact, drain *work.Worker }

// employ makes the workers part of a set.
func (s *Store) employ(set *work.Set) error {
	if set == nil {
		var err error
		if set, err = work.Open(work.Options{Log: s.opts.Log}); err != nil {
			return err
		}
	}
	var err error
	add := func(o work.WorkerOptions) (w *work.Worker) {
		if err == nil {
			w, err = set.Worker(o)
		}
		return w
	}
	s.workers = workers{
		collect: add(work.WorkerOptions{Name: "collect", Queue: s.gc.queued.Load}),
		sweep:   add(work.WorkerOptions{Name: "sweep", Tranquility: "1"}),
		compact: add(work.WorkerOptions{Name: "compact", Tranquility: "1"}),
		drain:   add(work.WorkerOptions{Name: "drain", Tranquility: "1", Queue: s.undrained}),
	}
	return err
}

// Run commits changes and does the background work until ctx ends. Requests
// must have ended before.
func (s *Store) Run(ctx context.Context) error {
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		g.Go("committer", s.committer.Run)
		g.Go("clock", s.keepClock)
		g.Go("hints", s.gc.takeHints)
		every := func(w *work.Worker, period time.Duration, do func(context.Context) error) {
			w.Go(g, func(ctx context.Context) error { return w.Every(ctx, period, do) })
		}
		every(s.workers.collect, min(s.opts.Grace/10, maxCollect), s.Collect)
		every(s.workers.sweep, sweepCheck, s.sweepIfDue)
		every(s.workers.compact, compactEvery, s.Compact)
		s.workers.drain.Go(g, s.keepDraining)
		g.Go("directories", s.log.Run)
		return nil
	})
}

// keepDraining drains at once, and looks again later.
func (s *Store) keepDraining(ctx context.Context) error {
	s.workers.drain.Busy()
	if err := s.Drain(ctx); ctx.Err() == nil {
		s.workers.drain.Result(err)
	}
	s.workers.drain.Idle()
	return s.workers.drain.Every(ctx, drainEvery, s.Drain)
}

// undrained is how many blocks live in directories that are drained.
func (s *Store) undrained() (n int64) {
	left, err := s.draining()
	if err != nil {
		return 0 // the drain itself reports it
	}
	for _, d := range left {
		n += d.LiveBlocks
	}
	return n
}

// keepClock saves the age of the node now and then. Errors are logged: the next
// time tries again.
func (s *Store) keepClock(ctx context.Context) error {
	for lifecycle.Sleep(ctx, clockEvery) == nil {
		if err := s.saveClock(ctx); err != nil && ctx.Err() == nil {
			s.opts.Log.LogAttrs(ctx, slog.LevelWarn, "the clock is not kept", slog.Any("error", err))
		}
	}
	return nil
}

func (s *Store) sweepIfDue(ctx context.Context) error {
	if due, err := s.gc.sweepDue(); err != nil || !due {
		return err
	}
	return s.Sweep(ctx)
}

// runningTime is how long the node has run since it was born. Unlike the time
// of day nobody can set it, and while the node is down it stands still: both
// only ever make owners seem younger than they are.
func runningTime(r kv.Reader) (func() time.Duration, error) {
	base, err := timeMark(r, markClock)
	start := time.Now()
	return func() time.Duration { return base + time.Since(start) }, err
}

func (s *Store) saveClock(ctx context.Context) error {
	return s.committer.Update(ctx, func(tx *kv.Tx) error {
		index.SetMark(tx, markClock, encodeTime(s.now()))
		return nil
	})
}

func encodeTime(t time.Duration) []byte { return binary.BigEndian.AppendUint64(nil, uint64(t)) }

func timeMark(r kv.Reader, name string) (time.Duration, error) {
	v, found, err := index.Mark(r, name)
	if err != nil || !found {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fault.New(fault.Corrupt, "index: mark %s of %d bytes", name, len(v))
	}
	return time.Duration(binary.BigEndian.Uint64(v)), nil
}
