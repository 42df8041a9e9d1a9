// Package antientropy brings the replicas of a partition together again after
// one of them was away, or lost requests: each node compares digests with every
// other member of its partitions, lists the rows where they differ, and repairs
// those through the row protocol (metaapi.Client.Repair). So nothing can come
// back that was deleted, and a node that was away for long catches up.
//
// Whatever differs between any two members differs between the first of them
// and another. So the first in a partition's replica set that is there repairs.
// Others do too where they find a slice different in two rounds in a row, and
// in their first round after a start: they may be the one that was away. A node
// that was away for a moment without being missed is found at the next interval.
//
// Rows have no order by slice, so a listing passes all rows of both nodes. It is
// bounded: see Round. Slices that are being written to differ at every look; a
// listing of nothing else is cut into pieces, one a round.
//
// Crash story: repairs are complete by themselves. How far a long listing came
// is kept with the rows, after the rows before it were repaired; losing that
// costs only time. A row counts as repaired when both nodes were heard of it.
package antientropy

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/lifecycle"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/work"
)

const (
	// lookPause lets writes under way end between two looks.
	lookPause = 200 * time.Millisecond
	// busyPause is how long to wait while the node has enough to do.
	busyPause = 200 * time.Millisecond
	// awayRetry is the longest time after which a node that did not answer is
	// asked again, so that its return is noticed.
	awayRetry = 15 * time.Second
	// askTimeout bounds one question to a node.
	askTimeout = 10 * time.Second
	// atOnce is how many rows are repaired at the same time: they share commits.
	// Each may have a body in memory.
	atOnce = 64
	// mendGroup is how many rows are repaired before it is looked whether that
	// works, and whether the node is needed otherwise.
	mendGroup = 8 * atOnce
	// mendTimeout bounds the repair of a row.
	mendTimeout = 5 * time.Second
	// keepEvery is how often it is noted how far a listing has come.
	keepEvery = 10 * time.Second
)

// Local is the node's own table.
type Local interface {
	metaapi.Peer
	Inventory(ctx context.Context, q metaapi.InventoryRequest) (metaapi.InventoryReply, error)
	// RepairMark returns what SaveRepairMark last kept, the zero mark at first.
	RepairMark() (record.RepairMark, error)
	SaveRepairMark(ctx context.Context, m record.RepairMark) error
}

// Remote is another node.
type Remote interface {
	metaapi.Peer
	Inventory(ctx context.Context, q metaapi.InventoryRequest) (metaapi.InventoryReply, error)
}

// Worker is the worker of one node.
type Worker struct {
	Self  object.NodeID
	Local Local
	// Remote returns another node.
	Remote func(object.NodeID) Remote
	// Repair repairs one row that the node from has and the node with lacks.
	Repair func(ctx context.Context, key metaapi.RowKey, from, with object.NodeID) (metaapi.Repaired, error)
	// Ring returns the ring in force, nil when there is none; Changed a channel
	// that is closed when it next changes.
	Ring    func() *layout.Ring
	Changed func() <-chan struct{}
	// Busy reports whether the node has enough to do without repairs.
	Busy func() bool
	// Interval is the time between two rounds with a node.
	Interval time.Duration
	// Work shows operators what the worker does.
	Work *work.Worker
	Log  *slog.Logger

	stats Stats
	// anew asks for a round with every node, of all slices.
	anew   atomic.Bool
	waking sync.Once
	woken  chan struct{} // room for one
	// Owned by Run.
	epoch  uint64
	marked bool // a mark is kept
	peers  map[object.NodeID]*peer
}

// Stats counts what a Worker did; read with atomic loads.
type Stats struct {
	// Rounds that were completed, each with one node, and rounds that failed.
	Rounds, Failures atomic.Int64
	// Compared rows, rows Repaired by being written somewhere, and rows that
	// could not be repaired.
	Compared, Repaired, Unrepaired atomic.Int64
	// Differing is how many partitions differed in the last round with each
	// node, summed up.
	Differing atomic.Int64
	// LastSuccess is when, in Unix seconds, the node last had completed a round
	// with every other since the layout changed or one failed.
	LastSuccess atomic.Int64
}

