package metatest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// list scans all pages of r and returns the keys, prefixes marked by a star.
func list(t *testing.T, rows metaapi.Rows, r metaapi.Range) []string {
	t.Helper()
	var got []string
	for range 10_000 {
		page, err := rows.Scan(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Entries) > r.Limit {
			t.Fatalf("%d entries, limit %d", len(page.Entries), r.Limit)
		}
		for _, e := range page.Entries {
			name := e.Key
			if e.Sub != "" {
				name += ":" + e.Sub
			}
			if e.Prefix {
				name += "*"
			} else if string(e.Head) != "head of "+name {
				t.Fatalf("entry %q has head %q", name, e.Head)
			}
			got = append(got, name)
		}
		if !page.More {
			return got
		}
		if len(page.Entries) == 0 {
			t.Fatal("a page without entries promises more")
		}
		last := page.Entries[len(page.Entries)-1]
		r.FromKey, r.FromSub, r.FromExcluded = last.Key, last.Sub, true
	}
	t.Fatal("the listing does not end")
	return nil
}

func putNamed(t *testing.T, rows metaapi.Rows, table metaapi.Table, keys ...string) {
	t.Helper()
	for _, k := range keys {
		key, sub, _ := strings.Cut(k, ":")
		mustPut(t, rows, metaapi.RowKey{Table: table, Bucket: suiteBucket, Key: key, Sub: sub}, value("head of "+k, ""))
	}
}

func testScan(t *testing.T, rows metaapi.Rows) {
	putNamed(t, rows, metaapi.Objects, "a", "a/1", "a/2", "a/b/3", "a0", "b", "b/1", "c//x", "c/", "d", "é/1", "gone", "gone/1", "half/1", "half/2")
	for _, dead := range []string{"gone", "gone/1", "half/1"} {
		mustPut(t, rows, objectKey(dead), nil)
	}
	mustPut(t, rows, metaapi.RowKey{Table: metaapi.Objects, Bucket: object.BucketID{1}, Key: "a/other"}, value("x", ""))
	mustPut(t, rows, metaapi.RowKey{Table: metaapi.Uploads, Bucket: suiteBucket, Key: "a/other"}, value("x", ""))
	all := []string{"a", "a/1", "a/2", "a/b/3", "a0", "b", "b/1", "c/", "c//x", "d", "half/2", "é/1"}
	tests := []struct {
		name string
		r    metaapi.Range
		want []string
	}{
		{"everything", metaapi.Range{}, all},
		{"prefix", metaapi.Range{Prefix: "a/"}, []string{"a/1", "a/2", "a/b/3"}},
		{"prefix of nothing", metaapi.Range{Prefix: "zz"}, nil},
		{"deleted prefix", metaapi.Range{Prefix: "gone"}, nil},
		{"delimiter", metaapi.Range{Delimiter: "/"}, []string{"a", "a/*", "a0", "b", "b/*", "c/*", "d", "half/*", "é/*"}},
		{"prefix and delimiter", metaapi.Range{Prefix: "a/", Delimiter: "/"}, []string{"a/1", "a/2", "a/b/*"}},
		{"double delimiter", metaapi.Range{Prefix: "c/", Delimiter: "/"}, []string{"c/", "c//*"}},
		{"long delimiter", metaapi.Range{Delimiter: "/b/"}, []string{"a", "a/1", "a/2", "a/b/*", "a0", "b", "b/1", "c/", "c//x", "d", "half/2", "é/1"}},
		{"from included", metaapi.Range{FromKey: "b"}, all[5:]},
		{"from excluded", metaapi.Range{FromKey: "b", FromExcluded: true}, all[6:]},
		{"from between", metaapi.Range{FromKey: "a/11"}, all[2:]},
		{"from below the prefix", metaapi.Range{Prefix: "b", FromKey: "a", FromExcluded: true}, []string{"b", "b/1"}},
		{"from above the prefix", metaapi.Range{Prefix: "a", FromKey: "b"}, nil},
		{"from a common prefix", metaapi.Range{Delimiter: "/", FromKey: "a/", FromExcluded: true}, []string{"a0", "b", "b/*", "c/*", "d", "half/*", "é/*"}},
		{"from inside a common prefix", metaapi.Range{Delimiter: "/", FromKey: "a/1", FromExcluded: true}, []string{"a/*", "a0", "b", "b/*", "c/*", "d", "half/*", "é/*"}},
		{"from the last", metaapi.Range{FromKey: "é/1", FromExcluded: true}, nil},
	}
	for _, test := range tests {
		for _, limit := range []int{1, 2, 3, 1000} {
			t.Run(fmt.Sprint(test.name, "/", limit), func(t *testing.T) {
				test.r.Table, test.r.Bucket, test.r.Limit = metaapi.Objects, suiteBucket, limit
				if diff := cmp.Diff(test.want, list(t, rows, test.r)); diff != "" {
					t.Fatalf("listing (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func testScanPages(t *testing.T, rows metaapi.Rows) {
	var keys []string
	for i := range 300 {
		keys = append(keys, fmt.Sprintf("dir%02d/%03d", i/20, i))
	}
	putNamed(t, rows, metaapi.Objects, keys...)
	kept := keys[:0:0]
	for i, k := range keys {
		if i%3 == 0 {
			mustPut(t, rows, objectKey(k), nil)
		} else {
			kept = append(kept, k)
		}
	}
	r := metaapi.Range{Table: metaapi.Objects, Bucket: suiteBucket, Limit: 7}
	if diff := cmp.Diff(kept, list(t, rows, r)); diff != "" {
		t.Fatalf("listing (-want +got):\n%s", diff)
	}
	r.Limit = len(kept)
	page, err := rows.Scan(context.Background(), r)
	if err != nil || page.More || len(page.Entries) != len(kept) {
		t.Fatalf("got %d entries, more %v, %v; want all %d and no more", len(page.Entries), page.More, err, len(kept))
	}
	r.Delimiter, r.Limit = "/", 4
	var dirs []string
	for i := range 15 {
		dirs = append(dirs, fmt.Sprintf("dir%02d/*", i))
	}
	if diff := cmp.Diff(dirs, list(t, rows, r)); diff != "" {
		t.Fatalf("folded listing (-want +got):\n%s", diff)
	}
}

func testScanKey(t *testing.T, rows metaapi.Rows) {
	putNamed(t, rows, metaapi.Parts, "k:1", "k:2", "k:3", "k2:1", "j:1")
	mustPut(t, rows, metaapi.RowKey{Table: metaapi.Parts, Bucket: suiteBucket, Key: "k", Sub: "2"}, nil)
	r := metaapi.Range{Table: metaapi.Parts, Bucket: suiteBucket, Key: "k", Limit: 1}
	if got, want := list(t, rows, r), []string{"k:1", "k:3"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	r = metaapi.Range{Table: metaapi.Parts, Bucket: suiteBucket, Limit: 2}
	if got, want := list(t, rows, r), []string{"j:1", "k:1", "k:3", "k2:1"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}
