package meta_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"hangar/services/meta"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// trio is three nodes that hold everything together.
type trio struct {
	nats    *natsd.Server
	control *fixedControl
	configs [3]meta.Config
	nodes   [3]object.NodeID
	running [3]*running
	peers   rpc.Caller
	rows    metaapi.Rows
}

// newTrio starts nodes that do not sync: there are three on one disk, and power
// does not fail here.
func newTrio(t testing.TB, grace time.Duration) *trio {
	t.Helper()
	return newTrioWith(t, grace, false)
}

func newTrioWith(t testing.TB, grace time.Duration, sync bool) *trio {
	t.Helper()
	c := &trio{nats: rpctest.NATS(t), control: newControl()}
	for i := range c.configs {
		c.configs[i] = settings(t, t.TempDir())
		c.configs[i].Grace = grace
		c.configs[i].Repair = time.Second
		c.configs[i].Sync = sync
		var err error
		if c.nodes[i], err = meta.Identify(c.configs[i].Dir); err != nil {
			t.Fatal(err)
		}
	}
	c.control.set(ringOf(1, c.nodes[:]...))
	for i := range c.configs {
		c.start(t, i)
	}
	c.peers = rpctest.Connect(t, c.nats, rpc.Options{})
	c.rows = client(t, c.nats, c.control)
	return c
}

func (c *trio) stop(t testing.TB) {
	t.Helper()
	for _, r := range c.running {
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *trio) start(t testing.TB, i int) {
	t.Helper()
	c.running[i] = run(t, c.nats, c.control, c.configs[i])
}

// digests is what each node that runs sums up.
func (c *trio) digests(t testing.TB) (of [3]metaapi.Digest) {
	t.Helper()
	q := metaapi.DigestsRequest{Epoch: 1}
	for p := range layout.Partition(16) {
		q.Partitions = append(q.Partitions, p)
	}
	for i, n := range c.nodes {
		reply, err := metaapi.NewPeer(c.peers, n).Digests(t.Context(), q)
		if err != nil || reply.Old {
			t.Fatalf("node %d: %+v, %v", i, reply, err)
		}
		for _, d := range reply.Partitions {
			of[i] = of[i].Plus(d)
		}
	}
	return of
}

// await returns once all nodes hold the same, of so many rows. It looks seldom:
// a look at everything is work.
func (c *trio) await(t testing.TB, rows uint64) {
	t.Helper()
	for deadline := time.Now().Add(100 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		d := c.digests(t)
		if d[0] == d[1] && d[0] == d[2] && d[0].Rows == rows {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the nodes hold %+v, not %d rows alike", d, rows)
		}
	}
}

// each calls f for n rows, some at once.
func each(t testing.TB, n int, f func(ctx context.Context, key metaapi.RowKey, i int) error) {
	t.Helper()
	var working sync.WaitGroup
	for w := range 16 {
		working.Go(func() {
			for i := w; i < n; i += 16 {
				if err := f(t.Context(), key(fmt.Sprintf("k%05d", i)), i); err != nil {
					t.Errorf("row %d: %v", i, err)
					return
				}
			}
		})
	}
	working.Wait()
}

// TestNodeCatchesUp: a node that was away while many rows were written and
// deleted holds the same as the others soon after its return, nothing that
// was deleted comes back, and no marker is forgotten before it is there again.
func TestNodeCatchesUp(t *testing.T) {
	const n = 1200
	c := newTrio(t, time.Second)
	put := func(text string) func(context.Context, metaapi.RowKey, int) error {
		return func(ctx context.Context, k metaapi.RowKey, i int) error {
			_, err := c.rows.Put(ctx, k, &metaapi.Value{Head: fmt.Append(nil, text, i), Body: make([]byte, i%700), Count: 1})
			return err
		}
	}
	each(t, n, put("old"))
	c.await(t, n)
	if err := c.running[2].stop(); err != nil {
		t.Fatal(err)
	}
	each(t, n, func(ctx context.Context, k metaapi.RowKey, i int) error {
		switch i % 3 {
		case 0:
			_, err := c.rows.Put(ctx, k, nil)
			return err
		case 1:
			return put("new")(ctx, k, i)
		}
		return nil
	})
	each(t, n/3, func(ctx context.Context, k metaapi.RowKey, i int) error {
		k.Sub = "while it was away"
		return put("sub")(ctx, k, i)
	})
	states, err := metaapi.NewPeer(c.peers, c.nodes[0]).States(t.Context(), metaapi.StatesRequest{Epoch: 1, Keys: []metaapi.RowKey{key("k00000")}})
	if err != nil || states.Rows[0].Tag.IsZero() {
		t.Fatalf("a marker that one node lacks is forgotten: %+v, %v", states, err)
	}
	c.start(t, 2)
	c.await(t, n-n/3+n/3) // the live ones: the markers go once all nodes have them
	each(t, n, func(ctx context.Context, k metaapi.RowKey, i int) error {
		row, err := c.rows.Get(ctx, k)
		want := [3]string{"", fmt.Sprint("new", i), fmt.Sprint("old", i)}[i%3]
		if err == nil && (row.Value == nil) != (want == "") || row.Value != nil && string(row.Value.Head) != want {
			t.Errorf("row %d reads %+v", i, row)
		}
		return err
	})
	forgotten, carried := 0.0, 0.0
	for _, r := range c.running {
		forgotten += metric(t, r, "hangar_meta_forgotten_rows_total")
		carried += metric(t, r, "hangar_meta_repair_rows_total")
	}
	if forgotten < n/3 || carried == 0 {
		t.Errorf("%v rows were forgotten, %v repaired", forgotten, carried)
	}
	if _, err := c.rows.Put(t.Context(), key("k00000"), &metaapi.Value{Head: []byte("again"), Count: 1}); err != nil {
		t.Errorf("a write after the row was forgotten: %v", err)
	}
}

// TestMarkersReachANodeThatReturns: where markers are kept, a node that returns gets
// them too.
func TestMarkersReachANodeThatReturns(t *testing.T) {
	const n = 500
	c := newTrio(t, time.Hour)
	put := func(v *metaapi.Value) func(context.Context, metaapi.RowKey, int) error {
		return func(ctx context.Context, k metaapi.RowKey, _ int) error { _, err := c.rows.Put(ctx, k, v); return err }
	}
	each(t, n, put(&metaapi.Value{Head: []byte("h"), Count: 1}))
	if err := c.running[0].stop(); err != nil {
		t.Fatal(err)
	}
	each(t, n, put(nil))
	c.start(t, 0)
	c.await(t, n)
	counters, err := c.rows.Counters(t.Context(), metaapi.Objects, object.BucketID{1})
	if err != nil || counters.Count != 0 {
		t.Errorf("%+v, %v", counters, err)
	}
}
