package blockrpc_test

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/blockapi/blockrpc"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a client and nodes in memory that it reaches over a real broker,
// or past it.
type cluster struct {
	*blockrpc.Client
	nodes  map[object.NodeID]*blocktest.Node
	ids    []object.NodeID
	conns  map[object.NodeID]*rpc.Conn
	ring   atomic.Pointer[layout.Ring]
	serves map[object.NodeID]*blockrpc.Endpoint
}

func newCluster(t testing.TB, size, replicas int, lane *rpc.Lane, o blockrpc.Options) *cluster {
	t.Helper()
	s := rpctest.NATS(t)
	c := &cluster{
		nodes:  make(map[object.NodeID]*blocktest.Node),
		conns:  make(map[object.NodeID]*rpc.Conn),
		serves: make(map[object.NodeID]*blockrpc.Endpoint),
	}
	for range size {
		conn := rpctest.Connect(t, s, rpc.Options{Lane: lane})
		c.ids = append(c.ids, conn.Node())
		c.conns[conn.Node()] = conn
		c.nodes[conn.Node()] = blocktest.NewNode()
	}
	c.ring.Store(ringOf(c.ids, replicas))
	for id, n := range c.nodes {
		e, err := blockrpc.Serve(c.conns[id], id, n)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Follow(c.ring.Load()); err != nil {
			t.Fatal(err)
		}
		c.serves[id] = e
	}
	client, err := blockrpc.NewClient(rpctest.Connect(t, s, rpc.Options{Lane: lane}), c.ring.Load, o)
	if err != nil {
		t.Fatal(err)
	}
	c.Client = client
	t.Cleanup(client.Close)
	return c
}

// ringOf spreads partitions over nodes, replicas of each.
func ringOf(nodes []object.NodeID, replicas int) *layout.Ring {
	r := &layout.Ring{Epoch: 1, Bits: layout.DefaultBits, Nodes: nodes}
	for p := range r.Partitions() {
		var set []uint16
		for i := range replicas {
			set = append(set, uint16((p+i)%len(nodes)))
		}
		r.Assign = append(r.Assign, set)
	}
	return r
}

func TestStoreConformance(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) *cluster{
		"one node, in process": func(t *testing.T) *cluster {
			return newCluster(t, 1, 1, rpc.NewLane(), blockrpc.Options{})
		},
		"one node over NATS": func(t *testing.T) *cluster {
			return newCluster(t, 1, 1, nil, blockrpc.Options{})
		},
		"three of five in process": func(t *testing.T) *cluster {
			return newCluster(t, 5, 3, rpc.NewLane(), blockrpc.Options{})
		},
		"three of five over NATS": func(t *testing.T) *cluster {
			return newCluster(t, 5, 3, nil, blockrpc.Options{})
		},
		"no memory for stragglers": func(t *testing.T) *cluster {
			return newCluster(t, 3, 3, nil, blockrpc.Options{StragglerBytes: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			blocktest.RunStore(t, func(t *testing.T) blockapi.Store { return open(t) })
		})
	}
}

// down makes a node answer nothing.
func down(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

func failing(k fault.Kind) func(context.Context, string) error {
	return func(context.Context, string) error { return fault.New(k, "as the test wants") }
}

func TestPutNeedsAMajority(t *testing.T) {
	for name, c := range map[string]struct {
		bad  int
		how  func(context.Context, string) error
		want fault.Kind
		ok   bool
	}{
		"one of three silent": {1, down, 0, true},
		"one of three full":   {1, failing(fault.StorageFull), 0, true},
		"two of three silent": {2, down, fault.Unavailable, false},
		"two of three full":   {2, failing(fault.StorageFull), fault.StorageFull, false},
		"two overloaded":      {2, failing(fault.Overloaded), fault.Overloaded, false},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newCluster(t, 3, 3, nil, blockrpc.Options{WriteTimeout: 600 * time.Millisecond, AttemptTimeout: 200 * time.Millisecond})
			for _, id := range cl.ids[:c.bad] {
				cl.nodes[id].Before(c.how)
			}
			plain := blocktest.Random(10_000)
			owner := blocktest.Owner()
			h, err := cl.Put(t.Context(), owner, plain)
			if !c.ok {
				if !fault.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			held := 0
			for _, n := range cl.nodes {
				if got, referenced := n.Has(h, owner); got && referenced {
					held++
				}
			}
			if held < 2 {
				t.Fatalf("acknowledged with %d copies", held)
			}
		})
	}
}

// TestWriteOne: when it is allowed, one replica of three is enough for a write,
// and none is not.
func TestWriteOne(t *testing.T) {
	var one atomic.Bool
	c := newCluster(t, 3, 3, nil, blockrpc.Options{WriteTimeout: 600 * time.Millisecond, AttemptTimeout: 200 * time.Millisecond, WriteOne: one.Load})
	plain := blocktest.Random(10_000)
	hash, err := c.Put(t.Context(), blocktest.Owner(), plain)
	if err != nil {
		t.Fatal(err)
	}
	write := func(want bool) {
		t.Helper()
		if _, err := c.Put(t.Context(), blocktest.Owner(), plain); (err == nil) != want {
			t.Errorf("put: %v", err)
		}
		if err := c.Reference(t.Context(), blocktest.Owner(), []object.Hash{hash}); (err == nil) != want {
			t.Errorf("reference: %v", err)
		}
	}
	c.nodes[c.ids[0]].Before(down)
	c.nodes[c.ids[1]].Before(failing(fault.StorageFull))
	write(false)
	one.Store(true)
	write(true)
	c.nodes[c.ids[2]].Before(failing(fault.StorageFull))
	write(false)
}

