package nodeapi_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hangar/shared/fault"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// desk answers with what it was asked.
type desk struct {
	variables map[string]string
	repair    nodeapi.Repair
	snapshots int
}

var aWorker = nodeapi.Worker{
	ID: 3, Name: "scrub", State: nodeapi.Throttled, Rest: time.Second, Errors: 2,
	LastError: "no", LastErrorAt: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC), Progress: "12 %", QueueLength: new(int64(7)),
}

func (d *desk) Workers(context.Context) ([]nodeapi.Worker, error) {
	return []nodeapi.Worker{aWorker}, nil
}

func (d *desk) Variables(context.Context) (map[string]string, error) { return d.variables, nil }

func (d *desk) SetVariable(_ context.Context, name, value string) error {
	if name == "" {
		return fault.New(fault.NotFound, "no such variable")
	}
	d.variables[name] = value
	return nil
}

func (d *desk) Repair(_ context.Context, r nodeapi.Repair) error { d.repair = r; return nil }

func (d *desk) Snapshot(context.Context) error { d.snapshots++; return nil }

func (d *desk) BlockErrors(context.Context) ([]nodeapi.BlockError, error) {
	return []nodeapi.BlockError{{Hash: object.Hash{1}, Errors: 4}}, nil
}

func (d *desk) BlockInfo(_ context.Context, h object.Hash) (nodeapi.BlockInfo, error) {
	return nodeapi.BlockInfo{Hash: h, Owners: []nodeapi.BlockOwner{{Key: "k"}}}, nil
}

func (d *desk) RetryBlocks(_ context.Context, h []object.Hash) (int64, error) {
	return int64(len(h)), nil
}

func (d *desk) PurgeBlocks(_ context.Context, h []object.Hash) (nodeapi.Purged, error) {
	return nodeapi.Purged{Blocks: int64(len(h))}, nil
}

func TestOperator(t *testing.T) {
	p := rpctest.Connected(t, rpctest.NATS(t), nil, rpc.Options{})
	d, self := &desk{variables: map[string]string{}}, p.Nodes[0]
	for _, serve := range []func() (func(), error){
		func() (func(), error) { return nodeapi.ServeOperator(p.Servers[0], "blocks", self, d) },
		func() (func(), error) { return nodeapi.ServeBlockOperator(p.Servers[0], "blocks", self, d) },
	} {
		stop, err := serve()
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	r, ctx := nodeapi.Remote{Caller: p.Client, Service: "blocks", Node: self}, t.Context()
	workers, err := r.Workers(ctx)
	if diff := cmp.Diff([]nodeapi.Worker{aWorker}, workers); diff != "" || err != nil {
		t.Errorf("workers (-want +got):\n%s%v", diff, err)
	}
	if err := r.SetVariable(ctx, "a", "b"); err != nil {
		t.Error(err)
	}
	if err := r.SetVariable(ctx, "", "b"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown variable: %v", err)
	}
	if v, err := r.Variables(ctx); err != nil || v["a"] != "b" {
		t.Errorf("variables %v, %v", v, err)
	}
	order := nodeapi.Repair{Kind: nodeapi.RepairScrub, Scrub: "start"}
	if err := r.Repair(ctx, order); err != nil || d.repair != order {
		t.Errorf("ordered %+v, %v", d.repair, err)
	}
	if err := r.Snapshot(ctx); err != nil || d.snapshots != 1 {
		t.Errorf("%d snapshots, %v", d.snapshots, err)
	}
	blockOperations(t, r)
	r.Node = p.Nodes[1]
	if _, err := r.Workers(ctx); !fault.Is(err, fault.Unavailable) {
		t.Errorf("of a node that offers nothing: %v", err)
	}
}

func blockOperations(t *testing.T, r nodeapi.Remote) {
	t.Helper()
	ctx, h := t.Context(), object.Hash{9}
	if e, err := r.BlockErrors(ctx); err != nil || len(e) != 1 || e[0].Errors != 4 {
		t.Errorf("errors %v, %v", e, err)
	}
	if i, err := r.BlockInfo(ctx, h); err != nil || i.Hash != h || len(i.Owners) != 1 {
		t.Errorf("info %v, %v", i, err)
	}
	if n, err := r.RetryBlocks(ctx, []object.Hash{h, {}}); err != nil || n != 2 {
		t.Errorf("retried %d, %v", n, err)
	}
	if n, err := r.PurgeBlocks(ctx, []object.Hash{h}); err != nil || n.Blocks != 1 {
		t.Errorf("purged %v, %v", n, err)
	}
}
