package table_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hangar/services/meta/internal/bodies"
	"hangar/services/meta/internal/journal"
	"hangar/services/meta/internal/table"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/segment"
)

const bits = 8

// node is a table on a real store, with its committer running.
type node struct {
	*table.Table
	store   kv.Store
	journal *journal.Store
	bodies  *bodies.Log
	stop    func()
}

// disk is a store and where the journal and the bodies beside it are.
type disk struct {
	journal.Base
	bodies string
	// fail, if set, comes between the journal and the table.
	fail *failing
}

// openStore opens the store in dir with memory tables small enough for tests.
func openStore(t testing.TB, dir string) disk {
	t.Helper()
	s, err := badgerkv.Open(filepath.Join(dir, "rows"), badgerkv.Options{MemTableBytes: 8 << 20, CacheBytes: 8 << 20, ReserveBytes: 1, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	return disk{Base: s, bodies: filepath.Join(dir, "bodies")}
}

// start runs a table on s until stop is called or the test ends.
func start(t testing.TB, s disk) *node {
	t.Helper()
	return startWith(t, s, segment.Options{})
}

// startWith is start with small files of bodies, kept as o says.
func startWith(t testing.TB, s disk, o segment.Options) *node {
	t.Helper()
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 256 << 10
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = 1
	}
	j, err := journal.Open(s.bodies, s.Base, journal.Options{Segments: o})
	if err != nil {
		t.Fatal(err)
	}
	var rows kv.Store = j
	if s.fail != nil {
		s.fail.Store, rows = j, s.fail
	}
	writer := kv.NewCommitter(rows)
	large, err := bodies.New(j, writer, bodies.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tab, err := table.Open(rows, writer, large, bits, 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = writer.Run(ctx)
	}()
	var once sync.Once
	n := &node{Table: tab, store: rows, journal: j, bodies: large, stop: func() {
		once.Do(func() {
			tab.Close()
			cancel()
			<-done
			if err := j.Close(); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}}
	t.Cleanup(n.stop)
	return n
}

func fresh(t testing.TB) *node { return start(t, openStore(t, t.TempDir())) }

var bucket = object.BucketID{7}

func objectKey(key string) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Objects, Bucket: bucket, Key: key}
}

func tag(n int64) register.Tag { return register.Tag{Time: n, Node: 1} }

func value(head, body string) *register.Value {
	v := &register.Value{Head: []byte(head), Count: 1, Bytes: int64(len(body))}
	if body != "" {
		v.Body = []byte(body)
	}
	return v
}

func (n *node) handle(t testing.TB, key metaapi.RowKey, q register.Request) register.Reply {
	t.Helper()
	r, err := n.Handle(context.Background(), key, q)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// apply writes v as a first attempt would and expects success.
func (n *node) apply(t testing.TB, key metaapi.RowKey, at register.Tag, v *register.Value) register.Reply {
	t.Helper()
	r := n.handle(t, key, register.Request{Kind: register.Apply, Row: register.Row{Tag: at, Op: at, Value: v}})
	if r.Code != register.Done {
		t.Fatalf("apply at %v: %+v", at, r)
	}
	return r
}

func (n *node) verify(t testing.TB) {
	t.Helper()
	if err := verify(n.store, bits); err != nil {
		t.Error(err)
	}
}

func TestReadBack(t *testing.T) {
	n := fresh(t)
	key := objectKey("a")
	large := strings.Repeat("x", 64<<10)
	for i, v := range []*register.Value{value("one", ""), value("two", "small"), value("three", large), nil, value("", large), value("five", "")} {
		at := tag(int64(i + 1))
		n.apply(t, key, at, v)
		want := register.Reply{Code: register.Held, Row: register.Row{Tag: at, Op: at, Value: v}}
		if v != nil && len(v.Head) == 0 {
			want.Row.Value = &register.Value{Body: v.Body, Count: v.Count, Bytes: v.Bytes}
		}
		if diff := cmp.Diff(want, n.handle(t, key, register.Request{Kind: register.Read})); diff != "" {
			t.Errorf("read of value %d:\n%s", i, diff)
		}
		if v != nil && v.Body != nil {
			omitted := *want.Row.Value
			omitted.Body = nil
			want.Row.Value, want.BodyOmitted = &omitted, true
		}
		if diff := cmp.Diff(want, n.handle(t, key, register.Request{Kind: register.Read, OmitBody: true})); diff != "" {
			t.Errorf("read without body of value %d:\n%s", i, diff)
		}
		n.verify(t)
	}
}

func TestReplacedIsReported(t *testing.T) {
	n := fresh(t)
	n.apply(t, objectKey("a"), tag(1), value("old", ""))
	if r := n.apply(t, objectKey("a"), tag(2), value("new", "")); string(r.Replaced) != "old" {
		t.Errorf("replaced %q", r.Replaced)
	}
	if r := n.apply(t, objectKey("a"), tag(2), value("new", "")); r.Replaced != nil {
		t.Errorf("a duplicate replaced %q", r.Replaced)
	}
}

// TestPromiseKeepsTheBody: a promise rewrites the record of a row whose body is
// kept apart.
func TestPromiseKeepsTheBody(t *testing.T) {
	n := fresh(t)
	key := objectKey("a")
	v := value("head", strings.Repeat("b", 5000))
	n.apply(t, key, tag(1), v)
	r := n.handle(t, key, register.Request{Kind: register.Prepare, Ballot: tag(5), AskOp: tag(1)})
	want := register.Reply{Code: register.Promised, Row: register.Row{Tag: tag(1), Op: tag(1), Value: v}, Seen: true, SeenAt: tag(1)}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	if r := n.handle(t, key, register.Request{Kind: register.Read}); !cmp.Equal(r.Row.Value, v) || r.Promise != tag(5) {
		t.Errorf("after the promise: %+v", r)
	}
	n.verify(t)
}

// TestRestartKeepsState: promises, rings, epochs and low marks survive.
func TestRestartKeepsState(t *testing.T) {
	dir := t.TempDir()
	n := start(t, openStore(t, dir))
	n.handle(t, objectKey("promised"), register.Request{Kind: register.Prepare, Ballot: tag(50), Epoch: 3})
	for i := range int64(12) {
		n.handle(t, objectKey("ring"), register.Request{Kind: register.Apply, Epoch: 3, Row: register.Row{Tag: tag(i + 1), Op: tag(i + 1)}})
	}
	n.handle(t, objectKey("gone"), register.Request{Kind: register.Apply, Epoch: 3, Row: register.Row{Tag: tag(9), Op: tag(9)}})
	n.handle(t, objectKey("gone"), register.Request{Kind: register.Forget, Epoch: 3, Row: register.Row{Tag: tag(9)}, Low: tag(20)})
	n.stop()

	n = start(t, openStore(t, dir))
	if n.Epoch() != 3 {
		t.Errorf("epoch %d, want 3", n.Epoch())
	}
	if r := n.handle(t, objectKey("promised"), register.Request{Kind: register.Apply, Epoch: 3, Row: register.Row{Tag: tag(49), Op: tag(49)}}); r.Code != register.Refused || r.High != tag(50) {
		t.Errorf("a broken promise: %+v", r)
	}
	for _, op := range []int64{1, 5, 12, 13} {
		r := n.handle(t, objectKey("ring"), register.Request{Kind: register.Prepare, Epoch: 3, Ballot: tag(100 + op), AskOp: tag(op)})
		if r.Code != register.Promised || r.Seen != (op <= 12) {
			t.Errorf("operation %d: %+v", op, r)
		}
	}
	if r := n.handle(t, objectKey("gone"), register.Request{Kind: register.Apply, Epoch: 3, Row: register.Row{Tag: tag(19), Op: tag(19)}}); r.Code != register.Refused || r.High != tag(20) {
		t.Errorf("a write below the low mark: %+v", r)
	}
	n.verify(t)
	n.stop()

	s := openStore(t, dir)
	defer s.Close()
	if _, err := table.Open(s, kv.NewCommitter(s), nil, bits+1, 1); !fault.Is(err, fault.Invalid) {
		t.Errorf("opened with other partition bits: %v", err)
	}
}

func TestEpochs(t *testing.T) {
	n := fresh(t)
	ctx := context.Background()
	write := func(epoch uint64, at int64) register.Reply {
		return n.handle(t, objectKey("a"), register.Request{Kind: register.Apply, Epoch: epoch, Row: register.Row{Tag: tag(at), Op: tag(at)}})
	}
	if r := write(2, 1); r.Code != register.Done {
		t.Errorf("first write: %+v", r)
	}
	if r := write(1, 2); r.Code != register.Old || r.Epoch != 2 {
		t.Errorf("a write of an older epoch: %+v", r)
	}
	if r := n.handle(t, objectKey("b"), register.Request{Kind: register.Read, Epoch: 5}); r.Code != register.Held || n.Epoch() != 5 {
		t.Errorf("a read of a newer epoch: %+v, adopted %d", r, n.Epoch())
	}
	if r := n.handle(t, objectKey("b"), register.Request{Kind: register.Read, Epoch: 4}); r.Code != register.Old || r.Epoch != 5 {
		t.Errorf("a read of an older epoch: %+v", r)
	}
	scan := metaapi.ScanRequest{Epoch: 6, Table: metaapi.Objects, Bucket: bucket, Limit: 10, MaxBytes: 1000}
	if r, err := n.Scan(ctx, scan); err != nil || r.Old || n.Epoch() != 6 {
		t.Errorf("a scan of a newer epoch: %+v, %v, adopted %d", r, err, n.Epoch())
	}
	scan.Epoch = 5
	if r, err := n.Scan(ctx, scan); err != nil || !r.Old || r.Epoch != 6 || r.Rows != nil {
		t.Errorf("a scan of an older epoch: %+v, %v", r, err)
	}
}

func TestCounters(t *testing.T) {
	n := fresh(t)
	for i := range 100 {
		n.apply(t, objectKey(fmt.Sprint(i)), tag(1), value("h", "12345"))
	}
	for i := range 50 {
		n.apply(t, objectKey(fmt.Sprint(i)), tag(2), nil)
	}
	n.apply(t, metaapi.RowKey{Table: metaapi.Uploads, Bucket: bucket, Key: "x"}, tag(1), value("h", ""))
	sums, err := n.Counters(context.Background(), metaapi.Objects, bucket)
	if err != nil {
		t.Fatal(err)
	}
	var total metaapi.Counters
	for _, s := range sums {
		total.Count += s.Count
		total.Bytes += s.Bytes
	}
	if total != (metaapi.Counters{Count: 50, Bytes: 250}) {
		t.Errorf("%+v", total)
	}
}

func TestClosed(t *testing.T) {
	n := fresh(t)
	n.stop()
	if _, err := n.Handle(context.Background(), objectKey("a"), register.Request{Kind: register.Read}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
	if _, err := n.Scan(context.Background(), metaapi.ScanRequest{Limit: 1, MaxBytes: 1}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
}

func TestInvalidRows(t *testing.T) {
	n := fresh(t)
	for _, key := range []metaapi.RowKey{objectKey(""), objectKey(strings.Repeat("x", 9999)), {Key: "a", Sub: strings.Repeat("x", 9999)}} {
		if _, err := n.Handle(context.Background(), key, register.Request{Kind: register.Read}); !fault.Is(err, fault.Invalid) {
			t.Errorf("key of %d bytes: %v", len(key.Key), err)
		}
	}
	q := register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(1), Op: tag(1), Value: value("h", strings.Repeat("x", 8<<20))}}
	if _, err := n.Handle(context.Background(), objectKey("a"), q); !fault.Is(err, fault.Invalid) {
		t.Errorf("a body too large: %v", err)
	}
	n.verify(t)
}

// TestAgreesWithThePureReplica sends random requests to a few rows and compares
// every reply with that of register.Handle on a state in memory.
func TestAgreesWithThePureReplica(t *testing.T) {
	n := fresh(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	type model struct{ st register.State }
	rows := map[string]*model{}
	lows := map[layout.Partition]register.Tag{}
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	for i := range rounds {
		name := fmt.Sprint(rnd.IntN(5))
		m := rows[name]
		if m == nil {
			m = new(model)
			rows[name] = m
		}
		at := register.Tag{Time: int64(i/3 + rnd.IntN(30)), Node: uint64(rnd.IntN(2)), Seq: uint8(rnd.IntN(2))}
		q := register.Request{Kind: register.Kind(1 + rnd.IntN(4)), Ballot: at, AskOp: tag(int64(i/3 - 10))}
		q.Row = register.Row{Tag: at, Op: register.Tag{Time: at.Time - int64(rnd.IntN(2)), Node: at.Node}}
		if rnd.IntN(2) == 0 {
			q.Row.Value = value(fmt.Sprint("head ", i), strings.Repeat("y", rnd.IntN(1200)))
		}
		if q.Kind == register.Forget {
			q.Row = register.Row{Tag: m.st.Tag}
			q.Low = m.st.Promised.Max(m.st.Tag)
		}
		p := layout.OfRow(bucket, name, bits)
		want, _, low := register.Handle(&m.st, lows[p], q)
		lows[p] = low
		if diff := cmp.Diff(want, n.handle(t, objectKey(name), q)); diff != "" {
			t.Fatalf("request %d %+v:\n%s", i, q, diff)
		}
	}
	n.verify(t)
}

// TestConcurrentRequests checks that requests to shared rows are atomic: for
// each row every tag is accepted once, and what is read back was written.
func TestConcurrentRequests(t *testing.T) {
	n := fresh(t)
	const workers, rounds = 16, 60
	var wg sync.WaitGroup
	var promised [3]atomic.Int64
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				row := i % len(promised)
				key := objectKey(fmt.Sprint("row", row))
				at := register.Tag{Time: int64(i), Node: uint64(w)}
				q := register.Request{Kind: register.Apply, Row: register.Row{Tag: at, Op: at, Value: value(at.String(), strings.Repeat("z", 700))}}
				if i%5 == 0 {
					q = register.Request{Kind: register.Prepare, Ballot: at}
				}
				r, err := n.Handle(context.Background(), key, q)
				if err != nil {
					t.Error(err)
					return
				}
				if r.Code == register.Promised {
					promised[row].Add(1)
				}
				r, err = n.Handle(context.Background(), key, register.Request{Kind: register.Read})
				if err != nil {
					t.Error(err)
					return
				}
				if v := r.Row.Value; v != nil && (string(v.Head) != r.Row.Tag.String() || len(v.Body) != 700) {
					t.Errorf("row %v has head %q and %d bytes", r.Row.Tag, v.Head, len(v.Body))
				}
			}
		})
	}
	wg.Wait()
	n.verify(t)
}