func TestStragglersAreSentTo(t *testing.T) {
	c := newCluster(t, 3, 3, nil, blockrpc.Options{AttemptTimeout: 100 * time.Millisecond})
	slow := c.nodes[c.ids[0]]
	var asked atomic.Int64
	slow.Before(func(ctx context.Context, op string) error {
		if asked.Add(1) == 1 {
			return down(ctx, op) // the first request is lost
		}
		return nil
	})
	plain := blocktest.Random(10_000)
	want := bytes.Clone(plain)
	owner := blocktest.Owner()
	h, err := c.Put(t.Context(), owner, plain)
	if err != nil {
		t.Fatal(err)
	}
	clear(plain) // the caller's again
	c.Close()    // waits for stragglers
	if held, _ := slow.Has(h, owner); !held {
		t.Fatal("the slow replica never got its copy")
	}
	if b, err := slow.Get(t.Context(), h); err != nil || !bytes.Equal(b.Data, want) {
		t.Fatalf("the slow replica's copy differs: %v", err)
	}
}

func TestPutDuringChangeNeedsBothSets(t *testing.T) {
	c := newCluster(t, 4, 1, nil, blockrpc.Options{WriteTimeout: 500 * time.Millisecond, AttemptTimeout: 200 * time.Millisecond})
	ring := *ringOf(c.ids, 1)
	ring.Epoch, ring.Next = 2, ringOf(append(c.ids[1:], c.ids[0]), 1).Assign
	ring.Next = make([][]uint16, ring.Partitions())
	for p := range ring.Next {
		ring.Next[p] = []uint16{uint16((p + 1) % 4)}
	}
	c.ring.Store(&ring)
	for _, e := range c.serves {
		if err := e.Follow(&ring); err != nil {
			t.Fatal(err)
		}
	}
	owner := blocktest.Owner()
	h, err := c.Put(t.Context(), owner, blocktest.Random(1000))
	if err != nil {
		t.Fatal(err)
	}
	p := int(layout.OfHash(h, ring.Bits))
	before, after := c.nodes[c.ids[p%4]], c.nodes[c.ids[(p+1)%4]]
	for _, n := range []*blocktest.Node{before, after} {
		if held, _ := n.Has(h, owner); !held {
			t.Fatal("one of the two sets has no copy")
		}
	}
	before.Lose(h)
	if _, err := c.Get(t.Context(), h); err != nil {
		t.Fatalf("read from the other set: %v", err)
	}
	after.Before(down)
	for { // a block of the same partition
		plain := blocktest.Random(1000)
		if int(layout.OfHash(blockcodec.Hash(plain), ring.Bits)) != p {
			continue
		}
		if _, err := c.Put(t.Context(), owner, plain); !fault.Is(err, fault.Unavailable) {
			t.Fatalf("acknowledged without the new set: %v", err)
		}
		return
	}
}

func TestGetGoesOn(t *testing.T) {
	c := newCluster(t, 3, 3, nil, blockrpc.Options{AttemptTimeout: 5 * time.Second})
	plain := blocktest.Text(100_000)
	h, err := c.Put(t.Context(), blocktest.Owner(), plain)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	get := func(t *testing.T) {
		t.Helper()
		for range 10 { // whichever replica is asked first
			got, err := c.Get(t.Context(), h)
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			c.Recycle(got)
		}
	}
	a, b, d := c.nodes[c.ids[0]], c.nodes[c.ids[1]], c.nodes[c.ids[2]]
	t.Run("past a replica that lost it", func(t *testing.T) { a.Lose(h); get(t) })
	t.Run("past a corrupt copy", func(t *testing.T) { b.Corrupt(h); get(t) })
	d.Corrupt(h)
	if _, err := c.Get(t.Context(), h); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("no good copy: %v", err)
	}
	b.Lose(h)
	d.Lose(h)
	if _, err := c.Get(t.Context(), h); !fault.Is(err, fault.NotFound) {
		t.Fatalf("no copy: %v", err)
	}
	a.Before(failing(fault.Internal))
	if _, err := c.Get(t.Context(), h); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("not found although a replica could not say: %v", err)
	}
}

