package membership_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/services/meta/internal/bodies"
	"hangar/services/meta/internal/journal"
	"hangar/services/meta/internal/membership"
	"hangar/services/meta/internal/record"
	"hangar/services/meta/internal/table"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/segment"
)

const bits = layout.DefaultBits

var (
	self, other = object.NodeID{1}, object.NodeID{2}
	bucket      = object.BucketID{7}
	ctx         = context.Background()
)

// node is the membership of self on a real store.
type node struct {
	*membership.Members
	table *table.Table
	rows  kv.Store
	stop  func()
}

// start opens the store in dir. Nothing is dropped before sweep is called.
func start(t testing.TB, dir string) *node {
	t.Helper()
	base, err := badgerkv.Open(filepath.Join(dir, "rows"), badgerkv.Options{MemTableBytes: 8 << 20, CacheBytes: 8 << 20, ReserveBytes: 1, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := journal.Open(filepath.Join(dir, "bodies"), base, journal.Options{Segments: segment.Options{SegmentBytes: 1 << 20, ReserveBytes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	writer := kv.NewCommitter(rows)
	large, err := bodies.New(rows, writer, bodies.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tab, err := table.Open(rows, writer, large, bits, 1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := membership.Open(tab, bits, self, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	running, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { _ = writer.Run(running) })
	n := &node{Members: m, table: tab, rows: rows, stop: sync.OnceFunc(func() {
		tab.Close()
		cancel()
		done.Wait()
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
		if err := base.Close(); err != nil {
			t.Error(err)
		}
	})}
	t.Cleanup(n.stop)
	return n
}

// sweep drops what is stale.
func (n *node) sweep(t testing.TB) {
	t.Helper()
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- n.Run(running) }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, _, dropping := n.Counts(); dropping == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what is stale is not dropped")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func (n *node) follow(t testing.TB, l *control.Layout) {
	t.Helper()
	if err := n.Follow(ctx, l); err != nil {
		t.Fatal(err)
	}
}

func tag(n int64) register.Tag { return register.Tag{Time: n, Node: 1} }

func key(i int) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Objects, Bucket: bucket, Key: fmt.Sprint("key ", i)}
}

// fill applies some rows in an epoch: small and large ones, markers, promises.
func (n *node) fill(t testing.TB, epoch uint64, rows int) {
	t.Helper()
	for i := range rows {
		q := register.Request{Kind: register.Apply, Epoch: epoch, Row: register.Row{Tag: tag(10), Op: tag(10)}}
		switch i % 4 {
		case 0:
			q.Row.Value = &register.Value{Head: []byte("h"), Count: 1, Bytes: 5}
		case 1:
			q.Row.Value = &register.Value{Body: []byte(strings.Repeat("large", 300)), Count: 1, Bytes: 1500}
		case 2: // a marker
		default:
			q = register.Request{Kind: register.Prepare, Epoch: epoch, Ballot: tag(11)}
		}
		if reply, err := n.Handle(ctx, key(i), q); err != nil || reply.Code != register.Done && reply.Code != register.Promised {
			t.Fatalf("%+v, %v", reply, err)
		}
	}
}

// stored is how many keys of some kinds are in the store.
func (n *node) stored(t testing.TB, kinds string) (keys int) {
	t.Helper()
	err := n.rows.View(func(r kv.Reader) error {
		for _, kind := range kinds {
			it := r.Iterate([]byte{byte(kind)})
			defer it.Close()
			for it.Next() {
				v, err := it.Value()
				if err != nil {
					return err
				}
				if kind == 'r' || kind == 'v' || strings.Trim(string(v), "\x00") != "" {
					keys++
				}
			}
			if err := it.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// bodiesHeld is how many bodies rows point to.
func (n *node) bodiesHeld(t testing.TB) (held int64) {
	t.Helper()
	err := n.rows.View(func(r kv.Reader) error {
		it := r.Iterate(record.UsagePrefix())
		defer it.Close()
		for it.Next() {
			v, err := it.Value()
			if err != nil {
				return err
			}
			u, err := record.DecodeUsage(v)
			if err != nil {
				return err
			}
			held += u.LiveBodies
		}
		return it.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// shown is how many rows the node shows in an epoch, in any way.
func (n *node) shown(t testing.TB, epoch uint64) (rows int) {
	t.Helper()
	page, err := n.Scan(ctx, metaapi.ScanRequest{Epoch: epoch, Table: metaapi.Objects, Bucket: bucket, Limit: metaapi.MaxScanRows, MaxBytes: metaapi.MaxScanBytes})
	if err != nil || page.Old {
		t.Fatalf("%+v, %v", page, err)
	}
	counters, err := n.Counters(ctx, metaapi.Objects, bucket)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counters {
		if len(page.Rows) == 0 && c.Count > 0 {
			t.Errorf("no rows, but counters %+v", c)
		}
	}
	return len(page.Rows)
}

// give puts every partition into the hands of one node.
func give(n object.NodeID) layout.Assignment {
	return layout.Assignment{Nodes: []object.NodeID{n}, Assign: metatest.EvenAssignment(1, 1)}
}

// reads asks for a row.
func (n *node) reads(epoch uint64, i int) (register.Reply, error) {
	return n.Handle(ctx, key(i), register.Request{Kind: register.Read, Epoch: epoch})
}

func refuses(t testing.TB, n *node, epoch uint64) {
	t.Helper()
	if reply, err := n.reads(epoch, 0); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a row is read in epoch %d: %+v, %v", epoch, reply, err)
	}
	if reply, err := n.Inventory(ctx, inventory(epoch)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("rows are listed in epoch %d: %+v, %v", epoch, reply, err)
	}
	if shown := n.shown(t, epoch); shown > 0 {
		t.Errorf("%d rows are shown in epoch %d", shown, epoch)
	}
}

func inventory(epoch uint64) metaapi.InventoryRequest {
	q := metaapi.InventoryRequest{Epoch: epoch, Limit: 100, MaxBytes: metaapi.MaxInventoryBytes}
	q.Slices.AddPartition(layout.OfRow(bucket, key(0).Key, bits), bits)
	return q
}

// TestReturn: a node that was removed, with rows that nobody else has, comes
// back with nothing, whatever it misses of that and however often it starts
// again in between.
func TestReturn(t *testing.T) {
	const rows = 40
	first := metatest.EvenRing(1, 1, self)
	leaving := first.Begin(give(other))
	left := leaving.End(false)
	returning := left.Begin(give(self))
	back := returning.End(false)
	at := func(r *layout.Ring, lows uint64, low register.Tag) *control.Layout {
		l := &control.Layout{Meta: *r, MetaLowsEpoch: lows}
		if !low.IsZero() {
			l.MetaLows = map[layout.Partition]register.Tag{}
			for p := range layout.Partition(1 << bits) {
				l.MetaLows[p] = low
			}
		}
		return l
	}
	steps := []*control.Layout{at(leaving, 1, register.Tag{}), at(left, 2, tag(3)), at(returning, 2, tag(3)), at(returning, 4, tag(50)), at(back, 4, tag(50))}
	for missed := range 1 << len(steps) {
		if missed>>(len(steps)-1)&1 == 1 {
			continue // the last is not missed
		}
		t.Run(fmt.Sprintf("%05b", missed), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			n := start(t, dir)
			n.follow(t, at(first, 0, register.Tag{}))
			n.fill(t, 1, rows)
			swept := false
			for i, l := range steps {
				if missed>>i&1 == 1 {
					continue
				}
				n.stop() // as good as a crash: what was not committed is gone
				n = start(t, dir)
				n.follow(t, l)
				switch shown := n.shown(t, l.Meta.Epoch); {
				case i == 0 && shown != rows*3/4:
					t.Errorf("a node on its way out shows %d rows", shown)
				case i > 0 && shown > 0:
					t.Errorf("%d stale rows are shown in step %d", shown, i)
				}
				if i > 0 && (!swept || l.MetaLowsEpoch < 4) {
					refuses(t, n, l.Meta.Epoch)
				}
				if i == 2 {
					swept = true
					n.sweep(t)
					refuses(t, n, 4) // its low marks are not known
				}
			}
			n.stop()
			n = start(t, dir)
			n.follow(t, steps[len(steps)-1])
			n.sweep(t)
			if keys, held := n.stored(t, "rvcd"), n.bodiesHeld(t); keys != 0 || held != 0 {
				t.Errorf("%d keys of rows and %d bodies are left", keys, held)
			}
			reply, err := n.reads(5, 0)
			if err != nil || reply.Code != register.Held || !reply.Row.Tag.IsZero() || reply.Promise != tag(50) {
				t.Errorf("back as a member, a row reads %+v, %v", reply, err)
			}
		})
	}
}

// TestDropGoesOn: a drop that is interrupted anywhere is finished by the next
// start, and what is derived from the rows that are left is right all the time.
func TestDropGoesOn(t *testing.T) {
	const rows = 200
	dir := t.TempDir()
	n := start(t, dir)
	ring := metatest.EvenRing(1, 1, self)
	n.follow(t, &control.Layout{Meta: *ring})
	n.fill(t, 1, rows)
	half := give(other)
	half.Nodes = []object.NodeID{other, self}
	for p := range half.Assign {
		half.Assign[p] = []uint16{uint16(p % 2)}
	}
	after := ring.Begin(half).End(false)
	kept := 0
	for i := range rows {
		kept += int(layout.OfRow(bucket, key(i).Key, bits) % 2)
	}
	var gone metaapi.Slices
	for p := layout.Partition(0); p < 1<<bits; p += 2 {
		gone.AddPartition(p, bits)
	}
	var at table.Cursor
	for round := 0; ; round++ {
		n.follow(t, &control.Layout{Meta: *after, MetaLowsEpoch: 2})
		next, _, end, err := n.table.Drop(ctx, at, &gone, 7)
		if err != nil {
			t.Fatal(err)
		}
		if at = next; round%5 == 0 {
			n.stop()
			n, at = start(t, dir), nil
		}
		if end {
			break
		}
	}
	n.follow(t, &control.Layout{Meta: *after, MetaLowsEpoch: 2})
	n.sweep(t)
	if got := n.stored(t, "r"); got != kept {
		t.Errorf("%d rows are left, want %d", got, kept)
	}
	if served, pending, dropping := n.Counts(); served != 128 || pending != 0 || dropping != 0 {
		t.Errorf("%d served, %d pending, %d dropping", served, pending, dropping)
	}
}

// TestUpgrade: a store from before membership was kept is a member since the
// first epoch.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	ring := metatest.EvenRing(1, 1, self)
	n.follow(t, &control.Layout{Meta: *ring})
	n.fill(t, 1, 8)
	var b kv.Batch
	b.Delete(record.MembersKey())
	if err := n.rows.Commit(&b); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n = start(t, dir)
	n.follow(t, &control.Layout{Meta: *ring})
	if n.shown(t, 1) != 6 {
		t.Errorf("%d rows are shown", n.shown(t, 1))
	}
	n.follow(t, &control.Layout{Meta: *ring.Begin(give(other)).End(false), MetaLowsEpoch: 2})
	n.sweep(t)
	if keys := n.stored(t, "rvcd"); keys != 0 {
		t.Errorf("%d keys are left", keys)
	}
}

// TestAdopt: an epoch is adopted once its layout has arrived, with the marks of
// what is served, and requests of it wait for that.
func TestAdopt(t *testing.T) {
	n := start(t, t.TempDir())
	ring := metatest.EvenRing(1, 1, self)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if a, err := n.Adopt(short, 1); !fault.Is(err, fault.Unavailable) {
		t.Errorf("adopted without a layout: %+v, %v", a, err)
	}
	if c, err := n.Counters(ctx, metaapi.Objects, bucket); !fault.Is(err, fault.Unavailable) {
		t.Errorf("counted without a layout: %+v, %v", c, err)
	}
	n.follow(t, &control.Layout{Meta: *ring})
	adopted := make(chan error, 1)
	go func() {
		a, err := n.Adopt(ctx, 2)
		var low register.Tag
		if err == nil && (a.Epoch != 2 || len(a.Marks) != 1<<bits || json.Unmarshal(a.Marks[3], &low) != nil || !low.IsZero()) {
			err = fmt.Errorf("adopted %d with marks %v", a.Epoch, a.Marks)
		}
		adopted <- err
	}()
	waiting := make(chan error, 1)
	go func() {
		_, err := n.reads(2, 0)
		waiting <- err
	}()
	n.follow(t, &control.Layout{Meta: *ring.Begin(give(other))})
	if err := <-adopted; err != nil {
		t.Error(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	if reply, err := n.reads(1, 0); err != nil || reply.Code != register.Old || reply.Epoch != 2 {
		t.Errorf("in an old epoch: %+v, %v", reply, err)
	}
	if err := n.Follow(ctx, &control.Layout{Meta: *ring}); !fault.Is(err, fault.Conflict) {
		t.Errorf("an older layout: %v", err)
	}
	strange := metatest.EvenRing(9, 1, self)
	strange.Assign = strange.Assign[:1]
	if err := n.Follow(ctx, &control.Layout{Meta: *strange}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a layout of few partitions: %v", err)
	}
}

// TestReplica: a member of everything is a replica like any other, of which the
// layout is always at the epoch of the request.
func TestReplica(t *testing.T) {
	metatest.RunReplica(t, func(t *testing.T) metaapi.Replica {
		return &eager{start(t, t.TempDir())}
	})
}

// eager follows the layout of every request's epoch at once.
type eager struct{ *node }

func (e *eager) to(epoch uint64) error {
	err := e.Follow(ctx, &control.Layout{Meta: *metatest.EvenRing(max(epoch, 1), 1, self)})
	if fault.Is(err, fault.Conflict) {
		return nil
	}
	return err
}

func (e *eager) Handle(ctx context.Context, k metaapi.RowKey, q register.Request) (register.Reply, error) {
	if err := e.to(q.Epoch); err != nil {
		return register.Reply{}, err
	}
	return e.Members.Handle(ctx, k, q)
}

func (e *eager) Scan(ctx context.Context, q metaapi.ScanRequest) (metaapi.ScanReply, error) {
	if err := e.to(q.Epoch); err != nil {
		return metaapi.ScanReply{}, err
	}
	return e.Members.Scan(ctx, q)
}
