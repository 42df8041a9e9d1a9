package table

import (
	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/register"
	"hangar/shared/segment"
)

// change is one request that may write.
type change struct {
	key   metaapi.RowKey
	row   []byte // its RowKey
	slice uint16
	q     register.Request
	// place of the body that q brings, zero when it was not stored.
	place segment.Location
}

// keepBody stores the body of an Apply where it is to be apart, unless it is
// already known that the row will not be taken: what stands in its way now does
// so for ever. It reports whether c has a place, to be settled. Values of any
// size are refused when the log has no room.
func (t *Table) keepBody(c *change) (kept bool, err error) {
	if len(c.q.Row.Value.Body) <= record.MaxInlineBody {
		return false, t.bodies.Writable()
	}
	taken := false
	err = t.store.View(func(r kv.Reader) error {
		row, err := load(r, c.row)
		if err != nil {
			return err
		}
		_, what, _ := register.Handle(&row.State, t.low(t.partition(c.slice)), c.q)
		taken = what == register.RowReplaced
		return nil
	})
	if err != nil || !taken {
		return false, err
	}
	c.place, err = t.bodies.Append(c.row, c.q.Row.Value.Body)
	return err == nil, err
}

// partition is the run of slices that the row's slice is in.
func (t *Table) partition(slice uint16) layout.Partition {
	return layout.Partition(slice >> (record.SliceBits - t.bits))
}

// change runs a request in an update. The row is that whose body the reply still
// lacks, else nil. Runs on the committer's goroutine.
func (t *Table) change(tx *kv.Tx, c change) (reply register.Reply, held *record.Row, err error) {
	row, err := load(tx, c.row)
	if err != nil {
		return reply, nil, err
	}
	before := *row
	p := t.partition(c.slice)
	reply, what, newLow := register.Handle(&row.State, t.low(p), c.q)
	switch what {
	case register.Unchanged:
	case register.PromiseOnly:
		tx.Set(c.row, record.Encode(row))
	case register.RowReplaced:
		row.BodyBytes, row.Place = 0, c.place
		if row.Value != nil {
			row.BodyBytes = len(row.Value.Body)
		}
		if row.BodyApart() && c.place == (segment.Location{}) {
			return reply, nil, fault.New(fault.Unavailable, "the row was forgotten meanwhile: try again")
		}
		if row.Change, err = numbered(tx, c.key.Table); err != nil {
			return reply, nil, err
		}
		tx.Set(c.row, record.Encode(row))
	case register.Forgotten:
		row.BodyBytes, row.Change = 0, 0
		tx.Delete(c.row)
		// Also when memory has it already: that may be from a failed commit.
		tx.Set(record.LowKey(uint16(p)), record.EncodeTag(newLow))
		t.lows[p].Store(&newLow)
	default:
		return reply, nil, fault.New(fault.Internal, "unknown change %d of a row", what)
	}
	if what != register.Unchanged {
		listVacant(tx, c.row, &before, row)
	}
	if what == register.RowReplaced || what == register.Forgotten {
		if err := t.bodies.Account(tx, &before, row); err != nil {
			return reply, nil, err
		}
		if err := t.account(tx, c, &before, row); err != nil {
			return reply, nil, err
		}
	}
	return reply, finish(&reply, row, c.q.OmitBody), nil
}

// account brings the row's counters, index and digest up to date.
func (t *Table) account(tx *kv.Tx, c change, before, after *record.Row) error {
	if err := indexed(tx, &c.key, before, after); err != nil {
		return err
	}
	var diff metaapi.Counters
	if v := before.Value; v != nil {
		diff.Count, diff.Bytes = -v.Count, -v.Bytes
	}
	if v := after.Value; v != nil {
		diff.Count, diff.Bytes = diff.Count+v.Count, diff.Bytes+v.Bytes
	}
	if diff != (metaapi.Counters{}) {
		key := record.CounterKey(c.key.Table, c.key.Bucket, uint16(t.partition(c.slice)))
		sum, err := counters(tx, key)
		if err != nil {
			return err
		}
		sum.Count += diff.Count
		sum.Bytes += diff.Bytes
		tx.Set(key, record.EncodeCounters(sum))
	}
	key := record.DigestKey(c.slice)
	sum, err := digest(tx, key)
	if err != nil {
		return err
	}
	sum = sum.Minus(record.DigestOf(c.row, before.Tag)).Plus(record.DigestOf(c.row, after.Tag))
	tx.Set(key, record.EncodeDigest(sum))
	return nil
}

func counters(r getter, key []byte) (c metaapi.Counters, err error) {
	b, found, err := r.Get(key)
	if err != nil || !found {
		return c, err
	}
	return record.DecodeCounters(b)
}

func digest(r getter, key []byte) (d record.Digest, err error) {
	b, found, err := r.Get(key)
	if err != nil || !found {
		return d, err
	}
	return record.DecodeDigest(b)
}

// vacantSince is the time under which a row without a value is listed: that of
// its delete marker or, when nothing was ever written, of its promise.
func vacantSince(r *record.Row) (micros int64, vacant bool) {
	switch {
	case r.Value != nil || r.IsZero():
		return 0, false
	case r.Tag.IsZero():
		return r.Promised.Time, true
	default:
		return r.Tag.Time, true
	}
}

// listVacant keeps the list of rows without a value.
func listVacant(tx *kv.Tx, rk []byte, before, after *record.Row) {
	was, wasVacant := vacantSince(before)
	is, isVacant := vacantSince(after)
	if was == is && wasVacant == isVacant {
		return
	}
	if wasVacant {
		tx.Delete(record.VacantKey(was, rk))
	}
	if isVacant {
		tx.Set(record.VacantKey(is, rk), nil)
	}
}
