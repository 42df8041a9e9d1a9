package metatest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

// RunReplica is the conformance suite of metaapi.Replica. fresh returns an
// empty node that holds every partition.
func RunReplica(t *testing.T, fresh func(t *testing.T) metaapi.Replica) {
	t.Run("Apply", func(t *testing.T) { testApply(t, fresh(t)) })
	t.Run("Prepare", func(t *testing.T) { testPrepare(t, fresh(t)) })
	t.Run("Bodies", func(t *testing.T) { testBodies(t, fresh(t)) })
	t.Run("Epochs", func(t *testing.T) { testEpochs(t, fresh(t)) })
	t.Run("Forget", func(t *testing.T) { testForget(t, fresh(t)) })
	t.Run("Counters", func(t *testing.T) { testReplicaCounters(t, fresh(t)) })
	t.Run("Scan", func(t *testing.T) { testReplicaScan(t, fresh(t)) })
	t.Run("ScanFolds", func(t *testing.T) { testReplicaFolds(t, fresh(t)) })
	t.Run("ScanPages", func(t *testing.T) { testReplicaPages(t, fresh(t)) })
	t.Run("ScanBackwards", func(t *testing.T) { testReplicaBackwards(t, fresh(t)) })
	t.Run("Index", func(t *testing.T) { testReplicaIndex(t, fresh(t)) })
	t.Run("Inventory", func(t *testing.T) { testInventory(t, fresh(t)) })
}

func tag(n int64) register.Tag { return register.Tag{Time: n, Node: 7} }

func handle(t *testing.T, r metaapi.Replica, k metaapi.RowKey, q register.Request) register.Reply {
	t.Helper()
	q.Epoch = max(q.Epoch, 1)
	reply, err := r.Handle(context.Background(), k, q)
	if err != nil {
		t.Fatalf("Handle %q: %v", k.Key, err)
	}
	return reply
}

func apply(t *testing.T, r metaapi.Replica, k metaapi.RowKey, time int64, v *metaapi.Value) register.Reply {
	t.Helper()
	return handle(t, r, k, register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(time), Op: tag(time), Value: v}})
}

func wantCode(t *testing.T, r register.Reply, code register.Code) {
	t.Helper()
	if r.Code != code {
		t.Fatalf("got code %d, want %d: %+v", r.Code, code, r)
	}
}

func testApply(t *testing.T, r metaapi.Replica) {
	k := objectKey("k")
	read := register.Request{Kind: register.Read}
	got := handle(t, r, k, read)
	wantCode(t, got, register.Held)
	if !got.Row.Tag.IsZero() || got.Row.Value != nil {
		t.Fatalf("a row nobody wrote reads as %+v", got.Row)
	}
	wantCode(t, apply(t, r, k, 10, value("one", "body one")), register.Done)
	wantCode(t, apply(t, r, k, 10, value("one", "body one")), register.Done)
	late := apply(t, r, k, 9, value("late", ""))
	wantCode(t, late, register.Refused)
	if late.High != tag(10) {
		t.Fatalf("refused because of %v, want %v", late.High, tag(10))
	}
	second := apply(t, r, k, 20, value("two", "body two"))
	wantCode(t, second, register.Done)
	if string(second.Replaced) != "one" {
		t.Fatalf("replaced %q, want the first head", second.Replaced)
	}
	got = handle(t, r, k, read)
	if got.Row.Tag != tag(20) || got.Row.Op != tag(20) || string(got.Row.Value.Head) != "two" ||
		string(got.Row.Value.Body) != "body two" || got.Row.Value.Count != 1 || got.Row.Value.Bytes != 8 {
		t.Fatalf("read %+v", got.Row)
	}
	// What is handed over may be reused by the caller.
	body := []byte("body three")
	wantCode(t, apply(t, r, k, 30, &metaapi.Value{Head: []byte("three"), Body: body}), register.Done)
	copy(body, "XXXXXXXXXX")
	if got := handle(t, r, k, read); string(got.Row.Value.Body) != "body three" {
		t.Fatalf("the body is %q after the caller reused its buffer", got.Row.Value.Body)
	}
	wantCode(t, apply(t, r, k, 40, nil), register.Done)
	if got := handle(t, r, k, read); got.Row.Tag != tag(40) || got.Row.Value != nil {
		t.Fatalf("read %+v after a delete", got.Row)
	}
}

