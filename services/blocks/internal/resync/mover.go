package resync

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/lifecycle"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/work"
)

const (
	// fillBytes bounds a page of the listing of a partition that is filled.
	fillBytes = 128 << 10
	// filling is how many partitions are filled at once.
	filling = 2
	// The wait before another try at what could not be filled or given up.
	minMoveRetry, maxMoveRetry = time.Second, time.Minute
)

// Mover fills the partitions that the node came to hold and gives up those that
// it left. It needs no order: which they are stands in the ring and in the
// index, so it goes on by itself after a restart. Safe for concurrent use.
type Mover struct {
	Deps
	// Given counts references given up.
	Given atomic.Int64
	wake  chan struct{}
	work  *work.Worker

	mu     sync.Mutex
	epoch  uint64                     // guarded by mu: that the figures below are of
	filled map[layout.Partition]*fill // guarded by mu
	skip   []object.NodeID            // guarded by mu: of the last order
	err    string                     // guarded by mu: the last that went wrong
}

// fill counts the blocks of one partition: brought or found here, and in all.
// Guarded by Mover.mu.
type fill struct{ items, total, bytes, totalBytes int64 }

var _ nodeapi.Transferer = (*Mover)(nil)

// NewMover returns a Mover; Start makes it work. Errors: those of Work.
func NewMover(d Deps) (*Mover, error) {
	m := &Mover{Deps: d, wake: make(chan struct{}, 1), filled: make(map[layout.Partition]*fill)}
	var err error
	// An operator waits for what it fills: it rests only when told to.
	m.work, err = d.Work.Worker(work.WorkerOptions{Name: "move", Tranquility: "0"})
	return m, err
}

// Start runs the mover as a part of g once ready is closed.
func (m *Mover) Start(g *lifecycle.Group, ready <-chan struct{}) { m.work.Go(g, after(ready, m.run)) }

// Adopt implements nodeapi.Transferer.
func (m *Mover) Adopt(ctx context.Context, epoch uint64) (nodeapi.Adopted, error) {
	now, err := m.Store.Adopt(ctx, epoch)
	return nodeapi.Adopted{Epoch: now}, err
}

