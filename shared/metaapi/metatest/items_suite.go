package metatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// RunItems is the conformance suite of what metaapi.ItemRows adds to
// metaapi.Rows. fresh returns an empty table each time it is called.
func RunItems(t *testing.T, fresh func(t *testing.T) metaapi.ItemRows) {
	t.Run("Many", func(t *testing.T) { testMany(t, fresh(t)) })
	t.Run("ManyErrors", func(t *testing.T) { testManyErrors(t, fresh(t)) })
	t.Run("ManyRaces", func(t *testing.T) { testManyRaces(t, fresh(t)) })
	t.Run("KeyRanges", func(t *testing.T) { testKeyRanges(t, fresh(t)) })
	t.Run("LargeHeads", func(t *testing.T) { testLargeHeads(t, fresh(t)) })
	t.Run("Index", func(t *testing.T) { testIndex(t, fresh(t)) })
	t.Run("Since", func(t *testing.T) { testSince(t, fresh(t)) })
	t.Run("SincePages", func(t *testing.T) { testSincePages(t, fresh(t)) })
}

func itemKey(key, sub string) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Items, Bucket: suiteBucket, Key: key, Sub: sub}
}

// itemValue is an item with one value, which is its text.
func itemValue(text string) *metaapi.Value {
	c := metaapi.ItemCounters{Entries: 1, Values: 1, Bytes: int64(len(text))}
	return &metaapi.Value{Head: append(metaapi.AppendItemCounters(nil, c), text...), Count: 1, Bytes: int64(len(text))}
}

// itemText is the text of an itemValue's head.
func itemText(t *testing.T, head []byte) string {
	t.Helper()
	_, text, err := metaapi.ParseItemCounters(head)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// setTo makes a change that writes v.
func setTo(k metaapi.RowKey, v *metaapi.Value) metaapi.Change {
	return metaapi.Change{Key: k, Decide: func(metaapi.Row) (*metaapi.Value, error) { return v, nil }}
}

// patient bounds what the suite asks for by far more than a busy machine needs:
// an operation without a deadline has 10 s.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func mustChange(t *testing.T, rows metaapi.ItemRows, changes ...metaapi.Change) {
	t.Helper()
	for i, c := range rows.UpdateMany(patient(t), changes) {
		if c.Err != nil {
			t.Fatalf("change of %q %q: %v", changes[i].Key.Key, changes[i].Key.Sub, c.Err)
		}
		if c.Tag.IsZero() {
			t.Fatalf("change of %q %q has no tag", changes[i].Key.Key, changes[i].Key.Sub)
		}
	}
}

// mustSet writes items of one Key, each with its Sub and a round as text.
func mustSet(t *testing.T, rows metaapi.ItemRows, key, round string, subs ...string) {
	t.Helper()
	var changes []metaapi.Change
	for _, s := range subs {
		changes = append(changes, setTo(itemKey(key, s), itemValue(s+round)))
	}
	mustChange(t, rows, changes...)
}

// wholeBytes compares bodies as a whole: byte by byte takes seconds, with which
// the time of the writes under way runs out.
var wholeBytes = cmp.Comparer(bytes.Equal)

