package metaapi

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// sinceGrace is how long Since waits at least for the nodes that a quorum would
// do without: a node that is not heard stays behind in the mark.
const sinceGrace = 20 * time.Millisecond

// Since implements ItemRows. A write that was acknowledged is at a quorum of its
// row's replicas, one of which is heard, whichever quorum that is. There it has a
// number after the mark, and is listed, or one up to it, and was told before: see
// mark.
func (c *Client) Since(ctx context.Context, r SinceRange) (page SincePage, err error) {
	if r.Limit < 1 || r.Limit > MaxScanLimit || r.Key == "" || r.Table != Items {
		return page, fault.New(fault.Invalid, "changes of the key %q of table %d, %d of them", r.Key, r.Table, r.Limit)
	}
	seen, err := parseMark(r.Mark, markOf(r.Table, r.Bucket, r.Key))
	if err != nil {
		return page, err
	}
	low, high, some := halfOpen(r.Prefix, r.From, r.To, false)
	if seen.passing {
		low = max(low, seen.after+"\x00")
		some = some && (high == "" || low < high)
	}
	l := &listing{
		Range:    Range{Table: r.Table, Bucket: r.Bucket, Key: r.Key, Limit: r.Limit},
		untilSub: high, changes: true, maxBytes: maxKeyPage,
	}
	if !some {
		l.untilSub = low // the mark goes on all the same
	}
	one := c.readOne()
	a, err := admit(ctx)
	if err != nil {
		return page, err
	}
	err = c.askNodes(ctx, l.parts(), one, &a, func(ctx context.Context, p *placement, _ []object.NodeID) error {
		members := p.slot(&RowKey{Bucket: r.Bucket, Key: r.Key}).target.Nodes
		m := newMerge(c, p, l, members, r.Key, low)
		m.one, m.admitted = one, a.revision
		for _, run := range m.runs {
			s := seen.base[run.node]
			run.incarnation, run.after = s.incarnation, s.change
		}
		if err := m.begin(ctx); err != nil {
			return err
		}
		found, err := m.page(ctx)
		if err != nil {
			return err
		}
		page = m.since(&seen, members, found)
		return nil
	})
	return page, err
}

// since makes a page of what was found, with the mark behind it.
func (m *merge) since(was *mark, members []object.NodeID, found Page) SincePage {
	heard := map[object.NodeID]seen{}
	for _, r := range m.runs {
		s := seen{r.now, r.last}
		if r.again > 0 {
			s.change = min(s.change, r.again-1)
		}
		heard[r.node] = s
	}
	last := ""
	if n := len(found.Entries); n > 0 {
		last = found.Entries[n-1].Sub
	}
	next := was.advance(heard, members, found.More, last)
	return SincePage{Entries: found.Entries, Next: next.encode(), More: found.More}
}

// begin fetches the first page of all runs, and does without those that do not
// answer soon after a quorum has.
func (m *merge) begin(ctx context.Context) error {
	type first struct {
		run *run
		err error
	}
	began := time.Now()
	asking, cancel := context.WithCancel(ctx)
	answers := make(chan first, len(m.runs))
	var fetching sync.WaitGroup
	defer fetching.Wait()
	defer cancel()
	for _, r := range m.runs {
		fetching.Go(func() { answers <- first{r, m.fetch(asking, r)} })
	}
	var heard []*run
	var last error
	var grace <-chan time.Time
	for range m.runs {
		select {
		case a := <-answers:
			var gone *lostNode
			switch {
			case a.err == nil:
				heard = append(heard, a.run)
			case errors.As(a.err, &gone):
				last = a.err
			default:
				return a.err
			}
		case <-grace:
			m.runs = heard
			return nil
		}
		if grace == nil && m.enough(heard) {
			timer := time.NewTimer(max(sinceGrace, time.Since(began)/2))
			defer timer.Stop()
			grace = timer.C
		}
	}
	if !m.enough(heard) {
		return last
	}
	m.runs = heard
	return nil
}

// enough reports whether runs are of as many members of each set as a listing
// needs.
func (m *merge) enough(runs []*run) bool {
	s := m.p.slot(&RowKey{Bucket: m.r.Bucket, Key: m.r.Key})
	for i, set := range s.sets {
		n := 0
		for _, r := range runs {
			if set.Has(r.node) {
				n++
			}
		}
		if n < need(i, set, m.one) {
			return false
		}
	}
	return true
}

func sortedNodes(all map[object.NodeID]seen) []object.NodeID {
	nodes := make([]object.NodeID, 0, len(all))
	for n := range all {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b object.NodeID) int { return bytes.Compare(a[:], b[:]) })
	return nodes
}
