package metatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// RunRows is the conformance suite of metaapi.Rows. fresh returns an empty
// table each time it is called.
func RunRows(t *testing.T, fresh func(t *testing.T) metaapi.Rows) {
	t.Run("PutGetDelete", func(t *testing.T) { testPutGetDelete(t, fresh(t)) })
	t.Run("Update", func(t *testing.T) { testUpdate(t, fresh(t)) })
	t.Run("UpdateRaces", func(t *testing.T) { testUpdateRaces(t, fresh(t)) })
	t.Run("Replaced", func(t *testing.T) { testReplaced(t, fresh(t)) })
	t.Run("Canceled", func(t *testing.T) { testCanceled(t, fresh(t)) })
	t.Run("Counters", func(t *testing.T) { testCounters(t, fresh(t)) })
	t.Run("Scan", func(t *testing.T) { testScan(t, fresh(t)) })
	t.Run("ScanPages", func(t *testing.T) { testScanPages(t, fresh(t)) })
	t.Run("ScanKey", func(t *testing.T) { testScanKey(t, fresh(t)) })
}

var suiteBucket = object.BucketID{0: 0xb0}

func objectKey(key string) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Objects, Bucket: suiteBucket, Key: key}
}

func value(head, body string) *metaapi.Value {
	v := &metaapi.Value{Head: []byte(head), Count: 1, Bytes: int64(len(body))}
	if body != "" {
		v.Body = []byte(body)
	}
	return v
}

func mustPut(t *testing.T, rows metaapi.Rows, key metaapi.RowKey, v *metaapi.Value) metaapi.Written {
	t.Helper()
	w, err := rows.Put(context.Background(), key, v)
	if err != nil {
		t.Fatalf("Put %q: %v", key.Key, err)
	}
	return w
}

func mustGet(t *testing.T, rows metaapi.Rows, key metaapi.RowKey) metaapi.Row {
	t.Helper()
	row, err := rows.Get(context.Background(), key)
	if err != nil {
		t.Fatalf("Get %q: %v", key.Key, err)
	}
	return row
}

func wantRow(t *testing.T, rows metaapi.Rows, key metaapi.RowKey, want *metaapi.Value) metaapi.Row {
	t.Helper()
	row := mustGet(t, rows, key)
	switch {
	case want == nil && row.Value != nil:
		t.Fatalf("Get %q: got %q, want no row", key.Key, row.Value.Head)
	case want != nil && row.Value == nil:
		t.Fatalf("Get %q: got no row, want %q", key.Key, want.Head)
	case want == nil:
		return row
	}
	got := *row.Value
	if string(got.Head) != string(want.Head) || string(got.Body) != string(want.Body) ||
		got.Count != want.Count || got.Bytes != want.Bytes {
		t.Fatalf("Get %q: got %+v, want %+v", key.Key, got, *want)
	}
	return row
}

func testPutGetDelete(t *testing.T, rows metaapi.Rows) {
	k := objectKey("dir/ключ \x7f+%")
	wantRow(t, rows, k, nil)
	first := value("head 1", "")
	w1 := mustPut(t, rows, k, first)
	if got := wantRow(t, rows, k, first); got.Tag.Less(w1.Tag) {
		t.Fatalf("read tag %v is below the written %v", got.Tag, w1.Tag)
	}
	second := value("head 2", strings.Repeat("body", 20_000))
	w2 := mustPut(t, rows, k, second)
	if !w1.Tag.Less(w2.Tag) {
		t.Fatalf("second tag %v is not above the first %v", w2.Tag, w1.Tag)
	}
	wantRow(t, rows, k, second)

	// A row is its whole key: neighbours are not touched.
	for _, other := range []metaapi.RowKey{
		{Table: metaapi.Uploads, Bucket: k.Bucket, Key: k.Key},
		{Table: k.Table, Bucket: object.BucketID{1}, Key: k.Key},
		{Table: k.Table, Bucket: k.Bucket, Key: k.Key, Sub: "s"},
		{Table: k.Table, Bucket: k.Bucket, Key: k.Key + "\x00"},
	} {
		wantRow(t, rows, other, nil)
	}
	mustPut(t, rows, k, nil)
	wantRow(t, rows, k, nil)
	mustPut(t, rows, k, first)
	wantRow(t, rows, k, first)
}

