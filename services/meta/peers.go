package meta

import (
	"context"
	"time"

	"hangar/services/meta/internal/antientropy"
	"hangar/services/meta/internal/collector"
	"hangar/services/meta/internal/table"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

// busyQueue is how many writes may wait before repairs do.
const busyQueue = kv.DefaultQueue / 8

// rings shows the service's ring to a metaapi.Client.
type rings struct{ *Service }

// Ring implements metaapi.Rings.
func (r rings) Ring() *layout.Ring { return r.ring() }

// Await implements metaapi.Rings.
func (r rings) Await(ctx context.Context, epoch uint64) {
	for {
		changed := r.deps.Control.Changed() // before the look, so that no change is missed
		if ring := r.ring(); ring != nil && ring.Epoch >= epoch {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// remote is another node.
type remote struct {
	metaapi.Peer
	caller rpc.Caller
	node   object.NodeID
}

// Inventory implements antientropy.Remote.
func (r *remote) Inventory(ctx context.Context, q metaapi.InventoryRequest) (metaapi.InventoryReply, error) {
	return metaapi.AskInventory(ctx, r.caller, r.node, &q)
}

func (s *Service) remote(n object.NodeID) *remote {
	return &remote{metaapi.NewPeer(s.deps.Caller, n), s.deps.Caller, n}
}

// collector makes the worker that forgets old delete markers.
func (s *Service) collector(rows *table.Table) *collector.Collector {
	return &collector.Collector{
		Table: rows, Self: s.node, Ring: s.ring, Grace: s.cfg.Grace, Log: s.log,
		Peer: func(n object.NodeID) metaapi.Peer {
			if n == s.node {
				return rows
			}
			return s.remote(n)
		},
	}
}

// repair makes the worker that compares rows with other nodes.
func (s *Service) repair(rows *table.Table, writer *kv.Committer) *antientropy.Worker {
	clock := register.NewClock(register.NewNode(), time.Now)
	client := metaapi.NewClient(s.deps.Caller, rings{s}, clock, metaapi.Options{Near: s.node})
	return &antientropy.Worker{
		Self: s.node, Local: rows, Ring: s.ring, Changed: s.deps.Control.Changed,
		Remote:   func(n object.NodeID) antientropy.Remote { return s.remote(n) },
		Repair:   client.Repair,
		Busy:     func() bool { return writer.Queued() > busyQueue || rows.Writable() != nil },
		Interval: s.cfg.Repair, Log: s.log,
	}
}

// onceReady delays a worker until the first layout is served.
func (s *Service) onceReady(run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-s.ready:
			return run(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}
