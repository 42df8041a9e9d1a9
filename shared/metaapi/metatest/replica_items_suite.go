package metatest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

// testReplicaBackwards: a Key's rows in reverse, within bounds and in pages.
func testReplicaBackwards(t *testing.T, r metaapi.Replica) {
	for _, k := range []metaapi.RowKey{itemKey("j", "z"), itemKey("k", "a"), itemKey("k", "b"), itemKey("k", "b\x00"), itemKey("k", "c"),
		itemKey("k", "d"), itemKey("k\x00", "a"), itemKey("l", "a")} {
		wantCode(t, apply(t, r, k, 10, itemValue("x")), register.Done)
	}
	wantCode(t, apply(t, r, itemKey("k", "c"), 20, nil), register.Done)
	all := metaapi.ScanRequest{Table: metaapi.Items, Key: "k", FromKey: "k", Reverse: true}
	for _, test := range []struct {
		from, until string
		limit       int
		exhausted   bool
		want        []string
	}{
		{"", "", 100, true, []string{"k:d", "-k:c", "k:b\x00", "k:b", "k:a"}},
		{"b", "", 100, true, []string{"k:d", "-k:c", "k:b\x00", "k:b"}},
		{"b", "d", 100, true, []string{"-k:c", "k:b\x00", "k:b"}},
		{"", "b\x00", 100, true, []string{"k:b", "k:a"}},
		{"", "a", 100, true, nil},
		{"c", "c", 100, true, nil},
		{"", "zzz", 2, false, []string{"k:d", "-k:c"}},
		{"", "c", 2, false, []string{"k:b\x00", "k:b"}},
		{"", "b", 1, true, []string{"k:a"}},
	} {
		q := all
		q.FromSub, q.UntilSub, q.Limit = test.from, test.until, test.limit
		wantNames(t, scan(t, r, q), test.exhausted, test.want...)
	}
}

// testReplicaIndex: what the items of each Key add up to, Keys without live
// items left out, up and down, within bounds and in pages.
func testReplicaIndex(t *testing.T, r metaapi.Replica) {
	for i, key := range []string{"a", "b", "b\x00", "c", "d"} {
		for sub := range i + 1 {
			wantCode(t, apply(t, r, itemKey(key, fmt.Sprint(sub)), 10, itemValue("four")), register.Done)
		}
	}
	other := itemKey("b", "0")
	other.Bucket = object.BucketID{1}
	wantCode(t, apply(t, r, other, 10, itemValue("x")), register.Done)
	for sub := range 4 { // of c nothing is left
		wantCode(t, apply(t, r, itemKey("c", fmt.Sprint(sub)), 20, nil), register.Done)
	}
	wantCode(t, apply(t, r, itemKey("d", "4"), 20, itemValue("longer")), register.Done)
	sums := map[string]metaapi.ItemCounters{
		"a": {Entries: 1, Values: 1, Bytes: 4}, "b": {Entries: 2, Values: 2, Bytes: 8},
		"b\x00": {Entries: 3, Values: 3, Bytes: 12}, "d": {Entries: 5, Values: 5, Bytes: 22},
	}
	for _, test := range []struct {
		from, until string
		reverse     bool
		limit       int
		exhausted   bool
		want        []string
	}{
		{"", "", false, 100, true, []string{"a", "b", "b\x00", "d"}},
		{"", "", true, 100, true, []string{"d", "b\x00", "b", "a"}},
		{"b", "d", false, 100, true, []string{"b", "b\x00"}},
		{"b", "d", true, 100, true, []string{"b\x00", "b"}},
		{"b\x00", "", false, 100, true, []string{"b\x00", "d"}},
		{"", "b\x00", true, 100, true, []string{"b", "a"}},
		{"", "", false, 2, false, []string{"a", "b"}},
		{"", "d", true, 2, false, []string{"b\x00", "b"}},
		{"e", "", false, 1, true, nil},
		{"", "a", true, 1, true, nil},
	} {
		reply, err := r.Index(context.Background(), metaapi.IndexRequest{Epoch: 1, Table: metaapi.Items, Bucket: suiteBucket,
			From: test.from, Until: test.until, Reverse: test.reverse, Limit: test.limit})
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, e := range reply.Rows {
			keys = append(keys, e.Key)
			if e.ItemCounters != sums[e.Key] {
				t.Errorf("%q has %+v, want %+v", e.Key, e.ItemCounters, sums[e.Key])
			}
		}
		if !slices.Equal(keys, test.want) || reply.Exhausted != test.exhausted {
			t.Errorf("%+v: got %q, exhausted %v", test, keys, reply.Exhausted)
		}
	}
}
