package metatest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

// everySlice is a request for all that a node holds.
func everySlice() metaapi.InventoryRequest {
	q := metaapi.InventoryRequest{Epoch: 1, Limit: metaapi.MaxScanRows, MaxBytes: metaapi.MaxInventoryBytes}
	for i := range q.Slices {
		q.Slices[i] = ^uint64(0)
	}
	return q
}

// inventory reads all pages and checks that each is within its bounds.
func inventory(t *testing.T, r metaapi.Replica, q metaapi.InventoryRequest) (rows []metaapi.InventoryRow, total uint64) {
	t.Helper()
	for first := true; ; first = false {
		reply, err := r.Inventory(context.Background(), q)
		if err != nil || reply.Old {
			t.Fatalf("%+v, %v", reply, err)
		}
		if first {
			total = reply.Total
		}
		size := 0
		for _, row := range reply.Rows {
			size += len(row.Key.Key) + len(row.Key.Sub) + metaapi.InventoryRowBytes
		}
		if len(reply.Rows) > q.Limit || len(reply.Rows) > 1 && size > q.MaxBytes {
			t.Fatalf("a page of %d rows and %d bytes", len(reply.Rows), size)
		}
		rows = append(rows, reply.Rows...)
		if reply.Done {
			return rows, total
		}
		if string(reply.Next) <= string(q.After) {
			t.Fatalf("from %q on to %q", q.After, reply.Next)
		}
		q.After = reply.Next
	}
}

func testInventory(t *testing.T, r metaapi.Replica) {
	var want []metaapi.InventoryRow
	for _, table := range []metaapi.Table{metaapi.Objects, metaapi.Parts} {
		for bucket := range byte(2) {
			for i := range 10 {
				for _, sub := range []string{"", "s"} {
					k := metaapi.RowKey{Table: table, Bucket: object.BucketID{bucket + 1}, Key: fmt.Sprint("k", i), Sub: sub}
					row := metaapi.InventoryRow{Key: k, Tag: tag(int64(10 + i))}
					switch i {
					case 3: // only promised
						handle(t, r, k, register.Request{Kind: register.Prepare, Ballot: tag(5)})
						row.Tag, row.Promised = register.Tag{}, tag(5)
					case 4:
						apply(t, r, k, row.Tag.Time, nil)
					case 5:
						apply(t, r, k, row.Tag.Time, value("h", string(make([]byte, 2000))))
						row.Live, row.Size = true, 2001
					default:
						apply(t, r, k, row.Tag.Time, value("h", ""))
						row.Live, row.Size = true, 1
					}
					want = append(want, row)
				}
			}
		}
	}
	q := everySlice()
	for _, limit := range []int{1, 7, 1000} {
		q.Limit = limit
		if got, total := inventory(t, r, q); !slices.Equal(got, want) || total != 72 {
			t.Fatalf("%d at a time, of %d: got %+v, want %+v", limit, total, got, want)
		}
	}
	q.MaxBytes = 2 * metaapi.InventoryRowBytes
	if got, _ := inventory(t, r, q); !slices.Equal(got, want) {
		t.Fatalf("few bytes at a time: got %+v", got)
	}
	testInventorySlices(t, r, want)
	if reply, err := r.Inventory(context.Background(), metaapi.InventoryRequest{Epoch: 1}); err == nil {
		t.Fatalf("an inventory of nothing: %+v", reply)
	}
	handle(t, r, objectKey("k0"), register.Request{Kind: register.Read, Epoch: 2})
	if reply, err := r.Inventory(context.Background(), q); err != nil || !reply.Old || reply.Epoch != 2 {
		t.Fatalf("in an old epoch: %+v, %v", reply, err)
	}
}

// testInventorySlices: each partition's slices have its rows and no others.
func testInventorySlices(t *testing.T, r metaapi.Replica, all []metaapi.InventoryRow) {
	t.Helper()
	for p := range layout.Partition(16) {
		q := everySlice()
		q.Slices = metaapi.Slices{}
		q.Slices.AddPartition(p, 4)
		if n := q.Slices.Len(); n != 256 {
			t.Fatalf("partition %d of 16 has %d slices", p, n)
		}
		var want []metaapi.InventoryRow
		written := uint64(0)
		for _, row := range all {
			if layout.OfRow(row.Key.Bucket, row.Key.Key, 4) != p {
				continue
			}
			want = append(want, row)
			if !row.Tag.IsZero() {
				written++
			}
		}
		if got, total := inventory(t, r, q); !slices.Equal(got, want) || total != written {
			t.Fatalf("partition %d, of %d: got %+v, want %+v", p, total, got, want)
		}
	}
}
