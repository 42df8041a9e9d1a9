package meta_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"hangar/services/meta"
	"hangar/shared/control"
	"hangar/shared/layout"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/natsd"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// fleet is some metadata nodes, each with a view of the layout that comes late.
type fleet struct {
	t     *testing.T
	nats  *natsd.Server
	conn  *rpc.Conn
	nodes []object.NodeID
	dirs  []string
	runs  []*running
	views []*fixedControl // of the nodes, then that of clients
	ctx   context.Context
	// layout is the one in force; only the driver changes it.
	layout  control.Layout
	publish []chan control.Layout
}

// newFleet starts n nodes, of which the first rf hold everything.
func newFleet(t *testing.T, n, rf int) *fleet {
	t.Helper()
	f := &fleet{t: t, nats: rpctest.NATS(t), ctx: t.Context()}
	f.conn = rpctest.Connect(t, f.nats, rpc.Options{})
	var late sync.WaitGroup
	for i := range n + 1 {
		view, news := newControl(), make(chan control.Layout, 64)
		f.views, f.publish = append(f.views, view), append(f.publish, news)
		late.Go(func() {
			for l := range news {
				// Some hear of it later than others.
				time.Sleep(rand.N(15 * time.Millisecond))
				view.apply(&l)
			}
		})
		if i == n {
			break
		}
		f.dirs, f.runs = append(f.dirs, t.TempDir()), append(f.runs, nil)
		node, err := meta.Identify(f.dirs[i])
		if err != nil {
			t.Fatal(err)
		}
		f.nodes = append(f.nodes, node)
	}
	t.Cleanup(func() {
		for _, news := range f.publish {
			close(news)
		}
		late.Wait()
	})
	f.layout.Meta = *ringOf(1, f.nodes[:rf]...)
	f.announce()
	for i := range n {
		f.start(i)
	}
	return f
}

func (f *fixedControl) apply(l *control.Layout) {
	f.mu.Lock()
	defer f.mu.Unlock()
	view := *f.view
	view.Layout = l
	f.view = &view
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fleet) start(i int) { f.runs[i] = run(f.t, f.nats, f.views[i], settings(f.t, f.dirs[i])) }

// restart stops a node and starts it again.
func (f *fleet) restart(i int) {
	f.t.Helper()
	if err := f.runs[i].stop(); err != nil {
		f.t.Fatal(err)
	}
	f.start(i)
}

// announce puts the layout in force.
func (f *fleet) announce() {
	for _, news := range f.publish {
		news <- f.layout
	}
}

// even spreads the partitions over some nodes, three to each.
func (f *fleet) even(nodes ...int) layout.Assignment {
	var a layout.Assignment
	for _, n := range nodes {
		a.Nodes = append(a.Nodes, f.nodes[n])
	}
	a.Assign = metatest.EvenAssignment(3, len(nodes))[:16]
	return a
}

// change carries out a change of the layout, step by step as a driver does.
// meanwhile, if not nil, is called amid the copying.
func (f *fleet) change(to layout.Assignment, meanwhile func()) {
	f.t.Helper()
	began := time.Now()
	f.begin(to)
	f.takeLows()
	fenced := time.Since(began)
	f.copy(meanwhile)
	f.end(false)
	f.t.Logf("epoch %d: fenced in %v, all in %v", f.layout.Meta.Epoch, fenced, time.Since(began))
}

func (f *fleet) begin(to layout.Assignment) {
	f.layout.Meta = *f.layout.Meta.Begin(to)
	f.announce()
}

func (f *fleet) end(abort bool) {
	f.layout.Meta = *f.layout.Meta.End(abort)
	f.announce()
}

// eventually repeats try until it succeeds.
func (f *fleet) eventually(what string, try func(ctx context.Context) error) {
	f.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(f.ctx, 10*time.Second)
		err := try(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// takeLows fences the epoch before off and writes the low marks down.
func (f *fleet) takeLows() {
	f.t.Helper()
	ring := &f.layout.Meta
	var mu sync.Mutex
	adopted := map[object.NodeID]nodeapi.Adopted{}
	f.eventually("adopting", func(ctx context.Context) error {
		var asking sync.WaitGroup
		for _, n := range ring.Nodes {
			asking.Go(func() {
				if a, err := nodeapi.AskAdopt(ctx, f.conn, "meta", n, ring.Epoch); err == nil {
					mu.Lock()
					adopted[n] = a
					mu.Unlock()
				}
			})
		}
		asking.Wait()
		lows := maps.Clone(f.layout.MetaLows)
		if lows == nil {
			lows = map[layout.Partition]register.Tag{}
		}
		for p := range layout.Partition(16) {
			for i, set := range ring.Sets(p) {
				have := 0
				for _, n := range set {
					mark, marked := adopted[n].Marks[p]
					if adopted[n].Epoch < ring.Epoch || i == 0 && !marked {
						continue
					}
					have++
					if i > 0 {
						continue
					}
					var low register.Tag
					if err := json.Unmarshal(mark, &low); err != nil {
						return err
					}
					lows[p] = lows[p].Max(low)
				}
				if have < set.Majority() {
					return fmt.Errorf("partition %d: %d of set %d", p, have, i)
				}
			}
		}
		f.layout.MetaLows, f.layout.MetaLowsEpoch = lows, ring.Epoch
		return nil
	})
	f.announce()
}

// copy orders the rows of partitions that change hands to be copied, by their
// first gaining member or, when that does not answer, another.
func (f *fleet) copy(meanwhile func()) {
	f.t.Helper()
	ring := &f.layout.Meta
	left := map[layout.Partition]bool{}
	for p := range layout.Partition(16) {
		if ring.Changes(p) {
			left[p] = true
		}
	}
	again := 0
	f.eventually("copying", func(ctx context.Context) error {
		orders := map[object.NodeID][]layout.Partition{}
		for p := range left {
			gains := ring.Gains(p)
			n := gains[again%len(gains)]
			orders[n] = append(orders[n], p)
		}
		for n, parts := range orders {
			slices.Sort(parts)
			progress, err := nodeapi.AskTransfer(ctx, f.conn, "meta", n, nodeapi.Transfer{Epoch: ring.Epoch, Partitions: parts})
			if err != nil {
				again++
				return err
			}
			if progress.Items > progress.ItemsTotal || progress.Bytes > progress.BytesTotal {
				f.t.Errorf("progress %+v", progress)
			}
			for _, p := range progress.Done {
				delete(left, p)
			}
		}
		if meanwhile != nil {
			meanwhile()
			meanwhile = nil
		}
		if len(left) > 0 {
			return fmt.Errorf("%d partitions are left", len(left))
		}
		return nil
	})
}
