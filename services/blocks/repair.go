package blocks

import (
	"context"
	"path/filepath"
	"sync/atomic"

	"hangar/services/blocks/internal/resync"
	"hangar/services/blocks/internal/scrub"
	"hangar/services/blocks/internal/store"
	"hangar/shared/blockapi/blockrpc"
	"hangar/shared/lifecycle"
	"hangar/shared/object"
	"hangar/shared/work"
)

// workFile in the data directory keeps what operators set of background work.
const workFile = "work.json"

// openWork makes the set that all background work belongs to.
func (s *Service) openWork(g *lifecycle.Group) (*work.Set, error) {
	set, err := work.Open(work.Options{
		Service: service, File: filepath.Join(s.cfg.Dir, workFile), Registry: s.deps.Telemetry.Registry, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	g.Defer("work", func(context.Context) error { set.Close(); return nil })
	return set, nil
}

// repair is the background work that makes this node hold what it should.
type repair struct {
	worker   *resync.Worker
	comparer *resync.Comparer
	mover    *resync.Mover
	tasks    *scrub.Tasks
	network  *blockrpc.Client
}

// newRepair makes the workers. Their client is closed after them.
func (s *Service) newRepair(g *lifecycle.Group, set *work.Set, st *store.Store) (*repair, error) {
	network, err := blockrpc.NewClient(s.deps.Caller, s.ring, blockrpc.Options{Buffers: s.deps.Buffers})
	if err != nil {
		return nil, err
	}
	g.Defer("repair client", func(context.Context) error { network.Close(); return nil })
	var concurrency atomic.Int64
	concurrency.Store(int64(s.cfg.RepairConcurrency))
	if err := set.Variable(work.Number("resync-worker-count", &concurrency, 1, maxConcurrency)); err != nil {
		return nil, err
	}
	d := resync.Deps{
		Store: st, Network: network, Verifier: s.deps.Verifier, Self: s.node,
		Ring: s.ring, Skip: s.skip, Changed: s.deps.Control.Changed,
		Interval: s.cfg.RepairInterval, Concurrency: func() int { return int(concurrency.Load()) },
		Work: set, Log: s.log,
	}
	r := &repair{network: network}
	if r.worker, err = resync.NewWorker(d); err != nil {
		return nil, err
	}
	if r.comparer, err = resync.NewComparer(r.worker); err != nil {
		return nil, err
	}
	if r.mover, err = resync.NewMover(d); err != nil {
		return nil, err
	}
	r.tasks, err = scrub.New(set, st, r.comparer.Now)
	return r, err
}

// start begins the work once the node serves.
func (r *repair) start(g *lifecycle.Group, ready <-chan struct{}) {
	r.worker.Start(g, ready)
	r.comparer.Start(g, ready)
	r.mover.Start(g, ready)
	r.tasks.Start(g)
}

// skip are the nodes that the operator declared dead.
func (s *Service) skip() []object.NodeID {
	if l := s.deps.Control.View().Layout; l != nil && l.Change != nil {
		return append([]object.NodeID(nil), l.Change.Skip...)
	}
	return nil
}
