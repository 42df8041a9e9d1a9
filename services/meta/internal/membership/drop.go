package membership

import (
	"context"
	"time"

	"hangar/services/meta/internal/table"
	"hangar/shared/layout"
	"hangar/shared/lifecycle"
	"hangar/shared/metaapi"
)

const (
	// dropRows is how many rows are dropped in one commit. Requests wait for it.
	dropRows = 64
	// dropRetry is how long to wait after a failure.
	dropRetry = time.Second
)

// Run drops what is stale until ctx ends. Errors are logged and tried again. It
// is called once.
func (m *Members) Run(ctx context.Context) error {
	for {
		m.mu.Lock()
		stale := m.holdings.Stale()
		settled := m.layout != nil // stale marks of a layout before this start count too
		m.mu.Unlock()
		var again <-chan time.Time
		if settled && len(stale) > 0 {
			err := m.drop(ctx, stale)
			if err == nil {
				continue
			}
			if ctx.Err() == nil {
				m.log.WarnContext(ctx, "rows of partitions that this node no longer holds are not dropped", "error", err)
			}
			again = time.After(dropRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		case <-again:
		}
	}
}

// drop goes through all rows once, at most half of the time, and drops those
// of some stale partitions, to which none are added any more. Then it takes
// their marks away, and what the layout now gives the node is served.
func (m *Members) drop(ctx context.Context, stale []layout.Partition) error {
	var slices metaapi.Slices
	for _, p := range stale {
		slices.AddPartition(p, m.bits)
	}
	var at table.Cursor
	for {
		began := time.Now()
		next, n, end, err := m.table.Drop(ctx, at, &slices, dropRows)
		m.dropped.Add(int64(n))
		if err != nil {
			return err
		}
		if end {
			break
		}
		at = next
		if err := lifecycle.Sleep(ctx, time.Since(began)); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.settle(ctx, m.layout, m.holdings.Dropped(stale))
}
