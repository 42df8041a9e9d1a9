package nodeapi_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/goleak"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestList(t *testing.T) {
	s := rpctest.NATS(t)
	ask := rpctest.Connect(t, s, rpc.Options{}).NATS()
	if nodes, _, err := nodeapi.List(t.Context(), ask, nodeapi.Quiet); err != nil || len(nodes) != 0 {
		t.Fatalf("an empty cluster has %v, %v", nodes, err)
	}

	var free atomic.Int64
	free.Store(7)
	blocks := rpctest.Connect(t, s, rpc.Options{})
	b := nodeapi.Node{
		ID: blocks.Node(), Service: "blocks", Version: "v1.2.3", Hostname: "h", Zone: "z",
		Started: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	_, err := nodeapi.Register(blocks.NATS(), b, func() nodeapi.Status {
		s := nodeapi.Status{Disk: &nodeapi.Disk{FreeBytes: free.Load(), TotalBytes: 10}}
		if free.Load() < 5 {
			s.Failing = "full"
		}
		return s
	})
	if err != nil {
		t.Fatal(err)
	}
	gateway := rpctest.Connect(t, s, rpc.Options{})
	g := nodeapi.Node{ID: gateway.Node(), Service: "gateway", Version: "dev", S3Addr: "h:3900"}
	stop, err := nodeapi.Register(gateway.NATS(), g, nil)
	if err != nil {
		t.Fatal(err)
	}
	// A stranger on the same NATS server is none of ours.
	if _, err := micro.AddService(ask, micro.Config{Name: "other", Version: "1.0.0"}); err != nil {
		t.Fatal(err)
	}

	b.Disk = &nodeapi.Disk{FreeBytes: 7, TotalBytes: 10}
	expect(t, ask, []nodeapi.Node{b, g})
	free.Store(3)
	b.FreeBytes, b.Failing = 3, "full"
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	expect(t, ask, []nodeapi.Node{b})
}

func expect(t *testing.T, nc *nats.Conn, want []nodeapi.Node) {
	t.Helper()
	got, _, err := nodeapi.List(t.Context(), nc, nodeapi.Quiet)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("nodes (-want +got):\n%s", d)
	}
}

func TestAwaitRevision(t *testing.T) {
	for name, lane := range map[string]*rpc.Lane{"NATS": nil, "lane": rpc.NewLane()} {
		t.Run(name, func(t *testing.T) { awaitRevision(t, lane) })
	}
}

func awaitRevision(t *testing.T, lane *rpc.Lane) {
	p := rpctest.Connected(t, rpctest.NATS(t), lane, rpc.Options{})
	var live []nodeapi.Node
	applied := make(chan struct{})
	for i, srv := range p.Servers {
		live = append(live, nodeapi.Node{ID: p.Nodes[i], Service: "gateway"})
		_, err := nodeapi.ServeBarrier(srv, func(ctx context.Context, revision uint64) error {
			if revision != 42 {
				return errors.New("wrong revision")
			}
			if i != 1 {
				return nil
			}
			select {
			case <-applied:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := nodeapi.AwaitRevision(ctx, p.Client, 42, live, nil)
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), p.Nodes[1].String()) ||
		strings.Contains(err.Error(), p.Nodes[0].String()) {
		t.Errorf("with one node behind: %v", err)
	}
	close(applied)
	if err := nodeapi.AwaitRevision(t.Context(), p.Client, 42, live, nil); err != nil {
		t.Error(err)
	}
	if err := nodeapi.AwaitRevision(t.Context(), p.Client, 42, nil, nil); err != nil {
		t.Error(err)
	}
	if err := nodeapi.AwaitRevision(t.Context(), p.Client, 41, live, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("with all failing: %v", err)
	}
}

// TestAwaitRevisionOfReplicas: enough replicas of each set must have applied it,
// those that nobody has heard of included, but not all.
func TestAwaitRevisionOfReplicas(t *testing.T) {
	nats := rpctest.NATS(t)
	var mu sync.Mutex
	applied := map[object.NodeID]bool{} // guarded by mu: some answer late
	var nodes []object.NodeID
	for range 5 {
		conn := rpctest.Connect(t, nats, rpc.Options{})
		n := conn.Node()
		nodes = append(nodes, n)
		_, err := nodeapi.ServeBarrier(conn, func(context.Context, uint64) error {
			mu.Lock()
			defer mu.Unlock()
			if !applied[n] {
				return errors.New("not yet")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ring := func(assign, next [][]uint16) *layout.Ring {
		return &layout.Ring{Epoch: 2, Bits: 1, Nodes: nodes, Assign: assign, Next: next}
	}
	rest := ring([][]uint16{{0, 1, 2}, {1, 2, 3}}, nil)
	joint := ring([][]uint16{{0, 1, 2}, {1, 2, 3}}, [][]uint16{{0, 3, 4}, {1, 2, 3}})
	pairs := ring([][]uint16{{0, 1}, {2, 3}}, nil)
	caller := rpctest.Connect(t, nats, rpc.Options{})
	for _, c := range []struct {
		ring    *layout.Ring
		applied []int
		want    bool
	}{
		{rest, []int{1, 2}, true},
		{rest, []int{0, 1, 3}, true},
		{rest, []int{0, 1}, false},
		{rest, []int{0, 3, 4}, false},
		{joint, []int{1, 2}, false},
		{joint, []int{1, 2, 3, 4}, true},
		{joint, []int{0, 1, 3}, true},
		{pairs, []int{0, 2}, true}, // two of two are no majority without one of them
		{pairs, []int{0, 1}, false},
		{nil, nil, true},
	} {
		mu.Lock()
		clear(applied)
		for _, i := range c.applied {
			applied[nodes[i]] = true
		}
		mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := nodeapi.AwaitRevision(ctx, caller, 7, nil, c.ring)
		cancel()
		if (err == nil) != c.want || err != nil && !fault.Is(err, fault.Unavailable) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
