package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/kv"
)

const (
	// hintQueue is how many hints wait in memory; more are lost to the sweep.
	hintQueue = 1024
	// collectPage is how many owners are looked at in one go.
	collectPage = 256
	// verifying is how many questions to the metadata run at once.
	verifying = 4
	// verifyTimeout bounds one question.
	verifyTimeout = 30 * time.Second
	// maxBackoff bounds the wait after a question without an answer.
	maxBackoff = 24 * time.Hour
)

// The marks kept in the index.
const (
	markClaimed = "segments"     // the segments beside it belong to this index
	markClock   = "clock"        // the node's age
	markCursor  = "sweep.cursor" // last owner seen by the sweep under way, or zeros
	markBegun   = "sweep.begun"  // when the last sweep began
)

// collector finds dead owners and drops what they leave. Nothing is deleted on
// a hint: an owner goes when, at least a grace after it was last touched and
// another after it was first suspected, the verifier says that it is dead.
//
// An owner that is touched between the verdict and the drop survives: it can
// only be verified when its time is older than a grace, so a touch writes a new
// time, and the drop, on the same committer, demands the old one.
type collector struct {
	store  *Store
	hints  chan blockapi.Released
	queued atomic.Int64

	// checking serializes passes over the queue; it guards from, before which
	// the queue is known to be empty.
	checking sync.Mutex
	from     time.Duration
}

func newCollector(s *Store, r kv.Reader) (*collector, error) {
	c := &collector{store: s, hints: make(chan blockapi.Released, hintQueue)}
	n, err := index.QueueLen(r)
	c.queued.Store(n)
	return c, err
}

// hint takes a hint without waiting.
func (c *collector) hint(r blockapi.Released) {
	select {
	case c.hints <- r:
	default:
		c.store.counters.HintsLost.Add(1)
	}
}

// takeHints queues what hints mean until ctx ends.
func (c *collector) takeHints(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-c.hints:
			if err := c.suspectReleased(ctx, r); err != nil && ctx.Err() == nil {
				c.store.counters.HintsLost.Add(1)
				c.store.opts.Log.LogAttrs(ctx, slog.LevelWarn, "a hint was lost", slog.Any("error", err))
			}
		}
	}
}

func (c *collector) suspectReleased(ctx context.Context, r blockapi.Released) error {
	var after index.OwnerID
	for {
		var owners []index.OwnerID
		err := c.store.index.View(func(rd kv.Reader) (err error) {
			owners, err = index.OwnersReleased(rd, r, after, collectPage)
			return err
		})
		if err != nil || len(owners) == 0 {
			return err
		}
		if err := c.suspect(ctx, owners); err != nil {
			return err
		}
		after = owners[len(owners)-1]
	}
}

// suspect queues owners for verification after a grace.
func (c *collector) suspect(ctx context.Context, owners []index.OwnerID) error {
	s := c.store
	if c.queued.Load()+int64(len(owners)) > s.opts.QueueLimit {
		s.counters.HintsLost.Add(int64(len(owners)))
		return nil // the sweep finds them again
	}
	err := s.committer.Update(ctx, func(tx *kv.Tx) error {
		for _, o := range owners {
			index.Enqueue(tx, s.now()+s.opts.Grace, o, 0)
		}
		return nil
	})
	if err == nil {
		c.queued.Add(int64(len(owners)))
	}
	return err
}

