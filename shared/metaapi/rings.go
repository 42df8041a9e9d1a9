package metaapi

import (
	"context"
	"sync"

	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

// Rings is where a Client learns the metadata ring. Safe for concurrent use.
type Rings interface {
	// Ring returns the ring in force, the same pointer as long as it is the
	// same. Nil, or one without assignments, means that there is none yet.
	Ring() *layout.Ring
	// Await returns when Ring has reached epoch, or ctx ends.
	Await(ctx context.Context, epoch uint64)
}

// placement is what a Client derives from one ring: who is asked, and how.
// Partitions are worked out when first used.
type placement struct {
	ring  *layout.Ring
	slots []slotOnce
	near  map[object.NodeID]bool
	// cover is who is asked for a listing while all are well, by index.
	cover [2]func() ([]object.NodeID, error)
	// share is the part of all partitions that a node holds, on average.
	share float64
}

type slotOnce struct {
	once sync.Once
	slot slot
}

// slot is one partition: its members, numbered as in config.
type slot struct {
	part   layout.Partition
	config register.Config
	target rpc.Target
	sets   []layout.ReplicaSet
}

func newPlacement(ring *layout.Ring, near func(object.NodeID) bool) *placement {
	p := &placement{ring: ring, share: 1, near: map[object.NodeID]bool{}}
	if ring != nil && len(ring.Assign) > 0 {
		p.slots = make([]slotOnce, len(ring.Assign))
		members := len(ring.Assign[0])
		p.share = min(1, float64(members)/float64(max(1, len(ring.Nodes))))
	}
	if ring != nil {
		for _, n := range ring.Nodes {
			if near(n) {
				p.near[n] = true
			}
		}
	}
	for _, one := range []bool{false, true} {
		p.cover[index(one)] = sync.OnceValues(func() ([]object.NodeID, error) { return coverFor(ring, p.all(), p.near, nil, one) })
	}
	return p
}

// epoch is that of the ring, 0 when there is none.
func (p *placement) epoch() uint64 { return epochOf(p.ring) }

func epochOf(ring *layout.Ring) uint64 {
	if ring == nil {
		return 0
	}
	return ring.Epoch
}

// slot returns where a row lives. It has no sets when no layout is known.
func (p *placement) slot(k *RowKey) *slot {
	if len(p.slots) == 0 {
		return &slot{config: register.Config{Epoch: p.epoch()}}
	}
	part := layout.OfRow(k.Bucket, k.Key, p.ring.Bits)
	s := &p.slots[part]
	s.once.Do(func() { s.slot = newSlot(p.ring, part) })
	return &s.slot
}

func newSlot(ring *layout.Ring, part layout.Partition) slot {
	s := slot{
		part:   part,
		config: register.Config{Epoch: ring.Epoch},
		target: rpc.Target{Subject: rpc.PartitionSubject(service, opRow, part)},
		sets:   ring.Sets(part),
	}
	for _, set := range s.sets {
		var members register.Set
		for _, n := range set {
			i := s.index(n)
			if i < 0 {
				i = len(s.target.Nodes)
				s.target.Nodes = append(s.target.Nodes, n)
			}
			members |= 1 << i
		}
		s.config.Sets = append(s.config.Sets, members)
	}
	s.config.Members = len(s.target.Nodes)
	return s
}

// set is the member n, or empty when it is none.
func (s *slot) set(n object.NodeID) register.Set {
	if i := s.index(n); i >= 0 {
		return 1 << i
	}
	return 0
}

// index is the number of member n, or -1.
func (s *slot) index(n object.NodeID) int {
	for i, m := range s.target.Nodes {
		if m == n {
			return i
		}
	}
	return -1
}
