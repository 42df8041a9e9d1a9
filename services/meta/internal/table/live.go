package table

import (
	"bytes"

	"hangar/services/meta/internal/record"
	"hangar/shared/kv"
	"hangar/shared/metaapi"
)

// LiveRow is a row with a value, as this node holds it.
type LiveRow struct {
	Key  metaapi.RowKey
	Head []byte
}

// liveLooks is how many rows are looked at for one Live.
const liveLooks = 4096

// Live lists rows with a value in the tables from first to last: up to limit of
// them from at on, where to go on, and whether nothing follows.
func (t *Table) Live(at Cursor, first, last metaapi.Table, limit int) (found []LiveRow, next Cursor, end bool, err error) {
	if err := t.enter(); err != nil {
		return nil, at, false, err
	}
	defer t.leave()
	if at == nil {
		at = record.TablePrefix(first)
	}
	next = bytes.Clone(at)
	err = t.store.View(func(r kv.Reader) error {
		it := r.Iterate(record.RowPrefix())
		defer it.Close()
		looks := 0
		for more := it.Seek(at); more; more = it.Next() {
			key, err := record.ParseRowKey(it.Key())
			if err != nil {
				return err
			}
			if key.Table > last {
				break
			}
			if looks == liveLooks || len(found) == limit {
				return nil
			}
			looks++
			b, err := it.Value()
			if err != nil {
				return err
			}
			peek, err := record.DecodePeek(b)
			if err != nil {
				return err
			}
			if peek.Live {
				found = append(found, LiveRow{Key: key, Head: bytes.Clone(peek.Head)})
			}
			next = append(append(next[:0], it.Key()...), 0)
		}
		end = it.Err() == nil
		return it.Err()
	})
	return found, next, end, err
}
