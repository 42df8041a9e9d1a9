package resync

import (
	"context"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/lifecycle"
	"hangar/shared/object"
	"hangar/shared/work"
)

const (
	// markCursor is the partition that was compared last.
	markCursor = "repair.cursor"
	// leafBytes bounds a page of the listing of a leaf.
	leafBytes = 128 << 10
	// roundRetry is the wait after a round in which a member did not answer.
	roundRetry = time.Minute
	// crowded is how many wanted blocks keep the comparison from adding more.
	crowded = 100_000
)

// Comparer finds what other members of this node's partitions have and it has
// not. Safe for concurrent use.
type Comparer struct {
	*Worker
	// Rounds counts those that reached every member, Found blocks queued.
	Rounds, Found atomic.Int64
	wake          chan struct{}
	work          *work.Worker
}

// NewComparer returns a Comparer; Start makes it work. Errors: those of Work.
func NewComparer(w *Worker) (*Comparer, error) {
	c := &Comparer{Worker: w, wake: make(chan struct{}, 1)}
	var err error
	c.work, err = w.Work.Worker(work.WorkerOptions{Name: "compare", Tranquility: "1"})
	return c, err
}

// Start runs the comparer as a part of g once ready is closed.
func (c *Comparer) Start(g *lifecycle.Group, ready <-chan struct{}) {
	c.work.Go(g, after(ready, c.run))
}

// Now makes the next round begin at once.
func (c *Comparer) Now() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run compares everything at the start, after each change of the layout, and
// every Interval, until ctx ends.
func (c *Comparer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := c.Changed() // before the round looks
		wait := c.Interval
		c.work.Busy()
		err := c.Round(ctx)
		if ctx.Err() == nil {
			c.work.Result(fault.Wrap(fault.KindOf(err), err, "not all replicas could be compared"))
		}
		if err != nil {
			wait = min(wait, roundRetry)
		}
		c.work.Idle()
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-c.wake:
		case <-t.C:
		}
		t.Stop()
	}
	return nil
}

// Round compares each of the node's partitions once with each other member,
// beginning after the one that was compared last. It rests after each.
// An error says that a member could not be asked; the others were.
func (c *Comparer) Round(ctx context.Context) error {
	ring := c.Ring()
	if ring == nil || len(ring.Assign) == 0 {
		return nil
	}
	v, err := c.Store.Mark(markCursor)
	if err != nil {
		return err
	}
	start := 0
	if len(v) == 2 {
		start = int(binary.BigEndian.Uint16(v)) + 1
	}
	failed := make(map[object.NodeID]error) // not asked again in this round
	for i := range ring.Partitions() {
		p := layout.Partition((start + i) % ring.Partitions())
		peers, member := others(ring, p, c.Self)
		if !member {
			continue
		}
		began := time.Now()
		for _, n := range peers {
			if failed[n] != nil {
				continue
			}
			if err := c.compare(ctx, ring, p, n); err != nil {
				failed[n] = err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := c.Store.SetMark(ctx, markCursor, binary.BigEndian.AppendUint16(nil, uint16(p))); err != nil {
			return err
		}
		c.work.Progress("%d of %d partitions", i+1, ring.Partitions())
		if err := c.work.Rest(ctx, time.Since(began)); err != nil {
			return err
		}
	}
	var errs []error
	for _, err := range failed {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		c.Rounds.Add(1)
	}
	return errors.Join(errs...)
}

// compare queues what node n has of a partition and this one not.
func (c *Comparer) compare(ctx context.Context, ring *layout.Ring, p layout.Partition, n object.NodeID) error {
	span := blockapi.PartitionSpan(p, ring.Bits)
	mine, err := c.Store.Digests(ctx, p, span, blockapi.Digest{})
	if err != nil {
		return err
	}
	theirs, err := c.Network.At(n).Digests(ctx, p, span, mine.All)
	if err != nil {
		return err
	}
	if ring.Joint() && !theirs.Complete {
		return nil // it is being filled itself
	}
	for _, leaf := range differing(mine.Leaves, theirs.Leaves) {
		began := time.Now()
		if err := c.walk(ctx, leaf, n); err != nil {
			return err
		}
		if err := c.work.Rest(ctx, time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// walk lists a leaf at node n and queues what is lacking here, except what is
// known to be dead: its holder gets another hint, for the first may be lost or
// have come before a write that was late.
func (c *Comparer) walk(ctx context.Context, leaf blockapi.Leaf, n object.NodeID) error {
	l := blockapi.Listing{Span: leaf.Span(), Bytes: leafBytes}
	for {
		if c.Store.Wanted() > crowded {
			return fault.New(fault.Overloaded, "%d blocks wait to be resynchronised", c.Store.Wanted())
		}
		page, err := c.Network.At(n).List(ctx, l)
		if err != nil {
			return err
		}
		var want []index.Wanted
		dead := make(map[blockapi.Owner]bool)
		for _, e := range page.Entries {
			lacking, _, err := c.Store.Lacking(e.Hash, e.Owners)
			if err != nil {
				return err
			}
			live := false
			for _, o := range lacking {
				is := c.owners.known(o) == blockapi.Dead
				dead[o], live = is, live || !is
			}
			if live {
				want = append(want, index.Wanted{Hash: e.Hash, From: n})
			}
		}
		for o, is := range dead {
			if is {
				c.Network.Release(ctx, released(o))
			}
		}
		if err := c.Store.Want(ctx, want); err != nil {
			return err
		}
		c.Found.Add(int64(len(want)))
		if l.After = page.Next; l.After == nil {
			return nil
		}
	}
}
