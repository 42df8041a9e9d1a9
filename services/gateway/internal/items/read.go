package items

import (
	"context"
	"strings"

	"hangar/shared/causal"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// Read returns an item. Errors: ErrNoSuchItem.
func (s *Service) Read(ctx context.Context, n Name) (Item, error) {
	if err := n.check(); err != nil {
		return Item{}, err
	}
	set, err := s.get(ctx, n)
	if err == nil && set == nil {
		err = fault.Wrap(fault.NotFound, ErrNoSuchItem, "no item %q in %q", n.Sort, n.Partition)
	}
	return newItem(n.Sort, set), err
}

// get reads an item; nil is one that nobody wrote.
func (s *Service) get(ctx context.Context, n Name) (causal.Set, error) {
	row, err := s.rows.Get(ctx, n.row())
	if err != nil {
		return nil, err
	}
	return record.DecodeItem(row.Value)
}

// Search selects items of a partition key, as K2V's batches do. Nil pointers are
// bounds not given.
type Search struct {
	Partition          string
	Prefix, Start, End *string
	Limit              *uint64
	Reverse            bool
	// Single selects the item called Start only.
	Single bool
	// Conflicts selects items with several values only, Tombstones deleted items
	// too.
	Conflicts, Tombstones bool
}

func (q *Search) check() error {
	if err := checkKey("partition key", q.Partition); err != nil {
		return err
	}
	if !q.Single {
		return checkBounds(q.Prefix, q.Start)
	}
	switch {
	case q.Prefix != nil || q.End != nil || q.Limit != nil || q.Reverse:
		return fault.New(fault.Invalid, "prefix, end, limit and reverse do not go with singleItem")
	case q.Start == nil:
		return fault.New(fault.Invalid, "singleItem needs start, the sort key of the item")
	}
	return checkKey("start", *q.Start)
}

func checkBounds(prefix, start *string) error {
	if prefix != nil && start != nil && !strings.HasPrefix(*start, *prefix) {
		return fault.New(fault.Invalid, "start %q does not begin with prefix %q", *start, *prefix)
	}
	return nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// nothing reports bounds between which no key lies although empty bounds are
// none to the metadata service.
func nothing(start, end *string, reverse bool) bool {
	if reverse {
		return start != nil && *start == ""
	}
	return end != nil && *end == ""
}

// Found is what a search came to. With More, Next is the first key left out.
type Found struct {
	Items []Item
	More  bool
	Next  string
}

// Room is what is left for one answer.
type Room struct {
	Items int
	Bytes int64
}

// NewRoom is that of an answer that is empty so far.
func NewRoom() Room { return Room{Items: MaxPageItems, Bytes: MaxPageBytes} }

// take takes room for an item, or says that there is none.
func (r *Room) take(bytes int64) bool {
	if r.Items <= 0 || r.Bytes <= 0 {
		return false
	}
	r.Items--
	r.Bytes -= bytes
	return true
}

// itemOverhead is what an item takes besides its values.
const itemOverhead = 64

// Search lists items, as far as there is room. It contains every write completed
// before it began, in the range it covers.
func (s *Service) Search(ctx context.Context, bucket object.BucketID, q Search, room *Room) (f Found, err error) {
	if err := q.check(); err != nil {
		return f, err
	}
	if q.Single {
		return s.searchOne(ctx, bucket, q, room)
	}
	limit := uint64(MaxPageItems)
	if q.Limit != nil {
		limit = min(limit, *q.Limit)
	}
	w := s.walk(bucket, &q)
	if !q.Conflicts {
		w.limit = int(min(limit+1, metaapi.MaxScanLimit))
	}
	for pages := 0; !w.over; pages++ {
		page, err := w.next(ctx)
		if err != nil {
			return f, err
		}
		keep := make([]entry, 0, len(page))
		for _, e := range page {
			switch {
			case pages == maxPagePages: // whatever it is: enough for one answer
				f.More, f.Next = true, e.sort
			case !q.selects(e.head):
				continue
			case uint64(len(f.Items)+len(keep)) >= limit, !room.take(e.head.Counters.Bytes + int64(len(e.sort)) + itemOverhead):
				f.More, f.Next = true, e.sort
			}
			if f.More {
				break
			}
			keep = append(keep, e)
		}
		more, err := s.fetch(ctx, bucket, q.Partition, keep)
		if err != nil {
			return f, err
		}
		for i := range more {
			if q.Tombstones || more[i].live() {
				f.Items = append(f.Items, more[i])
			}
		}
		if f.More {
			break
		}
		w.limit = min(2*w.limit, metaapi.MaxScanLimit) // what the filters leave out is many
	}
	return f, nil
}

func (q *Search) selects(h record.ItemHead) bool {
	return (q.Tombstones || h.Counters.Entries > 0) && (!q.Conflicts || h.Counters.Conflicts > 0)
}

func (s *Service) searchOne(ctx context.Context, bucket object.BucketID, q Search, room *Room) (f Found, err error) {
	set, err := s.get(ctx, Name{bucket, q.Partition, *q.Start})
	if err != nil || set == nil || !q.selects(record.ItemHead{Counters: record.CountItem(set)}) {
		return f, err
	}
	if !room.take(int64(size(set)) + itemOverhead) {
		return f, fault.Wrap(fault.Invalid, ErrTooLarge, "the answer would have more than %d bytes: ask for less at once", MaxPageBytes)
	}
	f.Items = []Item{newItem(*q.Start, set)}
	return f, nil
}

// entry is a row of a listing.
type entry struct {
	sort string
	head record.ItemHead
}

// fetch makes items of rows, getting the values that listings do not have.
func (s *Service) fetch(ctx context.Context, bucket object.BucketID, partition string, rows []entry) ([]Item, error) {
	all := make([]Item, len(rows))
	var missing []int
	for i, r := range rows {
		if r.head.Whole {
			all[i] = newItem(r.sort, r.head.Set)
		} else {
			missing = append(missing, i)
		}
	}
	for len(missing) > 0 {
		var keys []metaapi.RowKey
		for bytes := int64(0); len(keys) < min(len(missing), sliceRows) && (len(keys) == 0 || bytes < sliceBytes); {
			r := rows[missing[len(keys)]]
			bytes += r.head.Counters.Bytes
			keys = append(keys, Name{bucket, partition, r.sort}.row())
		}
		for i, got := range s.rows.GetMany(ctx, keys) {
			if got.Err != nil {
				return nil, got.Err
			}
			set, err := record.DecodeItem(got.Value)
			if err != nil {
				return nil, err
			}
			all[missing[i]] = newItem(keys[i].Sub, set)
		}
		missing = missing[len(keys):]
	}
	return all, nil
}

// walk goes through the rows of a range, page by page.
type walk struct {
	s     *Service
	r     metaapi.KeyRange
	limit int
	// last is the row that the page before ended with.
	last    string
	started bool
	over    bool
}

func (s *Service) walk(bucket object.BucketID, q *Search) *walk {
	return &walk{s: s, limit: metaapi.MaxScanLimit, over: nothing(q.Start, q.End, q.Reverse), r: metaapi.KeyRange{
		Table: metaapi.Items, Bucket: bucket, Key: q.Partition, Prefix: text(q.Prefix),
		From: text(q.Start), To: text(q.End), Reverse: q.Reverse,
	}}
}

func (w *walk) next(ctx context.Context) ([]entry, error) {
	w.r.Limit = w.limit
	if w.started {
		if w.r.From = w.last; !w.r.Reverse {
			w.r.From += "\x00"
		} else {
			w.r.Limit = min(w.r.Limit+1, metaapi.MaxScanLimit) // the last comes again
		}
	}
	page, err := w.s.rows.ScanKey(ctx, w.r)
	if err != nil {
		return nil, err
	}
	rows, err := entries(page.Entries)
	if err != nil {
		return nil, err
	}
	if w.over = !page.More || len(rows) == 0; len(rows) > 0 {
		if w.started && w.r.Reverse && rows[0].sort == w.last {
			rows = rows[1:]
		}
		w.started, w.last = true, page.Entries[len(page.Entries)-1].Sub
	}
	return rows, nil
}

func entries(page []metaapi.Entry) ([]entry, error) {
	rows := make([]entry, len(page))
	for i, e := range page {
		head, err := record.DecodeItemHead(e.Head)
		if err != nil {
			return nil, err
		}
		rows[i] = entry{e.Sub, head}
	}
	return rows, nil
}

// Indexed is what an index came to. With More, Next is the first key left out.
type Indexed struct {
	Keys []metaapi.IndexEntry
	More bool
	Next string
}

// IndexSearch selects partition keys.
type IndexSearch struct {
	Prefix, Start, End *string
	Limit              *uint64
	Reverse            bool
}

// Index lists the partition keys that have live items. Figures lag a little.
func (s *Service) Index(ctx context.Context, bucket object.BucketID, q IndexSearch) (x Indexed, err error) {
	if err := checkBounds(q.Prefix, q.Start); err != nil {
		return x, err
	}
	limit := uint64(MaxPageItems)
	if q.Limit != nil {
		limit = min(limit, *q.Limit)
	}
	if nothing(q.Start, q.End, q.Reverse) {
		return x, nil
	}
	r := metaapi.IndexRange{Table: metaapi.Items, Bucket: bucket, Prefix: text(q.Prefix), From: text(q.Start), To: text(q.End), Reverse: q.Reverse}
	last := ""
	for {
		r.Limit = int(min(limit-uint64(len(x.Keys))+2, metaapi.MaxScanLimit)) // one again, one more
		page, err := s.rows.Index(ctx, r)
		if err != nil {
			return x, err
		}
		for _, e := range page.Entries {
			if q.Reverse && e.Key == last && len(x.Keys) > 0 {
				continue
			}
			if uint64(len(x.Keys)) == limit {
				x.More, x.Next = true, e.Key
				return x, nil
			}
			x.Keys = append(x.Keys, e)
		}
		if !page.More || len(page.Entries) == 0 {
			return x, nil
		}
		last = page.Entries[len(page.Entries)-1].Key
		if r.From = last; !q.Reverse {
			r.From += "\x00"
		}
	}
}
