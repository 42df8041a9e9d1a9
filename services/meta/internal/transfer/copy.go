package transfer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

const (
	// pageRows is how many rows a source lists at once.
	pageRows = 1024
	// atOnce is how many rows are copied at the same time. Each may have a body
	// in memory, from several members.
	atOnce = 32
	// askTimeout bounds one listing of a source, rowTimeout one attempt at a row.
	askTimeout = 10 * time.Second
	rowTimeout = 10 * time.Second
	// rowAttempts is how often a row is tried before its page is.
	rowAttempts = 3
	// backOff is the first pause after a page failed; it doubles up to
	// maxBackOff.
	backOff    = 100 * time.Millisecond
	maxBackOff = 5 * time.Second
)

// errOver ends a pass whose epoch is over.
var errOver = errors.New("the layout has moved on")

// Run carries out orders until ctx ends. Errors are logged, reported with the
// progress and tried again. It is called once.
func (w *Worker) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		}
		for w.begin() && ctx.Err() == nil {
			w.o.Work.Busy()
			w.pass(ctx)
		}
		w.o.Work.Idle()
	}
}

// begin reports whether there is a pass to run: one that goes on or, when that
// is over, a new one over what waits.
func (w *Worker) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ring := w.o.Ring(); ring == nil || ring.Epoch < w.copy.Epoch {
		return false // after a restart: the driver's next order comes later
	}
	if len(w.copy.Running) == 0 {
		w.copy.Running, w.copy.After, w.waiting = w.waiting, nil, nil
	}
	return len(w.copy.Running) > 0
}

// pass goes through the rows of the running partitions, until they are done or
// their epoch is over.
func (w *Worker) pass(ctx context.Context) {
	pause := backOff
	lost := map[object.NodeID]bool{}
	for {
		began := time.Now()
		end, err := w.page(ctx, lost)
		switch {
		case errors.Is(err, errOver):
			return
		case ctx.Err() != nil:
			return
		case err == nil && end:
			return
		case err == nil:
			pause = backOff
			w.o.Work.Progress("%d partitions left", w.Left())
			w.o.Work.Result(nil)
			if w.o.Work.Rest(ctx, time.Since(began)) != nil {
				return
			}
			continue
		}
		w.failed(err)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, maxBackOff)
	}
}

func (w *Worker) failed(err error) {
	w.o.Work.Result(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = err.Error()
}

// page copies the rows up to the position that all sources have told about,
// and reports whether that was the end. lost are nodes that failed of late.
func (w *Worker) page(ctx context.Context, lost map[object.NodeID]bool) (end bool, err error) {
	w.mu.Lock()
	c := w.copy
	w.mu.Unlock()
	ring := w.o.Ring()
	if !current(ring, c.Epoch) {
		w.drop(c.Epoch)
		return false, errOver
	}
	nodes, err := metaapi.CoverAssigned(ring, c.Running, w.o.Self, lost)
	if err != nil {
		clear(lost) // perhaps they are back
		return false, err
	}
	lists, err := w.list(ctx, ring, &c, nodes, lost)
	if err != nil {
		return false, err
	}
	rows, upTo, end := merge(lists)
	if err := w.recommit(ctx, rows); err != nil {
		return false, err
	}
	if len(c.After) == 0 {
		c.Expected += expected(ring, c.Running, nodes, lists)
	}
	c.After = upTo
	c.Rows += int64(len(rows))
	for _, size := range rows {
		c.Bytes += size
		w.bytes.Add(size)
	}
	w.rows.Add(int64(len(rows)))
	if end {
		c.Done = slices.Sorted(slices.Values(append(slices.Clone(c.Done), c.Running...)))
		c.Running, c.After = nil, nil
	}
	return end, w.record(ctx, &c)
}

// current reports whether a change of an epoch is still under way.
func current(ring *layout.Ring, epoch uint64) bool {
	return ring != nil && ring.Epoch == epoch && ring.Joint()
}

// drop forgets the work of an epoch that is over.
func (w *Worker) drop(epoch uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.copy.Epoch == epoch {
		w.copy.Running, w.copy.After, w.waiting = nil, nil, nil
	}
}

// record makes a position durable, unless the work has been replaced by that of
// a newer epoch or the ring has moved on, under which rows may have been copied
// to others.
func (w *Worker) record(ctx context.Context, c *record.Copy) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.copy.Epoch != c.Epoch || !current(w.o.Ring(), c.Epoch) {
		return errOver
	}
	err := w.o.Writer.Update(ctx, func(tx *kv.Tx) error {
		tx.Set(record.CopyKey(), record.EncodeCopy(c))
		return nil
	})
	if err == nil {
		w.copy, w.last = *c, ""
	}
	return err
}

