package table

import (
	"bytes"
	"context"
	"slices"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/metaapi"
	"hangar/shared/register"
)

// Items are rows of the table Items. Beside what every row has, each change of
// one is numbered and listed by its number, and what the items of a Key add up
// to is kept, for the index: all in the commit that changes the row.

// checkItem refuses an item of which it cannot be told what it adds to the index.
func checkItem(key *metaapi.RowKey, q *register.Request) error {
	if key.Table != metaapi.Items || q.Kind != register.Apply || q.Row.Value == nil {
		return nil
	}
	_, _, err := metaapi.ParseItemCounters(q.Row.Value.Head)
	return fault.Wrap(fault.Invalid, err, "an item")
}

// itemCounters is what a row adds to the index.
func itemCounters(r *record.Row) (metaapi.ItemCounters, error) {
	if r.Value == nil {
		return metaapi.ItemCounters{}, nil
	}
	c, _, err := metaapi.ParseItemCounters(r.Value.Head)
	return c, err
}

// numbered takes the next number for a change of a row in a table whose changes
// have numbers, 0 in others. Runs on the committer's goroutine.
func numbered(tx *kv.Tx, t metaapi.Table) (uint64, error) {
	if t != metaapi.Items {
		return 0, nil
	}
	n, err := lastNumber(tx)
	if err != nil {
		return 0, err
	}
	tx.Set(record.NumberKey(), record.EncodeNumber(n+1))
	return n + 1, nil
}

// lastNumber is the number of the last change, 0 before the first.
func lastNumber(r getter) (uint64, error) {
	b, found, err := r.Get(record.NumberKey())
	if err != nil || !found {
		return 0, err
	}
	return record.DecodeNumber(b)
}

// indexed brings the index of an item's Key, and the list of changes, up to
// date. Runs on the committer's goroutine.
func indexed(tx *kv.Tx, key *metaapi.RowKey, before, after *record.Row) error {
	if key.Table != metaapi.Items {
		return nil
	}
	if before.Change != after.Change {
		if before.Change != 0 {
			tx.Delete(record.ChangeKey(key.Table, key.Bucket, key.Key, before.Change))
		}
		if after.Change != 0 {
			tx.Set(record.ChangeKey(key.Table, key.Bucket, key.Key, after.Change), []byte(key.Sub))
		}
	}
	was, err := itemCounters(before)
	if err != nil {
		return err
	}
	is, err := itemCounters(after)
	if err != nil || is == was {
		return err
	}
	return addItems(tx, record.ItemsKey(key.Table, key.Bucket, key.Key), is.Minus(was))
}

// addItems adds to the figures under an ItemsKey.
func addItems(tx *kv.Tx, key []byte, diff metaapi.ItemCounters) error {
	sum, err := items(tx, key)
	if err != nil {
		return err
	}
	if sum = sum.Plus(diff); sum == (metaapi.ItemCounters{}) {
		tx.Delete(key)
	} else {
		tx.Set(key, record.EncodeItems(sum))
	}
	return nil
}

func items(r getter, key []byte) (c metaapi.ItemCounters, err error) {
	b, found, err := r.Get(key)
	if err != nil || !found {
		return c, err
	}
	return record.DecodeItems(b)
}

// Index implements metaapi.Replica.
func (t *Table) Index(ctx context.Context, q metaapi.IndexRequest) (metaapi.IndexReply, error) {
	return t.IndexWithout(ctx, q, nil)
}

// IndexWithout is Index, except that rows in the hidden slices are as good as not
// there. Nil hides nothing.
func (t *Table) IndexWithout(ctx context.Context, q metaapi.IndexRequest, hidden *metaapi.Slices) (reply metaapi.IndexReply, err error) {
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
	err = t.store.View(func(r kv.Reader) error {
		if fence, old := t.superseded(q.Epoch); old {
			reply = metaapi.IndexReply{Old: true, Epoch: fence}
			return nil
		}
		w := walk{low: record.ItemsKey(q.Table, q.Bucket, q.From), reverse: q.Reverse}
		if q.Until != "" {
			w.high = record.ItemsKey(q.Table, q.Bucket, q.Until)
		}
		var last error
		reply.Exhausted, err = w.run(ctx, r, record.ItemsPrefix(q.Table, q.Bucket, ""), func(it kv.Iterator) bool {
			var e metaapi.IndexEntry
			if e, last = indexEntry(it); last != nil {
				return false
			}
			if e.Entries <= 0 || hidden != nil && hidden.Has(record.Slice(q.Bucket, e.Key)) {
				return true
			}
			if len(reply.Rows) == q.Limit {
				return false
			}
			reply.Rows = append(reply.Rows, e)
			return true
		})
		if last != nil {
			return last
		}
		return err
	})
	return reply, err
}

func indexEntry(it kv.Iterator) (e metaapi.IndexEntry, err error) {
	if _, _, e.Key, err = record.ParseItemsKey(it.Key()); err != nil {
		return e, err
	}
	b, err := it.Value()
	if err != nil {
		return e, err
	}
	e.ItemCounters, err = record.DecodeItems(b)
	return e, err
}

// walk goes through the keys from low on and before high, if that is set, up or
// down.
type walk struct {
	low, high []byte
	reverse   bool
}

// run calls each for the keys with a prefix until it returns false; it reports
// whether it came to the end.
func (w *walk) run(ctx context.Context, r kv.Reader, prefix []byte, each func(kv.Iterator) bool) (end bool, err error) {
	var it kv.Iterator
	var more bool
	if w.reverse {
		it = r.IterateReverse(prefix)
		defer it.Close()
		if w.high == nil {
			more = it.Next()
		} else if more = it.Seek(w.high); more && bytes.Equal(it.Key(), w.high) {
			more = it.Next()
		}
	} else {
		it = r.Iterate(prefix)
		defer it.Close()
		more = it.Seek(w.low)
	}
	for n := 1; more; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		if w.reverse && bytes.Compare(it.Key(), w.low) < 0 || !w.reverse && w.high != nil && bytes.Compare(it.Key(), w.high) >= 0 {
			break
		}
		if !each(it) {
			return false, it.Err()
		}
		more = it.Next()
	}
	return it.Err() == nil, it.Err()
}

// changesAtOnce is how many changes are looked up by their numbers at most; of
// more, all rows of the Key are gone through.
const changesAtOnce = 4096

// changed returns the Subs of rows that changed after a number, in order, or
// false when they are many.
func changed(ctx context.Context, r kv.Reader, q *metaapi.ScanRequest) (subs []string, few bool, err error) {
	w := walk{low: record.ChangeKey(q.Table, q.Bucket, q.Key, q.After+1)}
	looks := 0
	var bad error
	few, err = w.run(ctx, r, record.ChangePrefix(q.Table, q.Bucket, q.Key), func(it kv.Iterator) bool {
		if looks++; looks > changesAtOnce {
			return false
		}
		var b []byte
		if b, bad = it.Value(); bad != nil {
			return false
		}
		if sub := string(b); sub >= q.FromSub && (q.UntilSub == "" || sub < q.UntilSub) {
			subs = append(subs, sub)
		}
		return true
	})
	if bad != nil {
		err = bad
	}
	slices.Sort(subs)
	return subs, few, err
}