func testUpdate(t *testing.T, rows metaapi.Rows) {
	ctx := context.Background()
	k := objectKey("k")
	refused := errors.New("refused by the caller")
	absent := func(v *metaapi.Value) metaapi.Update {
		return func(cur metaapi.Row) (*metaapi.Value, error) {
			if cur.Value != nil {
				return nil, refused
			}
			return v, nil
		}
	}
	if _, err := rows.Update(ctx, k, absent(value("1", "one"))); err != nil {
		t.Fatal(err)
	}
	wantRow(t, rows, k, value("1", "one"))
	if _, err := rows.Update(ctx, k, absent(value("2", "two"))); !errors.Is(err, refused) {
		t.Fatalf("got %v, want the error of decide", err)
	}
	wantRow(t, rows, k, value("1", "one"))
	_, err := rows.Update(ctx, k, func(cur metaapi.Row) (*metaapi.Value, error) {
		return value(string(cur.Value.Head)+"+", string(cur.Value.Body)+"+"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRow(t, rows, k, value("1+", "one+"))
	if _, err := rows.Update(ctx, k, func(metaapi.Row) (*metaapi.Value, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	wantRow(t, rows, k, nil)
	if _, err := rows.Update(ctx, k, absent(value("3", ""))); err != nil {
		t.Fatal(err)
	}
	wantRow(t, rows, k, value("3", ""))
}

func testUpdateRaces(t *testing.T, rows metaapi.Rows) {
	const writers, each = 4, 5
	k := objectKey("counter")
	var wg sync.WaitGroup
	var unsure atomic.Int64
	for range writers {
		wg.Go(func() {
			for range each {
				_, err := rows.Update(context.Background(), k, func(cur metaapi.Row) (*metaapi.Value, error) {
					n := 0
					if cur.Value != nil {
						n = len(cur.Value.Head)
					}
					return value(strings.Repeat("x", n+1), ""), nil
				})
				switch {
				case fault.Is(err, fault.Indeterminate):
					unsure.Add(1)
				case err != nil:
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	got := 0
	if row := mustGet(t, rows, k); row.Value != nil {
		got = len(row.Value.Head)
	}
	if maybe := int(unsure.Load()); !t.Failed() && (got > writers*each || got < writers*each-maybe) {
		t.Fatalf("%d increments counted, want %d, of which %d are unsure", got, writers*each, maybe)
	}
}

// What a write replaced is reported; replicas that lag may add what is older.
// testReplaced: hints may miss something, after a round that was repeated above
// all, but never say what was not there, and most are complete.
func testReplaced(t *testing.T, rows metaapi.Rows) {
	var missed string
	for try := range 5 {
		if missed = replaced(t, rows, objectKey(fmt.Sprint("k", try))); missed == "" {
			return
		}
	}
	t.Fatal(missed)
}

// replaced writes a row some times and says what the hints of it missed.
func replaced(t *testing.T, rows metaapi.Rows, k metaapi.RowKey) (missed string) {
	t.Helper()
	want := func(w metaapi.Written, head string, older ...string) {
		t.Helper()
		found := head == ""
		for _, h := range w.Replaced {
			found = found || string(h) == head
			if string(h) != head && !slices.Contains(older, string(h)) {
				t.Fatalf("%q was replaced, want %q", h, head)
			}
		}
		if !found {
			missed = fmt.Sprintf("%q were replaced, want %q among them", w.Replaced, head)
		}
	}
	want(mustPut(t, rows, k, value("1", "")), "")
	want(mustPut(t, rows, k, value("2", "")), "1")
	w, err := rows.Update(context.Background(), k, func(metaapi.Row) (*metaapi.Value, error) {
		return value("3", ""), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want(w, "2", "1")
	want(mustPut(t, rows, k, nil), "3", "1", "2")
	want(mustPut(t, rows, k, value("4", "")), "", "1", "2", "3")
	return missed
}

func testCanceled(t *testing.T, rows metaapi.Rows) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := rows.Put(ctx, objectKey("k"), value("1", "")); err == nil {
		t.Error("Put with a canceled context succeeded")
	}
	if _, err := rows.Get(ctx, objectKey("k")); err == nil {
		t.Error("Get with a canceled context succeeded")
	}
	if _, err := rows.Scan(ctx, metaapi.Range{Table: metaapi.Objects, Bucket: suiteBucket, Limit: 1}); err == nil {
		t.Error("Scan with a canceled context succeeded")
	}
}

func testCounters(t *testing.T, rows metaapi.Rows) {
	for i := range 20 {
		mustPut(t, rows, objectKey(fmt.Sprint("k", i)), value("h", "12345"))
	}
	mustPut(t, rows, objectKey("k0"), value("h", "1"))
	mustPut(t, rows, objectKey("k1"), nil)
	mustPut(t, rows, metaapi.RowKey{Table: metaapi.Uploads, Bucket: suiteBucket, Key: "k"}, value("h", "1"))
	mustPut(t, rows, metaapi.RowKey{Table: metaapi.Objects, Key: "k"}, value("h", "1"))
	want := metaapi.Counters{Count: 19, Bytes: 18*5 + 1}
	deadline := time.Now().Add(5 * time.Second)
	for {
		got, err := rows.Counters(context.Background(), metaapi.Objects, suiteBucket)
		if err != nil {
			t.Fatal(err)
		}
		if got == want {
			return
		}
		if time.Now().After(deadline) { // they follow the writes, but not at once
			t.Fatalf("counters stay %+v, want %+v", got, want)
		}
		time.Sleep(time.Millisecond)
	}
}