func testMany(t *testing.T, rows metaapi.ItemRows) {
	if got := rows.GetMany(patient(t), nil); len(got) != 0 {
		t.Fatalf("reading no rows: %v", got)
	}
	if got := rows.UpdateMany(patient(t), nil); len(got) != 0 {
		t.Fatalf("changing no rows: %v", got)
	}
	var changes []metaapi.Change
	var keys []metaapi.RowKey
	want := map[metaapi.RowKey]*metaapi.Value{}
	for i := range 300 {
		k := itemKey(fmt.Sprint("key", i%7*(i%2)), fmt.Sprintf("%03d", i))
		v := itemValue(fmt.Sprint("value ", i))
		if i%50 == 0 {
			v.Body = []byte(strings.Repeat("b", 1+i*1000))
		}
		changes, keys, want[k] = append(changes, setTo(k, v)), append(keys, k), v
	}
	mustChange(t, rows, changes...)
	keys = append(keys, itemKey("key0", "nothing"), itemKey("nobody", "x"))
	slices.Reverse(keys)
	check := func() {
		t.Helper()
		got := rows.GetMany(patient(t), keys)
		if len(got) != len(keys) {
			t.Fatalf("%d answers for %d rows", len(got), len(keys))
		}
		for i, k := range keys {
			if got[i].Err != nil {
				t.Fatalf("reading %v: %v", k, got[i].Err)
			}
			if diff := cmp.Diff(want[k], got[i].Value, wholeBytes); diff != "" {
				t.Fatalf("%v (-want +got):\n%s", k, diff)
			}
			if i%20 == 0 {
				wantRow(t, rows, k, want[k])
			}
		}
	}
	check()
	// A second round sees the first, and deletes some.
	changes = changes[:0]
	for i, k := range keys[2:] {
		before := want[k]
		next := itemValue("new " + k.Sub)
		if i%5 == 0 {
			next = nil
		}
		changes = append(changes, metaapi.Change{Key: k, Decide: func(cur metaapi.Row) (*metaapi.Value, error) {
			if !cmp.Equal(cur.Value, before, wholeBytes) {
				return nil, fmt.Errorf("%v is %+v, not %+v", k, cur.Value, before)
			}
			return next, nil
		}})
		want[k] = next
	}
	mustChange(t, rows, changes...)
	check()
}

// Each row has an answer of its own.
func testManyErrors(t *testing.T, rows metaapi.ItemRows) {
	mustSet(t, rows, "k", "", "a", "b", "c")
	declined := errors.New("declined")
	got := rows.UpdateMany(patient(t), []metaapi.Change{
		setTo(itemKey("k", "a"), itemValue("new")),
		{Key: itemKey("k", "b"), Decide: func(metaapi.Row) (*metaapi.Value, error) { return nil, declined }},
		setTo(itemKey("k", "c"), itemValue("new")),
		setTo(itemKey("k", "a"), itemValue("twice")),
	})
	if len(got) != 4 || got[0].Err != nil || !errors.Is(got[1].Err, declined) || got[2].Err != nil || !fault.Is(got[3].Err, fault.Invalid) {
		t.Fatalf("%+v", got)
	}
	if len(got[0].Replaced) != 1 || itemText(t, got[0].Replaced[0]) != "a" {
		t.Fatalf("replaced %q", got[0].Replaced)
	}
	wantRow(t, rows, itemKey("k", "a"), itemValue("new"))
	wantRow(t, rows, itemKey("k", "b"), itemValue("b"))
}

