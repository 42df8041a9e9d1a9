package antientropy

import (
	"bytes"

	"hangar/services/meta/internal/record"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
)

const (
	// looks is how often slices are compared before they are listed. A write under
	// way makes two nodes differ for a moment: what was alike once needs no repair.
	looks = 4
	// maxPages bounds the pages that one round lists, whatever the other node
	// answers, and busyPages those of a round of which every slice is being written
	// to: such slices differ at every look although nothing may be missing. The
	// next round goes on where one had to stop.
	maxPages, busyPages = 2048, 32
)

// Action is what a Round wants done.
type Action uint8

// The actions.
const (
	// Look: ask both nodes for Effect.Digests; go on with Looked.
	Look Action = iota
	// Wait a little, so that writes under way end; go on with Waited.
	Wait
	// List: ask both nodes for Effect.Inventory; go on with Listed.
	List
	// Mend: repair Effect.Rows; go on with Mended.
	Mend
	// End: there is nothing more to do.
	End
)

// Effect is what to do next. Requests come without an epoch.
type Effect struct {
	Do        Action
	Digests   metaapi.DigestsRequest
	Inventory metaapi.InventoryRequest
	Rows      []Row
}

// Row is a row that two nodes have under different tags, or only one has.
type Row struct {
	Key metaapi.RowKey
	// Theirs says that the other node has the newer.
	Theirs bool
}

// Rest is what a round did not get to: the slices it listed and the position
// after which it did not. The zero Rest is none.
type Rest struct {
	Slices metaapi.Slices
	After  []byte
}

// Empty reports whether it is none.
func (r *Rest) Empty() bool { return r.Slices.Len() == 0 }

// Round compares what two nodes hold and finds the rows that differ: first
// whole partitions, then the slices of those that differ, then the rows of
// slices that stay different. It is a state machine without I/O: Start begins
// it and each event returns what to do next. It is not safe for concurrent use.
type Round struct {
	bits       uint8
	partitions []layout.Partition
	take       metaapi.Slices // what this node would repair
	looked     int
	suspect    metaapi.Slices   // differ at every look so far
	seen       []metaapi.Digest // what both had of them at the last look, in turn
	calm       metaapi.Slices   // those of them that did not change since
	rest       Rest             // of the round before
	pages      int              // that may still be listed
	differing  int              // partitions with suspects
	walk       metaapi.Slices   // being listed
	after      []byte
	next       []byte // after, once the rows in hand are mended
	last       bool   // then nothing follows
	done       bool   // all is listed and mended
	compared   int64
}

// NewRound compares partitions, in a cluster with so many partition bits, and
// repairs rows of the slices in take. It goes on with the rest of the round
// before, as far as that still differs.
func NewRound(bits uint8, partitions []layout.Partition, take metaapi.Slices, rest Rest) *Round {
	return &Round{bits: bits, partitions: partitions, take: take, rest: rest}
}

// ResumeRound goes on with a rest without another look.
func ResumeRound(rest Rest) *Round {
	return &Round{walk: rest.Slices, after: rest.After, looked: looks, pages: maxPages}
}

// Start begins the round.
func (r *Round) Start() Effect {
	switch {
	case r.looked == looks:
		return r.list()
	case len(r.partitions) == 0:
		return Effect{Do: End}
	}
	return Effect{Do: Look, Digests: metaapi.DigestsRequest{Partitions: r.partitions}}
}

// Looked hands in what both nodes answered to a Look.
func (r *Round) Looked(mine, theirs *metaapi.DigestsReply) Effect {
	if r.looked++; r.looked == 1 {
		for i, p := range r.partitions {
			if mine.Partitions[i] != theirs.Partitions[i] {
				r.suspect.AddPartition(p, r.bits)
			}
		}
	} else {
		r.compareSlices(mine.Slices, theirs.Slices)
	}
	if r.suspect.Len() == 0 {
		return Effect{Do: End}
	}
	if r.looked < looks {
		return Effect{Do: Wait}
	}
	r.differing = r.countPartitions()
	return r.plan()
}

// compareSlices drops the suspects that are alike.
func (r *Round) compareSlices(mine, theirs []metaapi.Digest) {
	var still, calm metaapi.Slices
	seen := make([]metaapi.Digest, 0, 2*len(mine))
	i, last := 0, r.seen
	r.suspect.Each(func(slice uint16) {
		a, b := mine[i], theirs[i]
		i++
		before := last
		if last != nil {
			last = last[2:]
		}
		if a == b {
			return
		}
		still.Add(slice)
		seen = append(seen, a, b)
		if before != nil && before[0] == a && before[1] == b {
			calm.Add(slice)
		}
	})
	r.suspect, r.calm, r.seen = still, calm, seen
}

