package table_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

// show prints rows like "key:sub", with a cross for deleted ones and a star for
// witnesses of a common prefix.
func show(rows []metaapi.ScanRow) (out []string) {
	for _, r := range rows {
		s := r.Key
		if r.Sub != "" {
			s += ":" + r.Sub
		}
		if r.Deleted {
			s += "†"
		}
		if r.Folded {
			s += "*"
		}
		out = append(out, s)
	}
	return out
}

// fill writes rows named like show prints them.
func fill(t testing.TB, n *node, names ...string) {
	t.Helper()
	for _, name := range names {
		name, dead := strings.CutSuffix(name, "†")
		k, sub, _ := strings.Cut(name, ":")
		key := metaapi.RowKey{Table: metaapi.Objects, Bucket: bucket, Key: k, Sub: sub}
		n.apply(t, key, tag(1), value("head of "+name, ""))
		if dead {
			n.apply(t, key, tag(2), nil)
		}
	}
}

func TestScan(t *testing.T) {
	n := fresh(t)
	all := []string{"a", "a/1", "a/1:s", "a/1:t", "a/2", "a\x00", "b/1†", "b/2†", "b/3", "b/4", "b0", "c/†", "d"}
	slices.SortFunc(all, strings.Compare)
	fill(t, n, all...)
	// Neighbours, and a row that is only promised.
	n.apply(t, metaapi.RowKey{Table: metaapi.Objects, Bucket: object.BucketID{6}, Key: "x"}, tag(1), value("h", ""))
	n.apply(t, metaapi.RowKey{Table: metaapi.Uploads, Bucket: bucket, Key: "a"}, tag(1), value("h", ""))
	n.handle(t, objectKey("b/0"), register.Request{Kind: register.Prepare, Ballot: tag(9)})

	for _, c := range []struct {
		name string
		q    metaapi.ScanRequest
		want string
		more bool
	}{
		{name: "everything", want: "a a\x00 a/1 a/1:s a/1:t a/2 b/1† b/2† b/3 b/4 b0 c/† d"},
		{name: "prefix", q: metaapi.ScanRequest{Prefix: "a/"}, want: "a/1 a/1:s a/1:t a/2"},
		{name: "prefix with a zero byte", q: metaapi.ScanRequest{Prefix: "a\x00"}, want: "a\x00"},
		{name: "one key", q: metaapi.ScanRequest{Key: "a/1"}, want: "a/1 a/1:s a/1:t"},
		{name: "one key from a sub", q: metaapi.ScanRequest{Key: "a/1", FromKey: "a/1", FromSub: "s\x00"}, want: "a/1:t"},
		{name: "one key without the prefix", q: metaapi.ScanRequest{Key: "a/1", Prefix: "b"}},
		{name: "from a key", q: metaapi.ScanRequest{FromKey: "b/2"}, want: "b/2† b/3 b/4 b0 c/† d"},
		{name: "from below the prefix", q: metaapi.ScanRequest{Prefix: "b0", FromKey: "a"}, want: "b0"},
		{name: "from above the prefix", q: metaapi.ScanRequest{Prefix: "a/", FromKey: "b"}},
		{name: "limit", q: metaapi.ScanRequest{Limit: 3}, want: "a a\x00 a/1", more: true},
		{name: "limit of all", q: metaapi.ScanRequest{Prefix: "a/", Limit: 4}, want: "a/1 a/1:s a/1:t a/2"},
		{name: "bytes", q: metaapi.ScanRequest{MaxBytes: 25}, want: "a a\x00", more: true},
		{name: "the first row whatever its size", q: metaapi.ScanRequest{MaxBytes: 1}, want: "a", more: true},
		{name: "delimiter", q: metaapi.ScanRequest{Delimiter: "/"}, want: "a a\x00 a/1* b/1† b/2† b/3* b0 c/† d"},
		{name: "delimiter after a prefix", q: metaapi.ScanRequest{Prefix: "a/", Delimiter: "/"}, want: "a/1 a/1:s a/1:t a/2"},
		{name: "delimiter, limit on a witness", q: metaapi.ScanRequest{Delimiter: "/", Limit: 3}, want: "a a\x00 a/1*", more: true},
		{name: "nothing", q: metaapi.ScanRequest{Prefix: "zz"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := c.q
			q.Table, q.Bucket = metaapi.Objects, bucket
			q.Limit, q.MaxBytes = max(q.Limit, 1), max(q.MaxBytes, 1)
			if c.q.Limit == 0 {
				q.Limit = 100
			}
			if c.q.MaxBytes == 0 {
				q.MaxBytes = 10000
			}
			reply, err := n.Scan(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(show(reply.Rows), " "); got != c.want || reply.Exhausted == c.more {
				t.Errorf("got %q, exhausted %v; want %q", got, reply.Exhausted, c.want)
			}
			for _, row := range reply.Rows {
				name := show([]metaapi.ScanRow{{Key: row.Key, Sub: row.Sub}})[0]
				want := metaapi.ScanRow{Key: row.Key, Sub: row.Sub, Tag: tag(1), Head: []byte("head of " + name), Folded: row.Folded}
				if row.Deleted {
					want.Tag, want.Head, want.Deleted = tag(2), nil, true
				}
				if diff := cmp.Diff(want, row); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
	for _, q := range []metaapi.ScanRequest{{}, {Limit: 1}, {Limit: metaapi.MaxScanRows + 1, MaxBytes: 1}, {Limit: 1, MaxBytes: metaapi.MaxScanBytes + 1}} {
		if _, err := n.Scan(context.Background(), q); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// TestScanAgreesWithAList pages through random rows with random requests and
// compares with the same thing done on a slice.
func TestScanAgreesWithAList(t *testing.T) {
	n := fresh(t)
	rnd := rand.New(rand.NewPCG(5, 6))
	word := func() string {
		b := make([]byte, 1+rnd.IntN(5))
		for i := range b {
			b[i] = "ab/\x00\xff"[rnd.IntN(5)]
		}
		return string(b)
	}
	live := map[string]bool{}
	for range 150 {
		name := word()
		live[name] = rnd.IntN(4) > 0
		at := tag(int64(len(live)))
		var v *register.Value
		if live[name] {
			v = value("h", "")
		}
		n.handle(t, objectKey(name), register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(1e6 + at.Time), Op: tag(1e6 + at.Time), Value: v}})
	}
	var names []string
	for name := range live {
		names = append(names, name)
	}
	slices.Sort(names)

	for range 300 {
		q := metaapi.ScanRequest{Table: metaapi.Objects, Bucket: bucket, Limit: 1 + rnd.IntN(9), MaxBytes: 1000}
		if rnd.IntN(2) == 0 {
			q.Prefix = word()[:1]
		}
		if rnd.IntN(2) == 0 {
			q.Delimiter = "/"
		}
		if rnd.IntN(2) == 0 {
			q.FromKey = word()
		}
		var want, got []string
		skip := ""
		for _, name := range names {
			if name < q.FromKey || !strings.HasPrefix(name, q.Prefix) || skip != "" && strings.HasPrefix(name, skip) {
				continue
			}
			row := metaapi.ScanRow{Key: name, Deleted: !live[name]}
			if p, ok := metaapi.CommonPrefix(name, q.Prefix, q.Delimiter); ok && live[name] {
				row.Folded, skip = true, p
			}
			want = append(want, show([]metaapi.ScanRow{row})...)
		}
		describe := fmt.Sprintf("%+v", q)
		for exhausted := false; !exhausted; {
			reply, err := n.Scan(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, show(reply.Rows)...)
			if exhausted = reply.Exhausted; exhausted {
				break
			}
			last := reply.Rows[len(reply.Rows)-1]
			q.FromKey, q.FromSub = last.Key, last.Sub+"\x00"
			if last.Folded {
				p, _ := metaapi.CommonPrefix(last.Key, q.Prefix, q.Delimiter)
				next, ok := metaapi.After(p)
				if q.FromKey, q.FromSub = next, ""; !ok {
					break
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s:\n got %q\nwant %q", describe, got, want)
		}
	}
}