// Of batches that race for the same rows none undoes another.
func testManyRaces(t *testing.T, rows metaapi.ItemRows) {
	const writers, rounds, items = 4, 5, 12
	var unsure [items]atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			var changes []metaapi.Change
			for i := range items {
				changes = append(changes, metaapi.Change{Key: itemKey("k", fmt.Sprint(i)), Decide: func(cur metaapi.Row) (*metaapi.Value, error) {
					v := itemValue("")
					if cur.Value != nil {
						v.Bytes = cur.Value.Bytes
					}
					v.Bytes++
					return v, nil
				}})
			}
			for range rounds {
				for i, c := range rows.UpdateMany(patient(t), changes) {
					switch {
					case fault.Is(c.Err, fault.Indeterminate):
						unsure[i].Add(1)
					case c.Err != nil:
						t.Error(c.Err)
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range items {
		got := int64(0)
		if row := mustGet(t, rows, itemKey("k", fmt.Sprint(i))); row.Value != nil {
			got = row.Value.Bytes
		}
		if maybe := unsure[i].Load(); got > writers*rounds || got < writers*rounds-maybe {
			t.Errorf("item %d has %d increments, want %d, of which %d are unsure", i, got, writers*rounds, maybe)
		}
	}
}

// listKey lists all pages of r.
func listKey(t *testing.T, rows metaapi.ItemRows, r metaapi.KeyRange) (got []string) {
	t.Helper()
	for range 10_000 {
		page, err := rows.ScanKey(patient(t), r)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) > r.Limit {
			t.Fatalf("%d entries, limit %d", len(page.Entries), r.Limit)
		}
		for _, e := range page.Entries {
			if e.Key != r.Key || itemText(t, e.Head) != e.Sub {
				t.Fatalf("entry %q %q has the text %q", e.Key, e.Sub, itemText(t, e.Head))
			}
			got = append(got, e.Sub)
		}
		if !page.More {
			return got
		}
		if len(page.Entries) == 0 {
			t.Fatal("a page without entries promises more")
		}
		// The last entry again is the first of the next page.
		r.From, got = got[len(got)-1], got[:len(got)-1]
		if r.Limit == 1 {
			r.Limit = 2
		}
	}
	t.Fatal("the listing does not end")
	return nil
}

func testKeyRanges(t *testing.T, rows metaapi.ItemRows) {
	all := []string{"a", "a\x00", "a\x00b", "a/1", "a/2", "a\xff", "b", "b/1", "c", "é", "\xff", "\xff\xff"}
	mustSet(t, rows, "k", "", append([]string{"gone", "zz"}, all...)...)
	mustChange(t, rows, setTo(itemKey("k", "gone"), nil), setTo(itemKey("k", "zz"), nil))
	mustSet(t, rows, "j", "", "a", "x")
	mustSet(t, rows, "k\x00", "", "a", "x")
	mustSet(t, rows, "k2", "", "a", "x")
	mustPut(t, rows, metaapi.RowKey{Table: metaapi.Parts, Bucket: suiteBucket, Key: "k", Sub: "part"}, value("x", ""))
	mustPut(t, rows, metaapi.RowKey{Table: metaapi.Items, Bucket: object.BucketID{1}, Key: "k", Sub: "other"}, itemValue("x"))
	down := slices.Clone(all)
	slices.Reverse(down)
	tests := []struct {
		name string
		r    metaapi.KeyRange
		want []string
	}{
		{"all", metaapi.KeyRange{}, all},
		{"all down", metaapi.KeyRange{Reverse: true}, down},
		{"prefix", metaapi.KeyRange{Prefix: "a"}, all[:6]},
		{"prefix down", metaapi.KeyRange{Prefix: "a", Reverse: true}, down[6:]},
		{"prefix of nothing", metaapi.KeyRange{Prefix: "zz"}, nil},
		{"highest prefix", metaapi.KeyRange{Prefix: "\xff"}, all[10:]},
		{"highest prefix down", metaapi.KeyRange{Prefix: "\xff", Reverse: true}, down[:2]},
		{"from", metaapi.KeyRange{From: "a/2"}, all[4:]},
		{"from between", metaapi.KeyRange{From: "a/11"}, all[4:]},
		{"from down", metaapi.KeyRange{From: "a/2", Reverse: true}, down[7:]},
		{"from between down", metaapi.KeyRange{From: "a/3", Reverse: true}, down[7:]},
		{"to", metaapi.KeyRange{To: "b"}, all[:6]},
		{"to down", metaapi.KeyRange{To: "b", Reverse: true}, down[:5]},
		{"from to", metaapi.KeyRange{From: "a\x00", To: "b/1"}, all[1:7]},
		{"from to down", metaapi.KeyRange{From: "b", To: "a\x00", Reverse: true}, down[5:10]},
		{"prefix from to", metaapi.KeyRange{Prefix: "a/", From: "a", To: "a/2"}, all[3:4]},
		{"prefix from to down", metaapi.KeyRange{Prefix: "a", From: "c", To: "a\x00b", Reverse: true}, down[6:9]},
		{"empty", metaapi.KeyRange{From: "b", To: "a"}, nil},
		{"empty down", metaapi.KeyRange{From: "a", To: "b", Reverse: true}, nil},
		{"of one", metaapi.KeyRange{From: "b", To: "b"}, nil},
		{"other key", metaapi.KeyRange{Key: "k\x00"}, []string{"a", "x"}},
		{"other key down", metaapi.KeyRange{Key: "k\x00", Reverse: true}, []string{"x", "a"}},
		{"nobody", metaapi.KeyRange{Key: "nobody", Reverse: true}, nil},
	}
	for _, test := range tests {
		if test.r.Key == "" {
			test.r.Key = "k"
		}
		for _, limit := range []int{1, 2, 3, 1000} {
			test.r.Table, test.r.Bucket, test.r.Limit = metaapi.Items, suiteBucket, limit
			if diff := cmp.Diff(test.want, listKey(t, rows, test.r)); diff != "" {
				t.Errorf("%s, %d at once (-want +got):\n%s", test.name, limit, diff)
			}
		}
	}
	for _, limit := range []int{0, -1, metaapi.MaxScanLimit + 1} {
		if _, err := rows.ScanKey(patient(t), metaapi.KeyRange{Table: metaapi.Items, Bucket: suiteBucket, Key: "k", Limit: limit}); !fault.Is(err, fault.Invalid) {
			t.Errorf("a limit of %d: %v", limit, err)
		}
	}
}

// A page of large items may be shorter than its limit, and goes on then.
func testLargeHeads(t *testing.T, rows metaapi.ItemRows) {
	var want []string
	for i := range 40 {
		sub := fmt.Sprintf("%02d%s", i, strings.Repeat("x", 900))
		want = append(want, sub)
		v := itemValue(sub)
		v.Head = append(v.Head, make([]byte, 200<<10)...)
		mustChange(t, rows, setTo(itemKey("k", sub), v))
	}
	for _, reverse := range []bool{false, true} {
		r := metaapi.KeyRange{Table: metaapi.Items, Bucket: suiteBucket, Key: "k", Reverse: reverse, Limit: 1000}
		var got []string
		for {
			page, err := rows.ScanKey(patient(t), r)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				if len(got) == 0 || got[len(got)-1] != e.Sub {
					got = append(got, e.Sub)
				}
			}
			if !page.More {
				break
			}
			r.From = got[len(got)-1]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("reverse %v (-want +got):\n%s", reverse, diff)
		}
		slices.Reverse(want)
	}
}

// listIndex lists all pages of r.
func listIndex(t *testing.T, rows metaapi.ItemRows, r metaapi.IndexRange) (got []metaapi.IndexEntry) {
	t.Helper()
	r.Table, r.Bucket = metaapi.Items, suiteBucket
	for range 10_000 {
		page, err := rows.Index(patient(t), r)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) > r.Limit || page.More && len(page.Entries) == 0 {
			t.Fatalf("%d entries, limit %d, more %v", len(page.Entries), r.Limit, page.More)
		}
		for _, e := range page.Entries {
			if len(got) == 0 || got[len(got)-1].Key != e.Key {
				got = append(got, e)
			}
		}
		if !page.More {
			return got
		}
		r.From = got[len(got)-1].Key
		r.Limit = max(r.Limit, 2)
	}
	t.Fatal("the index does not end")
	return nil
}