// plan chooses what is listed, from where on, and how much of it. A listing
// passes all rows of both nodes. That is well spent on slices that differ and
// are not being written to; others come along.
func (r *Round) plan() Effect {
	r.seen, r.pages = nil, busyPages
	resume := false
	fresh := false // a calm slice that the rest does not have
	for i := range r.walk {
		r.walk[i] = r.suspect[i] & r.take[i]
		if r.calm[i]&r.take[i] != 0 {
			r.pages = maxPages
		}
		resume = resume || r.walk[i]&r.rest.Slices[i] != 0
		fresh = fresh || r.calm[i]&r.take[i]&^r.rest.Slices[i] != 0
	}
	if resume && !fresh {
		r.after = r.rest.After
	}
	return r.list()
}

func (r *Round) countPartitions() int {
	differ := map[layout.Partition]bool{}
	r.suspect.Each(func(slice uint16) { differ[layout.Partition(slice>>(metaapi.SliceBits-r.bits))] = true })
	return len(differ)
}

// Waited ends a Wait.
func (r *Round) Waited() Effect {
	return Effect{Do: Look, Digests: metaapi.DigestsRequest{Slices: r.suspect}}
}

func (r *Round) list() Effect {
	if r.walk.Len() == 0 || r.pages == 0 {
		return Effect{Do: End}
	}
	r.pages--
	return Effect{Do: List, Inventory: metaapi.InventoryRequest{
		Slices: r.walk, After: r.after, Limit: metaapi.MaxScanRows, MaxBytes: metaapi.MaxInventoryBytes,
	}}
}

// Listed hands in what both nodes answered to a List. The two pages are
// compared as far as both reach.
func (r *Round) Listed(mine, theirs *metaapi.InventoryReply) Effect {
	r.next, r.last = nil, mine.Done && theirs.Done
	for _, page := range []*metaapi.InventoryReply{mine, theirs} {
		if !page.Done && (r.next == nil || bytes.Compare(page.Next, r.next) < 0) {
			r.next = page.Next
		}
	}
	rows := r.compare(newPage(mine, r.next), newPage(theirs, r.next))
	if len(rows) == 0 {
		return r.Mended()
	}
	return Effect{Do: Mend, Rows: rows}
}

// Mended hands in that the rows of a Mend were repaired, or could not be.
func (r *Round) Mended() Effect {
	if r.last {
		r.done = true
		return Effect{Do: End}
	}
	r.after = r.next
	return r.list()
}

// page is what is left of one node's rows.
type page struct {
	rows  []metaapi.InventoryRow
	key   []byte // position of the first
	bound []byte // the last position that counts, nil for none
}

func newPage(r *metaapi.InventoryReply, bound []byte) *page {
	p := &page{rows: r.Rows, bound: bound}
	p.seek()
	return p
}

// seek drops what was never written and what is behind the bound.
func (p *page) seek() {
	for len(p.rows) > 0 && p.rows[0].Tag.IsZero() {
		p.rows = p.rows[1:]
	}
	p.key = nil
	if len(p.rows) > 0 {
		if key := record.RowKey(p.rows[0].Key); p.bound == nil || bytes.Compare(key, p.bound) <= 0 {
			p.key = key
		}
	}
}

func (p *page) pass() {
	p.rows = p.rows[1:]
	p.seek()
}

// compare lists the rows that only one page has, or both under different tags.
func (r *Round) compare(a, b *page) (differ []Row) {
	for a.key != nil || b.key != nil {
		r.compared++
		order := bytes.Compare(a.key, b.key)
		switch {
		case b.key == nil || a.key != nil && order < 0:
			differ = append(differ, Row{Key: a.rows[0].Key})
			a.pass()
		case a.key == nil || order > 0:
			differ = append(differ, Row{Key: b.rows[0].Key, Theirs: true})
			b.pass()
		default:
			if x, y := a.rows[0].Tag, b.rows[0].Tag; x != y {
				differ = append(differ, Row{Key: a.rows[0].Key, Theirs: x.Less(y)})
			}
			a.pass()
			b.pass()
		}
	}
	return differ
}

// Rest returns what is still to be listed: nothing before there is anything, and
// after everything was.
func (r *Round) Rest() Rest {
	if r.looked < looks || r.done || r.walk.Len() == 0 {
		return Rest{}
	}
	return Rest{r.walk, r.after}
}

// Differing returns the slices that stayed different, and how many partitions
// they are of.
func (r *Round) Differing() (metaapi.Slices, int) {
	if r.looked < looks {
		return metaapi.Slices{}, 0
	}
	return r.suspect, r.differing
}

// Compared is how many rows were compared.
func (r *Round) Compared() int64 { return r.compared }
