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
)

type hash = object.Hash

// The periods of background work.
const (
	compactEvery = time.Minute
	sweepCheck   = time.Minute
	clockEvery   = time.Minute
	maxCollect   = 30 * time.Second
)

// Run commits changes and does the background work until ctx ends. Requests
// must have ended before.
func (s *Store) Run(ctx context.Context) error {
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		g.Go("committer", s.committer.Run)
		g.Go("clock", s.every(clockEvery, "keep the clock", s.saveClock))
		g.Go("hints", s.gc.takeHints)
		g.Go("collect", s.every(min(s.opts.Grace/10, maxCollect), "collect", s.Collect))
		g.Go("sweep", s.every(sweepCheck, "sweep", s.sweepIfDue))
		g.Go("compact", s.every(compactEvery, "compact", s.Compact))
		return nil
	})
}

// every makes a part that runs work again and again. Errors are logged: the
// next round tries again.
func (s *Store) every(period time.Duration, name string, work func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		t := time.NewTicker(max(period, time.Millisecond))
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-t.C:
			}
			if err := work(ctx); err != nil && ctx.Err() == nil {
				s.opts.Log.LogAttrs(ctx, slog.LevelWarn, "background work failed",
					slog.String("work", name), slog.Any("error", err))
			}
		}
	}
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
