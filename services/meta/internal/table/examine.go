package table

import (
	"bytes"
	"context"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/metaapi"
)

// examineRows and examineBytes are the most that one Examine reads.
const (
	examineRows  = 1024
	examineBytes = 8 << 20
)

// Examined is what Examine found.
type Examined struct {
	Rows int64
	// Damaged rows have a body that cannot be read. Unreadable counts records
	// that are no rows at all.
	Damaged    []metaapi.RowKey
	Unreadable int64
	Next       Cursor
	End        bool
}

// Examine reads a page of rows from at on, with their bodies, and checks them
// against their checksums. Errors: those of the store and of ctx.
func (t *Table) Examine(ctx context.Context, at Cursor) (found Examined, err error) {
	if err := t.enter(); err != nil {
		return found, err
	}
	defer t.leave()
	if at == nil {
		at = record.RowPrefix()
	}
	found.Next = bytes.Clone(at)
	err = t.store.View(func(r kv.Reader) error {
		it := r.Iterate(record.RowPrefix())
		defer it.Close()
		read := 0
		for more := it.Seek(at); more; more = it.Next() {
			if found.Rows == examineRows || read > examineBytes {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			read += t.examine(ctx, it, &found)
			found.Rows++
			found.Next = append(append(found.Next[:0], it.Key()...), 0)
		}
		found.End = it.Err() == nil
		return it.Err()
	})
	return found, err
}

// examine checks the row that the iterator stands at, and returns how much was
// read for it. A body that has moved away was read by who moved it.
func (t *Table) examine(ctx context.Context, it kv.Iterator, found *Examined) (read int) {
	key, wrong := record.ParseRowKey(it.Key())
	b, unread := it.Value()
	row, unknown := record.Decode(b)
	if wrong != nil || unread != nil || unknown != nil {
		found.Unreadable++
		return len(b)
	}
	if !row.BodyApart() {
		return len(b)
	}
	if _, err := t.bodies.Read(ctx, it.Key(), row.Place, row.BodyBytes); fault.Is(err, fault.Corrupt) {
		found.Damaged = append(found.Damaged, key)
	}
	return len(b) + row.BodyBytes
}