func testIndex(t *testing.T, rows metaapi.ItemRows) {
	var want []metaapi.IndexEntry
	for i := range 40 {
		key := fmt.Sprintf("p%d/%02d\x00", i%2, i)
		n := 1 + i%3
		for j := range n {
			mustSet(t, rows, key, "", fmt.Sprint(j))
		}
		want = append(want, metaapi.IndexEntry{Key: key, ItemCounters: metaapi.ItemCounters{Entries: int64(n), Values: int64(n), Bytes: int64(n)}})
	}
	slices.SortFunc(want, func(a, b metaapi.IndexEntry) int { return strings.Compare(a.Key, b.Key) })
	mustPut(t, rows, metaapi.RowKey{Table: metaapi.Items, Bucket: object.BucketID{1}, Key: "p", Sub: "other"}, itemValue("x"))
	check := func() {
		t.Helper()
		from := want[len(want)/3].Key
		for _, limit := range []int{1, 7, 1000} {
			for _, test := range []struct {
				r    metaapi.IndexRange
				keep func(string) bool
			}{
				{metaapi.IndexRange{}, func(string) bool { return true }},
				{metaapi.IndexRange{Prefix: "p1/"}, func(k string) bool { return strings.HasPrefix(k, "p1/") }},
				{metaapi.IndexRange{From: from}, func(k string) bool { return k >= from }},
				{metaapi.IndexRange{To: from}, func(k string) bool { return k < from }},
				{metaapi.IndexRange{From: from, Reverse: true}, func(k string) bool { return k <= from }},
				{metaapi.IndexRange{To: from, Prefix: "p", Reverse: true}, func(k string) bool { return k > from }},
			} {
				kept := slices.DeleteFunc(slices.Clone(want), func(e metaapi.IndexEntry) bool { return !test.keep(e.Key) })
				if test.r.Reverse {
					slices.Reverse(kept)
				}
				test.r.Limit = limit
				if diff := cmp.Diff(kept, listIndex(t, rows, test.r)); diff != "" {
					t.Fatalf("%+v (-want +got):\n%s", test.r, diff)
				}
			}
		}
	}
	check()
	// One grows and has a conflict, one loses an item, one is only a marker and
	// one is gone: then they are no keys any more.
	first := &want[0]
	c := metaapi.ItemCounters{Entries: 1, Conflicts: 1, Values: 2, Bytes: 100}
	mustChange(t, rows, setTo(itemKey(first.Key, "0"), &metaapi.Value{Head: metaapi.AppendItemCounters(nil, c)}))
	first.Conflicts, first.Values, first.Bytes = 1, first.Values+1, first.Bytes+99
	for i := range 2 {
		e := &want[1+i]
		for j := range e.Entries {
			v := &metaapi.Value{Head: metaapi.AppendItemCounters(nil, metaapi.ItemCounters{})}
			if i == 1 {
				v = nil
			}
			mustChange(t, rows, setTo(itemKey(e.Key, fmt.Sprint(j)), v))
		}
	}
	want = slices.Delete(want, 1, 3)
	settle(rows)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		// A member that has not heard of a deletion yet may be asked.
		if cmp.Equal(want, listIndex(t, rows, metaapi.IndexRange{Limit: 1000})) {
			break
		}
	}
	check()
}

