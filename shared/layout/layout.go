// Package layout decides which nodes hold which partition. It is pure: given
// roles and the previous assignment it computes the next one, and it answers
// where a partition lives.
package layout

import (
	"crypto/sha256"
	"encoding/binary"

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
