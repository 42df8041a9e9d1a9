package resync

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"hangar/services/blocks/internal/index"
	"hangar/services/blocks/internal/store"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/lifecycle"
	"hangar/shared/object"
	"hangar/shared/work"
)

// Network is the other nodes; *blockrpc.Client is one.
type Network interface {
	// At is a node.
	At(n object.NodeID) blockapi.Peer
	// Fetch reads a block from one of nodes, verified against its hash.
	Fetch(ctx context.Context, epoch uint64, nodes []object.NodeID, h object.Hash) (blockapi.Block, error)
	// Recycle takes the memory of a block back.
	Recycle(data []byte)
	// Release hints to all nodes that an owner died.
	Release(ctx context.Context, r blockapi.Released)
}

// Deps is what the package works with.
type Deps struct {
	Store    *store.Store
	Network  Network
	Verifier blockapi.Verifier
	Self     object.NodeID
	// Ring is the ring in force, nil before the first.
	Ring func() *layout.Ring
	// Skip are the nodes that the operator declared dead for the layout change
	// under way.
	Skip func() []object.NodeID
	// Changed is closed when the layout next changes.
	Changed func() <-chan struct{}
	// Interval is the time between comparisons of everything.
	Interval time.Duration
	// Concurrency is how many blocks are worked on at once.
	Concurrency func() int
	// Work is what the background work belongs to.
	Work *work.Set
	Log  *slog.Logger
}

const (
	// batch is how many entries of the queue are read at once.
	batch = 64
	// ownersBytes bounds a page of a block's owners.
	ownersBytes = 64 << 10
	// idle is how often the queue is looked at without a reason.
	idle = time.Minute
)

// Worker works off the queue of wanted blocks. Safe for concurrent use.
type Worker struct {
	Deps
	owners *owners
	work   *work.Worker

	// Synced counts entries settled, Failed tries that failed, DeadRefs
	// references not taken over because their owner is dead.
	Synced, Failed, DeadRefs atomic.Int64
}

// NewWorker returns a Worker; Start makes it work. Errors: those of Work.
func NewWorker(d Deps) (*Worker, error) {
	w := &Worker{Deps: d, owners: newOwners(d.Verifier)}
	var err error
	w.work, err = d.Work.Worker(work.WorkerOptions{
		Name: "resync", Tranquility: "1", Queue: d.Store.Wanted, Failures: d.Store.Failed,
	})
	return w, err
}

// Start runs the worker as a part of g once ready is closed.
func (w *Worker) Start(g *lifecycle.Group, ready <-chan struct{}) { w.work.Go(g, after(ready, w.run)) }

// after makes run wait for ready.
func after(ready <-chan struct{}, run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-ready:
			return run(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// run resynchronises wanted blocks until ctx ends. It rests after each batch:
// requests come first.
func (w *Worker) run(ctx context.Context) error {
	for ctx.Err() == nil {
		w.work.Busy()
		began := time.Now()
		n, wait, err := w.step(ctx)
		if ctx.Err() == nil {
			w.work.Result(err)
		}
		switch {
		case err != nil:
			wait = minBackoff
		case n > 0:
			if err := w.work.Rest(ctx, time.Since(began)); err != nil {
				return err
			}
			continue
		}
		w.work.Idle()
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-w.Store.Wake():
		case <-t.C:
		}
		t.Stop()
	}
	return nil
}

// step works on the entries that are due, and returns their number or how long
// there will be none.
func (w *Worker) step(ctx context.Context) (n int, wait time.Duration, err error) {
	if w.Ring() == nil {
		return 0, idle, nil
	}
	due, wait, err := w.Store.Due(batch)
	if err != nil || len(due) == 0 {
		if wait == 0 {
			wait = idle
		}
		return 0, min(wait, idle), err
	}
	var g errgroup.Group
	g.SetLimit(max(w.Concurrency(), 1))
	for _, e := range due {
		g.Go(func() error {
			err := w.sync(ctx, e)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				w.Failed.Add(1)
				return w.Store.Postpone(ctx, e, backoff(e.Tries), err)
			}
			w.Synced.Add(1)
			return w.Store.Settle(ctx, e)
		})
	}
	return len(due), 0, g.Wait()
}

