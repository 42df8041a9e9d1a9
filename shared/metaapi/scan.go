package metaapi

import (
	"context"
	"sync"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/register"
)

// MaxScanLimit bounds Range.Limit.
const MaxScanLimit = 1000

// Scan implements Rows.
func (c *Client) Scan(ctx context.Context, r Range) (page Page, err error) {
	if r.Limit < 1 || r.Limit > MaxScanLimit {
		return Page{}, fault.New(fault.Invalid, "a scan of %d entries", r.Limit)
	}
	fromKey, fromSub, ok := r.Start()
	if !ok {
		return Page{}, nil
	}
	return c.list(ctx, &listing{Range: r}, fromKey, fromSub)
}

// maxKeyPage is about how many bytes of heads a page of one Key has at most:
// items have their values there.
const maxKeyPage = 4 << 20

// ScanKey implements ItemRows.
func (c *Client) ScanKey(ctx context.Context, r KeyRange) (Page, error) {
	if r.Limit < 1 || r.Limit > MaxScanLimit || r.Key == "" {
		return Page{}, fault.New(fault.Invalid, "a scan of %d entries of the key %q", r.Limit, r.Key)
	}
	low, high, some := halfOpen(r.Prefix, r.From, r.To, r.Reverse)
	if !some {
		return Page{}, nil
	}
	l := &listing{
		Range:    Range{Table: r.Table, Bucket: r.Bucket, Key: r.Key, Limit: r.Limit},
		untilSub: high, reverse: r.Reverse, maxBytes: maxKeyPage,
	}
	return c.list(ctx, l, r.Key, low)
}

// listing is what a merge lists: a Range or, of one Key, part of its rows.
type listing struct {
	Range
	// untilSub, unless empty, is the first Sub that is not listed any more.
	untilSub string
	reverse  bool
	// changes asks for what changed only, where the nodes know that.
	changes bool
	// maxBytes is about how many bytes of heads a page has; 0: any number.
	maxBytes int
}

// parts are the partitions that have what is listed.
func (l *listing) parts() func(*placement) []layout.Partition {
	if l.Key == "" {
		return (*placement).all
	}
	return func(p *placement) []layout.Partition {
		return []layout.Partition{layout.OfRow(l.Bucket, l.Key, p.ring.Bits)}
	}
}

// list merges what nodes enough have from a position on.
func (c *Client) list(ctx context.Context, l *listing, fromKey, fromSub string) (page Page, err error) {
	one := c.readOne()
	a, err := admit(ctx)
	if err != nil {
		return Page{}, err
	}
	err = c.askNodes(ctx, l.parts(), one, &a, func(ctx context.Context, p *placement, nodes []object.NodeID) error {
		m := newMerge(c, p, l, nodes, fromKey, fromSub)
		m.one, m.admitted = one, a.revision
		page, err = m.page(ctx)
		return err
	})
	return page, err
}

// merge turns the runs of several nodes into one listing.
type merge struct {
	c   *Client
	p   *placement
	r   *listing
	one bool // one replica's word settles a row
	// admitted is what requests are admitted by.
	admitted uint64
	runs     []*run
	found    []candidate
	bytes    int // of heads in found
}

// run is what one node holds of the range, in order.
type run struct {
	node             object.NodeID
	rows             []ScanRow // not yet merged
	fromKey, fromSub string    // where the next page starts
	untilSub         string    // where it ends, if that is not empty
	exhausted        bool      // there is no next page

	// Of a listing of changes: those wanted are behind a number of an incarnation
	// of the node's store. Of the first page: its incarnation, the last number
	// there was, and the lowest that must be listed again, 0 for none.
	incarnation, after uint64
	began              bool
	now, last, again   uint64
}

// candidate is an entry that stands, or that a read has yet to confirm.
type candidate struct {
	Entry
	unsettled bool
	// reports are what the nodes said of an unsettled row in a listing of changes.
	reports []report
}

// report is what one node said of a row.
type report struct {
	run    *run
	tag    register.Tag
	change uint64
}

func newMerge(c *Client, p *placement, r *listing, nodes []object.NodeID, fromKey, fromSub string) *merge {
	m := &merge{c: c, p: p, r: r, found: make([]candidate, 0, r.Limit+1)}
	for _, n := range nodes {
		m.runs = append(m.runs, &run{node: n, fromKey: fromKey, fromSub: fromSub, untilSub: r.untilSub})
	}
	return m
}

// full reports whether there are entries enough for a page, and one more.
func (m *merge) full() bool {
	n := len(m.found)
	return n > m.r.Limit || n > 1 && m.r.maxBytes > 0 && m.bytes > m.r.maxBytes
}

// page merges until there is one entry more than a page has, or no more.
func (m *merge) page(ctx context.Context) (Page, error) {
	for {
		end, err := m.collect(ctx)
		if err != nil {
			return Page{}, err
		}
		if err := m.settle(ctx); err != nil {
			return Page{}, err
		}
		if end || m.full() {
			break
		}
	}
	page := Page{More: m.full()}
	n := min(len(m.found), m.r.Limit)
	if page.More {
		n = min(len(m.found)-1, m.r.Limit)
	}
	page.Entries = make([]Entry, n)
	for i := range page.Entries {
		page.Entries[i] = m.found[i].Entry
	}
	return page, nil
}