// settle waits until a table that is replicated has no writes on their way: the
// figures of the index may miss a deletion until then.
func settle(rows metaapi.ItemRows) {
	if s, ok := rows.(interface{ Settle() }); ok {
		s.Settle()
	}
}

// since asks for all that changed and returns it as texts, with the new mark.
func since(t *testing.T, rows metaapi.ItemRows, r metaapi.SinceRange, mark metaapi.Mark) (got []string, next metaapi.Mark) {
	t.Helper()
	r.Table, r.Bucket, r.Mark = metaapi.Items, suiteBucket, mark
	for range 10_000 {
		page, err := rows.Since(patient(t), r)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) > r.Limit || page.More && len(page.Entries) == 0 {
			t.Fatalf("%d entries, limit %d, more %v", len(page.Entries), r.Limit, page.More)
		}
		for _, e := range page.Entries {
			if e.Key != r.Key {
				t.Fatalf("an entry of %q", e.Key)
			}
			got = append(got, itemText(t, e.Head))
		}
		if r.Mark = page.Next; !page.More {
			return got, page.Next
		}
	}
	t.Fatal("the changes do not end")
	return nil, nil
}

func testSince(t *testing.T, rows metaapi.ItemRows) {
	mustSet(t, rows, "k", "1", "a", "b", "c", "d/1", "d/2", "e")
	mustSet(t, rows, "other", "1", "a", "b")
	for _, limit := range []int{1, 2, 1000} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			all := metaapi.SinceRange{Key: "k", Limit: limit}
			check := func(what string, got, want []string) {
				t.Helper()
				if _, settles := rows.(interface{ Settle() }); !settles { // it may tell more, but no less
					got = slices.DeleteFunc(slices.Clone(got), func(text string) bool { return !slices.Contains(want, text) })
				}
				if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("%s (-want +got):\n%s", what, diff)
				}
			}
			round := fmt.Sprint("-", limit)
			mustSet(t, rows, "k", round, "a", "b", "c", "d/1", "d/2", "e")
			settle(rows)
			got, mark := since(t, rows, all, nil)
			check("everything", got, []string{"a" + round, "b" + round, "c" + round, "d/1" + round, "d/2" + round, "e" + round})
			part, partMark := since(t, rows, metaapi.SinceRange{Key: "k", Limit: limit, Prefix: "d/", To: "d/2"}, nil)
			check("part of it", part, []string{"d/1" + round})
			got, mark = since(t, rows, all, mark)
			check("nothing", got, nil)
			mustSet(t, rows, "k", "x", "b", "d/1")
			mustSet(t, rows, "k", "y", "b", "e", "f")
			mustSet(t, rows, "other", "y", "b", "e", "f")
			settle(rows)
			got, next := since(t, rows, all, mark)
			check("what changed, once", got, []string{"by", "d/1x", "ey", "fy"})
			got, _ = since(t, rows, all, mark)
			check("the same again", got, []string{"by", "d/1x", "ey", "fy"})
			got, _ = since(t, rows, metaapi.SinceRange{Key: "k", Limit: limit, From: "d", To: "f"}, mark)
			check("what changed of a part", got, []string{"d/1x", "ey"})
			got, _ = since(t, rows, metaapi.SinceRange{Key: "k", Limit: limit, Prefix: "d/", To: "d/2"}, partMark)
			check("what changed of the part", got, []string{"d/1x"})
			got, _ = since(t, rows, all, next)
			check("nothing more", got, nil)
			mustChange(t, rows, setTo(itemKey("k", "f"), nil))
		})
	}
	empty, mark := since(t, rows, metaapi.SinceRange{Key: "nobody", Limit: 10}, nil)
	if len(empty) > 0 {
		t.Fatalf("changes of nobody: %q", empty)
	}
	mustSet(t, rows, "nobody", "", "is somebody")
	if got, _ := since(t, rows, metaapi.SinceRange{Key: "nobody", Limit: 10}, mark); !slices.Equal(got, []string{"is somebody"}) {
		t.Fatalf("changes of somebody: %q", got)
	}
}

