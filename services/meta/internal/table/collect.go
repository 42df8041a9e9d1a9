package table

import (
	"context"
	"time"

	"hangar/services/meta/internal/record"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/register"
)

// Sole says whether this node alone holds a partition, with no change under
// way, and in which epoch that is so.
type Sole func(layout.Partition) (epoch uint64, sole bool)

// Cursor is a position in the list of vacant rows. The zero Cursor is its start.
type Cursor []byte

// Collect forgets delete markers, and promises on rows never written, that are
// from before a time and of which this node holds the only copy: then all
// replicas agree, which is what the protocol asks before a row may be
// forgotten. It looks at up to limit entries of the list of vacant rows from
// at on, and returns where to go on and whether it reached the end of what is
// old enough.
func (t *Table) Collect(ctx context.Context, at Cursor, before time.Time, limit int, sole Sole) (next Cursor, forgotten int, end bool, err error) {
	if err := t.enter(); err != nil {
		return at, 0, false, err
	}
	defer t.leave()
	found, next, end, err := t.vacant(at, before.UnixMicro(), limit)
	if err != nil || len(found) == 0 {
		return next, 0, end, err
	}
	err = t.writer.Update(ctx, func(tx *kv.Tx) error {
		for _, key := range found {
			ok, err := t.forget(tx, key, sole)
			if err != nil {
				return err
			}
			if ok {
				forgotten++
			}
		}
		return nil
	})
	if err != nil {
		return at, 0, false, err
	}
	return next, forgotten, end, nil
}

// vacant lists rows without a value that are from before a time.
func (t *Table) vacant(at Cursor, before int64, limit int) (found []metaapi.RowKey, next Cursor, end bool, err error) {
	next = at
	err = t.store.View(func(r kv.Reader) error {
		it := r.Iterate(record.VacantPrefix())
		defer it.Close()
		for more := it.Seek(at); more; more = it.Next() {
			micros, rk, err := record.ParseVacantKey(it.Key())
			if err != nil {
				return err
			}
			if micros >= before {
				break
			}
			if len(found) == limit {
				return nil
			}
			key, err := record.ParseRowKey(rk)
			if err != nil {
				return err
			}
			found = append(found, key)
			next = append(append(Cursor(nil), it.Key()...), 0)
		}
		end = true
		return it.Err()
	})
	return found, next, end, err
}

// forget drops a row if it is still vacant and ours alone. Runs on the
// committer's goroutine.
func (t *Table) forget(tx *kv.Tx, key metaapi.RowKey, sole Sole) (bool, error) {
	slice := record.Slice(key.Bucket, key.Key)
	epoch, ok := sole(t.partition(slice))
	if !ok || epoch != t.adopted.Load() || epoch != t.fence.Load() {
		return false, nil
	}
	rk := record.RowKey(key)
	row, err := load(tx, rk)
	if err != nil || row.IsZero() || row.Value != nil {
		return false, err
	}
	q := register.Request{Kind: register.Forget, Epoch: epoch, Row: register.Row{Tag: row.Tag}, Low: row.Promised.Max(row.Tag)}
	reply, _, err := t.change(tx, change{key: key, row: rk, slice: slice, q: q})
	return reply.Code == register.Done, err
}
