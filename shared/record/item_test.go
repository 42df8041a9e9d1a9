package record_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"hangar/shared/causal"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/record"
)

func TestItems(t *testing.T) {
	v := func(s string) causal.Value { return causal.Value{Data: []byte(s)} }
	gone := causal.Value{Deleted: true}
	long := strings.Repeat("x", record.ItemInlineBytes)
	var one causal.Set
	one = one.Insert(1, nil, 7, v("a"))
	for name, c := range map[string]struct {
		set   causal.Set
		want  metaapi.ItemCounters
		whole bool
	}{
		"value":               {one, metaapi.ItemCounters{Entries: 1, Values: 1, Bytes: 1}, true},
		"empty value":         {causal.Set{}.Insert(1, nil, 7, v("")), metaapi.ItemCounters{Entries: 1, Values: 1}, true},
		"deleted":             {one.Insert(1, one.Context(), 9, gone), metaapi.ItemCounters{}, true},
		"concurrent":          {one.Insert(2, nil, 9, v("bcd")), metaapi.ItemCounters{Entries: 1, Conflicts: 1, Values: 2, Bytes: 4}, true},
		"concurrently gone":   {one.Insert(2, nil, 9, gone), metaapi.ItemCounters{Entries: 1, Conflicts: 1, Values: 1, Bytes: 1}, true},
		"twice the same":      {one.Insert(2, nil, 9, v("a")), metaapi.ItemCounters{Entries: 1, Values: 1, Bytes: 1}, true},
		"as long as the head": {causal.Set{}.Insert(1, nil, 1, v(long)), metaapi.ItemCounters{Entries: 1, Values: 1, Bytes: int64(len(long))}, true},
		"longer":              {one.Insert(9, nil, 1, v(long)).Insert(9, nil, 1, gone), metaapi.ItemCounters{Entries: 1, Conflicts: 1, Values: 2, Bytes: int64(len(long)) + 1}, false},
	} {
		row := record.EncodeItem(c.set)
		head, err := record.DecodeItemHead(row.Head)
		if err != nil || head.Counters != c.want || head.Whole != c.whole || (len(row.Body) == 0) != c.whole {
			t.Errorf("%s: head %+v, %v", name, head, err)
		}
		if row.Count != c.want.Entries || row.Bytes != c.want.Bytes {
			t.Errorf("%s: counts %d, %d", name, row.Count, row.Bytes)
		}
		if fmt.Sprint(head.Set.Context()) != fmt.Sprint(c.set.Context()) {
			t.Errorf("%s: context %v", name, head.Set.Context())
		}
		got, err := record.DecodeItem(row)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.set) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
		for _, bad := range []metaapi.Value{
			{Head: row.Head[:len(row.Head)-1], Body: row.Body}, {Head: append(bytes.Clone(row.Head), 0), Body: row.Body},
			{Head: row.Head, Body: append(bytes.Clone(row.Body), 0)},
		} {
			if _, err := record.DecodeItem(&bad); !fault.Is(err, fault.Corrupt) {
				t.Errorf("%s: a damaged row is read: %v", name, err)
			}
		}
	}
	if set, err := record.DecodeItem(nil); set != nil || err != nil {
		t.Errorf("no row: %v, %v", set, err)
	}
}

func FuzzDecodeItem(f *testing.F) {
	var s causal.Set
	s = s.Insert(1, nil, 7, causal.Value{Data: []byte("a")}).Insert(2, nil, 8, causal.Value{Deleted: true})
	row := record.EncodeItem(s)
	f.Add(row.Head, row.Body)
	row = record.EncodeItem(s.Insert(2, nil, 1, causal.Value{Data: make([]byte, 5000)}))
	f.Add(row.Head, row.Body)
	f.Fuzz(func(t *testing.T, head, body []byte) {
		set, err := record.DecodeItem(&metaapi.Value{Head: head, Body: body})
		if err != nil {
			return
		}
		again, err := record.DecodeItem(record.EncodeItem(set))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(set) {
			t.Errorf("%v became %v, %v", set, again, err)
		}
		if _, err := causal.ParseToken(set.Context().Token()); err != nil && len(set) < 100 {
			t.Errorf("a stored item has no token: %v", set.Context())
		}
	})
}
