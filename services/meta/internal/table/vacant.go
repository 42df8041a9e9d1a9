package table

import (
	"time"

	"hangar/services/meta/internal/record"
	"hangar/shared/kv"
	"hangar/shared/metaapi"
)

// Cursor is a position in the list of vacant rows. The zero Cursor is its start.
type Cursor []byte

// Vacant lists rows without a value that are from before a time: delete
// markers, and promises on rows never written. It returns up to limit of them
// from at on, where to go on, and whether nothing as old follows.
func (t *Table) Vacant(at Cursor, before time.Time, limit int) (found []metaapi.RowKey, next Cursor, end bool, err error) {
	if err := t.enter(); err != nil {
		return nil, at, false, err
	}
	defer t.leave()
	next = at
	err = t.store.View(func(r kv.Reader) error {
		it := r.Iterate(record.VacantPrefix())
		defer it.Close()
		for more := it.Seek(at); more; more = it.Next() {
			micros, rk, err := record.ParseVacantKey(it.Key())
			if err != nil {
				return err
			}
			if micros >= before.UnixMicro() {
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