// failing is a store whose disk is full while full is set.
type failing struct {
	kv.Store
	full   atomic.Bool
	broken atomic.Bool
	// limited makes commits fail once after is used up.
	limited atomic.Bool
	after   atomic.Int64
}

func (f *failing) Writable() error {
	if f.full.Load() {
		return fault.New(fault.StorageFull, "no space left")
	}
	return f.Store.Writable()
}

func (f *failing) Commit(b *kv.Batch) error {
	if f.broken.Load() || f.limited.Load() && f.after.Add(-1) < 0 {
		return fault.Wrap(fault.Internal, errors.New("input/output error"), "commit")
	}
	return f.Store.Commit(b)
}

func TestDiskFull(t *testing.T) {
	d := openStore(t, t.TempDir())
	f := new(failing)
	d.fail = f
	n := start(t, d)
	ctx := context.Background()
	n.apply(t, objectKey("a"), tag(1), value("kept", ""))
	write := register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(2), Op: tag(2), Value: value("late", "")}}

	f.full.Store(true)
	if _, err := n.Handle(ctx, objectKey("a"), write); !fault.Is(err, fault.StorageFull) {
		t.Errorf("a write on a full disk: %v", err)
	}
	if err := n.Writable(); !fault.Is(err, fault.StorageFull) {
		t.Errorf("health: %v", err)
	}
	if r := n.handle(t, objectKey("a"), register.Request{Kind: register.Read}); string(r.Row.Value.Head) != "kept" {
		t.Errorf("a read on a full disk: %+v", r)
	}
	f.full.Store(false)
	f.broken.Store(true)
	if _, err := n.Handle(ctx, objectKey("a"), write); !fault.Is(err, fault.Internal) {
		t.Errorf("a failed commit: %v", err)
	}
	if _, err := n.Handle(ctx, objectKey("a"), register.Request{Kind: register.Read, Epoch: 9}); !fault.Is(err, fault.Internal) || n.Epoch() != 0 {
		t.Errorf("an adoption that is not durable: %v, epoch %d", err, n.Epoch())
	}
	scan := metaapi.ScanRequest{Epoch: 9, Table: metaapi.Objects, Bucket: bucket, Limit: 1, MaxBytes: 1}
	if _, err := n.Scan(ctx, scan); !fault.Is(err, fault.Internal) || n.Epoch() != 0 {
		t.Errorf("a scan whose adoption is not durable: %v, epoch %d", err, n.Epoch())
	}
	f.broken.Store(false)
	write.Epoch = 9
	if r := n.handle(t, objectKey("a"), write); r.Code != register.Done || n.Epoch() != 9 {
		t.Errorf("after space returned: %+v", r)
	}
	n.verify(t)
}

