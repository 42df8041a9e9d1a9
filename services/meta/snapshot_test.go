package meta_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/services/meta"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// operator is a node as its operators reach it.
func operator(t *testing.T, caller rpc.Caller, n object.NodeID) nodeapi.Operator {
	t.Helper()
	return nodeapi.Remote{Caller: caller, Service: "meta", Node: n}
}

// take makes a snapshot of a node and returns where it is.
func take(t *testing.T, o nodeapi.Operator, dir string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := o.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	all := snapshotsIn(t, dir)
	return all[len(all)-1]
}

func snapshotsIn(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*Z"))
	if err != nil || len(all) == 0 {
		t.Fatalf("snapshots in %s: %v, %v", dir, all, err)
	}
	return all
}

func value(text string) *metaapi.Value {
	return &metaapi.Value{Head: []byte(text), Body: large(text), Count: 1, Bytes: int64(len(text))}
}

// TestSnapshotIsRestored: what was written before a snapshot is there after the
// node was lost, whole, although others wrote and compacted beside it; what was
// written after it is not.
func TestSnapshotIsRestored(t *testing.T) {
	const rows = 300
	nats := rpctest.NATS(t)
	cfg := settings(t, filepath.Join(t.TempDir(), "node"))
	cfg.SegmentMiB, cfg.SnapshotDir = 1, filepath.Join(t.TempDir(), "kept")
	node, err := meta.Identify(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	c := newControl()
	c.set(ringOf(1, node))
	r := run(t, nats, c, cfg)
	table := client(t, nats, c)
	ctx := t.Context()
	put := func(k metaapi.RowKey, v *metaapi.Value) {
		t.Helper()
		if _, err := table.Put(ctx, k, v); err != nil {
			t.Fatal(err)
		}
	}
	name := func(i int) metaapi.RowKey { return key(fmt.Sprintf("row %03d", i)) }
	for i := range rows {
		put(name(i), &metaapi.Value{Head: []byte("first"), Body: []byte(strings.Repeat("x", 8<<10)), Count: 1})
		put(name(i), value("before"))
	}
	for i := range rows / 3 {
		put(name(i), nil)
	}
	busy, stop := context.WithCancel(ctx)
	var writing sync.WaitGroup
	for w := range 4 {
		writing.Go(func() {
			for i := 0; busy.Err() == nil; i++ {
				if _, err := table.Put(ctx, key(fmt.Sprintf("busy %d %d", w, i%20)), value(fmt.Sprint(i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	op := operator(t, rpctest.Connect(t, nats, rpc.Options{}), node)
	take(t, op, cfg.SnapshotDir)
	take(t, op, cfg.SnapshotDir)
	snap := take(t, op, cfg.SnapshotDir)
	if n := len(snapshotsIn(t, cfg.SnapshotDir)); n != 2 {
		t.Errorf("%d snapshots are kept", n)
	}
	stop()
	writing.Wait()
	for i := range rows {
		put(name(i), value("after"))
	}
	put(key("after"), value("after"))
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again over what a first attempt left, which is no node yet
		if _, err := meta.Restore(snap, cfg.Dir, false); err != nil {
			t.Fatal(err)
		}
		if _, err := meta.Restore(snap, cfg.Dir, false); !fault.Is(err, fault.AlreadyExists) {
			t.Fatalf("restored over a node: %v", err)
		}
		if err := os.RemoveAll(cfg.Dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := meta.Restore(snap, cfg.Dir, false); err != nil {
		t.Fatal(err)
	}
	run(t, nats, c, cfg)
	table = client(t, nats, c)
	for i := range rows {
		row, err := table.Get(ctx, name(i))
		text, wrong := textOf(row.Value)
		if want := map[bool]string{true: "", false: "before"}[i < rows/3]; err != nil || wrong != nil || text != want {
			t.Fatalf("row %d reads %q, %v, %v", i, text, err, wrong)
		}
	}
	if row, err := table.Get(ctx, key("after")); err != nil || row.Value != nil {
		t.Errorf("written after the snapshot: %+v, %v", row, err)
	}
	for w := range 4 { // whatever they have, it is whole
		for i := range 20 {
			row, err := table.Get(ctx, key(fmt.Sprintf("busy %d %d", w, i)))
			if _, wrong := textOf(row.Value); err != nil || wrong != nil {
				t.Errorf("a row written beside the snapshot: %v, %v", err, wrong)
			}
		}
	}
	put(key("new"), value("new"))
}

// TestMarksOutliveARestoredSnapshot: a node that was restored numbers changes
// from the snapshot on. Marks from before it, and from after it, still miss
// nothing of what is written then.
func TestMarksOutliveARestoredSnapshot(t *testing.T) {
	const subs = 10
	nats := rpctest.NATS(t)
	cfg := settings(t, filepath.Join(t.TempDir(), "node"))
	cfg.SnapshotDir = filepath.Join(t.TempDir(), "kept")
	node, err := meta.Identify(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	c := newControl()
	c.set(ringOf(1, node))
	r := run(t, nats, c, cfg)
	table := client(t, nats, c)
	put := func(sub int, text string) {
		t.Helper()
		in := insert("k", fmt.Sprint(sub), text)
		if _, err := table.Update(t.Context(), in.Key, in.Decide); err != nil {
			t.Fatal(err)
		}
	}
	catchUp := func(f *follower) {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = f.step(t.Context(), table); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, after := follower{key: "k", known: map[string]string{}}, follower{key: "k", known: map[string]string{}}
	want := map[string]string{}
	for i := range subs {
		put(i, "before")
		want[fmt.Sprint(i)] = "before"
	}
	catchUp(&before)
	snap := take(t, operator(t, rpctest.Connect(t, nats, rpc.Options{}), node), cfg.SnapshotDir)
	for range 3 {
		put(0, "after") // lost with the node
	}
	catchUp(&after)
	if err := errors.Join(r.stop(), os.RemoveAll(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := meta.Restore(snap, cfg.Dir, false); err != nil {
		t.Fatal(err)
	}
	run(t, nats, c, cfg)
	table = client(t, nats, c)
	put(1, "restored") // with a number that the second has seen another change of
	want["1"] = "restored"
	for name, f := range map[string]*follower{"before": &before, "after": &after} {
		catchUp(f)
		if !maps.Equal(f.known, want) {
			t.Errorf("with a mark from %s the snapshot: %v, want %v", name, f.known, want)
		}
		f.known = map[string]string{}
		catchUp(f)
		if len(f.known) != 0 {
			t.Errorf("with a mark from %s the snapshot, told again: %v", name, f.known)
		}
	}
	page, err := table.Index(t.Context(), metaapi.IndexRange{Table: metaapi.Items, Bucket: itemKey("k", "").Bucket, Limit: 10})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Entries != subs || page.Entries[0].Bytes != 9*6+8 {
		t.Errorf("the index: %+v, %v", page.Entries, err)
	}
}

// TestScheduledSnapshots: a node makes one by itself.
func TestScheduledSnapshots(t *testing.T) {
	nats := rpctest.NATS(t)
	cfg := settings(t, t.TempDir())
	cfg.SnapshotInterval = time.Hour
	node, err := meta.Identify(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	c := newControl()
	c.set(ringOf(1, node))
	run(t, nats, c, cfg)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		all, err := filepath.Glob(filepath.Join(cfg.Dir, "snapshots", "*Z"))
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%v, %v", all, err)
		}
		if len(all) == 1 {
			return
		}
	}
}

// TestSnapshotOfAClusterIsNotJustRestored: where there are other copies the
// operator has to say that they are lost.
func TestSnapshotOfAClusterIsNotJustRestored(t *testing.T) {
	snap, to := t.TempDir(), filepath.Join(t.TempDir(), "node")
	for _, sub := range []string{"rows", "bodies"} {
		if err := os.Mkdir(filepath.Join(snap, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := meta.Restore(snap, to, false); !fault.Is(err, fault.NotFound) {
		t.Errorf("of no snapshot: %v", err)
	}
	about := `{"format":1,"dataFormat":2,"node":"` + object.NewNodeID().String() + `","replicationFactor":3}`
	if err := os.WriteFile(filepath.Join(snap, "about.json"), []byte(about), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := meta.Restore(snap, to, false); !fault.Is(err, fault.Precondition) {
		t.Errorf("without a word: %v", err)
	}
	if _, err := meta.Restore(snap, to, true); err != nil {
		t.Error(err)
	}
	id, err := meta.Identify(to)
	if err != nil || !strings.Contains(about, id.String()) {
		t.Errorf("restored as %v, %v", id, err)
	}
}

// TestOldRowsDoNotComeBack: a snapshot's rows under the directory of a new node,
// which takes the place of the lost one, bring nothing back that was deleted
// since, and the node has what the others have.
func TestOldRowsDoNotComeBack(t *testing.T) {
	const rows = 100
	f := newFleet(t, 4, 3)
	c := f.client()
	for i := range 2 * rows { // all of them, as they will not be
		if _, err := c.Put(f.ctx, stillKey(i), valueOf("old")); err != nil {
			t.Fatal(err)
		}
	}
	snap := take(t, operator(t, f.conn, f.nodes[0]), filepath.Join(f.dirs[0], "snapshots"))
	f.fillStill(c, rows)
	for _, i := range []int{0, 3} {
		if err := f.runs[i].stop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"rows", "bodies"} {
		if err := os.RemoveAll(filepath.Join(f.dirs[3], sub)); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(f.dirs[3], sub), os.DirFS(filepath.Join(snap, sub))); err != nil {
			t.Fatal(err)
		}
	}
	f.start(3)
	f.change(f.even(1, 2, 3), nil)
	f.runs = f.runs[1:]
	f.finally(f.client(), rows)
}