// collect takes the lowest position of all runs, again and again, until there
// are candidates enough or all runs have ended. Since every run stands at or
// behind that position, none can add to it later.
func (m *merge) collect(ctx context.Context) (end bool, err error) {
	for !m.full() {
		if err := m.fill(ctx); err != nil {
			return false, err
		}
		low := m.lowest()
		if low == nil {
			return true, nil
		}
		key, sub := low.Key, low.Sub
		prefix, folds := CommonPrefix(key, m.r.Prefix, m.r.Delimiter)
		row, settled := m.judge(key, sub)
		switch {
		case row == nil:
			m.pass(key, sub)
		case folds:
			live := !row.Deleted
			if !settled {
				if live, err = m.live(ctx, key, sub); err != nil {
					return false, err
				}
			}
			if !live {
				m.pass(key, sub)
				break
			}
			m.found = append(m.found, candidate{Entry: Entry{Key: prefix, Prefix: true}})
			m.passPrefix(prefix)
		default:
			if !settled || !row.Deleted {
				e := Entry{Key: key, Sub: sub, Head: row.Head}
				m.found = append(m.found, candidate{Entry: e, unsettled: !settled, reports: m.reports(key, sub, settled)})
				m.bytes += len(row.Head)
			}
			m.pass(key, sub)
		}
	}
	return false, nil
}

// reports gathers what may have to be listed again.
func (m *merge) reports(key, sub string, settled bool) (all []report) {
	if settled || !m.r.changes {
		return nil
	}
	for _, r := range m.runs {
		if r.at(key, sub) {
			all = append(all, report{r, r.rows[0].Tag, r.rows[0].Change})
		}
	}
	return all
}

// lowest returns the first row that a run stands at, nil when all have ended.
func (m *merge) lowest() (low *ScanRow) {
	for _, r := range m.runs {
		if len(r.rows) > 0 && (low == nil || directed(compare(r.rows[0].Key, r.rows[0].Sub, low.Key, low.Sub), m.r.reverse) < 0) {
			low = &r.rows[0]
		}
	}
	return low
}

// judge weighs what the runs that stand at a row say of it, and returns the
// newest; settled means that a quorum of the row's replicas agree on it. Nodes
// that are no members of the row's partition have no say: nil means that there
// were no others.
func (m *merge) judge(key, sub string) (row *ScanRow, settled bool) {
	s := m.p.slot(&RowKey{Bucket: m.r.Bucket, Key: key})
	for _, r := range m.runs {
		if r.at(key, sub) && s.index(r.node) >= 0 && (row == nil || row.Tag.Less(r.rows[0].Tag)) {
			row = &r.rows[0]
		}
	}
	if row == nil {
		return nil, false
	}
	for i, set := range s.sets {
		agree := 0
		for _, r := range m.runs {
			if r.at(key, sub) && r.rows[0].Tag == row.Tag && set.Has(r.node) {
				agree++
			}
		}
		if agree < need(i, set, m.one) {
			return row, false
		}
	}
	return row, true
}

func (r *run) at(key, sub string) bool {
	return len(r.rows) > 0 && r.rows[0].Key == key && r.rows[0].Sub == sub
}

// pass moves the runs behind a row. A run that folded behind it has left out
// what now must be seen.
func (m *merge) pass(key, sub string) {
	for _, r := range m.runs {
		if !r.at(key, sub) {
			continue
		}
		if r.rows[0].Folded {
			r.rows, r.exhausted = nil, false
			r.fromKey, r.fromSub = key, sub+"\x00"
			continue
		}
		r.rows = r.rows[1:]
	}
}

// passPrefix moves the runs behind all rows under a prefix.
func (m *merge) passPrefix(prefix string) {
	behind, ok := After(prefix)
	for _, r := range m.runs {
		for len(r.rows) > 0 && (!ok || r.rows[0].Key < behind) {
			r.rows = r.rows[1:]
		}
		switch {
		case !ok:
			r.exhausted = true
		case r.fromKey < behind:
			r.fromKey, r.fromSub = behind, ""
		}
	}
}

// live reads a row at a quorum.
func (m *merge) live(ctx context.Context, key, sub string) (bool, error) {
	row, err := m.read(ctx, key, sub)
	return row.Value != nil, err
}

func (m *merge) read(ctx context.Context, key, sub string) (Row, error) {
	return m.c.Get(ctx, RowKey{Table: m.r.Table, Bucket: m.r.Bucket, Key: key, Sub: sub})
}

// settleAtOnce is how many rows of a page are read at the same time.
const settleAtOnce = 16

