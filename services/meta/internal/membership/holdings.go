package membership

import (
	"hangar/services/meta/internal/record"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// Holdings is what a node remembers, by partition.
type Holdings []record.Holding

// always are the holdings of a node from before they were kept: then the
// assignment never changed.
func always(partitions int) Holdings {
	h := make(Holdings, partitions)
	for p := range h {
		h[p].Since = 1
	}
	return h
}

// Step returns what is to be remembered in a ring, and the partitions that are
// gained by that, to be served from then on under the low marks of the layout.
// It is the whole rule:
//
//   - A member since the epoch that it remembers goes on.
//   - One that is a member no more, or since another epoch, was away in
//     between: what it holds is stale.
//   - What is stale has to be dropped first (Dropped).
//   - A member that has nothing begins once the low marks are known that were
//     gathered in the epoch it joined in, or later. A member since epoch 1 is
//     one of a new cluster, which has none.
func (h Holdings) Step(ring *layout.Ring, self object.NodeID, lowsEpoch uint64) (next Holdings, gained []layout.Partition) {
	next = make(Holdings, len(h))
	for i, was := range h {
		p := layout.Partition(i)
		joined, member := ring.JoinedAt(p, self)
		switch {
		case was.Since != 0 && member && joined == was.Since, was.Stale:
			next[i] = was
		case was.Since != 0:
			next[i].Stale = true
		case member && (joined == 1 || lowsEpoch >= joined):
			next[i].Since = joined
			gained = append(gained, p)
		}
	}
	return next, gained
}

// Stale lists the partitions that are to be dropped.
func (h Holdings) Stale() (stale []layout.Partition) {
	for p, was := range h {
		if was.Stale {
			stale = append(stale, layout.Partition(p))
		}
	}
	return stale
}

// Dropped returns the holdings once some stale partitions are dropped.
func (h Holdings) Dropped(dropped []layout.Partition) Holdings {
	next := append(Holdings(nil), h...)
	for _, p := range dropped {
		next[p].Stale = false
	}
	return next
}
