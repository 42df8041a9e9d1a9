package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"hangar/services/meta/internal/transfer"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/kv/memkv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/work"
)

const rows = 3000 // several pages

// world is some old members, in memory, and a joint ring that leads to one new.
type world struct {
	net   *metatest.Network
	ring  *metatest.Rings
	nodes []object.NodeID
	store kv.Store
	set   *work.Set

	mu     sync.Mutex
	copied map[metaapi.RowKey]int // guarded by mu
	fail   error                  // guarded by mu; of every copy from half of the rows on
}

// newWorld has each row at two of the three old members, and some that were
// only promised.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{net: metatest.NewNetwork(), store: new(memkv.Store), copied: map[metaapi.RowKey]int{}}
	var replicas []*metatest.Replica
	for range 3 {
		n, r := object.NewNodeID(), metatest.NewReplica()
		server, err := metaapi.Serve(w.net.Server(n), n, r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		w.nodes, replicas = append(w.nodes, n), append(replicas, r)
	}
	for i := range rows {
		for j := range 2 {
			q := register.Request{Kind: register.Apply, Epoch: 1, Row: register.Row{Tag: register.Tag{Time: 5, Node: 1}}}
			if i%10 == 0 {
				q = register.Request{Kind: register.Prepare, Epoch: 1, Ballot: register.Tag{Time: 5, Node: 1}}
			}
			if _, err := replicas[(i+j)%3].Handle(context.Background(), key(i), q); err != nil {
				t.Fatal(err)
			}
		}
	}
	old := metatest.EvenRing(1, 3, w.nodes...)
	next := slices.Concat(w.nodes[1:], []object.NodeID{object.NewNodeID()})
	w.ring = metatest.NewRings(old.Begin(layout.Assignment{Nodes: next, Assign: metatest.EvenAssignment(3, 3)}))
	return w
}

func key(i int) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Objects, Bucket: object.BucketID{1}, Key: fmt.Sprintf("%05d", i)}
}

func (w *world) recommit(_ context.Context, k metaapi.RowKey) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.copied) >= rows/2 && w.fail != nil {
		return w.fail
	}
	w.copied[k]++
	return nil
}

func (w *world) setFail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = err
}

