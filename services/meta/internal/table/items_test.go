package table_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/register"
)

func itemKey(key, sub string) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Items, Bucket: bucket, Key: key, Sub: sub}
}

func item(c metaapi.ItemCounters) *register.Value {
	return &register.Value{Head: metaapi.AppendItemCounters(nil, c), Count: c.Entries, Bytes: c.Bytes}
}

func applyOf(time int64, v *register.Value) register.Request {
	return register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(time), Op: tag(time), Value: v}}
}

// Whatever becomes of items, in batches of any kind of request: what is derived
// from them agrees with them, and reads and scans agree with the batches.
func TestItemsAreIndexed(t *testing.T) {
	n := fresh(t)
	rng := rand.New(rand.NewPCG(1, 2))
	tags := map[metaapi.RowKey]int64{}
	for now := int64(1); now <= 60; now++ {
		var rows []metaapi.RowRequest
		for range 1 + rng.IntN(metaapi.MaxBatchRows/4) {
			k := itemKey(fmt.Sprint("key ", rng.IntN(6)), fmt.Sprint(rng.IntN(20)))
			q := register.Request{Kind: register.Read}
			switch rng.IntN(5) {
			case 0:
				q = applyOf(now*10, nil)
			case 1:
				q = register.Request{Kind: register.Prepare, Ballot: tag(now*10 - 5)}
			case 2:
				q = register.Request{Kind: register.Forget, Row: register.Row{Tag: tag(tags[k])}, Low: tag(now * 10)}
				if tags[k] == 0 {
					q.Kind = register.Read
				}
			case 3:
				v := item(metaapi.ItemCounters{Entries: int64(rng.IntN(2)), Values: 2, Bytes: int64(rng.IntN(999))})
				v.Body = make([]byte, rng.IntN(2000))
				q = applyOf(now*10, v)
			}
			rows = append(rows, metaapi.RowRequest{Key: k, Request: q})
		}
		for i, got := range n.HandleMany(context.Background(), rows) {
			if got.Err != nil {
				t.Fatal(got.Err)
			}
			if rows[i].Kind == register.Apply && got.Code == register.Done {
				tags[rows[i].Key] = now * 10
			}
		}
		if now%10 == 0 {
			n.verify(t)
		}
		if now%25 == 0 {
			var in metaapi.Slices
			in.AddPartition(layout.OfRow(bucket, "key 3", bits), bits)
			if _, _, end, err := n.Drop(context.Background(), nil, &in, 1000); err != nil || !end {
				t.Fatal(end, err)
			}
			n.verify(t)
		}
	}
}

// A batch has an answer for each row, and those that are refused change nothing.
func TestBatchOfAll(t *testing.T) {
	n := fresh(t)
	good := item(metaapi.ItemCounters{Entries: 1})
	got := n.HandleMany(context.Background(), []metaapi.RowRequest{
		{Key: itemKey("k", "a"), Request: applyOf(10, good)},
		{Key: itemKey("k", "bad"), Request: applyOf(10, value("no item", ""))},
		{Key: itemKey("", "none"), Request: applyOf(10, good)},
		{Key: objectKey("o"), Request: applyOf(10, value("head", "body"))},
		{Key: itemKey("k", "a"), Request: applyOf(5, good)},
	})
	if got[0].Code != register.Done || !fault.Is(got[1].Err, fault.Invalid) || !fault.Is(got[2].Err, fault.Invalid) ||
		got[3].Code != register.Done || got[4].Code != register.Refused {
		t.Fatalf("%+v", got)
	}
	n.verify(t)
}

// Of many changes and of few, in another incarnation and in this, a node lists
// what is behind a number.
func TestChangesAreListed(t *testing.T) {
	n := fresh(t)
	for i := range 5000 {
		if r := n.HandleMany(context.Background(), []metaapi.RowRequest{{
			Key: itemKey("k", fmt.Sprintf("%04d", (i*7)%5000)), Request: applyOf(10, item(metaapi.ItemCounters{Entries: 1})),
		}}); r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
		if i == 50 && testing.Short() {
			break
		}
	}
	list := func(incarnation, after uint64) (subs []string) {
		t.Helper()
		q := metaapi.ScanRequest{Table: metaapi.Items, Bucket: bucket, Key: "k", FromKey: "k", Changes: true, Incarnation: incarnation, After: after, Limit: 100, MaxBytes: metaapi.MaxScanBytes}
		for {
			page, err := n.Scan(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Rows {
				if incarnation == page.Incarnation && r.Change <= after || r.Change > page.Last {
					t.Fatalf("%+v behind %d, of %d", r, after, page.Last)
				}
				subs = append(subs, r.Sub)
			}
			if page.Exhausted {
				return subs
			}
			q.FromSub = subs[len(subs)-1] + "\x00"
		}
	}
	all := list(1, 0)
	for _, after := range []uint64{1, uint64(len(all)) / 2, uint64(len(all)) - 3, uint64(len(all))} {
		if got := list(1, after); len(got) != len(all)-int(after) || !slices.IsSorted(got) {
			t.Errorf("behind %d there are %d of %d", after, len(got), len(all))
		}
		if got := list(2, after); len(got) != len(all) {
			t.Errorf("in another incarnation there are %d of %d", len(got), len(all))
		}
	}
	if _, err := record.ParseChange(record.ChangeKey(metaapi.Items, bucket, "k", 1)); err != nil {
		t.Error(err)
	}
}