// TestFailedForgetRaisesNoGhost: a low mark that only memory knows from a failed
// commit must still become durable with the next Forget.
func TestFailedForgetRaisesNoGhost(t *testing.T) {
	dir := t.TempDir()
	d := openStore(t, dir)
	f := new(failing)
	d.fail = f
	n := start(t, d)
	n.apply(t, objectKey("a"), tag(5), nil)
	forget := register.Request{Kind: register.Forget, Row: register.Row{Tag: tag(5)}, Low: tag(8)}
	f.broken.Store(true)
	if _, err := n.Handle(context.Background(), objectKey("a"), forget); err == nil {
		t.Fatal("the commit did not fail")
	}
	f.broken.Store(false)
	if r := n.handle(t, objectKey("a"), forget); r.Code != register.Done {
		t.Fatalf("%+v", r)
	}
	n.stop()
	n = start(t, openStore(t, dir))
	q := register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(6), Op: tag(6), Value: value("ghost", "")}}
	if r := n.handle(t, objectKey("a"), q); r.Code != register.Refused || r.High != tag(8) {
		t.Errorf("a write from before the forgotten marker: %+v", r)
	}
}

func TestCollect(t *testing.T) {
	n := fresh(t)
	now := time.UnixMicro(1_000_000)
	for i := range 100 {
		key := objectKey(fmt.Sprint(i))
		n.apply(t, key, tag(int64(i)), value("h", ""))
		if i%2 == 0 {
			n.apply(t, key, tag(int64(1000+i)), nil)
		}
	}
	n.apply(t, objectKey("young"), tag(2_000_000), nil)
	n.handle(t, objectKey("promised"), register.Request{Kind: register.Prepare, Ballot: tag(77)})
	n.apply(t, objectKey("0"), tag(5000), value("back", ""))

	collect := func(behind int64) (forgotten int) {
		var at table.Cursor
		for end := false; !end; {
			keys, next, done, err := n.Vacant(at, now, 7)
			if err != nil {
				t.Fatal(err)
			}
			at, end = next, done
			states, err := n.States(context.Background(), metaapi.StatesRequest{Keys: keys})
			if err != nil {
				t.Fatal(err)
			}
			var q metaapi.ForgetRequest
			for i, row := range states.Rows {
				if row.Live || row.Tag.IsZero() && row.Promised.IsZero() {
					t.Fatalf("%q is listed as vacant: %+v", keys[i].Key, row)
				}
				low := row.Tag.Max(row.Promised)
				low.Time -= behind
				q.Rows = append(q.Rows, metaapi.ForgetRow{Key: keys[i], Tag: row.Tag, Low: low})
			}
			reply, err := n.Forget(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, done := range reply.Done {
				if done {
					forgotten++
				}
			}
		}
		n.verify(t)
		return forgotten
	}
	if got := collect(0); got != 49+1 { // all markers but the overwritten one, and the promise
		t.Errorf("%d rows forgotten, want 50", got)
	}
	if got := collect(0); got != 0 {
		t.Errorf("%d rows forgotten twice", got)
	}
	n.handle(t, objectKey("promised again"), register.Request{Kind: register.Prepare, Ballot: tag(2000)})
	if got := collect(1); got != 0 {
		t.Errorf("%d rows forgotten below a promise", got)
	}
	collect(0)
	reply, err := n.Scan(context.Background(), metaapi.ScanRequest{Table: metaapi.Objects, Bucket: bucket, Limit: 1000, MaxBytes: 100000})
	if err != nil {
		t.Fatal(err)
	}
	live := 0
	for _, row := range reply.Rows {
		if !row.Deleted {
			live++
		}
	}
	if live != 51 || len(reply.Rows) != 52 {
		t.Errorf("%d rows, %d of them live", len(reply.Rows), live)
	}
	r := n.handle(t, objectKey("2"), register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(900), Op: tag(900), Value: value("ghost", "")}})
	if r.Code != register.Refused {
		t.Errorf("a write from before the marker brought the row back: %+v", r)
	}
}