// sync brings one block to where it should be here: nil when nothing is left to
// do.
func (w *Worker) sync(ctx context.Context, e index.Wanted) error {
	ring := w.Ring()
	peers, member := others(ring, layout.OfHash(e.Hash, ring.Bits), w.Self)
	if !member {
		return nil // the partition has moved on
	}
	if e.From != (object.NodeID{}) && e.From != w.Self && !slices.Contains(peers, e.From) {
		peers = append(peers, e.From)
	}
	if e.Suspect {
		if err := w.heal(ctx, ring.Epoch, peers, e.Hash); err != nil {
			return err
		}
	}
	from := origin{ring.Epoch, peers}
	var errs []error
	held := false
	for _, n := range peers {
		had, err := w.syncFrom(ctx, n, from, e.Hash)
		held = held || had && err == nil
		if err != nil {
			errs = append(errs, err)
		}
	}
	if held && !slices.ContainsFunc(errs, stays) {
		return nil // what a node that is away knows besides, the digests tell
	}
	return errors.Join(errs...)
}

// stays reports whether an error is about the block rather than about a peer
// that does not answer.
func stays(err error) bool { return errors.Is(err, errUnverified) || fault.Is(err, fault.StorageFull) }

// heal replaces a copy that cannot be read.
func (w *Worker) heal(ctx context.Context, epoch uint64, peers []object.NodeID, h object.Hash) error {
	if good, err := w.Store.Check(ctx, h); good || err != nil {
		return err
	}
	owner, found, err := w.Store.Owner(h)
	if err != nil || !found {
		return err // nobody needs it here any more
	}
	b, err := w.Network.Fetch(ctx, epoch, peers, h)
	if err != nil {
		return fault.Wrap(fault.KindOf(err), err, "the copy here is corrupt")
	}
	defer w.Network.Recycle(b.Data)
	return w.Store.Take(ctx, owner, b)
}

var errUnverified = errors.New("whether an owner lives could not be decided")

// syncFrom takes from one peer what lives of a block and is lacking here. It
// reports whether the peer has the block.
func (w *Worker) syncFrom(ctx context.Context, peer object.NodeID, from origin, h object.Hash) (had bool, err error) {
	l := blockapi.Listing{Span: blockapi.One(h), Bytes: ownersBytes}
	undecided := error(nil)
	for {
		page, err := w.Network.At(peer).List(ctx, l)
		if err != nil {
			return had, err
		}
		for _, e := range page.Entries {
			had = true
			lacking, _, err := w.Store.Lacking(h, e.Owners)
			if err != nil {
				return had, err
			}
			live, err := w.living(ctx, lacking)
			if err != nil {
				undecided = err
			}
			if err := bring(ctx, w.Deps, from, h, live); err != nil {
				return had, err
			}
		}
		if l.After = page.Next; l.After == nil {
			return had, undecided
		}
	}
}

// living returns those of owners that live. Their holders get a hint of the
// dead ones. The error says that some could not be decided.
func (w *Worker) living(ctx context.Context, owners []blockapi.Owner) (live []blockapi.Owner, err error) {
	for _, o := range owners {
		is, asked, verr := w.owners.verify(ctx, o)
		switch is {
		case blockapi.Alive:
			live = append(live, o)
		case blockapi.Dead:
			w.DeadRefs.Add(1)
			if asked {
				w.Network.Release(ctx, released(o))
			}
		default:
			err = errors.Join(errUnverified, verr)
		}
	}
	return live, err
}

// released is the hint that an owner died.
func released(o blockapi.Owner) blockapi.Released {
	return blockapi.Released{Bucket: o.Bucket, Key: o.Key, Version: o.Version, Manifest: o.Manifest}
}

// origin is where blocks come from.
type origin struct {
	epoch uint64
	nodes []object.NodeID
}

// bring makes owners owners of a block here, and fetches it when it is not here
// or cannot be read. All is durable when it returns nil.
func bring(ctx context.Context, d Deps, from origin, h object.Hash, owners []blockapi.Owner) error {
	if len(owners) == 0 {
		return nil
	}
	_, held, err := d.Store.Lacking(h, nil)
	if err != nil {
		return err
	}
	if held {
		// It may have been dropped since: then it is fetched after all.
		if held, err = d.Store.Refer(ctx, h, owners); held || err != nil {
			return err
		}
	}
	b, err := d.Network.Fetch(ctx, from.epoch, from.nodes, h)
	if err != nil {
		return err
	}
	defer d.Network.Recycle(b.Data)
	if err := d.Store.Take(ctx, owners[0], b); err != nil {
		return err
	}
	held, err = d.Store.Refer(ctx, h, owners[1:])
	if err == nil && !held {
		return fault.New(fault.Unavailable, "block %s was dropped while it was brought", h)
	}
	return err
}