// Transfer implements nodeapi.Transferer.
func (m *Mover) Transfer(_ context.Context, t nodeapi.Transfer) (nodeapi.Progress, error) {
	ring := m.Ring()
	switch {
	case ring == nil || ring.Epoch < t.Epoch:
		return nodeapi.Progress{}, fault.New(fault.Unavailable, "the layout of epoch %d is not known yet", t.Epoch)
	case ring.Epoch > t.Epoch:
		return nodeapi.Progress{}, fault.New(fault.OldEpoch, "an order of epoch %d in epoch %d", t.Epoch, ring.Epoch)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reset(t.Epoch)
	if !slices.Equal(m.skip, t.Skip) {
		m.skip = slices.Clone(t.Skip)
	}
	pr := nodeapi.Progress{Epoch: t.Epoch, Error: m.err}
	for _, p := range t.Partitions {
		if held, member := m.Store.Held(p); member && held.Complete {
			pr.Done = append(pr.Done, p)
		}
		if f := m.filled[p]; f != nil {
			pr.Items += f.items
			pr.ItemsTotal += f.total
			pr.Bytes += f.bytes
			pr.BytesTotal += f.totalBytes
		}
	}
	if len(pr.Done) < len(t.Partitions) {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
	return pr, nil
}

// reset begins the figures of a newer epoch. The caller holds mu.
func (m *Mover) reset(epoch uint64) {
	if epoch > m.epoch {
		m.epoch, m.skip, m.err = epoch, nil, ""
		clear(m.filled)
	}
}

// run fills and gives up until ctx ends.
func (m *Mover) run(ctx context.Context) error {
	retry := minMoveRetry
	for ctx.Err() == nil {
		changed := m.Changed() // before the pass looks
		m.work.Busy()
		err := m.Pass(ctx)
		m.work.Idle()
		wait := m.Interval
		if err != nil {
			wait, retry = retry, min(2*retry, maxMoveRetry)
		} else {
			retry = minMoveRetry
		}
		m.note(ctx, err)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
			retry = minMoveRetry
		case <-m.wake:
		case <-t.C:
		}
		t.Stop()
		if err != nil { // orders that repeat must not make it spin
			if err := lifecycle.Sleep(ctx, minMoveRetry/10); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *Mover) note(ctx context.Context, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = ""
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		m.err = err.Error()
	}
	m.work.Result(err)
}

// Pass tries once to fill what is incomplete and to give up what is foreign.
// The error says what is left to be done.
func (m *Mover) Pass(ctx context.Context) error {
	ring := m.Ring()
	if ring == nil || len(ring.Assign) == 0 {
		return nil
	}
	m.mu.Lock()
	m.reset(ring.Epoch)
	m.mu.Unlock()
	var mu sync.Mutex
	var errs []error
	var g errgroup.Group
	g.SetLimit(filling)
	for i := range ring.Partitions() {
		p := layout.Partition(i)
		since, member := ring.JoinedAt(p, m.Self)
		held, follows := m.Store.Held(p)
		if !member || follows && held.Complete && held.Since == since {
			continue
		}
		g.Go(func() error {
			err := fault.New(fault.Unavailable, "the layout is not followed yet")
			if follows && held.Since == since {
				err = m.fill(ctx, ring, p, since)
			}
			if err != nil {
				mu.Lock()
				errs = append(errs, fault.Wrap(fault.KindOf(err), err, "filling partition %d", p))
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if len(errs) > 0 {
		// One says enough for people, who read this in the progress of a change.
		return fault.Wrap(fault.Unavailable, errs[0], "%d partitions are still to be filled", len(errs))
	}
	if ring.Joint() {
		return nil
	}
	return m.give(ctx, ring)
}

// dead are the nodes that nothing is expected of.
func (m *Mover) dead() []object.NodeID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append(m.Skip(), m.skip...)
}

// fill brings everything that the members of a partition have, and then
// remembers that it is complete.
func (m *Mover) fill(ctx context.Context, ring *layout.Ring, p layout.Partition, since uint64) error {
	nodes, quorum := sources(ring, p, m.Self, m.dead())
	listed, complete := 0, 0
	var errs []error
	for _, n := range nodes {
		if filled(len(nodes), quorum, listed, complete) {
			break
		}
		from := origin{ring.Epoch, nodes}
		err := m.pull(ctx, from, n, p, ring.Bits, true)
		if err == nil {
			complete++
		} else {
			err = m.pull(ctx, from, n, p, ring.Bits, false)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		listed++
	}
	if !filled(len(nodes), quorum, listed, complete) {
		return errors.Join(append(errs, fault.New(fault.Unavailable,
			"%d of %d members listed it, %d completely; it takes all or %d complete", listed, len(nodes), complete, quorum))...)
	}
	done, err := m.Store.SetComplete(ctx, p, since)
	if err == nil && !done {
		return fault.New(fault.Unavailable, "the layout changed meanwhile")
	}
	return err
}

// pull brings what node n has of a partition. What is here already is not
// fetched again.
func (m *Mover) pull(ctx context.Context, from origin, n object.NodeID, p layout.Partition, bits uint8, complete bool) error {
	span, peer := blockapi.PartitionSpan(p, bits), m.Network.At(n)
	d, err := peer.Digests(ctx, p, span, blockapi.Digest{})
	if err != nil {
		return err
	}
	if complete && !d.Complete {
		return fault.New(fault.Unavailable, "node %s is not complete", n)
	}
	m.count(p, func(f *fill) { f.total, f.totalBytes = max(f.total, d.All.Blocks), max(f.totalBytes, d.All.Bytes) })
	seen := &fill{} // at this node; most of it was brought from the one before
	l := blockapi.Listing{Epoch: from.epoch, Span: span, Complete: complete, Partition: p, Bytes: fillBytes}
	for {
		began := time.Now()
		page, err := peer.List(ctx, l)
		if err != nil {
			return err
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(max(m.Concurrency(), 1))
		for _, e := range page.Entries {
			g.Go(func() error {
				if err := m.bring(gctx, from, n, e); err != nil {
					return err
				}
				m.count(p, func(f *fill) {
					seen.items++
					seen.bytes += e.StoredBytes
					f.items, f.bytes = max(f.items, seen.items), max(f.bytes, seen.bytes)
				})
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		if err := m.work.Rest(ctx, time.Since(began)); err != nil {
			return err
		}
		if l.After = page.Next; l.After == nil {
			return nil
		}
	}
}

// bring takes one block over. One that was collected meanwhile is passed over,
// and so is one that no node can read: it is queued, so that it shows.
func (m *Mover) bring(ctx context.Context, from origin, n object.NodeID, e blockapi.Entry) error {
	lacking, _, err := m.Store.Lacking(e.Hash, e.Owners)
	if err != nil {
		return err
	}
	err = bring(ctx, m.Deps, from, e.Hash, lacking)
	switch {
	case fault.Is(err, fault.Corrupt):
		return m.Store.Want(ctx, []index.Wanted{{Hash: e.Hash, From: n}})
	case fault.Is(err, fault.NotFound):
		return nil
	}
	return err
}

func (m *Mover) count(p layout.Partition, change func(*fill)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.filled[p]
	if f == nil {
		f = &fill{}
		m.filled[p] = f
	}
	change(f)
}
