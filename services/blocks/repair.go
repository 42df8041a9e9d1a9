package blocks

import (
	"context"

	"hangar/services/blocks/internal/resync"
	"hangar/services/blocks/internal/store"
	"hangar/shared/blockapi/blockrpc"
	"hangar/shared/lifecycle"
	"hangar/shared/object"
)

// repair is the background work that makes this node hold what it should.
type repair struct {
	worker   *resync.Worker
	comparer *resync.Comparer
	mover    *resync.Mover
}

// newRepair makes the workers. Their client is closed after them.
func (s *Service) newRepair(g *lifecycle.Group, st *store.Store) (*repair, error) {
	network, err := blockrpc.NewClient(s.deps.Caller, s.ring, blockrpc.Options{Buffers: s.deps.Buffers})
	if err != nil {
		return nil, err
	}
	g.Defer("repair client", func(context.Context) error { network.Close(); return nil })
	d := resync.Deps{
		Store: st, Network: network, Verifier: s.deps.Verifier, Self: s.node,
		Ring: s.ring, Skip: s.skip, Changed: s.deps.Control.Changed,
		Interval: s.cfg.RepairInterval, Concurrency: s.cfg.RepairConcurrency, Log: s.log,
	}
	w := resync.NewWorker(d)
	return &repair{worker: w, comparer: resync.NewComparer(w), mover: resync.NewMover(d)}, nil
}

// start begins the work once the node serves.
func (r *repair) start(g *lifecycle.Group, ready <-chan struct{}) {
	for name, run := range map[string]func(context.Context) error{
		"resync": r.worker.Run, "comparison": r.comparer.Run, "mover": r.mover.Run,
	} {
		g.Go(name, func(ctx context.Context) error {
			select {
			case <-ready:
				return run(ctx)
			case <-ctx.Done():
				return nil
			}
		})
	}
}

// skip are the nodes that the operator declared dead.
func (s *Service) skip() []object.NodeID {
	if l := s.deps.Control.View().Layout; l != nil && l.Change != nil {
		return append([]object.NodeID(nil), l.Change.Skip...)
	}
	return nil
}
