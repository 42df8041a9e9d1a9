package nodeapi

import (
	"context"
	"encoding/json"
	"slices"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

const (
	opTransfer = "transfer"
	opAdopt    = "adopt"
)

// Transfer is an order to bring partitions that change hands to where the
// joint ring wants them.
type Transfer struct {
	// Epoch of the joint ring. A node that does not know it yet answers
	// Unavailable.
	Epoch uint64 `json:"epoch"`
	// Partitions the node is to see to, ascending.
	Partitions []layout.Partition `json:"partitions"`
	// Skip are nodes that nothing is expected of.
	Skip []object.NodeID `json:"skip,omitempty"`
}

// Progress says how far a node has come with a Transfer.
type Progress struct {
	Epoch uint64 `json:"epoch"`
	// Done are those of the partitions asked for that are complete: everything
	// ever acknowledged for them is durable where the joint ring wants it.
	Done []layout.Partition `json:"done"`
	// Items (rows or blocks) and their bytes: brought so far, and in all as far
	// as that is known.
	Items      int64 `json:"items"`
	ItemsTotal int64 `json:"itemsTotal"`
	Bytes      int64 `json:"bytes"`
	BytesTotal int64 `json:"bytesTotal"`
	// Error is the last thing that went wrong; work is tried again all the same.
	Error string `json:"error,omitempty"`
}

// Transferer is what a storage node offers the driver of a layout change. Safe
// for concurrent use.
type Transferer interface {
	// Transfer begins, or goes on with, the work in the background and returns
	// how far it is. It is idempotent: the driver repeats the order to learn
	// the progress, also after a restart of either side. An order of a newer
	// epoch ends the work for an older one; further partitions are added.
	Transfer(ctx context.Context, t Transfer) (Progress, error)
	// Adopt returns once the node has durably adopted epoch or a newer one:
	// what is older is refused from then on. For the metadata service Marks
	// are the low marks of all partitions that it serves, zero ones included: a
	// partition without one does not count towards a majority.
	Adopt(ctx context.Context, epoch uint64) (Adopted, error)
}

// Adopted is the answer to Adopt.
type Adopted struct {
	Epoch uint64 `json:"epoch"`
	// Marks are opaque here: see package register for low marks.
	Marks map[layout.Partition]json.RawMessage `json:"marks,omitempty"`
}

// ServeTransfers offers t as node self of a service.
func ServeTransfers(srv rpc.Server, service string, self object.NodeID, t Transferer) (stop func(), err error) {
	return serve(srv, service, self, offer{opTransfer, handler(t.Transfer)}, offer{opAdopt, handler(t.Adopt)})
}

// handler answers a request whose head is JSON with JSON.
func handler[In, Out any](do func(context.Context, In) (Out, error)) rpc.Handler {
	return func(ctx context.Context, m rpc.Message) (rpc.Message, error) {
		var in In
		if err := json.Unmarshal(m.Head, &in); err != nil {
			return rpc.Message{}, fault.Wrap(fault.Invalid, err, "decoding %T", in)
		}
		out, err := do(ctx, in)
		if err != nil {
			return rpc.Message{}, err
		}
		head, err := json.Marshal(out)
		return rpc.Message{Head: head}, fault.Wrap(fault.Internal, err, "encoding %T", out)
	}
}

// AskTransfer sends an order to a node. Errors: those of the node;
// Unavailable; Indeterminate when no answer came in time.
func AskTransfer(ctx context.Context, c rpc.Caller, service string, n object.NodeID, t Transfer) (p Progress, err error) {
	if !slices.IsSorted(t.Partitions) {
		return p, fault.New(fault.Invalid, "the partitions of a transfer must ascend")
	}
	err = ask(ctx, c, rpc.NodeSubject(service, opTransfer, n), n, t, &p)
	return p, err
}

// AskAdopt asks a node to adopt an epoch. Errors as with AskTransfer.
func AskAdopt(ctx context.Context, c rpc.Caller, service string, n object.NodeID, epoch uint64) (a Adopted, err error) {
	err = ask(ctx, c, rpc.NodeSubject(service, opAdopt, n), n, epoch, &a)
	return a, err
}

func ask(ctx context.Context, c rpc.Caller, subject string, n object.NodeID, in, out any) error {
	head, err := json.Marshal(in)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "encoding %T", in)
	}
	m, err := c.Call(ctx, rpc.Target{Subject: subject, Nodes: []object.NodeID{n}}, rpc.Message{Head: head})
	if err != nil {
		return err
	}
	return fault.Wrap(fault.Internal, json.Unmarshal(m.Head, out), "decoding %T of node %s", out, n)
}
