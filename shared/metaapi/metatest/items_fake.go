package metatest

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
)

// Items is an in-memory metaapi.ItemRows. Its marks are the time of the last
// write that somebody has seen.
type Items struct{ *Rows }

var _ metaapi.ItemRows = Items{}

// NewItems returns an empty table.
func NewItems() Items { return Items{NewRows()} }

// GetMany implements metaapi.ItemRows.
func (t Items) GetMany(ctx context.Context, keys []metaapi.RowKey) []metaapi.Got {
	all := make([]metaapi.Got, len(keys))
	for i, k := range keys {
		all[i].Row, all[i].Err = t.Get(ctx, k)
	}
	return all
}

// UpdateMany implements metaapi.ItemRows.
func (t Items) UpdateMany(ctx context.Context, changes []metaapi.Change) []metaapi.Changed {
	all := make([]metaapi.Changed, len(changes))
	seen := map[metaapi.RowKey]bool{}
	for i, c := range changes {
		if seen[c.Key] {
			all[i].Err = fault.New(fault.Invalid, "a row is changed twice at once")
			continue
		}
		seen[c.Key] = true
		all[i].Written, all[i].Err = t.Update(ctx, c.Key, c.Decide)
	}
	return all
}

// item is a live row.
type item struct {
	sub string
	row metaapi.Row
}

// items are those of one Key in a range, in order.
func (t Items) items(r metaapi.KeyRange) (all []item) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, row := range t.rows {
		if k.Table == r.Table && k.Bucket == r.Bucket && k.Key == r.Key && within(k.Sub, r.Prefix, r.From, r.To, r.Reverse) {
			all = append(all, item{k.Sub, row})
		}
	}
	slices.SortFunc(all, func(a, b item) int { return cmp.Compare(a.sub, b.sub) })
	if r.Reverse {
		slices.Reverse(all)
	}
	return all
}

func within(s, prefix, from, to string, reverse bool) bool {
	if !strings.HasPrefix(s, prefix) {
		return false
	}
	if reverse {
		return (from == "" || s <= from) && (to == "" || s > to)
	}
	return s >= from && (to == "" || s < to)
}

func checkLimit(ctx context.Context, limit int) error {
	if limit < 1 || limit > metaapi.MaxScanLimit {
		return fault.New(fault.Invalid, "scan limit %d", limit)
	}
	return ctx.Err()
}

// ScanKey implements metaapi.ItemRows.
func (t Items) ScanKey(ctx context.Context, r metaapi.KeyRange) (page metaapi.Page, err error) {
	if err := checkLimit(ctx, r.Limit); err != nil {
		return page, err
	}
	for _, i := range t.items(r) {
		if len(page.Entries) == r.Limit {
			page.More = true
			break
		}
		page.Entries = append(page.Entries, metaapi.Entry{Key: r.Key, Sub: i.sub, Head: i.row.Value.Head})
	}
	return page, nil
}

// Index implements metaapi.ItemRows.
func (t Items) Index(ctx context.Context, r metaapi.IndexRange) (page metaapi.IndexPage, err error) {
	if err := checkLimit(ctx, r.Limit); err != nil {
		return page, err
	}
	sums := map[string]metaapi.ItemCounters{}
	t.mu.Lock()
	for k, row := range t.rows {
		if k.Table != r.Table || k.Bucket != r.Bucket || !within(k.Key, r.Prefix, r.From, r.To, r.Reverse) {
			continue
		}
		c, _, err := metaapi.ParseItemCounters(row.Value.Head)
		if err != nil {
			t.mu.Unlock()
			return page, err
		}
		s := sums[k.Key]
		sums[k.Key] = metaapi.ItemCounters{Entries: s.Entries + c.Entries, Conflicts: s.Conflicts + c.Conflicts,
			Values: s.Values + c.Values, Bytes: s.Bytes + c.Bytes}
	}
	t.mu.Unlock()
	for k, c := range sums {
		if c.Entries > 0 {
			page.Entries = append(page.Entries, metaapi.IndexEntry{Key: k, ItemCounters: c})
		}
	}
	slices.SortFunc(page.Entries, func(a, b metaapi.IndexEntry) int { return cmp.Compare(a.Key, b.Key) })
	if r.Reverse {
		slices.Reverse(page.Entries)
	}
	if page.More = len(page.Entries) > r.Limit; page.More {
		page.Entries = page.Entries[:r.Limit]
	}
	return page, nil
}

// Since implements metaapi.ItemRows. While there is more, what it returns is in
// the order of Sub, so that the mark of a page says both from where all is new
// and up to which Sub it has been told.
func (t Items) Since(ctx context.Context, r metaapi.SinceRange) (page metaapi.SincePage, err error) {
	if err := checkLimit(ctx, r.Limit); err != nil {
		return page, err
	}
	m, err := parseMark(r.Mark)
	if err != nil {
		return page, err
	}
	t.mu.Lock()
	now := t.time
	t.mu.Unlock()
	if !m.within {
		m.next = now
	}
	for _, i := range t.items(metaapi.KeyRange{Table: r.Table, Bucket: r.Bucket, Key: r.Key, Prefix: r.Prefix, From: r.From, To: r.To}) {
		if i.row.Tag.Time <= m.seen || m.within && i.sub <= m.sub {
			continue
		}
		if len(page.Entries) == r.Limit {
			page.More = true
			break
		}
		page.Entries = append(page.Entries, metaapi.Entry{Key: r.Key, Sub: i.sub, Head: i.row.Value.Head})
	}
	out := mark{seen: m.next, next: m.next}
	if page.More {
		out = mark{seen: m.seen, next: m.next, within: true, sub: page.Entries[len(page.Entries)-1].Sub}
	}
	page.Next = out.append()
	return page, nil
}

// mark says what was seen: all up to the time seen and, within a listing that
// goes on, all up to the time next of the Subs up to sub.
type mark struct {
	seen, next int64
	within     bool
	sub        string
}

func (m mark) append() metaapi.Mark {
	b := binary.BigEndian.AppendUint64(nil, uint64(m.seen))
	b = binary.BigEndian.AppendUint64(b, uint64(m.next))
	if m.within {
		b = append(append(b, 1), m.sub...)
	}
	return b
}

func parseMark(b metaapi.Mark) (m mark, err error) {
	if b == nil {
		return mark{}, nil
	}
	if len(b) < 16 {
		return mark{}, fault.New(fault.Invalid, "a mark of %d bytes", len(b))
	}
	m.seen, m.next = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	if len(b) > 16 {
		m.within, m.sub = true, string(b[17:])
	}
	return m, nil
}
