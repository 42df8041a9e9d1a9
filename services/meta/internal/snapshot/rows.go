package snapshot

import (
	"bytes"
	"context"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
)

// copyTable is the size of the copy's tables in memory.
const copyTable = 8 << 20

// copyRows copies a picture of a store into an empty one, which then holds the
// journal durably up to where the picture does. Errors: Corrupt when rows are
// missing that the digests of the picture count: a damaged tree shows as rows
// that are not there.
func copyRows(ctx context.Context, from kv.Reader, to kv.Store) error {
	var b kv.Batch
	var rows, counted uint64
	it := from.Iterate(nil)
	defer it.Close()
	for n := 0; it.Next(); n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		key := bytes.Clone(it.Key())
		v, err := it.Value()
		if err != nil {
			return err
		}
		value := bytes.Clone(v)
		switch {
		case bytes.HasPrefix(key, record.RowPrefix()):
			peek, err := record.DecodePeek(value)
			if err != nil {
				return err
			}
			if !peek.Tag.IsZero() {
				rows++
			}
		case bytes.HasPrefix(key, record.DigestPrefix()):
			d, err := record.DecodeDigest(value)
			if err != nil {
				return err
			}
			counted += d.Rows
		}
		if b.Set(key, value); b.Bytes() > to.MaxBatchBytes()/2 {
			if err := to.Commit(&b); err != nil {
				return err
			}
			b.Reset()
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	if rows != counted {
		return fault.New(fault.Corrupt, "the store holds %d rows, but counts %d", rows, counted)
	}
	applied, found, err := from.Get(record.AppliedKey())
	if err != nil {
		return err
	}
	if found {
		b.Set(record.DurableKey(), bytes.Clone(applied))
	}
	return to.Commit(&b)
}
