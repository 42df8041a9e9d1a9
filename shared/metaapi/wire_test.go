package metaapi

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

var (
	self   = object.NodeID{1}
	tagA   = register.Tag{Time: 1_700_000_000_000_000, Node: 1 << 63, Seq: 1}
	tagB   = register.Tag{Time: 5, Node: 9}
	wanted = &register.Value{Head: []byte("head"), Body: []byte("body"), Count: 1, Bytes: 1 << 40}
)

func TestRowRequestRoundTrip(t *testing.T) {
	key := RowKey{Table: Parts, Bucket: object.BucketID{7}, Key: "k\xff\x00", Sub: "s"}
	tests := []register.Request{
		{Kind: register.Read, Epoch: 1},
		{Kind: register.Read, Epoch: 1, Admitted: 1 << 60},
		{Kind: register.Prepare, Epoch: 2, Ballot: tagA, AskOp: tagB},
		{Kind: register.Apply, Epoch: 3, Row: register.Row{Tag: tagA, Op: tagA, Value: wanted}},
		{Kind: register.Apply, Epoch: 3, Row: register.Row{Tag: tagA, Op: tagB}},
		{Kind: register.Forget, Epoch: 1 << 60, Row: register.Row{Tag: tagB, Op: tagB}, Low: tagA},
	}
	for _, q := range tests {
		for from, omit := range map[bodyFrom]bool{{}: true, {all: true}: false, {node: self}: false, {node: object.NodeID{2}}: true} {
			m, err := encodeRowRequest(&key, &q, from)
			if err != nil {
				t.Fatal(err)
			}
			gotKey, got, err := decodeRowRequest(self, m)
			if err != nil {
				t.Fatal(err)
			}
			q.OmitBody = omit
			if diff := cmp.Diff(q, got); diff != "" || gotKey != key {
				t.Fatalf("key %+v, request (-want +got):\n%s", gotKey, diff)
			}
		}
	}
}

func TestRowReplyRoundTrip(t *testing.T) {
	tests := []register.Reply{
		{Code: register.Held, Row: register.Row{Tag: tagA, Op: tagB, Value: wanted}, Promise: tagB},
		{Code: register.Held},
		{Code: register.Promised, Row: register.Row{Tag: tagA, Op: tagA, Value: &register.Value{Head: []byte("h")}}, BodyOmitted: true, Seen: true, SeenAt: tagB},
		{Code: register.Done, Replaced: []byte("old")},
		{Code: register.Refused, High: tagA},
		{Code: register.Old, Epoch: 8},
		{Code: register.Behind, Revision: 9},
	}
	for _, want := range tests {
		m, err := encodeRowReply(&want)
		if err != nil {
			t.Fatal(err)
		}
		var got register.Reply
		if err := decodeRowReply(m, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("reply (-want +got):\n%s", diff)
		}
	}
}

func TestScanRoundTrip(t *testing.T) {
	q := ScanRequest{
		Epoch: 4, Admitted: 3, Table: Objects, Bucket: object.BucketID{1}, Prefix: "p", Key: "k", Delimiter: "/",
		FromKey: "f\xff", FromSub: "s\x00", Limit: 10, MaxBytes: 1000,
	}
	m, err := encodeScanRequest(&q)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeScanRequest(m); err != nil || got != q {
		t.Fatalf("got %+v, %v", got, err)
	}
	r := ScanReply{Epoch: 4, Exhausted: true, Rows: []ScanRow{
		{Key: "a", Sub: "1", Tag: tagA, Head: []byte("h")},
		{Key: "a", Sub: "2", Tag: tagB, Deleted: true},
		{Key: "b/c", Tag: tagB, Head: []byte("h"), Folded: true},
	}}
	if m, err = encodeScanReply(&r); err != nil {
		t.Fatal(err)
	}
	got, err := decodeScanReply(m, false)
	if diff := cmp.Diff(r, got); diff != "" || err != nil {
		t.Fatalf("%v, reply (-want +got):\n%s", err, diff)
	}
	r.Rows[0], r.Rows[1] = r.Rows[1], r.Rows[0]
	if m, err = encodeScanReply(&r); err != nil {
		t.Fatal(err)
	}
	if _, err := decodeScanReply(m, false); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("rows out of order: %v", err)
	}
}