func testPrepare(t *testing.T, r metaapi.Replica) {
	k := objectKey("k")
	wantCode(t, apply(t, r, k, 10, value("one", "")), register.Done)
	p := handle(t, r, k, register.Request{Kind: register.Prepare, Ballot: tag(30), AskOp: tag(5)})
	wantCode(t, p, register.Promised)
	if p.Row.Tag != tag(10) || string(p.Row.Value.Head) != "one" || p.Seen {
		t.Fatalf("promise %+v", p)
	}
	if p := handle(t, r, k, register.Request{Kind: register.Prepare, Ballot: tag(20)}); p.Code != register.Refused || p.High != tag(30) {
		t.Fatalf("a lower ballot gets %+v", p)
	}
	wantCode(t, apply(t, r, k, 29, value("below", "")), register.Refused)
	if got := handle(t, r, k, register.Request{Kind: register.Read}); got.Promise != tag(30) {
		t.Fatalf("the promise is %v, want %v", got.Promise, tag(30))
	}
	wantCode(t, apply(t, r, k, 31, value("two", "")), register.Done)
	p = handle(t, r, k, register.Request{Kind: register.Prepare, Ballot: tag(40), AskOp: tag(10)})
	if !p.Seen || p.SeenAt != tag(10) {
		t.Fatalf("a superseded operation is forgotten: %+v", p)
	}
	// A promise on a row that nobody wrote holds as well.
	fresh := objectKey("fresh")
	wantCode(t, handle(t, r, fresh, register.Request{Kind: register.Prepare, Ballot: tag(50)}), register.Promised)
	wantCode(t, apply(t, r, fresh, 49, value("below", "")), register.Refused)
	reply := scan(t, r, metaapi.ScanRequest{})
	if len(reply.Rows) != 1 {
		t.Fatalf("a row that is only promised is listed: %+v", reply.Rows)
	}
}

func testBodies(t *testing.T, r metaapi.Replica) {
	for i, size := range []int{0, 1, 100, 5_000, 70_000, 300_000} {
		k := objectKey(fmt.Sprint("k", size))
		v := value("head", strings.Repeat("b", size))
		wantCode(t, apply(t, r, k, int64(10+i), v), register.Done)
		full := handle(t, r, k, register.Request{Kind: register.Read})
		if full.BodyOmitted || string(full.Row.Value.Body) != string(v.Body) {
			t.Fatalf("%d bytes: read %d, omitted %v", size, len(full.Row.Value.Body), full.BodyOmitted)
		}
		for _, kind := range []register.Kind{register.Read, register.Prepare} {
			short := handle(t, r, k, register.Request{Kind: kind, Ballot: tag(1000), OmitBody: true})
			if string(short.Row.Value.Head) != "head" || short.Row.Value.Bytes != int64(size) {
				t.Fatalf("%d bytes: read %+v", size, short.Row.Value)
			}
			if !short.BodyOmitted && len(short.Row.Value.Body) != size {
				t.Fatalf("%d bytes: the body is neither there nor said to be left out", size)
			}
		}
		// A smaller value leaves nothing of a larger one behind.
		wantCode(t, apply(t, r, k, 2000, value("small", "")), register.Done)
		if got := handle(t, r, k, register.Request{Kind: register.Read}); len(got.Row.Value.Body) != 0 || got.BodyOmitted {
			t.Fatalf("%d bytes: then none, read %d", size, len(got.Row.Value.Body))
		}
	}
}

