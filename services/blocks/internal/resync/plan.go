// Package resync makes what this node holds what it should hold. A queue in the
// index names blocks to be fetched, referred to or replaced; Worker works it
// off. Comparer finds what is missing by comparing digests with the other
// members of each partition. Mover fills partitions that the node comes to
// hold, and gives up what it no longer holds once all members have it.
//
// Nothing is taken for an owner that is dead: before a reference is taken over
// the metadata is asked, and when the owner is dead its holder gets a hint, so
// that references of the dead do not wander between nodes for ever. A partition
// that is filled as a whole takes its references as they are; the sweep
// verifies them later, as it does all others.
package resync

import (
	"slices"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// The wait after a try that failed: doubled each time, up to a bound.
const minBackoff, maxBackoff = 10 * time.Second, time.Hour

// backoff is the wait after the last of so many tries failed.
func backoff(tries uint32) time.Duration {
	return min(minBackoff<<min(tries, 10), maxBackoff)
}

// others lists the other members of a partition in all sets of ring, and says
// whether self is one.
func others(ring *layout.Ring, p layout.Partition, self object.NodeID) (nodes []object.NodeID, member bool) {
	for _, set := range ring.Sets(p) {
		for _, n := range set {
			switch {
			case n == self:
				member = true
			case !slices.Contains(nodes, n):
				nodes = append(nodes, n)
			}
		}
	}
	return nodes, member
}

// sources are the nodes that a partition is filled from, and how many of them
// must have listed it completely for that to be all: a quorum of the set in
// force, which meets every quorum that acknowledged something. A node that is in
// the set itself cannot count on that, and nobody may be left out: 0 then. Nodes
// in skip were declared dead, and are left out as long as the others meet every
// quorum without them.
func sources(ring *layout.Ring, p layout.Partition, self object.NodeID, skip []object.NodeID) (nodes []object.NodeID, quorum int) {
	sets := ring.Sets(p)
	if len(sets) == 0 {
		return nil, 0
	}
	var dead []object.NodeID
	for _, n := range sets[0] {
		switch {
		case n == self:
		case slices.Contains(skip, n):
			dead = append(dead, n)
		default:
			nodes = append(nodes, n)
		}
	}
	if len(dead) >= sets[0].Majority() {
		nodes = append(nodes, dead...)
	}
	if sets[0].Has(self) {
		return nodes, 0
	}
	return nodes, sets[0].Majority()
}

// filled reports whether a partition is complete once so many of its sources
// listed all they had, and so many of those were complete themselves.
func filled(nodes, quorum, listed, complete int) bool {
	return listed == nodes || quorum > 0 && complete >= quorum
}

// differing lists the leaves in which theirs holds something and mine not
// exactly the same.
func differing(mine, theirs map[blockapi.Leaf]blockapi.Digest) (leaves []blockapi.Leaf) {
	for leaf, d := range theirs {
		if !d.Same(mine[leaf]) {
			leaves = append(leaves, leaf)
		}
	}
	slices.Sort(leaves)
	return leaves
}

// except splits the references of entries, counted through, into those that
// are not in lacking.
func except(entries []blockapi.Entry, lacking map[int]bool) (rest []blockapi.Entry) {
	i := 0
	for _, e := range entries {
		kept := blockapi.Entry{Hash: e.Hash, StoredBytes: e.StoredBytes}
		for _, o := range e.Owners {
			if !lacking[i] {
				kept.Owners = append(kept.Owners, o)
			}
			i++
		}
		if len(kept.Owners) > 0 {
			rest = append(rest, kept)
		}
	}
	return rest
}