// What changes behind somebody who is in the midst of the pages is told in the
// end, and never lost.
func testSincePages(t *testing.T, rows metaapi.ItemRows) {
	var subs []string
	for i := range 30 {
		subs = append(subs, fmt.Sprintf("%02d", i))
	}
	mustSet(t, rows, "k", "", subs...)
	known := map[string]string{}
	want := map[string]string{}
	for _, s := range subs {
		want[s] = s
	}
	r := metaapi.SinceRange{Table: metaapi.Items, Bucket: suiteBucket, Key: "k", Limit: 4}
	for page := range 200 {
		got, err := rows.Since(patient(t), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range got.Entries {
			known[e.Sub] = itemText(t, e.Head)
		}
		r.Mark = got.Next
		if page < 20 { // before, at and behind where the pages are
			for _, i := range []int{page % 30, page * 7 % 30, (page*4 + 5) % 30} {
				mustSet(t, rows, "k", fmt.Sprint("-", page), subs[i])
				want[subs[i]] = subs[i] + fmt.Sprint("-", page)
			}
		}
		if page >= 20 && !got.More {
			break
		}
	}
	got, err := rows.Since(patient(t), metaapi.SinceRange{Table: metaapi.Items, Bucket: suiteBucket, Key: "k", Limit: 1000, Mark: r.Mark})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range got.Entries {
		known[e.Sub] = itemText(t, e.Head)
	}
	if diff := cmp.Diff(want, known); diff != "" {
		t.Fatalf("what is known in the end (-want +got):\n%s", diff)
	}
}