// A tag that no clock could go above must not get in.
func TestTagsAreBounded(t *testing.T) {
	for _, time := range []int64{-1, register.MaxTime + 1} {
		q := register.Request{Kind: register.Prepare, Ballot: register.Tag{Time: time}}
		m, err := encodeRowRequest(&RowKey{Table: Objects}, &q, bodyFrom{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := decodeRowRequest(self, m); !fault.Is(err, fault.Invalid) {
			t.Errorf("time %d: %v", time, err)
		}
	}
}

// Bytes from outside give an error or a message that is within bounds.
func FuzzDecode(f *testing.F) {
	q := register.Request{Kind: register.Apply, Row: register.Row{Tag: tagA, Op: tagB, Value: wanted}}
	m, err := encodeRowRequest(&RowKey{Table: Objects, Key: "k"}, &q, bodyFrom{all: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Head)
	m, err = encodeScanReply(&ScanReply{Rows: []ScanRow{{Key: "k", Tag: tagA}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Head)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := rpc.Message{Head: b}
		if _, q, err := decodeRowRequest(self, m); err == nil {
			if q.Kind < register.Read || q.Kind > register.Forget || q.Ballot.Time > register.MaxTime {
				t.Errorf("accepted %+v", q)
			}
		}
		var r register.Reply
		if err := decodeRowReply(m, &r); err == nil && (r.Code < register.Held || r.Code > register.Old) {
			t.Errorf("accepted %+v", r)
		}
		if q, err := decodeScanRequest(m); err == nil && (q.Limit < 1 || q.Limit > MaxScanRows) {
			t.Errorf("accepted %+v", q)
		}
		if s, err := decodeScanReply(m, false); err == nil {
			for i := 1; i < len(s.Rows); i++ {
				if compare(s.Rows[i-1].Key, s.Rows[i-1].Sub, s.Rows[i].Key, s.Rows[i].Sub) >= 0 {
					t.Errorf("accepted rows out of order")
				}
			}
		}
		_, _ = decodeCounters(m)
		_, _, _ = decodeCountersRequest(m)
	})
}

func TestInventoryRoundTrip(t *testing.T) {
	q := InventoryRequest{Epoch: 3, After: []byte("r\x00k"), Limit: 5, MaxBytes: 100}
	q.Slices.AddPartition(255, 8)
	q.Slices.Add(0)
	m, err := encodeInventoryRequest(&q)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeInventoryRequest(m)
	if diff := cmp.Diff(q, got); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
	q.Limit = MaxScanRows + 1
	if m, err = encodeInventoryRequest(&q); err != nil {
		t.Fatal(err)
	}
	if _, err := decodeInventoryRequest(m); !fault.Is(err, fault.Invalid) {
		t.Errorf("a limit out of bounds: %v", err)
	}
	r := InventoryReply{Epoch: 3, Next: []byte("n"), Done: true, Total: 9, Rows: []InventoryRow{
		{Key: RowKey{Table: Parts, Bucket: object.BucketID{7}, Key: "k\xff\x00", Sub: "s"}, Tag: tagA, Promised: tagB, Live: true, Size: 12},
		{Key: RowKey{Table: Objects, Key: "k"}, Promised: tagA},
	}}
	if m, err = encodeInventoryReply(&r); err != nil {
		t.Fatal(err)
	}
	back, err := decodeInventoryReply(m)
	if diff := cmp.Diff(r, back); err != nil || diff != "" {
		t.Fatalf("%v (-want +got):\n%s", err, diff)
	}
}

// TestLargestInventory: a full page passes the transport's limit of 1 MiB.
func TestLargestInventory(t *testing.T) {
	r := InventoryReply{}
	for n := 0; n < MaxInventoryBytes; n += InventoryRowBytes + 1 {
		r.Rows = append(r.Rows, InventoryRow{Key: RowKey{Table: Objects, Key: "k"}, Tag: tagA, Promised: tagA, Live: true, Size: 1 << 60})
	}
	m, err := encodeInventoryReply(&r)
	if err != nil || len(m.Head) > 1000<<10 {
		t.Errorf("%d bytes, %v", len(m.Head), err)
	}
}