// settle reads the rows on which the nodes differ, which also repairs them,
// and drops those that do not exist.
func (m *merge) settle(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rows := make([]Row, len(m.found))
	room := make(chan struct{}, settleAtOnce)
	var reading sync.WaitGroup
	for i := range m.found {
		if !m.found[i].unsettled {
			continue
		}
		room <- struct{}{}
		reading.Go(func() {
			defer func() { <-room }()
			var err error
			if rows[i], err = m.read(ctx, m.found[i].Key, m.found[i].Sub); err != nil {
				cancel(err)
			}
		})
	}
	reading.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	kept := m.found[:0]
	for i, f := range m.found {
		if f.unsettled {
			for _, said := range f.reports {
				said.run.repeat(&said, rows[i].Tag)
			}
			if rows[i].Value == nil {
				continue
			}
			f.Head, f.unsettled, f.reports = rows[i].Value.Head, false, nil
		}
		kept = append(kept, f)
	}
	m.found = kept
	return nil
}

// fill fetches the next page of every run that stands nowhere.
func (m *merge) fill(ctx context.Context) error {
	var empty []*run
	for _, r := range m.runs {
		if len(r.rows) == 0 && !r.exhausted {
			empty = append(empty, r)
		}
	}
	switch len(empty) {
	case 0:
		return nil
	case 1:
		return m.fetch(ctx, empty[0])
	}
	errs := make([]error, len(empty))
	var fetching sync.WaitGroup
	for i, r := range empty {
		fetching.Go(func() { errs[i] = m.fetch(ctx, r) })
	}
	fetching.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// fetch asks a node for its next page.
func (m *merge) fetch(ctx context.Context, r *run) error {
	wanted := float64(m.r.Limit + 1 - len(m.found))
	if m.r.Key == "" {
		wanted *= m.p.share
	}
	q := ScanRequest{
		Epoch: m.p.epoch(), Admitted: m.admitted, Table: m.r.Table, Bucket: m.r.Bucket,
		Prefix: m.r.Prefix, Key: m.r.Key, Delimiter: m.r.Delimiter,
		FromKey: r.fromKey, FromSub: r.fromSub, UntilSub: r.untilSub, Reverse: m.r.reverse,
		Changes: m.r.changes, Incarnation: r.incarnation, After: r.after,
		Limit: min(int(wanted)+8, MaxScanRows), MaxBytes: MaxScanBytes,
	}
	msg, err := encodeScanRequest(&q)
	if err != nil {
		return err
	}
	nodeCtx, cancel := context.WithTimeout(ctx, m.c.nodeTimeout())
	defer cancel()
	answer, err := m.c.caller.Call(nodeCtx, nodeTarget(opScan, r.node), msg)
	if err != nil {
		return &lostNode{r.node, err}
	}
	reply, err := decodeScanReply(answer, m.r.reverse)
	switch {
	case err != nil:
		return &lostNode{r.node, err}
	case reply.Old:
		return &oldRing{reply.Epoch}
	case reply.Behind > 0:
		return &behindNode{reply.Behind}
	case len(reply.Rows) == 0 && !reply.Exhausted:
		return &lostNode{r.node, fault.New(fault.Internal, "an empty page that promises more")}
	case !q.holds(reply.Rows):
		return &lostNode{r.node, fault.New(fault.Internal, "a page that starts too early")}
	case r.began && reply.Incarnation != r.now:
		return &lostNode{r.node, fault.New(fault.Unavailable, "the node's store was replaced meanwhile")}
	}
	if !r.began {
		r.began, r.now, r.last = true, reply.Incarnation, reply.Last
	}
	r.rows, r.exhausted = reply.Rows, reply.Exhausted
	if len(r.rows) > 0 {
		r.setNext(m.r)
	}
	return nil
}

// repeat has a change listed again the next time that a read which found a row
// under a lower tag did not account for.
func (r *run) repeat(said *report, found register.Tag) {
	if found.Less(said.tag) && (r.again == 0 || said.change < r.again) {
		r.again = said.change
	}
}

// holds reports whether the first of rows is not before what was asked for.
func (q *ScanRequest) holds(rows []ScanRow) bool {
	switch {
	case len(rows) == 0:
		return true
	case q.Reverse:
		return rows[0].Key == q.Key && (q.UntilSub == "" || rows[0].Sub < q.UntilSub)
	default:
		return compare(rows[0].Key, rows[0].Sub, q.FromKey, q.FromSub) >= 0
	}
}

// setNext works out where the page behind r.rows starts.
func (r *run) setNext(q *listing) {
	last := &r.rows[len(r.rows)-1]
	if q.reverse {
		r.untilSub = last.Sub
		r.exhausted = r.exhausted || last.Sub == ""
		return
	}
	r.fromKey, r.fromSub = last.Key, last.Sub+"\x00"
	if !last.Folded {
		return
	}
	if prefix, folds := CommonPrefix(last.Key, q.Prefix, q.Delimiter); folds {
		if behind, ok := After(prefix); ok {
			r.fromKey, r.fromSub = behind, ""
		} else {
			r.exhausted = true
		}
	}
}
