package resync

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
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
}

// NewComparer returns a Comparer; Run makes it work.
func NewComparer(w *Worker) *Comparer { return &Comparer{Worker: w, wake: make(chan struct{}, 1)} }

// Now makes the next round begin at once.
func (c *Comparer) Now() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run compares everything at the start, after each change of the layout, and
// every Interval, until ctx ends.
func (c *Comparer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := c.Changed() // before the round looks
		wait := c.Interval
		if err := c.Round(ctx); err != nil && ctx.Err() == nil {
			c.Log.LogAttrs(ctx, slog.LevelInfo, "not all replicas could be compared", slog.Any("error", err))
			wait = min(wait, roundRetry)
		}
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
// beginning after the one that was compared last. It rests as long as it works.
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
		pause(ctx, time.Since(began))
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
		pause(ctx, time.Since(began))
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