// Collect verifies every owner whose time in the queue has come and drops the
// dead ones.
func (s *Store) Collect(ctx context.Context) error {
	c := s.gc
	c.checking.Lock()
	defer c.checking.Unlock()
	for ctx.Err() == nil {
		var queue []index.Queued
		err := s.index.View(func(r kv.Reader) (err error) {
			queue, err = index.Due(r, c.from, s.now(), collectPage)
			return err
		})
		if err != nil || len(queue) == 0 {
			return err
		}
		var g errgroup.Group
		g.SetLimit(verifying)
		for _, e := range queue {
			g.Go(func() error { return c.check(ctx, e) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		c.from = queue[len(queue)-1].Due
	}
	return ctx.Err()
}

// check settles one entry of the queue: the owner is dropped, cleared, or
// queued again.
func (c *collector) check(ctx context.Context, e index.Queued) error {
	s := c.store
	o, found, err := c.owner(e.Owner)
	if err != nil {
		return err
	}
	if !found {
		return c.dequeue(ctx, e)
	}
	if ripe := o.Touched + s.opts.Grace; s.now() < ripe {
		return c.requeue(ctx, e, ripe, e.Tries)
	}
	switch c.verify(ctx, o.Owner) {
	case blockapi.Alive:
		return c.dequeue(ctx, e)
	case blockapi.Dead:
		return c.drop(ctx, e, o)
	}
	wait := min(s.opts.Grace<<min(e.Tries, 16), maxBackoff)
	return c.requeue(ctx, e, s.now()+wait, e.Tries+1)
}

func (c *collector) owner(id index.OwnerID) (o index.Owner, found bool, err error) {
	err = c.store.index.View(func(r kv.Reader) error {
		o, found, err = index.FindOwner(r, id)
		return err
	})
	return o, found, err
}

// verify asks; no answer is Unknown.
func (c *collector) verify(ctx context.Context, o blockapi.Owner) blockapi.Verdict {
	s := c.store
	if s.opts.Verifier == nil {
		return blockapi.Unknown
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	s.counters.Verified.Add(1)
	v, err := s.opts.Verifier.Verify(ctx, o)
	if err != nil || (v != blockapi.Alive && v != blockapi.Dead) {
		s.counters.Unknown.Add(1)
		s.opts.Log.LogAttrs(ctx, slog.LevelDebug, "an owner could not be verified", slog.Any("error", err))
		return blockapi.Unknown
	}
	return v
}

// drop takes all references of a dead owner away, page by page.
func (c *collector) drop(ctx context.Context, e index.Queued, o index.Owner) error {
	s := c.store
	for {
		var kept, done bool
		hashes, err := c.blocks(e.Owner)
		if err != nil {
			return err
		}
		err = s.committer.Update(ctx, func(tx *kv.Tx) (err error) {
			kept, done = false, len(hashes) == 0
			if done {
				kept, err = index.ForgetOwner(tx, e.Owner, o.Touched)
				return err
			}
			kept, err = index.DropRefs(tx, e.Owner, o.Touched, hashes)
			return err
		})
		switch {
		case err != nil:
			return err
		case kept:
			return c.requeue(ctx, e, s.now()+s.opts.Grace, e.Tries)
		case done:
			s.counters.OwnersDropped.Add(1)
			return c.dequeue(ctx, e)
		}
	}
}

func (c *collector) blocks(o index.OwnerID) (hashes []hash, err error) {
	err = c.store.index.View(func(r kv.Reader) error {
		hashes, err = index.BlocksOf(r, o, index.MaxChange)
		return err
	})
	return hashes, err
}

func (c *collector) dequeue(ctx context.Context, e index.Queued) error {
	err := c.store.committer.Update(ctx, func(tx *kv.Tx) error {
		index.Dequeue(tx, e)
		return nil
	})
	if err == nil {
		c.queued.Add(-1)
	}
	return err
}

func (c *collector) requeue(ctx context.Context, e index.Queued, due time.Duration, tries uint32) error {
	return c.store.committer.Update(ctx, func(tx *kv.Tx) error {
		index.Dequeue(tx, e)
		index.Enqueue(tx, due, e.Owner, tries)
		return nil
	})
}

// Sweep verifies all owners that were not touched for a grace, and queues
// those that look dead, so that lost hints and crashed uploads leak nothing
// for ever. It goes on where an interrupted one stopped.
func (s *Store) Sweep(ctx context.Context) error {
	after, begun, err := s.gc.sweepState()
	if err != nil {
		return err
	}
	if after == (index.OwnerID{}) {
		begun = s.now()
	}
	for {
		began := time.Now()
		next, n, err := s.SweepAfter(ctx, after)
		if err != nil {
			return err
		}
		if err := s.gc.saveSweep(ctx, next, begun); err != nil {
			return err
		}
		if after = next; after == (index.OwnerID{}) {
			s.workers.sweep.Progress("100 %%")
			return nil
		}
		s.workers.sweep.Progress("%s", Share(after[:]))
		if n > 0 {
			if err := s.workers.sweep.Rest(ctx, time.Since(began)); err != nil {
				return err
			}
		}
	}
}

// SweepAfter is a piece of a sweep: it looks at the owners that follow after (the
// zero id: from the first), and returns the last it saw, zero when there are no
// more, and how many it asked the metadata about.
func (s *Store) SweepAfter(ctx context.Context, after index.OwnerID) (last index.OwnerID, asked int, err error) {
	owners, err := s.gc.ripe(after)
	if err != nil || len(owners.seen) == 0 {
		return index.OwnerID{}, 0, err
	}
	var dead []index.OwnerID
	for _, o := range owners.old {
		if s.gc.verify(ctx, o.Owner) == blockapi.Dead {
			dead = append(dead, index.IDOf(o.Owner))
		}
	}
	if ctx.Err() != nil {
		return after, 0, ctx.Err()
	}
	if len(dead) > 0 {
		if err := s.gc.suspect(ctx, dead); err != nil {
			return after, 0, err
		}
	}
	return owners.seen[len(owners.seen)-1], len(owners.old), nil
}

// Share says for people how far a walk in the order of evenly spread keys has
// come that stands at key.
func Share(key []byte) string {
	var at [2]byte
	copy(at[:], key)
	return fmt.Sprintf("%.1f %%", float64(binary.BigEndian.Uint16(at[:]))/(1<<16)*100)
}

// page is a stretch of owners, and those of them that are old enough.
type page struct {
	seen []index.OwnerID
	old  []index.Owner
}

func (c *collector) ripe(after index.OwnerID) (p page, err error) {
	s := c.store
	err = s.index.View(func(r kv.Reader) error {
		p.seen, err = index.Owners(r, after, collectPage)
		for _, id := range p.seen {
			o, found, err := index.FindOwner(r, id)
			if err != nil {
				return err
			}
			if found && s.now() >= o.Touched+s.opts.Grace {
				p.old = append(p.old, o)
			}
		}
		return err
	})
	return p, err
}

func (c *collector) sweepState() (after index.OwnerID, begun time.Duration, err error) {
	err = c.store.index.View(func(r kv.Reader) error {
		v, _, err := index.Mark(r, markCursor)
		copy(after[:], v)
		if err == nil {
			begun, err = timeMark(r, markBegun)
		}
		return err
	})
	return after, begun, err
}

func (c *collector) saveSweep(ctx context.Context, after index.OwnerID, begun time.Duration) error {
	return c.store.committer.Update(ctx, func(tx *kv.Tx) error {
		index.SetMark(tx, markCursor, after[:])
		index.SetMark(tx, markBegun, encodeTime(begun))
		return nil
	})
}

// sweepDue reports whether a sweep is under way or it is time for the next.
func (c *collector) sweepDue() (bool, error) {
	after, begun, err := c.sweepState()
	return after != (index.OwnerID{}) || c.store.now()-begun >= c.store.opts.SweepEvery, err
}
