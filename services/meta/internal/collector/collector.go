// Package collector forgets old delete markers of partitions that this node
// holds alone, so that a store with one replica does not grow for ever. Where
// there are more replicas they have to agree first, and this package does
// nothing.
package collector

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"hangar/services/meta/internal/table"
	"hangar/shared/layout"
	"hangar/shared/object"
)

const (
	// step is how many rows are forgotten in one commit.
	step = 64
	// restart is how often the list of old rows is walked from its beginning:
	// a writer whose clock is late adds to the part already passed.
	restart = time.Hour
)

// Collector is the worker.
type Collector struct {
	Table *table.Table
	Self  object.NodeID
	// Ring returns the ring in force, nil when there is none.
	Ring func() *layout.Ring
	// Grace is how old a marker must be.
	Grace time.Duration
	// Now is the wall clock.
	Now func() time.Time
	Log *slog.Logger

	forgotten atomic.Int64
}

// Forgotten is how many rows were forgotten since the start.
func (c *Collector) Forgotten() int64 { return c.forgotten.Load() }

// sole implements table.Sole by the ring in force.
func (c *Collector) sole(p layout.Partition) (epoch uint64, sole bool) {
	ring := c.Ring()
	sets := ring.Sets(p)
	if len(sets) != 1 || len(sets[0]) != 1 || sets[0][0] != c.Self {
		return 0, false
	}
	return ring.Epoch, true
}

// interval is the time between two looks.
func (c *Collector) interval() time.Duration {
	return min(max(c.Grace/10, 100*time.Millisecond), time.Minute)
}

// Run works until ctx ends. Errors are logged and tried again.
func (c *Collector) Run(ctx context.Context) error {
	tick := time.NewTicker(c.interval())
	defer tick.Stop()
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
		next, err := c.sweep(ctx, at)
		if at = next; err != nil && ctx.Err() == nil {
			c.Log.WarnContext(ctx, "old delete markers stay", "error", err)
		}
	}
}

// sweep forgets what is old enough, from at on. It works at most half of the
// time.
func (c *Collector) sweep(ctx context.Context, at table.Cursor) (table.Cursor, error) {
	before := c.Now().Add(-c.Grace)
	for {
		began := time.Now()
		next, n, end, err := c.Table.Collect(ctx, at, before, step, c.sole)
		c.forgotten.Add(int64(n))
		if err != nil || end {
			return next, err
		}
		at = next
		select {
		case <-ctx.Done():
			return at, nil
		case <-time.After(time.Since(began)):
		}
	}
}