func TestGetHedges(t *testing.T) {
	c := newCluster(t, 3, 3, nil, blockrpc.Options{AttemptTimeout: time.Minute})
	plain := blocktest.Random(1000)
	h, err := c.Put(t.Context(), blocktest.Owner(), plain)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	// Two of three never answer: the hedges find the third long before the
	// attempts time out.
	c.nodes[c.ids[0]].Before(down)
	c.nodes[c.ids[1]].Before(down)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if got, err := c.Get(ctx, h); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestReferenceNeedsAMajority(t *testing.T) {
	c := newCluster(t, 5, 3, nil, blockrpc.Options{WriteTimeout: 600 * time.Millisecond, AttemptTimeout: 200 * time.Millisecond})
	var hashes []object.Hash
	for range 50 {
		h, err := c.Put(t.Context(), blocktest.Owner(), blocktest.Random(100))
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, h)
	}
	c.Close()
	owner := blocktest.Owner()
	if err := c.Reference(t.Context(), owner, hashes); err != nil {
		t.Fatal(err)
	}
	for _, h := range hashes {
		held := 0
		for _, n := range c.nodes {
			if _, referenced := n.Has(h, owner); referenced {
				held++
			}
		}
		if held < 2 {
			t.Fatalf("referenced at %d replicas", held)
		}
	}
	// One replica of the first block lost it: still a majority. Two: no more.
	var holders []*blocktest.Node
	for _, n := range c.nodes {
		if held, _ := n.Has(hashes[0], blocktest.Owner()); held {
			holders = append(holders, n)
		}
	}
	holders[0].Lose(hashes[0])
	if err := c.Reference(t.Context(), blocktest.Owner(), hashes); err != nil {
		t.Fatalf("one copy lost: %v", err)
	}
	holders[1].Lose(hashes[0])
	if err := c.Reference(t.Context(), blocktest.Owner(), hashes); !fault.Is(err, fault.NotFound) {
		t.Fatalf("two copies lost: %v", err)
	}
	for _, id := range c.ids[:3] {
		c.nodes[id].Before(down)
	}
	if err := c.Reference(t.Context(), blocktest.Owner(), hashes[1:]); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("three of five nodes silent: %v", err)
	}
}

func TestReleaseReachesAllNodes(t *testing.T) {
	for name, lane := range map[string]*rpc.Lane{"NATS": nil, "in process": rpc.NewLane()} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 3, 1, lane, blockrpc.Options{})
			o := blocktest.Owner()
			want := blockapi.Released{Bucket: o.Bucket, Key: o.Key, Version: o.Version, Manifest: o.Manifest}
			c.Release(t.Context(), want)
			deadline := time.Now().Add(10 * time.Second)
			for _, n := range c.nodes {
				for len(n.Released()) == 0 {
					if time.Now().After(deadline) {
						t.Fatal("a node never heard the hint")
					}
					time.Sleep(time.Millisecond) // nothing tells of a hint's arrival
				}
				if got := n.Released()[0]; got != want {
					t.Fatalf("got %+v, want %+v", got, want)
				}
			}
		})
	}
}

// TestPutReachesNodesThatAreBehind: a node that does not listen to a partition
// yet, or any more, is asked directly.
func TestPutReachesNodesThatAreBehind(t *testing.T) {
	c := newCluster(t, 2, 2, nil, blockrpc.Options{AttemptTimeout: 100 * time.Millisecond})
	behind := c.ids[1]
	var asked atomic.Int64
	c.nodes[behind].Before(func(context.Context, string) error { asked.Add(1); return nil })
	put := func() {
		t.Helper()
		if _, err := c.Put(t.Context(), blocktest.Owner(), blocktest.Random(100)); err != nil {
			t.Fatal(err)
		}
	}
	put()
	if err := c.serves[behind].Follow(ringOf(c.ids[:1], 1)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	put()
	if asked.Load() != 2 || time.Since(start) < 100*time.Millisecond {
		t.Fatalf("asked %d times, the second after %v: it still listens to the partition", asked.Load(), time.Since(start))
	}
}

func TestNoLayout(t *testing.T) {
	c := newCluster(t, 1, 1, nil, blockrpc.Options{})
	for _, ring := range []*layout.Ring{nil, {}} {
		c.ring.Store(ring)
		if _, err := c.Put(t.Context(), blocktest.Owner(), []byte("x")); !fault.Is(err, fault.Unavailable) {
			t.Errorf("Put: %v", err)
		}
		if _, err := c.Get(t.Context(), blockcodec.Hash([]byte("x"))); !fault.Is(err, fault.Unavailable) {
			t.Errorf("Get: %v", err)
		}
	}
}

// TestStragglerMemoryIsBounded: with a replica that never answers, writers are
// let go early only while the budget lasts.
func TestStragglerMemoryIsBounded(t *testing.T) {
	const block = 10_000
	c := newCluster(t, 3, 3, nil, blockrpc.Options{
		StragglerBytes: 3 * block, WriteTimeout: time.Second, AttemptTimeout: 500 * time.Millisecond,
	})
	release := make(chan struct{})
	c.nodes[c.ids[0]].Before(func(ctx context.Context, _ string) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})
	var early atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.Put(t.Context(), blocktest.Owner(), blocktest.Random(block)); err != nil {
				t.Error(err)
			}
			select {
			case <-release:
			default:
				early.Add(1)
			}
		})
	}
	deadline := time.After(300 * time.Millisecond)
	<-deadline
	n := early.Load()
	close(release)
	wg.Wait()
	if n != 3 {
		t.Fatalf("%d writers were let go while a replica was silent, want 3", n)
	}
}
