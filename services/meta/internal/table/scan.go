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
	if q.Limit < 1 || q.Limit > metaapi.MaxScanRows || q.MaxBytes < 1 || q.MaxBytes > metaapi.MaxScanBytes {
		return reply, fault.New(fault.Invalid, "scan of %d rows, %d bytes", q.Limit, q.MaxBytes)
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
		if !strings.HasPrefix(q.Key, q.Prefix) {
			s.reply.Exhausted = true
			return nil
		}
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
		size := len(row.Key) + len(row.Sub) + len(row.Head)
		if len(s.reply.Rows) == q.Limit || len(s.reply.Rows) > 0 && s.bytes+size > q.MaxBytes {
			return nil
		}
		s.bytes += size
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

// row reads the row that the iterator stands at; unknown when it was never
// written, or is hidden.
func (s *scanner) row(it kv.Iterator) (row metaapi.ScanRow, known bool, err error) {
	b, err := it.Value()
	if err != nil {
		return row, false, err
	}
	peek, err := record.DecodePeek(b)
	if err != nil || peek.Tag.IsZero() {
		return row, false, err
	}
	row = metaapi.ScanRow{Tag: peek.Tag, Deleted: !peek.Live}
	if row.Key, row.Sub, err = record.ParseNames(it.Key()); err != nil {
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