// Stats returns the live counters.
func (w *Worker) Stats() *Stats { return &w.stats }

// peer is what is remembered of another node.
type peer struct {
	due       time.Time
	met       bool           // a round was completed since the start
	well      bool           // the last round was complete
	away      bool           // it did not answer in the last round
	before    metaapi.Slices // differed in the last round
	differing int            // partitions that differed in it
	rest      Rest           // what it did not get to
}

// CompareAnew has the worker compare all that this node holds with every other
// node, as soon as it can, whoever else does.
func (w *Worker) CompareAnew() {
	w.anew.Store(true)
	select {
	case w.wake() <- struct{}{}:
	default: // it is awake
	}
}

// wake is where the worker waits for CompareAnew.
func (w *Worker) wake() chan struct{} {
	w.waking.Do(func() { w.woken = make(chan struct{}, 1) })
	return w.woken
}

// Run works until ctx ends. What went wrong is noted and tried again.
func (w *Worker) Run(ctx context.Context) error {
	w.peers = map[object.NodeID]*peer{}
	w.resume(ctx)
	for ctx.Err() == nil {
		changed := w.Changed() // before the look at the ring, so that no change is missed
		next := time.Now().Add(w.Interval)
		if ring := w.Ring(); ring != nil && !ring.Joint() { // while it is joint everything is copied anyway
			next = w.pass(ctx, ring)
		}
		w.Work.Idle()
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		case <-w.wake():
		}
		timer.Stop()
	}
	return nil
}

// pass has a round with every node that is due, and returns when the next is.
func (w *Worker) pass(ctx context.Context, ring *layout.Ring) (next time.Time) {
	shared := sharedWith(ring, w.Self)
	w.follow(ring.Epoch, shared)
	if w.anew.Swap(false) {
		for _, p := range w.peers {
			p.due, p.met = time.Time{}, false
		}
	}
	w.Work.Busy()
	next = time.Now().Add(w.Interval)
	well, differing := true, 0
	for _, n := range inOrder(shared) {
		p := w.peers[n]
		if !time.Now().Before(p.due) && ctx.Err() == nil {
			w.meet(ctx, ring, n, shared[n])
		}
		well = well && p.well
		differing += p.differing
		if p.due.Before(next) {
			next = p.due
		}
	}
	w.stats.Differing.Store(int64(differing))
	if well && ctx.Err() == nil {
		w.stats.LastSuccess.Store(time.Now().Unix())
	}
	return next
}

// follow makes every node due when the ring has changed.
func (w *Worker) follow(epoch uint64, shared map[object.NodeID][]layout.Partition) {
	if epoch != w.epoch {
		for _, p := range w.peers {
			p.due, p.well = time.Time{}, false
		}
		w.epoch = epoch
	}
	for n := range w.peers {
		if shared[n] == nil {
			delete(w.peers, n)
		}
	}
	for n := range shared {
		if w.peers[n] == nil {
			w.peers[n] = &peer{}
		}
	}
}

// meet has one round with node n.
func (w *Worker) meet(ctx context.Context, ring *layout.Ring, n object.NodeID, parts []layout.Partition) {
	p := w.peers[n]
	var all, take metaapi.Slices
	for _, part := range parts {
		all.AddPartition(part, ring.Bits)
		if !p.met || w.leads(ring.Sets(part)[0]) {
			take.AddPartition(part, ring.Bits)
		}
	}
	for i := range take {
		take[i] |= p.before[i] & all[i]
	}
	r := NewRound(ring.Bits, parts, take, p.rest)
	err := w.play(ctx, ring.Epoch, n, r)
	p.well, p.away = err == nil, err != nil
	if err != nil {
		if rest := r.Rest(); !rest.Empty() {
			p.rest = rest
		}
		p.due = time.Now().Add(min(w.Interval, awayRetry))
		if ctx.Err() == nil {
			w.stats.Failures.Add(1)
			w.Work.Result(fault.Wrap(fault.KindOf(err), err, "rows were not compared with node %v", n))
		}
		return
	}
	w.Work.Result(nil)
	w.stats.Rounds.Add(1)
	p.met, p.due, p.rest = true, time.Now().Add(w.Interval), r.Rest()
	p.before, p.differing = r.Differing()
}

