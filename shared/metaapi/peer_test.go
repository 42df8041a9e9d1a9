package metaapi

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// through encodes and decodes.
func through[T any](t *testing.T, want T, encode func(*T) (rpc.Message, error), decode func(rpc.Message) (T, error)) {
	t.Helper()
	m, err := encode(&want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(m)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestPeerRoundTrip(t *testing.T) {
	key := RowKey{Table: Parts, Bucket: object.BucketID{7}, Key: "k\xff\x00", Sub: "s"}
	digests := []Digest{{Sum: [2]uint64{1 << 63, 2}, Rows: 3}, {}}
	q := DigestsRequest{Epoch: 1 << 60, Partitions: []layout.Partition{255, 0}}
	q.Slices.Add(4095)
	through(t, q, encodeDigestsRequest, decodeDigestsRequest)
	through(t, DigestsReply{Epoch: 3, Partitions: digests, Slices: digests[1:]}, encodeDigestsReply, decodeDigestsReply)
	through(t, DigestsReply{Old: true, Epoch: 3}, encodeDigestsReply, decodeDigestsReply)
	through(t, StatesRequest{Epoch: 2, Keys: []RowKey{key, {Table: Objects, Key: "a"}}}, encodeStatesRequest, decodeStatesRequest)
	through(t, StatesReply{Epoch: 2, Rows: []RowState{{Tag: tagA, Promised: tagB, Live: true}, {}}}, encodeStatesReply, decodeStatesReply)
	through(t, ForgetRequest{Epoch: 2, Rows: []ForgetRow{{Key: key, Tag: tagB, Low: tagA}, {Key: key, Low: tagA}}}, encodeForgetRequest, decodeForgetRequest)
	through(t, ForgetReply{Epoch: 2, Done: []bool{true, false}}, encodeForgetReply, decodeForgetReply)
}

// What is out of bounds is refused before it is looked at.
func TestPeerBounds(t *testing.T) {
	many := make([]RowKey, MaxPeerRows+1)
	for i := range many {
		many[i] = RowKey{Table: Objects, Key: "k"}
	}
	m, err := encodeStatesRequest(&StatesRequest{Keys: many})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeStatesRequest(m); !fault.Is(err, fault.Invalid) {
		t.Errorf("states of %d rows: %v", len(many), err)
	}
	m, err = encodeForgetRequest(&ForgetRequest{Rows: make([]ForgetRow, MaxPeerRows+1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeForgetRequest(m); !fault.Is(err, fault.Invalid) {
		t.Errorf("too many rows to forget: %v", err)
	}
	for name, parts := range map[string][]layout.Partition{
		"one that cannot be": {1 << layout.MaxBits},
		"too many":           slices.Repeat([]layout.Partition{1}, 1<<layout.MaxBits+1),
	} {
		m, err = encodeDigestsRequest(&DigestsRequest{Partitions: parts})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeDigestsRequest(m); !fault.Is(err, fault.Invalid) {
			t.Errorf("partitions, %s: %v", name, err)
		}
	}
}

// A page that a node could not have answered with is damage.
func TestInventoryReplyIsChecked(t *testing.T) {
	row := func(key string) InventoryRow { return InventoryRow{Key: RowKey{Table: Objects, Key: key}, Tag: tagA} }
	q := InventoryRequest{Limit: 2, MaxBytes: MaxInventoryBytes, After: []byte("b")}
	for _, key := range []string{"a", "b", "c"} {
		k := RowKey{Key: key}
		q.Slices.Add(k.slice())
	}
	elsewhere := row("d")
	for i := 0; q.Slices.Has(elsewhere.Key.slice()); i++ {
		elsewhere.Key.Key += "d"
	}
	next := []byte("c")
	for name, test := range map[string]struct {
		reply InventoryReply
		ok    bool
	}{
		"a page":          {InventoryReply{Rows: []InventoryRow{row("a"), row("b")}, Next: next}, true},
		"nothing":         {InventoryReply{Done: true}, true},
		"too many rows":   {InventoryReply{Rows: []InventoryRow{row("a"), row("b"), row("c")}, Next: next}, false},
		"out of order":    {InventoryReply{Rows: []InventoryRow{row("b"), row("a")}, Next: next}, false},
		"twice":           {InventoryReply{Rows: []InventoryRow{row("b"), row("b")}, Next: next}, false},
		"of another":      {InventoryReply{Rows: []InventoryRow{elsewhere}, Next: next}, false},
		"not on":          {InventoryReply{Next: []byte("b")}, false},
		"a long position": {InventoryReply{Next: append([]byte("c"), make([]byte, maxPosition)...)}, false},
	} {
		if err := q.checkReply(&test.reply); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Bytes from another node give an error or a message within bounds.
func FuzzDecodePeer(f *testing.F) {
	key := RowKey{Table: Objects, Bucket: object.BucketID{1}, Key: "k"}
	add := func(m rpc.Message, err error) {
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Head)
	}
	add(encodeDigestsRequest(&DigestsRequest{Epoch: 1, Partitions: []layout.Partition{1}}))
	add(encodeDigestsReply(&DigestsReply{Epoch: 1, Partitions: []Digest{{Rows: 1}}}))
	add(encodeStatesRequest(&StatesRequest{Epoch: 1, Keys: []RowKey{key}}))
	add(encodeStatesReply(&StatesReply{Epoch: 1, Rows: []RowState{{Tag: tagA}}}))
	add(encodeForgetRequest(&ForgetRequest{Epoch: 1, Rows: []ForgetRow{{Key: key, Tag: tagA, Low: tagA}}}))
	add(encodeForgetReply(&ForgetReply{Epoch: 1, Done: []bool{true}}))
	add(encodeInventoryRequest(&InventoryRequest{Epoch: 1, Limit: 1, MaxBytes: 1}))
	add(encodeInventoryReply(&InventoryReply{Epoch: 1, Rows: []InventoryRow{{Key: key, Tag: tagA}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := rpc.Message{Head: b}
		if q, err := decodeDigestsRequest(m); err == nil {
			through(t, q, encodeDigestsRequest, decodeDigestsRequest)
		}
		if r, err := decodeDigestsReply(m); err == nil {
			through(t, r, encodeDigestsReply, decodeDigestsReply)
		}
		if q, err := decodeStatesRequest(m); err == nil {
			through(t, q, encodeStatesRequest, decodeStatesRequest)
		}
		if r, err := decodeStatesReply(m); err == nil {
			through(t, r, encodeStatesReply, decodeStatesReply)
		}
		if q, err := decodeForgetRequest(m); err == nil {
			through(t, q, encodeForgetRequest, decodeForgetRequest)
		}
		if r, err := decodeForgetReply(m); err == nil {
			through(t, r, encodeForgetReply, decodeForgetReply)
		}
		if q, err := decodeInventoryRequest(m); err == nil {
			through(t, q, encodeInventoryRequest, decodeInventoryRequest)
		}
		if r, err := decodeInventoryReply(m); err == nil {
			through(t, r, encodeInventoryReply, decodeInventoryReply)
		}
	})
}