func testEpochs(t *testing.T, r metaapi.Replica) {
	k := objectKey("k")
	wantCode(t, handle(t, r, k, register.Request{Kind: register.Read, Epoch: 5}), register.Held)
	old := handle(t, r, k, register.Request{Kind: register.Read, Epoch: 4})
	if old.Code != register.Old || old.Epoch != 5 {
		t.Fatalf("a request of an old epoch gets %+v", old)
	}
	reply := scan(t, r, metaapi.ScanRequest{Epoch: 4})
	if !reply.Old || reply.Epoch != 5 {
		t.Fatalf("a scan of an old epoch gets %+v", reply)
	}
	if reply := scan(t, r, metaapi.ScanRequest{Epoch: 7}); reply.Old {
		t.Fatalf("a scan of a new epoch gets %+v", reply)
	}
	wantCode(t, handle(t, r, k, register.Request{Kind: register.Read, Epoch: 6}), register.Old)
}

func testForget(t *testing.T, r metaapi.Replica) {
	k := objectKey("k")
	wantCode(t, apply(t, r, k, 10, value("one", "")), register.Done)
	forget := func(time, low int64) register.Reply {
		return handle(t, r, k, register.Request{Kind: register.Forget, Row: register.Row{Tag: tag(time)}, Low: tag(low)})
	}
	wantCode(t, forget(10, 20), register.Refused) // it lives
	wantCode(t, apply(t, r, k, 20, nil), register.Done)
	wantCode(t, forget(10, 20), register.Refused) // another marker
	wantCode(t, forget(20, 30), register.Done)
	if reply := scan(t, r, metaapi.ScanRequest{}); len(reply.Rows) != 0 {
		t.Fatalf("a forgotten row is listed: %+v", reply.Rows)
	}
	wantCode(t, apply(t, r, k, 25, value("below the mark", "")), register.Refused)
	wantCode(t, apply(t, r, k, 31, value("above", "")), register.Done)
}

func testReplicaCounters(t *testing.T, r metaapi.Replica) {
	sum := func() (s metaapi.Counters) {
		t.Helper()
		parts, err := r.Counters(context.Background(), metaapi.Objects, suiteBucket)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			s.Count += p.Count
			s.Bytes += p.Bytes
		}
		return s
	}
	for i := range 10 {
		apply(t, r, objectKey(fmt.Sprint(i)), 10, value("h", "123"))
	}
	apply(t, r, objectKey("1"), 11, value("h", "1"))
	apply(t, r, objectKey("2"), 11, nil)
	apply(t, r, objectKey("2"), 12, nil)
	apply(t, r, objectKey("3"), 9, value("late", "12345678"))
	apply(t, r, metaapi.RowKey{Table: metaapi.Parts, Bucket: suiteBucket, Key: "k"}, 10, value("h", "1"))
	if got, want := sum(), (metaapi.Counters{Count: 9, Bytes: 8*3 + 1}); got != want {
		t.Fatalf("counters %+v, want %+v", got, want)
	}
}

