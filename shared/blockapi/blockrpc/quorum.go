package blockrpc

import (
	"slices"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// quorum counts the answers to one write. It belongs to one goroutine.
type quorum struct {
	sets  []layout.ReplicaSet
	nodes []object.NodeID
	// one makes a single member of each set enough.
	one bool
	// acked are the nodes that did it; failed those that will not, and why.
	acked  []object.NodeID
	failed map[object.NodeID]error
}

func newQuorum(sets []layout.ReplicaSet, one bool) *quorum {
	return &quorum{sets: sets, nodes: members(sets), one: one}
}

// need is how many members of a set have to acknowledge.
func (q *quorum) need(s layout.ReplicaSet) int {
	if q.one {
		return 1
	}
	return s.Majority()
}

// members lists the nodes of all sets once each.
func members(sets []layout.ReplicaSet) []object.NodeID {
	var nodes []object.NodeID
	for _, s := range sets {
		for _, n := range s {
			if !slices.Contains(nodes, n) {
				nodes = append(nodes, n)
			}
		}
	}
	return nodes
}

func (q *quorum) ack(n object.NodeID) {
	if !slices.Contains(q.acked, n) {
		q.acked = append(q.acked, n)
	}
	delete(q.failed, n)
}

func (q *quorum) fail(n object.NodeID, err error) {
	if q.failed == nil {
		q.failed = make(map[object.NodeID]error)
	}
	q.failed[n] = err
}

// reached reports whether enough members of each set have acknowledged.
func (q *quorum) reached() bool {
	for _, s := range q.sets {
		if count(s, q.acked) < q.need(s) {
			return false
		}
	}
	return true
}

func count(s layout.ReplicaSet, nodes []object.NodeID) (n int) {
	for _, m := range s {
		if slices.Contains(nodes, m) {
			n++
		}
	}
	return n
}

// open lists the nodes worth asking (again): those that have not acknowledged
// and did not refuse for good.
func (q *quorum) open() []object.NodeID {
	var open []object.NodeID
	for _, n := range q.nodes {
		if !slices.Contains(q.acked, n) && !final(q.failed[n]) {
			open = append(open, n)
		}
	}
	return open
}

// hopeless reports whether refusals for good leave some set without enough.
func (q *quorum) hopeless() bool {
	reachable := append(q.open(), q.acked...)
	for _, s := range q.sets {
		if count(s, reachable) < q.need(s) {
			return true
		}
	}
	return false
}

// final reports whether asking the same node again soon is pointless.
func final(err error) bool {
	if err == nil {
		return false
	}
	switch fault.KindOf(err) {
	case fault.StorageFull, fault.Invalid, fault.Corrupt, fault.Denied, fault.NotFound, fault.NotImplemented:
		return true
	}
	return false
}

// err explains why the quorum was missed: the kind that tells the caller most.
func (q *quorum) err(what string) error {
	for _, k := range []fault.Kind{fault.Invalid, fault.Corrupt, fault.StorageFull, fault.Overloaded} {
		for _, err := range q.failed {
			if fault.Is(err, k) {
				return fault.Wrap(k, err, "%s: %d of %d replicas", what, len(q.acked), len(q.nodes))
			}
		}
	}
	for _, err := range q.failed {
		return fault.Wrap(fault.Unavailable, err, "%s: %d of %d replicas", what, len(q.acked), len(q.nodes))
	}
	return fault.New(fault.Unavailable, "%s: %d of %d replicas answered", what, len(q.acked), len(q.nodes))
}
