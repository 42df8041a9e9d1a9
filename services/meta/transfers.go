package meta

import (
	"context"

	"hangar/services/meta/internal/membership"
	"hangar/services/meta/internal/transfer"
	"hangar/shared/kv"
	"hangar/shared/lifecycle"
	"hangar/shared/metaapi"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/register"
	"hangar/shared/work"
)

// transfers is what the driver of a layout change asks of this node.
type transfers struct {
	members *membership.Members
	copier  *transfer.Worker
}

func (t transfers) Transfer(ctx context.Context, order nodeapi.Transfer) (nodeapi.Progress, error) {
	return t.copier.Transfer(ctx, order)
}

func (t transfers) Adopt(ctx context.Context, epoch uint64) (nodeapi.Adopted, error) {
	return t.members.Adopt(ctx, epoch)
}

// serveTransfers offers them until the group stops.
func (s *Service) serveTransfers(g *lifecycle.Group, members *membership.Members, copier *transfer.Worker) error {
	stop, err := nodeapi.ServeTransfers(s.deps.Server, "meta", s.node, transfers{members, copier})
	if err != nil {
		return err
	}
	g.Defer("transfers", func(context.Context) error { stop(); return nil })
	return nil
}

// copier makes the worker that copies rows to the new members of partitions. It
// is a coordinator like any other: rows of its own node are asked for over the
// same way as those of others.
func (s *Service) copier(set *work.Set, store kv.Store, writer *kv.Committer, client *metaapi.Client) (*transfer.Worker, error) {
	w, err := set.Worker(work.WorkerOptions{Name: "copy", Tranquility: unresting})
	if err != nil {
		return nil, err
	}
	return transfer.New(transfer.Options{
		Self: s.node, Store: store, Writer: writer, Ring: s.ring,
		Caller: s.deps.Caller, Recommit: client.Recommit, Work: w,
	})
}

// client makes the coordinator that the node's own workers share.
func (s *Service) client() *metaapi.Client {
	clock := register.NewClock(register.NewNode(), s.deps.Now)
	return metaapi.NewClient(s.deps.Caller, process.Rings{Mirror: s.deps.Control}, clock, metaapi.Options{Near: s.isSelf})
}

func (s *Service) isSelf(n object.NodeID) bool { return n == s.node }