// start runs a worker until stop.
func (w *world) start(t *testing.T) (worker *transfer.Worker, stop func()) {
	t.Helper()
	writer := kv.NewCommitter(w.store)
	set, err := work.Open(work.Options{Service: "meta"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	w.set = set
	busy, err := set.Worker(work.WorkerOptions{Name: "copy", Tranquility: "0"})
	if err != nil {
		t.Fatal(err)
	}
	worker, err = transfer.New(transfer.Options{
		Self: object.NewNodeID(), Store: w.store, Writer: writer, Ring: w.ring.Ring, Caller: w.net,
		Recommit: w.recommit, Work: busy,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = writer.Run(ctx) })
	running.Go(func() { _ = worker.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return worker, stop
}

func everything() nodeapi.Transfer {
	o := nodeapi.Transfer{Epoch: 2}
	for p := range layout.Partition(1 << layout.DefaultBits) {
		o.Partitions = append(o.Partitions, p)
	}
	return o
}

// until repeats an order until its progress is as wanted.
func until(t *testing.T, w *transfer.Worker, o nodeapi.Transfer, want func(nodeapi.Progress) bool) nodeapi.Progress {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		p, err := w.Transfer(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		if want(p) {
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", p)
		}
	}
}

// TestCopyGoesOn: rows are copied once although the worker fails amid them, a
// source goes and the process starts again; what was never written is not.
func TestCopyGoesOn(t *testing.T) {
	w := newWorld(t)
	w.setFail(errors.New("no quorum"))
	worker, stop := w.start(t)
	few := everything()
	few.Partitions = few.Partitions[:200]
	until(t, worker, few, func(p nodeapi.Progress) bool { return p.Error != "" && p.Items > 0 && len(p.Done) == 0 })
	stop()
	w.setFail(nil)
	w.net.Cut(w.nodes[0], true)
	worker, _ = w.start(t)
	all := everything()
	p := until(t, worker, all, func(p nodeapi.Progress) bool { return len(p.Done) == len(all.Partitions) })
	if len(w.copied) != rows*9/10 || p.Items < rows*9/10 || p.Error != "" {
		t.Errorf("%d rows copied, progress %d of %d, %q", len(w.copied), p.Items, p.ItemsTotal, p.Error)
	}
	again := 0
	for k, n := range w.copied {
		if n > 1 {
			again++
		}
		if k.Key[4] == '0' {
			t.Fatalf("%s was never written", k.Key)
		}
	}
	if again > 1024 { // the page under way
		t.Errorf("%d rows were copied again", again)
	}
}

// TestItRests as an operator says, and goes on at once when told otherwise.
func TestItRests(t *testing.T) {
	w := newWorld(t)
	worker, _ := w.start(t)
	if err := w.set.SetVariable(context.Background(), "copy-tranquility", "99"); err != nil {
		t.Fatal(err)
	}
	all := everything()
	state := func() nodeapi.WorkerState {
		list, err := w.set.Workers(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return list[0].State
	}
	until(t, worker, all, func(p nodeapi.Progress) bool {
		if len(p.Done) > 0 {
			t.Fatal("it was over before it rested")
		}
		return state() == nodeapi.Throttled
	})
	if err := w.set.SetVariable(context.Background(), "copy-tranquility", "0"); err != nil {
		t.Fatal(err)
	}
	until(t, worker, all, func(p nodeapi.Progress) bool { return len(p.Done) == len(all.Partitions) && state() == nodeapi.Idle })
}

func TestOrdersThatAreRefused(t *testing.T) {
	w := newWorld(t)
	worker, _ := w.start(t)
	for _, test := range []struct {
		name  string
		order nodeapi.Transfer
		want  fault.Kind
	}{
		{"not known yet", nodeapi.Transfer{Epoch: 3}, fault.Unavailable},
		{"over", nodeapi.Transfer{Epoch: 1}, fault.Conflict},
		{"out of order", nodeapi.Transfer{Epoch: 2, Partitions: []layout.Partition{2, 1}}, fault.Invalid},
		{"no partition", nodeapi.Transfer{Epoch: 2, Partitions: []layout.Partition{256}}, fault.Invalid},
	} {
		if p, err := worker.Transfer(context.Background(), test.order); !fault.Is(err, test.want) {
			t.Errorf("%s: %+v, %v", test.name, p, err)
		}
	}
	w.ring.Set(w.ring.Ring().End(false))
	if p, err := worker.Transfer(context.Background(), nodeapi.Transfer{Epoch: 3}); !fault.Is(err, fault.Invalid) {
		t.Errorf("at rest: %+v, %v", p, err)
	}
}

// TestRingMovesOn: nothing counts as done that was copied under another ring,
// and an order of a newer change begins anew.
func TestRingMovesOn(t *testing.T) {
	w := newWorld(t)
	w.setFail(errors.New("no quorum"))
	worker, _ := w.start(t)
	all := everything()
	until(t, worker, all, func(p nodeapi.Progress) bool { return p.Error != "" })
	rest := w.ring.Ring().End(true)
	w.ring.Set(rest)
	w.setFail(nil)
	if p, err := worker.Transfer(context.Background(), all); !fault.Is(err, fault.Conflict) {
		t.Errorf("%+v, %v", p, err)
	}
	w.ring.Set(rest.Begin(layout.Assignment{Nodes: w.nodes[1:], Assign: metatest.EvenAssignment(2, 2)}))
	all.Epoch = 4
	p, err := worker.Transfer(context.Background(), all)
	if err != nil || len(p.Done) != 0 || p.Items != 0 {
		t.Errorf("the next change begins with %+v, %v", p, err)
	}
	until(t, worker, all, func(p nodeapi.Progress) bool { return len(p.Done) == len(all.Partitions) })
}
