package meta

import (
	"context"

	"hangar/services/meta/internal/antientropy"
	"hangar/services/meta/internal/collector"
	"hangar/services/meta/internal/membership"
	"hangar/services/meta/internal/record"
	"hangar/services/meta/internal/table"
	"hangar/shared/kv"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/work"
)

// busyQueue is how many writes may wait before repairs do.
const busyQueue = kv.DefaultQueue / 8

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

// local is this node, with what only its table knows.
type local struct {
	*membership.Members
	marks
}

// marks are where the worker keeps how far it is.
type marks interface {
	RepairMark() (record.RepairMark, error)
	SaveRepairMark(ctx context.Context, m record.RepairMark) error
}

// collector makes the worker that forgets old delete markers.
func (s *Service) collector(set *work.Set, rows *table.Table, members *membership.Members) (*collector.Collector, error) {
	w, err := set.Worker(work.WorkerOptions{Name: "marker-collection", Tranquility: restful})
	return &collector.Collector{
		Table: rows, Self: s.node, Ring: s.ring, Grace: s.cfg.Grace, Now: s.deps.Now, Work: w,
		Peer: func(n object.NodeID) metaapi.Peer {
			if n == s.node {
				return members
			}
			return s.remote(n)
		},
	}, err
}

// repair makes the worker that compares rows with other nodes.
func (s *Service) repair(set *work.Set, rows *table.Table, members *membership.Members, writer *kv.Committer, client *metaapi.Client) (*antientropy.Worker, error) {
	w, err := set.Worker(work.WorkerOptions{Name: "anti-entropy", Tranquility: restful})
	return &antientropy.Worker{
		Self: s.node, Local: local{members, rows}, Ring: s.ring, Changed: s.deps.Control.Changed,
		Remote:   func(n object.NodeID) antientropy.Remote { return s.remote(n) },
		Repair:   client.Repair,
		Busy:     func() bool { return writer.Queued() > busyQueue || rows.Writable() != nil },
		Interval: s.cfg.Repair, Work: w, Log: s.log,
	}, err
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
