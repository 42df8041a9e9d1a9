package table

import (
	"context"
	"strings"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/span"
)

// Scan implements metaapi.Replica. Rows that nobody ever wrote (only promised)
// are not listed: there is nothing to say about them.
func (t *Table) Scan(ctx context.Context, q metaapi.ScanRequest) (metaapi.ScanReply, error) {
	return t.ScanWithout(ctx, q, nil)
}

// ScanWithout is Scan, except that rows in the hidden slices are as good as not
// there. Nil hides nothing.
func (t *Table) ScanWithout(ctx context.Context, q metaapi.ScanRequest, hidden *metaapi.Slices) (reply metaapi.ScanReply, err error) {
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
	ctx, read := span.Start(ctx, "badger.scan")
	defer func() {
		read.Int("hangar.rows", int64(len(reply.Rows)))
		read.End(err)
	}()
	err = t.store.View(func(r kv.Reader) error {
		if fence, old := t.superseded(q.Epoch); old {
			reply = metaapi.ScanReply{Old: true, Epoch: fence}
			return nil
		}
		s := scanner{q: q, reply: &reply, hidden: hidden}
		if q.Key != "" && q.Delimiter == "" {
			return t.scanKey(ctx, r, &s)
		}
		return s.run(ctx, r)
	})
	return reply, err
}

// scanner fills one page.
type scanner struct {
	q      metaapi.ScanRequest
	reply  *metaapi.ScanReply
	hidden *metaapi.Slices // nil for none
	bytes  int
	heads  []byte // memory that heads are copied to
}

// checkEvery is how many rows are passed between looks at the context.
const checkEvery = 512

func (s *scanner) run(ctx context.Context, r kv.Reader) error {
	q := &s.q
	prefix := record.ScanPrefix(q.Table, q.Bucket, q.Prefix)
	if q.Key != "" {
		prefix = record.KeyPrefix(q.Table, q.Bucket, q.Key)
	}
	it := r.Iterate(prefix)
	defer it.Close()
	s.reply.Rows = make([]metaapi.ScanRow, 0, min(q.Limit, 1024))
	more := it.Seek(record.RowKey(metaapi.RowKey{Table: q.Table, Bucket: q.Bucket, Key: q.FromKey, Sub: q.FromSub}))
	for n := 1; more; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		row, known, err := s.row(it)
		if err != nil {
			return err
		}
		if !known {
			more = it.Next()
			continue
		}
		if !s.room(&row) {
			return nil
		}
		folded, isFolded := s.fold(&row)
		s.reply.Rows = append(s.reply.Rows, row)
		if !isFolded {
			more = it.Next()
			continue
		}
		next, ok := metaapi.After(folded)
		more = ok && it.Seek(record.ScanPrefix(q.Table, q.Bucket, next))
	}
	s.reply.Exhausted = true
	return it.Err()
}

// room takes a row's place in the page, if it has one.
func (s *scanner) room(row *metaapi.ScanRow) bool {
	size := len(row.Key) + len(row.Sub) + len(row.Head)
	if n := len(s.reply.Rows); n == s.q.Limit || n > 0 && s.bytes+size > s.q.MaxBytes {
		return false
	}
	s.bytes += size
	return true
}

// scanKey fills a page of rows of one Key.
func (t *Table) scanKey(ctx context.Context, r kv.Reader, s *scanner) (err error) {
	q := &s.q
	if !strings.HasPrefix(q.Key, q.Prefix) || q.FromKey > q.Key {
		s.reply.Exhausted = true
		return nil
	}
	if q.FromKey < q.Key {
		q.FromSub = ""
	}
	if q.Changes {
		s.reply.Incarnation = t.incarnation
		if s.reply.Last, err = lastNumber(r); err != nil {
			return err
		}
		if q.Incarnation != t.incarnation {
			q.After = 0
		}
		if q.After > 0 {
			subs, few, err := changed(ctx, r, q)
			if err != nil {
				return err
			}
			if few {
				return s.lookUp(r, subs)
			}
		}
	}
	name := metaapi.RowKey{Table: q.Table, Bucket: q.Bucket, Key: q.Key, Sub: q.FromSub}
	w := walk{low: record.RowKey(name), reverse: q.Reverse}
	if name.Sub = q.UntilSub; name.Sub != "" {
		w.high = record.RowKey(name)
	}
	var bad error
	s.reply.Exhausted, err = w.run(ctx, r, record.KeyPrefix(q.Table, q.Bucket, q.Key), func(it kv.Iterator) bool {
		var b []byte
		if b, bad = it.Value(); bad != nil {
			return false
		}
		var more bool
		more, bad = s.add(it.Key(), b)
		return more && bad == nil
	})
	if bad != nil {
		return bad
	}
	return err
}

