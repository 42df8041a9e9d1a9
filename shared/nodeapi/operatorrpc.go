package nodeapi

import (
	"context"

	"hangar/shared/object"
	"hangar/shared/rpc"
)

type (
	none        struct{}
	setVariable struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

// offer is one operation of a node.
type offer struct {
	op string
	do rpc.Handler
}

// ServeOperator offers o as node self of a service.
func ServeOperator(srv rpc.Server, service string, self object.NodeID, o Operator) (stop func(), err error) {
	return serve(srv, service, self,
		offer{opWorkers, handler(func(ctx context.Context, _ none) ([]Worker, error) { return o.Workers(ctx) })},
		offer{opVariables, handler(func(ctx context.Context, _ none) (map[string]string, error) { return o.Variables(ctx) })},
		offer{opSetVariable, handler(func(ctx context.Context, v setVariable) (none, error) {
			return none{}, o.SetVariable(ctx, v.Name, v.Value)
		})},
		offer{opRepair, handler(func(ctx context.Context, r Repair) (none, error) { return none{}, o.Repair(ctx, r) })},
		offer{opSnapshot, handler(func(ctx context.Context, _ none) (none, error) { return none{}, o.Snapshot(ctx) })},
	)
}

// ServeBlockOperator offers b as node self of a service.
func ServeBlockOperator(srv rpc.Server, service string, self object.NodeID, b BlockOperator) (stop func(), err error) {
	return serve(srv, service, self,
		offer{opBlockErrors, handler(func(ctx context.Context, _ none) ([]BlockError, error) { return b.BlockErrors(ctx) })},
		offer{opBlockInfo, handler(b.BlockInfo)},
		offer{opRetryBlocks, handler(b.RetryBlocks)},
		offer{opPurgeBlocks, handler(b.PurgeBlocks)},
	)
}

// serve offers all or nothing.
func serve(srv rpc.Server, service string, self object.NodeID, offers ...offer) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for _, o := range offers {
		end, err := srv.Handle(rpc.NodeSubject(service, o.op, self), o.do)
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, end)
	}
	return stop, nil
}

// Remote is a node as its operator reaches it from another process. Errors
// besides the contracts': Unavailable when the node does not offer an operation
// or is not there.
type Remote struct {
	Caller  rpc.Caller
	Service string
	Node    object.NodeID
}

var (
	_ Operator      = Remote{}
	_ BlockOperator = Remote{}
)

func (r Remote) ask(ctx context.Context, op string, in, out any) error {
	return ask(ctx, r.Caller, rpc.NodeSubject(r.Service, op, r.Node), r.Node, in, out)
}

// Workers implements Operator.
func (r Remote) Workers(ctx context.Context) (w []Worker, err error) {
	return w, r.ask(ctx, opWorkers, none{}, &w)
}

// Variables implements Operator.
func (r Remote) Variables(ctx context.Context) (v map[string]string, err error) {
	return v, r.ask(ctx, opVariables, none{}, &v)
}

// SetVariable implements Operator.
func (r Remote) SetVariable(ctx context.Context, name, value string) error {
	return r.ask(ctx, opSetVariable, setVariable{name, value}, &none{})
}

// Repair implements Operator.
func (r Remote) Repair(ctx context.Context, order Repair) error {
	return r.ask(ctx, opRepair, order, &none{})
}

// Snapshot implements Operator.
func (r Remote) Snapshot(ctx context.Context) error { return r.ask(ctx, opSnapshot, none{}, &none{}) }

// BlockErrors implements BlockOperator.
func (r Remote) BlockErrors(ctx context.Context) (e []BlockError, err error) {
	return e, r.ask(ctx, opBlockErrors, none{}, &e)
}

// BlockInfo implements BlockOperator.
func (r Remote) BlockInfo(ctx context.Context, h object.Hash) (i BlockInfo, err error) {
	return i, r.ask(ctx, opBlockInfo, h, &i)
}

// RetryBlocks implements BlockOperator.
func (r Remote) RetryBlocks(ctx context.Context, hashes []object.Hash) (n int64, err error) {
	return n, r.ask(ctx, opRetryBlocks, hashes, &n)
}

// PurgeBlocks implements BlockOperator.
func (r Remote) PurgeBlocks(ctx context.Context, hashes []object.Hash) (p Purged, err error) {
	return p, r.ask(ctx, opPurgeBlocks, hashes, &p)
}