// list asks each of nodes for the next rows of the running partitions that it
// is an old member of. Nodes that fail become lost.
func (w *Worker) list(ctx context.Context, ring *layout.Ring, c *record.Copy, nodes []object.NodeID, lost map[object.NodeID]bool) ([]metaapi.InventoryReply, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	lists := make([]metaapi.InventoryReply, len(nodes))
	errs := make([]error, len(nodes))
	var asking sync.WaitGroup
	for i, n := range nodes {
		q := metaapi.InventoryRequest{Epoch: c.Epoch, After: c.After, Limit: pageRows, MaxBytes: metaapi.MaxInventoryBytes}
		for _, p := range held(ring, c.Running, n) {
			q.Slices.AddPartition(p, ring.Bits)
		}
		asking.Go(func() {
			lists[i], errs[i] = metaapi.AskInventory(ctx, w.o.Caller, n, &q)
			if errs[i] == nil && lists[i].Old {
				errs[i] = fault.New(fault.Unavailable, "node %s is at epoch %d", n, lists[i].Epoch)
			}
		})
	}
	asking.Wait()
	for i, err := range errs {
		if err != nil {
			lost[nodes[i]] = true
		}
	}
	return lists, errors.Join(errs...)
}

// held are those of parts that n is an old member of.
func held(ring *layout.Ring, parts []layout.Partition, n object.NodeID) (of []layout.Partition) {
	for _, p := range parts {
		if ring.Sets(p)[0].Has(n) {
			of = append(of, p)
		}
	}
	return of
}

// merge returns the rows that were ever written, with their sizes, up to the
// first position at which a list stops, and whether none does.
func merge(lists []metaapi.InventoryReply) (rows map[metaapi.RowKey]int64, upTo []byte, end bool) {
	end = true
	for i := range lists {
		l := &lists[i]
		if !l.Done && (end || string(l.Next) < string(upTo)) {
			upTo, end = l.Next, false
		}
	}
	rows = map[metaapi.RowKey]int64{}
	for i := range lists {
		for _, row := range lists[i].Rows {
			if !end && string(record.RowKey(row.Key)) > string(upTo) {
				break
			}
			if !row.Tag.IsZero() {
				rows[row.Key] = max(rows[row.Key], row.Size)
			}
		}
	}
	return rows, upTo, end
}

// expected is about how many rows there are in all: each source counts those of
// its partitions, and most partitions have several sources.
func expected(ring *layout.Ring, parts []layout.Partition, nodes []object.NodeID, lists []metaapi.InventoryReply) int64 {
	var rows, counted float64
	for i, n := range nodes {
		rows += float64(lists[i].Total)
		counted += float64(len(held(ring, parts, n)))
	}
	if counted == 0 {
		return 0
	}
	return int64(rows * float64(len(parts)) / counted)
}

// recommit copies rows, some at a time.
func (w *Worker) recommit(ctx context.Context, rows map[metaapi.RowKey]int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	keys := slices.Collect(maps.Keys(rows))
	next := make(chan metaapi.RowKey)
	var copying sync.WaitGroup
	for range min(atOnce, len(keys)) {
		copying.Go(func() {
			for key := range next {
				if err := w.row(ctx, key); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, key := range keys {
		select {
		case next <- key:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	copying.Wait()
	return context.Cause(ctx)
}

// row copies one row.
func (w *Worker) row(ctx context.Context, key metaapi.RowKey) (err error) {
	for range rowAttempts {
		attempt, cancel := context.WithTimeout(ctx, rowTimeout)
		err = w.o.Recommit(attempt, key)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}