// lookUp fills a page of some rows.
func (s *scanner) lookUp(r kv.Reader, subs []string) error {
	for _, sub := range subs {
		key := record.RowKey(metaapi.RowKey{Table: s.q.Table, Bucket: s.q.Bucket, Key: s.q.Key, Sub: sub})
		b, found, err := r.Get(key)
		if err != nil {
			return err
		}
		if !found {
			return fault.New(fault.Corrupt, "a change is listed of a row that is not there")
		}
		if more, err := s.add(key, b); err != nil || !more {
			return err
		}
	}
	s.reply.Exhausted = true
	return nil
}

// add adds a row to the page if it is to be in it, and reports whether there was
// room.
func (s *scanner) add(key, value []byte) (more bool, err error) {
	row, known, err := s.parse(key, value)
	if err != nil || !known || s.q.Changes && row.Change <= s.q.After {
		return true, err
	}
	if !s.room(&row) {
		return false, nil
	}
	s.reply.Rows = append(s.reply.Rows, row)
	return true, nil
}

// row reads the row that the iterator stands at; unknown when it was never
// written, or is hidden.
func (s *scanner) row(it kv.Iterator) (row metaapi.ScanRow, known bool, err error) {
	b, err := it.Value()
	if err != nil {
		return row, false, err
	}
	return s.parse(it.Key(), b)
}

// parse is row for a key and value.
func (s *scanner) parse(key, value []byte) (row metaapi.ScanRow, known bool, err error) {
	peek, err := record.DecodePeek(value)
	if err != nil || peek.Tag.IsZero() {
		return row, false, err
	}
	row = metaapi.ScanRow{Tag: peek.Tag, Deleted: !peek.Live}
	if s.q.Changes {
		row.Change = peek.Change
	}
	if row.Key, row.Sub, err = record.ParseNames(key); err != nil {
		return row, false, err
	}
	if s.hidden != nil && s.hidden.Has(record.Slice(s.q.Bucket, row.Key)) {
		return row, false, nil
	}
	if peek.Live {
		row.Head = s.keep(peek.Head)
	}
	return row, true, nil
}

// fold flags a row that witnesses a common prefix and returns the prefix.
func (s *scanner) fold(row *metaapi.ScanRow) (prefix string, folded bool) {
	if row.Deleted {
		return "", false
	}
	prefix, row.Folded = metaapi.CommonPrefix(row.Key, s.q.Prefix, s.q.Delimiter)
	return prefix, row.Folded
}

// headsChunk is how much memory for heads is taken at once.
const headsChunk = 64 << 10

// keep copies a head out of the store's memory.
func (s *scanner) keep(head []byte) []byte {
	if len(head) > cap(s.heads)-len(s.heads) {
		s.heads = make([]byte, 0, max(headsChunk, len(head)))
	}
	start := len(s.heads)
	s.heads = append(s.heads, head...)
	return s.heads[start:len(s.heads):len(s.heads)]
}

// Counters implements metaapi.Replica.
func (t *Table) Counters(ctx context.Context, table metaapi.Table, b object.BucketID) (sums metaapi.PartitionCounters, err error) {
	if err := t.enter(); err != nil {
		return nil, err
	}
	defer t.leave()
	err = t.store.View(func(r kv.Reader) error {
		for p := range 1 << t.bits {
			if err := ctx.Err(); err != nil {
				return err
			}
			// One look-up each: a walk would pass every version that a busy
			// counter left behind.
			c, err := counters(r, record.CounterKey(table, b, uint16(p)))
			if err != nil {
				return err
			}
			if c != (metaapi.Counters{}) {
				sums = append(sums, metaapi.PartitionCounter{Partition: layout.Partition(p), Counters: c})
			}
		}
		return nil
	})
	return sums, err
}