// resume goes on with the listing that the last run was at.
func (w *Worker) resume(ctx context.Context) {
	mark, err := w.Local.RepairMark()
	w.marked = err != nil || !mark.Peer.IsZero()
	ring := w.Ring()
	if err == nil && (mark.Peer.IsZero() || ring == nil || ring.Joint()) {
		return
	}
	if err == nil {
		var shared metaapi.Slices
		for _, p := range sharedWith(ring, w.Self)[mark.Peer] {
			shared.AddPartition(p, ring.Bits)
		}
		for i := range shared {
			shared[i] &= mark.Slices[i]
		}
		err = w.play(ctx, ring.Epoch, mark.Peer, ResumeRound(Rest{shared, mark.After}))
	}
	if err != nil && ctx.Err() == nil {
		w.Log.InfoContext(ctx, "a repair begins again from its start", "error", err)
	}
}

// play carries a round to its end. It rests as long as it looks and lists; rows
// are mended while the node is not busy otherwise.
func (w *Worker) play(ctx context.Context, epoch uint64, n object.NodeID, r *Round) error {
	defer func() { w.stats.Compared.Add(r.Compared()) }()
	failed := int64(0)
	kept := time.Now()
	for e := r.Start(); e.Do != End; {
		if err := w.idle(ctx); err != nil {
			return err
		}
		began, did := time.Now(), e.Do
		var err error
		switch e.Do {
		case Look:
			e, err = w.look(ctx, epoch, n, r, e.Digests)
		case Wait:
			if err = lifecycle.Sleep(ctx, lookPause/2+rand.N(lookPause)); err == nil {
				e = r.Waited()
			}
		case List:
			e, err = w.list(ctx, epoch, n, r, e.Inventory)
		case Mend:
			var left int64
			if left, err = w.mend(ctx, n, e.Rows); err == nil {
				failed += left
				e = r.Mended()
			}
		}
		if err == nil && time.Since(kept) > keepEvery {
			kept = time.Now()
			err = w.keep(ctx, n, r)
		}
		if err == nil && (did == Look || did == List) {
			err = w.Work.Rest(ctx, time.Since(began))
		}
		if err != nil {
			return err
		}
	}
	if err := w.keep(ctx, n, r); err != nil {
		return err
	}
	if failed > 0 {
		return fault.New(fault.Unavailable, "%d rows could not be repaired", failed)
	}
	return nil
}

// idle returns once the node has nothing better to do.
func (w *Worker) idle(ctx context.Context) error {
	for w.Busy() {
		if err := lifecycle.Sleep(ctx, busyPause); err != nil {
			return err
		}
	}
	return nil
}

func (w *Worker) look(ctx context.Context, epoch uint64, n object.NodeID, r *Round, q metaapi.DigestsRequest) (Effect, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	q.Epoch = epoch
	mine, err := w.Local.Digests(ctx, q)
	if err != nil {
		return Effect{}, err
	}
	theirs, err := w.Remote(n).Digests(ctx, q)
	if err != nil {
		return Effect{}, err
	}
	if mine.Old || theirs.Old {
		return Effect{}, left(epoch)
	}
	return r.Looked(&mine, &theirs), nil
}

func (w *Worker) list(ctx context.Context, epoch uint64, n object.NodeID, r *Round, q metaapi.InventoryRequest) (Effect, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	q.Epoch = epoch
	mine, err := w.Local.Inventory(ctx, q)
	if err != nil {
		return Effect{}, err
	}
	theirs, err := w.Remote(n).Inventory(ctx, q)
	if err != nil {
		return Effect{}, err
	}
	if mine.Old || theirs.Old {
		return Effect{}, left(epoch)
	}
	return r.Listed(&mine, &theirs), nil
}

