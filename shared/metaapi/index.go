package metaapi

import (
	"context"
	"sync"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// Index implements ItemRows: the figures of a Key are those of that one of its
// old members, of a majority of them, which has most entries, as in Counters.
func (c *Client) Index(ctx context.Context, r IndexRange) (page IndexPage, err error) {
	if r.Limit < 1 || r.Limit > MaxScanLimit {
		return page, fault.New(fault.Invalid, "an index of %d keys", r.Limit)
	}
	low, high, some := halfOpen(r.Prefix, r.From, r.To, r.Reverse)
	if !some {
		return page, nil
	}
	one := c.readOne()
	a, err := admit(ctx)
	if err != nil {
		return page, err
	}
	err = c.askNodes(ctx, (*placement).all, one, &a, func(ctx context.Context, p *placement, nodes []object.NodeID) error {
		m := indexMerge{c: c, p: p, r: &r, admitted: a.revision}
		for _, n := range nodes {
			m.runs = append(m.runs, &indexRun{node: n, from: low, until: high})
		}
		page, err = m.page(ctx)
		return err
	})
	return page, err
}

// indexMerge turns the indexes of several nodes into one.
type indexMerge struct {
	c        *Client
	p        *placement
	r        *IndexRange
	admitted uint64
	runs     []*indexRun
}

// indexRun is what one node has of the range, in order.
type indexRun struct {
	node        object.NodeID
	rows        []IndexEntry // not yet merged
	from, until string       // of the next page
	exhausted   bool
}

// page takes the first Key of all runs, again and again.
func (m *indexMerge) page(ctx context.Context) (page IndexPage, err error) {
	for {
		if err := m.fill(ctx); err != nil {
			return IndexPage{}, err
		}
		key, some := m.first()
		if !some {
			return page, nil
		}
		entry := m.take(key)
		if entry.Entries == 0 {
			continue
		}
		if len(page.Entries) == m.r.Limit {
			page.More = true
			return page, nil
		}
		page.Entries = append(page.Entries, entry)
	}
}

// first is the first Key that a run stands at.
func (m *indexMerge) first() (key string, some bool) {
	for _, r := range m.runs {
		if len(r.rows) > 0 && (!some || directed(compare(r.rows[0].Key, "", key, ""), m.r.Reverse) < 0) {
			key, some = r.rows[0].Key, true
		}
	}
	return key, some
}

// take moves the runs behind a Key and returns its figures, of which those of
// nodes that are no members of its partition, or are still being filled, are
// none.
func (m *indexMerge) take(key string) IndexEntry {
	most := IndexEntry{Key: key}
	set := m.p.ring.Sets(layout.OfRow(m.r.Bucket, key, m.p.ring.Bits))[0]
	for _, r := range m.runs {
		if len(r.rows) == 0 || r.rows[0].Key != key {
			continue
		}
		if e := r.rows[0]; set.Has(r.node) && (e.Entries > most.Entries || e.Entries == most.Entries && e.Values > most.Values) {
			most = e
		}
		r.rows = r.rows[1:]
	}
	return most
}

// fill fetches the next page of every run that stands nowhere.
func (m *indexMerge) fill(ctx context.Context) error {
	errs := make([]error, len(m.runs))
	var fetching sync.WaitGroup
	for i, r := range m.runs {
		if len(r.rows) == 0 && !r.exhausted {
			fetching.Go(func() { errs[i] = m.fetch(ctx, r) })
		}
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
func (m *indexMerge) fetch(ctx context.Context, r *indexRun) error {
	msg, err := encodeIndexRequest(&IndexRequest{
		Epoch: m.p.epoch(), Admitted: m.admitted, Table: m.r.Table, Bucket: m.r.Bucket,
		From: r.from, Until: r.until, Reverse: m.r.Reverse, Limit: min(m.r.Limit+1, MaxScanLimit),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, m.c.nodeTimeout())
	defer cancel()
	answer, err := m.c.caller.Call(ctx, nodeTarget(opIndex, r.node), msg)
	if err != nil {
		return &lostNode{r.node, err}
	}
	reply, err := decodeIndexReply(answer, m.r.Reverse)
	switch {
	case err != nil:
		return &lostNode{r.node, err}
	case reply.Old:
		return &oldRing{reply.Epoch}
	case reply.Behind > 0:
		return &behindNode{reply.Behind}
	case len(reply.Rows) == 0 && !reply.Exhausted:
		return &lostNode{r.node, fault.New(fault.Internal, "an empty page that promises more")}
	case len(reply.Rows) > 0 && (reply.Rows[0].Key < r.from || r.until != "" && reply.Rows[0].Key >= r.until):
		return &lostNode{r.node, fault.New(fault.Internal, "a page that starts elsewhere")}
	}
	r.rows, r.exhausted = reply.Rows, reply.Exhausted
	if n := len(r.rows); n > 0 && m.r.Reverse {
		r.until = r.rows[n-1].Key
	} else if n > 0 {
		r.from = r.rows[n-1].Key + "\x00"
	}
	return nil
}
