package table

import (
	"context"

	"hangar/services/meta/internal/record"
	"hangar/shared/kv"
	"hangar/shared/metaapi"
)

// Sizes are what a store holds, by table.
type Sizes struct {
	// Live are the counters of rows with a value.
	Live map[metaapi.Table]metaapi.Counters
	// Vacant counts rows without one; VacantMore says that these are not all.
	Vacant     map[metaapi.Table]int64
	VacantMore bool
	// Rows is the number of all.
	Rows int64
}

const (
	// mostVacant bounds how many rows without a value are counted.
	mostVacant = 1_000_000
	// ctxLooks is how many entries are looked at between two looks at the context.
	ctxLooks = 1024
)

// Sizes sums up what the store has counted, which takes one look at each counter,
// and one at each row without a value. Errors: Corrupt, those of the store and of
// ctx.
func (t *Table) Sizes(ctx context.Context) (s Sizes, err error) {
	if err := t.enter(); err != nil {
		return s, err
	}
	defer t.leave()
	s = Sizes{Live: map[metaapi.Table]metaapi.Counters{}, Vacant: map[metaapi.Table]int64{}}
	err = t.store.View(func(r kv.Reader) error {
		if err := s.live(ctx, r); err != nil {
			return err
		}
		if err := s.vacant(ctx, r); err != nil {
			return err
		}
		return each(ctx, r, record.DigestPrefix(), func(it kv.Iterator) (bool, error) {
			b, err := it.Value()
			if err != nil {
				return false, err
			}
			d, err := record.DecodeDigest(b)
			s.Rows += int64(d.Rows)
			return true, err
		})
	})
	return s, err
}

func (s *Sizes) live(ctx context.Context, r kv.Reader) error {
	return each(ctx, r, record.CounterPrefix(), func(it kv.Iterator) (bool, error) {
		table, err := record.ParseCounterKey(it.Key())
		if err != nil {
			return false, err
		}
		b, err := it.Value()
		if err != nil {
			return false, err
		}
		c, err := record.DecodeCounters(b)
		sum := s.Live[table]
		s.Live[table] = metaapi.Counters{Count: sum.Count + c.Count, Bytes: sum.Bytes + c.Bytes}
		return true, err
	})
}

func (s *Sizes) vacant(ctx context.Context, r kv.Reader) error {
	seen := 0
	return each(ctx, r, record.VacantPrefix(), func(it kv.Iterator) (bool, error) {
		if seen == mostVacant {
			s.VacantMore = true
			return false, nil
		}
		seen++
		_, rk, err := record.ParseVacantKey(it.Key())
		if err != nil {
			return false, err
		}
		key, err := record.ParseRowKey(rk)
		s.Vacant[key.Table]++
		return true, err
	})
}

// each visits what begins with prefix, until visit says that it is enough.
func each(ctx context.Context, r kv.Reader, prefix []byte, visit func(kv.Iterator) (bool, error)) error {
	it := r.Iterate(prefix)
	defer it.Close()
	for looks := 0; it.Next(); looks++ {
		if looks%ctxLooks == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if more, err := visit(it); err != nil || !more {
			return err
		}
	}
	return it.Err()
}
