// Package collector forgets old delete markers, and old promises on rows that
// were never written, so that a store does not grow for ever. The protocol asks
// that all replicas hold the same marker, in a ring at rest, before any of them
// may forget it: so the rows of a partition are collected by the first of its
// members, which asks the others, and only while all of them are there.
//
// Crash story: a Forget that reached some members and not others leaves low
// marks at those it reached, which keep everything older from coming back, and
// the marker at the others. Repair carries that to all again, as a marker with a
// new tag, and it is collected later. Nothing here is remembered.
package collector

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"hangar/services/meta/internal/table"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/work"
)

const (
	// step is how many rows are looked at together.
	step = metaapi.MaxPeerRows
	// maxRestart is how often at least the list of old rows is walked from its
	// beginning: rows are passed over while a member is away, and a writer whose
	// clock is late adds to the part already passed.
	maxRestart = time.Hour
	// askTimeout is how long a member may take for a step.
	askTimeout = 5 * time.Second
)

// Collector is the worker.
type Collector struct {
	Table *table.Table
	Self  object.NodeID
	// Peer returns a node, Self included.
	Peer func(object.NodeID) metaapi.Peer
	// Ring returns the ring in force, nil when there is none.
	Ring func() *layout.Ring
	// Grace is how old a marker must be.
	Grace time.Duration
	// Now is the wall clock.
	Now func() time.Time
	// Work shows operators what the worker does.
	Work *work.Worker

	forgotten atomic.Int64
}

// Forgotten is how many rows this node forgot on its own behest since the start.
func (c *Collector) Forgotten() int64 { return c.forgotten.Load() }

// interval is the time between two looks.
func (c *Collector) interval() time.Duration {
	return min(max(c.Grace/10, 100*time.Millisecond), time.Minute)
}

// Run works until ctx ends. What went wrong is noted and tried again.
func (c *Collector) Run(ctx context.Context) error {
	tick := time.NewTicker(c.interval())
	defer tick.Stop()
	restart := min(max(c.Grace, time.Second), maxRestart)
	var at table.Cursor
	began := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if time.Since(began) > restart {
			at, began = nil, time.Now()
		}
		c.Work.Busy()
		next, err := c.sweep(ctx, at)
		if at = next; ctx.Err() == nil {
			c.Work.Result(err)
		}
		c.Work.Idle()
	}
}

// sweep forgets what is old enough, from at on. Rows of partitions with a member that does not answer are passed over;
// the error is the last such member's.
func (c *Collector) sweep(ctx context.Context, at table.Cursor) (table.Cursor, error) {
	before := c.Now().Add(-c.Grace)
	away := map[object.NodeID]bool{}
	var last error
	for {
		ring := c.Ring()
		if ring == nil || ring.Joint() {
			return at, last
		}
		began := time.Now()
		keys, next, end, err := c.Table.Vacant(at, before, step)
		if err != nil {
			return at, err
		}
		for _, g := range group(ring, c.Self, keys) {
			if g.waitsFor(away) {
				continue
			}
			var gone *awayError
			switch err := c.collect(ctx, ring.Epoch, g, before); {
			case err == nil:
			case asAway(err, &gone):
				away[gone.node] = true
				last = err
			default:
				return at, err
			}
		}
		if at = next; end || ctx.Err() != nil {
			return at, last
		}
		if err := c.Work.Rest(ctx, time.Since(began)); err != nil {
			return at, last
		}
	}
}

// collect forgets, of the rows of a group, those on which its members agree.
func (c *Collector) collect(ctx context.Context, epoch uint64, g batch, before time.Time) error {
	own, err := c.Peer(c.Self).States(ctx, metaapi.StatesRequest{Epoch: epoch, Keys: g.keys})
	if err != nil || own.Old {
		return err // an epoch that has been left is as good as nothing to do
	}
	keys, states := candidates(g, c.Self, own.Rows, before)
	if len(keys) == 0 {
		return nil
	}
	held := [][]metaapi.RowState{states}
	for _, n := range g.set {
		if n == c.Self {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		reply, err := c.Peer(n).States(ctx, metaapi.StatesRequest{Epoch: epoch, Keys: keys})
		cancel()
		if err != nil || reply.Old {
			return away(n, err)
		}
		held = append(held, reply.Rows)
	}
	rows := agreed(keys, held, before)
	if len(rows) == 0 {
		return nil
	}
	return c.forget(ctx, g.set, metaapi.ForgetRequest{Epoch: epoch, Rows: rows})
}

// forget tells all members at once.
func (c *Collector) forget(ctx context.Context, set layout.ReplicaSet, q metaapi.ForgetRequest) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	errs := make([]error, len(set))
	var telling sync.WaitGroup
	for i, n := range set {
		telling.Go(func() {
			reply, err := c.Peer(n).Forget(ctx, q)
			if err != nil || reply.Old {
				errs[i] = away(n, err)
			}
			if n == c.Self {
				c.forgotten.Add(int64(count(reply.Done)))
			}
		})
	}
	telling.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func count(done []bool) (n int) {
	for _, d := range done {
		if d {
			n++
		}
	}
	return n
}

// away says that a member gave no answer, or is in another epoch already.
func away(n object.NodeID, err error) error {
	if err == nil {
		err = fault.New(fault.Unavailable, "it is in another epoch")
	}
	return &awayError{n, err}
}
