package table

import (
	"bytes"
	"context"
	"time"

	"hangar/services/meta/internal/record"
	"hangar/shared/kv"
	"hangar/shared/metaapi"
)

// Rest waits after work that took so long, to let requests go first. Its error
// ends the work.
type Rest func(ctx context.Context, took time.Duration) error

const (
	// recountLooks is how many rows are counted between two rests.
	recountLooks = 4096
	// recountGroup is how many sums are corrected in one commit.
	recountGroup = 64
)

// Derived says which sums are meant.
type Derived int

// The sums that the table derives from its rows.
const (
	// Sums are the counters of tables, buckets and partitions.
	Sums Derived = iota
	// Digests are those of slices.
	Digests
	// index is that of items, which goes with Sums.
	index
)

// Recount adds the rows up anew and corrects the sums that are wrong, of which
// it returns the number. Writes go on meanwhile: what is wrong is found in one
// picture of the store, as a difference, and writes change sums by differences
// too. Errors: Corrupt (a row), those of the store, of ctx and of rest.
func (t *Table) Recount(ctx context.Context, what Derived, rest Rest) (corrected int, err error) {
	if err := t.enter(); err != nil {
		return 0, err
	}
	defer t.leave()
	// Two at once would both correct what one of them has.
	t.recounting.Lock()
	defer t.recounting.Unlock()
	n := recount{t: t, what: what, sums: map[string]metaapi.Counters{}}
	err = t.store.View(func(r kv.Reader) error {
		if err := n.add(ctx, r, rest); err != nil {
			return err
		}
		if err := n.compare(r); err != nil || what != Sums {
			return err
		}
		return n.compareIndex(ctx, r, rest)
	})
	for at := 0; err == nil && at < len(n.wrong); at += recountGroup {
		group := n.wrong[at:min(at+recountGroup, len(n.wrong))]
		err = t.writer.Update(ctx, func(tx *kv.Tx) error {
			for _, c := range group {
				if err := c.apply(tx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return len(n.wrong), err
}

// recount is what rows add up to in one picture of the store.
type recount struct {
	t       *Table
	what    Derived
	sums    map[string]metaapi.Counters // by CounterKey
	digests [1 << record.SliceBits]record.Digest
	wrong   []correction
}

// correction is what is to be added to one sum.
type correction struct {
	key    []byte
	sum    metaapi.Counters
	digest record.Digest
	items  metaapi.ItemCounters
	what   Derived
}

func (c *correction) apply(tx *kv.Tx) error {
	switch c.what {
	case index:
		return addItems(tx, c.key, c.items)
	case Digests:
		d, err := digest(tx, c.key)
		tx.Set(c.key, record.EncodeDigest(d.Plus(c.digest)))
		return err
	}
	s, err := counters(tx, c.key)
	tx.Set(c.key, record.EncodeCounters(metaapi.Counters{Count: s.Count + c.sum.Count, Bytes: s.Bytes + c.sum.Bytes}))
	return err
}

// add adds up all rows.
func (n *recount) add(ctx context.Context, r kv.Reader, rest Rest) error {
	it := r.Iterate(record.RowPrefix())
	defer it.Close()
	began := time.Now()
	for looks := 1; it.Next(); looks++ {
		key, err := record.ParseRowKey(it.Key())
		if err != nil {
			return err
		}
		b, err := it.Value()
		if err != nil {
			return err
		}
		row, err := record.Decode(b)
		if err != nil {
			return err
		}
		slice := record.Slice(key.Bucket, key.Key)
		switch {
		case n.what == Digests:
			n.digests[slice] = n.digests[slice].Plus(record.DigestOf(it.Key(), row.Tag))
		case row.Value != nil:
			k := string(record.CounterKey(key.Table, key.Bucket, uint16(n.t.partition(slice))))
			n.sums[k] = metaapi.Counters{Count: n.sums[k].Count + row.Value.Count, Bytes: n.sums[k].Bytes + row.Value.Bytes}
		}
		if looks%recountLooks == 0 {
			if err := rest(ctx, time.Since(began)); err != nil {
				return err
			}
			began = time.Now()
		}
	}
	return it.Err()
}

// compare finds what is wrong.
func (n *recount) compare(r kv.Reader) error {
	if n.what == Digests {
		for slice, want := range n.digests {
			key := record.DigestKey(uint16(slice))
			have, err := digest(r, key)
			if err != nil {
				return err
			}
			if have != want {
				n.wrong = append(n.wrong, correction{key: key, digest: want.Minus(have), what: Digests})
			}
		}
		return nil
	}
	it := r.Iterate(record.CounterPrefix())
	defer it.Close()
	for it.Next() {
		b, err := it.Value()
		if err != nil {
			return err
		}
		have, err := record.DecodeCounters(b)
		if err != nil {
			return err
		}
		n.expect(bytes.Clone(it.Key()), have)
	}
	for key := range n.sums { // of which nothing is stored
		n.expect([]byte(key), metaapi.Counters{})
	}
	return it.Err()
}

// expect compares the counters under key with what was added up.
func (n *recount) expect(key []byte, have metaapi.Counters) {
	want := n.sums[string(key)]
	delete(n.sums, string(key))
	if have != want {
		diff := metaapi.Counters{Count: want.Count - have.Count, Bytes: want.Bytes - have.Bytes}
		n.wrong = append(n.wrong, correction{key: key, sum: diff, what: Sums})
	}
}

// compareIndex goes through items and index side by side, which are in the same
// order, and finds where they differ.
func (n *recount) compareIndex(ctx context.Context, r kv.Reader, rest Rest) error {
	stored := r.Iterate(record.AllItems())
	defer stored.Close()
	more := stored.Next()
	check := func(key []byte, want metaapi.ItemCounters) error {
		for ; more && (key == nil || bytes.Compare(stored.Key(), key) <= 0); more = stored.Next() {
			b, err := stored.Value()
			if err != nil {
				return err
			}
			have, err := record.DecodeItems(b)
			if err != nil {
				return err
			}
			if bytes.Equal(stored.Key(), key) {
				want = want.Minus(have)
				continue
			}
			n.correct(bytes.Clone(stored.Key()), metaapi.ItemCounters{}.Minus(have))
		}
		n.correct(key, want)
		return stored.Err()
	}
	rows := r.Iterate(record.TablePrefix(metaapi.Items))
	defer rows.Close()
	var at []byte // the key of the index that is being added up
	var sum metaapi.ItemCounters
	began := time.Now()
	for looks := 1; rows.Next(); looks++ {
		row, err := record.ParseRowKey(rows.Key())
		if err != nil {
			return err
		}
		b, err := rows.Value()
		if err != nil {
			return err
		}
		held, err := record.Decode(b)
		if err != nil {
			return err
		}
		adds, err := itemCounters(held)
		if err != nil {
			return err
		}
		if key := record.ItemsKey(row.Table, row.Bucket, row.Key); !bytes.Equal(key, at) {
			if at != nil {
				if err := check(at, sum); err != nil {
					return err
				}
			}
			at, sum = key, metaapi.ItemCounters{}
		}
		sum = sum.Plus(adds)
		if looks%recountLooks == 0 {
			if err := rest(ctx, time.Since(began)); err != nil {
				return err
			}
			began = time.Now()
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if at != nil {
		if err := check(at, sum); err != nil {
			return err
		}
	}
	return check(nil, metaapi.ItemCounters{})
}

// correct notes what is to be added to a Key's figures.
func (n *recount) correct(key []byte, diff metaapi.ItemCounters) {
	if diff != (metaapi.ItemCounters{}) {
		n.wrong = append(n.wrong, correction{key: key, items: diff, what: index})
	}
}