func left(epoch uint64) error {
	return fault.New(fault.Unavailable, "the layout of epoch %d has been left", epoch)
}

// mend repairs rows that this node and another have differently, and returns how
// many could not be. An error is that of a group of which none could: the nodes
// are not up to it now. The order is another on each node, so that two that
// repair the same rows share the work.
func (w *Worker) mend(ctx context.Context, n object.NodeID, rows []Row) (failed int64, err error) {
	rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	for group := range slices.Chunk(rows, mendGroup) {
		if err := w.idle(ctx); err != nil {
			return failed, err
		}
		left, err := w.mendGroup(ctx, n, group)
		w.stats.Unrepaired.Add(left)
		if failed += left; left == int64(len(group)) {
			return failed, err
		}
	}
	return failed, nil
}

// mendGroup repairs rows, some at once. The error is one of those that could
// not be.
func (w *Worker) mendGroup(ctx context.Context, n object.NodeID, rows []Row) (failed int64, err error) {
	next := make(chan *Row)
	var mu sync.Mutex // guards failed and err
	var mending sync.WaitGroup
	for range min(atOnce, len(rows)) {
		mending.Go(func() {
			for row := range next {
				if e := w.mendRow(ctx, n, row); e != nil {
					mu.Lock()
					failed, err = failed+1, e
					mu.Unlock()
				}
			}
		})
	}
	for i := range rows {
		next <- &rows[i]
	}
	close(next)
	mending.Wait()
	return failed, err
}

// mendRow repairs one row.
func (w *Worker) mendRow(ctx context.Context, n object.NodeID, row *Row) error {
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	from, with := w.Self, n
	if row.Theirs {
		from, with = n, w.Self
	}
	repaired, err := w.Repair(ctx, row.Key, from, with)
	switch {
	case err != nil:
		return err
	case !repaired.Both:
		return fault.New(fault.Unavailable, "one of the nodes did not answer for a row")
	case repaired.Carried:
		w.stats.Repaired.Add(1)
	}
	return nil
}

// keep notes what is left of a round.
func (w *Worker) keep(ctx context.Context, n object.NodeID, r *Round) error {
	rest := r.Rest()
	m := record.RepairMark{Peer: n, Slices: rest.Slices, After: rest.After}
	if rest.Empty() {
		m = record.RepairMark{}
	}
	if m.Peer.IsZero() && !w.marked {
		return nil
	}
	if err := w.Local.SaveRepairMark(ctx, m); err != nil {
		return err
	}
	w.marked = !m.Peer.IsZero()
	return nil
}

// sharedWith lists, for each other node, the partitions it holds with self.
func sharedWith(ring *layout.Ring, self object.NodeID) map[object.NodeID][]layout.Partition {
	shared := map[object.NodeID][]layout.Partition{}
	for p := range ring.Assign {
		set := ring.Sets(layout.Partition(p))[0]
		if !set.Has(self) {
			continue
		}
		for _, n := range set {
			if n != self {
				shared[n] = append(shared[n], layout.Partition(p))
			}
		}
	}
	return shared
}

// inOrder lists the nodes in an order that is another each time, so that one
// that is slow does not hold up the same others always.
func inOrder(shared map[object.NodeID][]layout.Partition) []object.NodeID {
	nodes := make([]object.NodeID, 0, len(shared))
	for n := range shared {
		nodes = append(nodes, n)
	}
	rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	return nodes
}

// leads reports whether the node is the first of set, as far as it knows the
// others to be there.
func (w *Worker) leads(set layout.ReplicaSet) bool {
	for _, n := range set {
		if p := w.peers[n]; p == nil || !p.away {
			return n == w.Self
		}
	}
	return false
}