func scan(t *testing.T, r metaapi.Replica, q metaapi.ScanRequest) metaapi.ScanReply {
	t.Helper()
	if q.Table == 0 {
		q.Table = metaapi.Objects
	}
	if q.Bucket.IsZero() {
		q.Bucket = suiteBucket
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	if q.MaxBytes == 0 {
		q.MaxBytes = metaapi.MaxScanBytes
	}
	q.Epoch = max(q.Epoch, 1)
	reply, err := r.Scan(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func names(rows []metaapi.ScanRow) (out []string) {
	for _, row := range rows {
		name := row.Key
		if row.Sub != "" {
			name += ":" + row.Sub
		}
		if row.Deleted {
			name = "-" + name
		}
		if row.Folded {
			name += "*"
		}
		out = append(out, name)
	}
	return out
}

func wantNames(t *testing.T, reply metaapi.ScanReply, exhausted bool, want ...string) {
	t.Helper()
	if got := names(reply.Rows); !slices.Equal(got, want) || reply.Exhausted != exhausted {
		t.Fatalf("got %q, exhausted %v; want %q, %v", got, reply.Exhausted, want, exhausted)
	}
}

// fill writes rows "key" or "key:sub", a leading minus for a delete marker.
func fill(t *testing.T, r metaapi.Replica, table metaapi.Table, rows ...string) {
	t.Helper()
	for _, row := range rows {
		v := value("head of "+row, "body")
		if row[0] == '-' {
			row, v = row[1:], nil
		}
		key, sub, _ := strings.Cut(row, ":")
		wantCode(t, apply(t, r, metaapi.RowKey{Table: table, Bucket: suiteBucket, Key: key, Sub: sub}, 10, v), register.Done)
	}
}

func testReplicaScan(t *testing.T, r metaapi.Replica) {
	fill(t, r, metaapi.Parts, "a:1", "a:2", "-b:1", "b:2", "ba:1", "c:1")
	apply(t, r, metaapi.RowKey{Table: metaapi.Parts, Bucket: object.BucketID{1}, Key: "a"}, 10, value("x", ""))
	apply(t, r, objectKey("a"), 10, value("x", ""))
	q := metaapi.ScanRequest{Table: metaapi.Parts}
	reply := scan(t, r, q)
	wantNames(t, reply, true, "a:1", "a:2", "-b:1", "b:2", "ba:1", "c:1")
	if row := reply.Rows[3]; row.Tag != tag(10) || string(row.Head) != "head of b:2" {
		t.Fatalf("row %+v", row)
	}
	if row := reply.Rows[2]; row.Tag != tag(10) || row.Head != nil {
		t.Fatalf("delete marker %+v", row)
	}
	q.Prefix = "b"
	wantNames(t, scan(t, r, q), true, "-b:1", "b:2", "ba:1")
	q.Prefix, q.Key = "", "b"
	wantNames(t, scan(t, r, q), true, "-b:1", "b:2")
	q.Key, q.FromKey, q.FromSub = "", "b", "1\x00"
	wantNames(t, scan(t, r, q), true, "b:2", "ba:1", "c:1")
	q.FromKey, q.FromSub = "b\xff\xff", ""
	wantNames(t, scan(t, r, q), true, "c:1")
	q.FromKey = "d"
	wantNames(t, scan(t, r, q), true)
}

func testReplicaFolds(t *testing.T, r metaapi.Replica) {
	fill(t, r, metaapi.Objects, "a", "-b/1", "-b/2", "b/3", "-b/4", "b/5", "-c/1", "d/1", "d/2/3", "e")
	wantNames(t, scan(t, r, metaapi.ScanRequest{Delimiter: "/"}), true,
		"a", "-b/1", "-b/2", "b/3*", "-c/1", "d/1*", "e")
	wantNames(t, scan(t, r, metaapi.ScanRequest{Delimiter: "/", FromKey: "b/3", FromSub: "\x00"}), true,
		"-b/4", "b/5*", "-c/1", "d/1*", "e")
	wantNames(t, scan(t, r, metaapi.ScanRequest{Delimiter: "/", Prefix: "d/"}), true, "d/1", "d/2/3*")
	wantNames(t, scan(t, r, metaapi.ScanRequest{Delimiter: "/", Limit: 4}), false, "a", "-b/1", "-b/2", "b/3*")
}

func testReplicaPages(t *testing.T, r metaapi.Replica) {
	var all []string
	for i := range 100 {
		all = append(all, fmt.Sprintf("k%03d", i))
	}
	fill(t, r, metaapi.Objects, all...)
	for _, q := range []metaapi.ScanRequest{{Limit: 1}, {Limit: 7}, {MaxBytes: 1}, {MaxBytes: 100}, {Limit: 100}} {
		var got []string
		for pages := 0; ; pages++ {
			reply := scan(t, r, q)
			got = append(got, names(reply.Rows)...)
			if q.Limit > 0 && len(reply.Rows) > q.Limit {
				t.Fatalf("%d rows, limit %d", len(reply.Rows), q.Limit)
			}
			if size := len(reply.Rows) * (4 + len("head of k000")); q.MaxBytes > 0 && len(reply.Rows) > 1 && size > q.MaxBytes {
				t.Fatalf("%d bytes, limit %d", size, q.MaxBytes)
			}
			if reply.Exhausted {
				break
			}
			if len(reply.Rows) == 0 || pages > 200 {
				t.Fatal("a page without rows promises more")
			}
			q.FromKey, q.FromSub = reply.Rows[len(reply.Rows)-1].Key, "\x00"
		}
		if !slices.Equal(got, all) {
			t.Fatalf("%+v: got %q", q, got)
		}
	}
}
