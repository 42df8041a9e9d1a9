// Package layout decides which nodes hold which partition. It is pure: given
// roles and the previous assignment it computes the next one, and it answers
// where a partition lives.
package layout

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"hangar/shared/object"
)

// Partition is a slice of a ring: the top Bits bits of a hash.
type Partition uint16

// DefaultBits gives 256 partitions. It is fixed when a cluster is born.
const DefaultBits = 8

// MaxBits bounds the number of partitions to 4,096.
const MaxBits = 12

// OfHash is the partition of a block.
func OfHash(h object.Hash, bits uint8) Partition {
	return Partition(binary.BigEndian.Uint16(h[:2]) >> (16 - bits))
}

// OfRow is the partition of all rows with this bucket and key.
func OfRow(b object.BucketID, key string, bits uint8) Partition {
	var room [len(b) + object.MaxKeyBytes]byte // on the stack: every request comes by here
	sum := sha256.Sum256(append(append(room[:0], b[:]...), key...))
	return Partition(binary.BigEndian.Uint16(sum[:2]) >> (16 - bits))
}

// ReplicaSet is the nodes that hold one partition, in order of preference for
// nobody in particular. Its majority is len/2+1.
type ReplicaSet []object.NodeID

// Majority is the size of a quorum of the set.
func (s ReplicaSet) Majority() int { return len(s)/2 + 1 }

// Has reports whether n is a member.
func (s ReplicaSet) Has(n object.NodeID) bool {
	for _, m := range s {
		if m == n {
			return true
		}
	}
	return false
}

// Ring is the assignment of one service's partitions to its nodes, in one
// epoch. It is immutable once published.
type Ring struct {
	// Epoch orders assignments; replicas fence on it. 0 means no assignment yet.
	Epoch uint64 `json:"epoch"`
	// Bits gives 1<<Bits partitions.
	Bits uint8 `json:"bits"`
	// Nodes lists every node that appears below.
	Nodes []object.NodeID `json:"nodes"`
	// Assign holds, per partition, indices into Nodes.
	Assign [][]uint16 `json:"assign"`
	// Next is the assignment that a change leads to, nil when none is under
	// way. While it is set both sets of a partition count.
	Next [][]uint16 `json:"next,omitempty"`
	// Since holds, alongside Assign, the epoch in which each member came to
	// hold the partition without a break since. Missing entries mean 1. A node
	// that finds an epoch later than the one it remembers was away in between,
	// and must drop what it holds before it counts as a member.
	Since [][]uint64 `json:"since,omitempty"`
}

// Joint reports whether a change of the assignment is under way.
func (r *Ring) Joint() bool { return r != nil && r.Next != nil }

// JoinedAt returns the epoch since which n is a member of p, in either
// assignment; false when it is none. A member that only the next assignment
// has joined in the ring's own epoch.
func (r *Ring) JoinedAt(p Partition, n object.NodeID) (epoch uint64, member bool) {
	if r == nil || int(p) >= len(r.Assign) {
		return 0, false
	}
	for i, m := range r.Assign[p] {
		if r.Nodes[m] != n {
			continue
		}
		if int(p) < len(r.Since) && i < len(r.Since[p]) {
			return r.Since[p][i], true
		}
		return 1, true
	}
	return r.Epoch, r.Joint() && r.set(r.Next[p]).Has(n)
}

// Gains returns the members that only the next assignment of p has.
func (r *Ring) Gains(p Partition) (nodes []object.NodeID) {
	if !r.Joint() {
		return nil
	}
	before := r.set(r.Assign[p])
	for _, n := range r.set(r.Next[p]) {
		if !before.Has(n) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Changes reports whether p has other members in the next assignment.
func (r *Ring) Changes(p Partition) bool {
	if !r.Joint() {
		return false
	}
	return len(r.Assign[p]) != len(r.Next[p]) || len(r.Gains(p)) > 0
}

// Moves counts the partitions that change hands.
func (r *Ring) Moves() (partitions int) {
	if !r.Joint() {
		return 0
	}
	for p := range r.Assign {
		if r.Changes(Partition(p)) {
			partitions++
		}
	}
	return partitions
}

// Begin returns the joint ring, one epoch later, that leads from r to the
// assignment a. Partitions keep the order of the members they keep.
func (r *Ring) Begin(a Assignment) *Ring {
	next := &Ring{Epoch: r.Epoch + 1, Bits: r.Bits, Nodes: slices.Clone(r.Nodes), Assign: r.Assign, Since: r.Since}
	index := make(map[object.NodeID]uint16, len(r.Nodes))
	for i, n := range next.Nodes {
		index[n] = uint16(i)
	}
	for _, n := range a.Nodes {
		if _, known := index[n]; !known {
			index[n] = uint16(len(next.Nodes))
			next.Nodes = append(next.Nodes, n)
		}
	}
	for _, set := range a.Assign {
		to := make([]uint16, len(set))
		for i, m := range set {
			to[i] = index[a.Nodes[m]]
		}
		next.Next = append(next.Next, to)
	}
	return next
}

// End returns the ring, one epoch later, that a joint ring leads to; with
// abort, the one it came from.
func (r *Ring) End(abort bool) *Ring {
	to := r.Next
	if abort {
		to = r.Assign
	}
	end := &Ring{Epoch: r.Epoch + 1, Bits: r.Bits}
	index := map[object.NodeID]uint16{}
	for p, set := range to {
		members, since := make([]uint16, len(set)), make([]uint64, len(set))
		for i, m := range set {
			n := r.Nodes[m]
			at, known := index[n]
			if !known {
				at = uint16(len(end.Nodes))
				index[n], end.Nodes = at, append(end.Nodes, n)
			}
			members[i] = at
			since[i], _ = r.JoinedAt(Partition(p), n)
		}
		end.Assign, end.Since = append(end.Assign, members), append(end.Since, since)
	}
	return end
}

// Sets returns the replica sets of p: none when the ring is empty, one
// normally, two while p changes hands.
func (r *Ring) Sets(p Partition) []ReplicaSet {
	if r == nil || int(p) >= len(r.Assign) {
		return nil
	}
	sets := []ReplicaSet{r.set(r.Assign[p])}
	if r.Next != nil {
		sets = append(sets, r.set(r.Next[p]))
	}
	return sets
}

func (r *Ring) set(idx []uint16) ReplicaSet {
	s := make(ReplicaSet, len(idx))
	for i, n := range idx {
		s[i] = r.Nodes[n]
	}
	return s
}

// Partitions is the number of partitions of the ring.
func (r *Ring) Partitions() int { return 1 << r.Bits }
