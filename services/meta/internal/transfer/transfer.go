// Package transfer copies rows to the new members of partitions that change
// hands: the third step of a change of the replica set. For the partitions of
// an order it lists the rows that a majority of the old members hold, and writes
// each again under the joint epoch, which puts it at a quorum of both sets.
//
// What was acknowledged before the joint epoch is held by some member of every
// majority that has left the epoch before, and each source has: it lists only in
// the epoch of the order. What is acknowledged later is at both quorums anyway.
// A row that a whole majority only knows as promised was never acknowledged:
// there is nothing to copy.
//
// Crash story: the position is recorded once all rows up to it are durable at
// the joint quorum, and a partition as done after the last. A crash repeats some
// rows, which changes nothing but their tags. Positions mean the same on all
// nodes, so sources may be replaced at any time.
package transfer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/work"
)

// Options are what a Worker stands on.
type Options struct {
	Self object.NodeID
	// Store and Writer keep the position.
	Store  kv.Store
	Writer *kv.Committer
	// Ring is the one in force; nil when there is none.
	Ring func() *layout.Ring
	// Caller reaches the sources.
	Caller rpc.Caller
	// Recommit writes a row again, under the ring in force or a newer one; see
	// metaapi.Client.Recommit.
	Recommit func(context.Context, metaapi.RowKey) error
	// Work rests after each page as operators say.
	Work *work.Worker
}

// Worker carries out the orders of one node. All methods are safe for
// concurrent use.
type Worker struct {
	o    Options
	wake chan struct{} // room for one: there may be work

	mu      sync.Mutex
	copy    record.Copy        // guarded by mu; on stable storage but for Expected
	waiting []layout.Partition // guarded by mu; ordered, not begun; ascending
	last    string             // guarded by mu; what went wrong last

	rows, bytes atomic.Int64 // since the start
}

// New returns the worker, which knows how far it was. It does nothing before
// Run. Errors: Corrupt, Internal.
func New(o Options) (*Worker, error) {
	w := &Worker{o: o, wake: make(chan struct{}, 1)}
	w.rouse()
	return w, o.Store.View(func(r kv.Reader) error {
		b, found, err := r.Get(record.CopyKey())
		if err == nil && found {
			w.copy, err = record.DecodeCopy(b)
		}
		return err
	})
}

// Copied is how many rows were copied, and their bytes, since the start.
func (w *Worker) Copied() (rows, bytes int64) { return w.rows.Load(), w.bytes.Load() }

// Left is how many partitions of the order under way are not done.
func (w *Worker) Left() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.copy.Running) + len(w.waiting)
}

func (w *Worker) rouse() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Transfer takes an order of the driver: see nodeapi. Errors: Unavailable, the node does
// not know the epoch yet; Conflict, it is over; Invalid.
func (w *Worker) Transfer(_ context.Context, t nodeapi.Transfer) (nodeapi.Progress, error) {
	ring := w.o.Ring()
	switch {
	case ring == nil || ring.Epoch < t.Epoch:
		return nodeapi.Progress{}, fault.New(fault.Unavailable, "the layout of epoch %d is not known yet", t.Epoch)
	case ring.Epoch > t.Epoch:
		return nodeapi.Progress{}, fault.New(fault.Conflict, "the change of epoch %d is over: the layout is at %d", t.Epoch, ring.Epoch)
	case !ring.Joint():
		return nodeapi.Progress{}, fault.New(fault.Invalid, "the layout of epoch %d is at rest", t.Epoch)
	case !slices.IsSorted(t.Partitions) || len(t.Partitions) > 0 && int(t.Partitions[len(t.Partitions)-1]) >= len(ring.Assign):
		return nodeapi.Progress{}, fault.New(fault.Invalid, "the partitions of the order do not ascend or are none of the layout")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.copy.Epoch > t.Epoch {
		return nodeapi.Progress{}, fault.New(fault.Conflict, "the change of epoch %d is over: there was an order of %d", t.Epoch, w.copy.Epoch)
	}
	if w.copy.Epoch < t.Epoch {
		// Not recorded before there is a position: the driver repeats the order.
		w.copy, w.waiting, w.last = record.Copy{Epoch: t.Epoch}, nil, ""
	}
	p := nodeapi.Progress{Epoch: t.Epoch, Done: []layout.Partition{}, Error: w.last}
	for _, part := range slices.Compact(slices.Clone(t.Partitions)) {
		if _, done := slices.BinarySearch(w.copy.Done, part); done {
			p.Done = append(p.Done, part)
			continue
		}
		if _, running := slices.BinarySearch(w.copy.Running, part); running {
			continue
		}
		if at, waits := slices.BinarySearch(w.waiting, part); !waits {
			w.waiting = slices.Insert(w.waiting, at, part)
		}
	}
	if len(w.waiting) > 0 {
		w.rouse()
	}
	w.fill(&p)
	return p, nil
}

// fill says how far the work is. The bytes in all are what the rows so far lead
// to expect. mu is held.
func (w *Worker) fill(p *nodeapi.Progress) {
	c := &w.copy
	p.Items, p.Bytes = c.Rows, c.Bytes
	p.ItemsTotal = max(c.Expected, c.Rows)
	p.BytesTotal = c.Bytes
	if c.Rows > 0 {
		p.BytesTotal = int64(float64(c.Bytes) * float64(p.ItemsTotal) / float64(c.Rows))
	}
}
