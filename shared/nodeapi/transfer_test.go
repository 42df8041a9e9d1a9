package nodeapi_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// echo answers with what it was asked.
type echo struct{ got nodeapi.Transfer }

func (e *echo) Transfer(_ context.Context, t nodeapi.Transfer) (nodeapi.Progress, error) {
	if t.Epoch > 7 {
		return nodeapi.Progress{}, fault.New(fault.Unavailable, "epoch %d is not known yet", t.Epoch)
	}
	e.got = t
	return nodeapi.Progress{Epoch: t.Epoch, Done: t.Partitions[:1], Items: 3, ItemsTotal: 9}, nil
}

func (e *echo) Adopt(_ context.Context, epoch uint64) (nodeapi.Adopted, error) {
	return nodeapi.Adopted{Epoch: epoch, Marks: map[layout.Partition]json.RawMessage{4: json.RawMessage(`{"a":1}`)}}, nil
}

func TestTransfer(t *testing.T) {
	p := rpctest.Connected(t, rpctest.NATS(t), nil, rpc.Options{})
	e, self := &echo{}, p.Nodes[0]
	stop, err := nodeapi.ServeTransfers(p.Servers[0], "meta", self, e)
	if err != nil {
		t.Fatal(err)
	}
	order := nodeapi.Transfer{Epoch: 7, Partitions: []layout.Partition{2, 5}, Skip: []object.NodeID{p.Nodes[1]}}
	got, err := nodeapi.AskTransfer(t.Context(), p.Client, "meta", self, order)
	if err != nil {
		t.Fatal(err)
	}
	want := nodeapi.Progress{Epoch: 7, Done: []layout.Partition{2}, Items: 3, ItemsTotal: 9}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("progress (-want +got):\n%s", d)
	}
	if d := cmp.Diff(order, e.got); d != "" {
		t.Errorf("order (-want +got):\n%s", d)
	}
	a, err := nodeapi.AskAdopt(t.Context(), p.Client, "meta", self, 6)
	if err != nil || a.Epoch != 6 || string(a.Marks[4]) != `{"a":1}` {
		t.Errorf("adopted %+v, %v", a, err)
	}
	order.Epoch = 8
	if _, err := nodeapi.AskTransfer(t.Context(), p.Client, "meta", self, order); !fault.Is(err, fault.Unavailable) {
		t.Errorf("of an unknown epoch: %v", err)
	}
	if _, err := nodeapi.AskAdopt(t.Context(), p.Client, "blocks", self, 6); !fault.Is(err, fault.Unavailable) {
		t.Errorf("of another service: %v", err)
	}
	order.Partitions = []layout.Partition{5, 2}
	if _, err := nodeapi.AskTransfer(t.Context(), p.Client, "meta", self, order); !fault.Is(err, fault.Invalid) {
		t.Errorf("partitions out of order: %v", err)
	}
	stop()
}
