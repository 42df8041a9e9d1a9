package table

import (
	"context"

	"hangar/services/meta/internal/record"
	"hangar/shared/kv"
	"hangar/shared/metaapi"
)

// inventoryLooks is how many rows are looked at for one Inventory, so that one
// that finds little ends all the same.
const inventoryLooks = 16 << 10

// Inventory implements metaapi.Replica. It knows nothing of membership: every
// slice is taken to be served. Positions are keys of the store.
func (t *Table) Inventory(ctx context.Context, q metaapi.InventoryRequest) (reply metaapi.InventoryReply, err error) {
	if err := q.Check(); err != nil {
		return reply, err
	}
	if err := t.enter(); err != nil {
		return reply, err
	}
	defer t.leave()
	if err := t.adopt(ctx, q.Epoch); err != nil {
		return reply, err
	}
	err = t.store.View(func(r kv.Reader) error {
		if fence := t.fence.Load(); q.Epoch < fence {
			reply = metaapi.InventoryReply{Old: true, Epoch: fence}
			return nil
		}
		reply.Epoch = q.Epoch
		if len(q.After) == 0 {
			if reply.Total, err = written(r, &q.Slices); err != nil {
				return err
			}
		}
		return inventory(ctx, r, &q, &reply)
	})
	return reply, err
}

// written is how many rows that were ever written are in some slices.
func written(r getter, slices *metaapi.Slices) (n uint64, err error) {
	slices.Each(func(slice uint16) {
		if err == nil {
			var d record.Digest
			d, err = digest(r, record.DigestKey(slice))
			n += d.Rows
		}
	})
	return n, err
}

// inventory fills one page.
func inventory(ctx context.Context, r kv.Reader, q *metaapi.InventoryRequest, reply *metaapi.InventoryReply) error {
	it := r.Iterate(record.RowPrefix())
	defer it.Close()
	start := record.RowPrefix()
	if len(q.After) > 0 {
		start = append(append(start[:0], q.After...), 0) // the first key behind it
	}
	bytes, looks := 0, 0
	for more := it.Seek(start); more; more = it.Next() {
		if looks++; looks%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		key, err := record.ParseRowKey(it.Key())
		if err != nil {
			return err
		}
		if q.Slices.Has(record.Slice(key.Bucket, key.Key)) {
			bytes += len(key.Key) + len(key.Sub) + metaapi.InventoryRowBytes
			if n := len(reply.Rows); n == q.Limit || n > 0 && bytes > q.MaxBytes {
				return nil
			}
			row, err := inventoryRow(it, key)
			if err != nil {
				return err
			}
			reply.Rows = append(reply.Rows, row)
		}
		reply.Next = append(reply.Next[:0], it.Key()...)
		if looks == inventoryLooks {
			return nil
		}
	}
	reply.Done = it.Err() == nil
	return it.Err()
}

func inventoryRow(it kv.Iterator, key metaapi.RowKey) (row metaapi.InventoryRow, err error) {
	b, err := it.Value()
	if err != nil {
		return row, err
	}
	held, err := record.Decode(b)
	if err != nil {
		return row, err
	}
	row = metaapi.InventoryRow{Key: key, Tag: held.Tag, Promised: held.Promised, Live: held.Value != nil}
	if v := held.Value; v != nil {
		row.Size = int64(len(v.Head) + held.BodyBytes)
	}
	return row, nil
}
