package antientropy

import (
	"bytes"

	"hangar/services/meta/internal/record"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
)

// looks is how often slices are compared before they are listed. A write under
// way makes two nodes differ for a moment: what was alike once needs no repair.
const looks = 4

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
	Rows      []metaapi.RowKey
}

// Round compares what two nodes hold and finds the rows that differ: first
// whole partitions, then the slices of those that differ, then the rows of
// slices that stay different. It is a state machine without I/O: Start begins
// it and each event returns what to do next. It is not safe for concurrent use.
type Round struct {
	bits       uint8
	partitions []layout.Partition
	take       metaapi.Slices // what this node would repair
	looked     int
	suspect    metaapi.Slices // differ at every look so far
	differing  int            // partitions with suspects
	walk       metaapi.Slices // being listed
	after      []byte
	next       []byte // after, once the rows in hand are mended
	done       bool   // then nothing follows
	compared   int64
}

// NewRound compares partitions, in a cluster with so many partition bits, and
// repairs rows of the slices in take.
func NewRound(bits uint8, partitions []layout.Partition, take metaapi.Slices) *Round {
	return &Round{bits: bits, partitions: partitions, take: take}
}

// ResumeRound goes on with listing slices after a position.
func ResumeRound(walk metaapi.Slices, after []byte) *Round {
	return &Round{walk: walk, after: after, looked: looks}
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
		var still metaapi.Slices
		i := 0
		r.suspect.Each(func(slice uint16) {
			if mine.Slices[i] != theirs.Slices[i] {
				still.Add(slice)
			}
			i++
		})
		r.suspect = still
	}
	if r.suspect.Len() == 0 {
		return Effect{Do: End}
	}
	if r.looked < looks {
		return Effect{Do: Wait}
	}
	r.differing = r.countPartitions()
	for i := range r.walk {
		r.walk[i] = r.suspect[i] & r.take[i]
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
	if r.walk.Len() == 0 {
		return Effect{Do: End}
	}
	return Effect{Do: List, Inventory: metaapi.InventoryRequest{
		Slices: r.walk, After: r.after, Limit: metaapi.MaxScanRows, MaxBytes: metaapi.MaxInventoryBytes,
	}}
}

// Listed hands in what both nodes answered to a List. The two pages are
// compared as far as both reach.
func (r *Round) Listed(mine, theirs *metaapi.InventoryReply) Effect {
	r.next, r.done = nil, mine.Done && theirs.Done
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
	if r.done {
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
func (r *Round) compare(a, b *page) (differ []metaapi.RowKey) {
	for a.key != nil || b.key != nil {
		r.compared++
		order := bytes.Compare(a.key, b.key)
		switch {
		case b.key == nil || a.key != nil && order < 0:
			differ = append(differ, a.rows[0].Key)
			a.pass()
		case a.key == nil || order > 0:
			differ = append(differ, b.rows[0].Key)
			b.pass()
		default:
			if a.rows[0].Tag != b.rows[0].Tag {
				differ = append(differ, a.rows[0].Key)
			}
			a.pass()
			b.pass()
		}
	}
	return differ
}

// At returns the slices that are listed and the position up to which all is
// mended; false when nothing is listed.
func (r *Round) At() (walk metaapi.Slices, after []byte, listing bool) {
	return r.walk, r.after, r.looked == looks && r.walk.Len() > 0
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
