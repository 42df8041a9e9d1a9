package table

import (
	"bytes"
	"context"

	"hangar/services/meta/internal/record"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/register"
)

// Low is a partition's low mark.
func (t *Table) Low(p layout.Partition) register.Tag { return t.low(p) }

// Members returns what Settle last recorded, nil when the store is from before
// there was such a record.
func (t *Table) Members() (members []byte, err error) {
	err = t.store.View(func(r kv.Reader) error {
		b, _, err := r.Get(record.MembersKey())
		members = bytes.Clone(b)
		return err
	})
	return members, err
}

// Settle adopts an epoch, records the node's membership in it and raises low
// marks, in one update: all of it is durable when nil is returned.
func (t *Table) Settle(ctx context.Context, epoch uint64, members []byte, lows map[layout.Partition]register.Tag) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	var newest uint64
	err := t.writer.Update(ctx, func(tx *kv.Tx) error {
		newest = max(epoch, t.fence.Load())
		t.adoptIn(tx, newest)
		tx.Set(record.MembersKey(), members)
		for p, low := range lows {
			if low = low.Max(t.low(p)); !low.IsZero() {
				// Also when memory has it already: that may be from a failed commit.
				tx.Set(record.LowKey(uint16(p)), record.EncodeTag(low))
				t.lows[p].Store(&low)
			}
		}
		return nil
	})
	if err == nil {
		raise(&t.adopted, newest)
	}
	return err
}

// dropLooks is how many rows are looked at for one Drop.
const dropLooks = 4096

// Drop removes up to limit rows that are in some slices, from at on, with all
// that is derived from them, and returns where to go on and whether nothing
// follows. Low marks stay. It is for partitions that the node holds no more:
// nothing may ask for their rows meanwhile.
func (t *Table) Drop(ctx context.Context, at Cursor, in *metaapi.Slices, limit int) (next Cursor, dropped int, end bool, err error) {
	if err := t.enter(); err != nil {
		return at, 0, false, err
	}
	defer t.leave()
	found, next, end, err := t.inSlices(at, in, limit)
	if err != nil || len(found) == 0 {
		return next, 0, end, err
	}
	err = t.writer.Update(ctx, func(tx *kv.Tx) error {
		dropped = 0
		for _, key := range found {
			ok, err := t.drop(tx, key)
			if err != nil {
				return err
			}
			if ok {
				dropped++
			}
		}
		return nil
	})
	if err != nil {
		return at, 0, false, err
	}
	return next, dropped, end, nil
}

// inSlices lists rows in some slices.
func (t *Table) inSlices(at Cursor, in *metaapi.Slices, limit int) (found []metaapi.RowKey, next Cursor, end bool, err error) {
	next = append(next, at...)
	if at == nil {
		next = record.RowPrefix()
	}
	err = t.store.View(func(r kv.Reader) error {
		it := r.Iterate(record.RowPrefix())
		defer it.Close()
		looks := 0
		for more := it.Seek(next); more; more = it.Next() {
			if looks == dropLooks || len(found) == limit {
				return nil
			}
			looks++
			key, err := record.ParseRowKey(it.Key())
			if err != nil {
				return err
			}
			if in.Has(record.Slice(key.Bucket, key.Key)) {
				found = append(found, key)
			}
			next = append(append(next[:0], it.Key()...), 0)
		}
		end = it.Err() == nil
		return it.Err()
	})
	return found, next, end, err
}

// drop removes a row. Runs on the committer's goroutine.
func (t *Table) drop(tx *kv.Tx, key metaapi.RowKey) (bool, error) {
	c := change{key: key, row: record.RowKey(key), slice: record.Slice(key.Bucket, key.Key)}
	before, err := load(tx, c.row)
	if err != nil || before.IsZero() {
		return false, err
	}
	var gone record.Row
	tx.Delete(c.row)
	listVacant(tx, c.row, before, &gone)
	if err := t.bodies.Account(tx, before, &gone); err != nil {
		return false, err
	}
	return true, t.account(tx, c, before, &gone)
}
