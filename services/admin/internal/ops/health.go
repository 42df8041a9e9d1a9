package ops

import (
	"fmt"
	"slices"

	"hangar/shared/control"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// The states of a cluster.
const (
	// Healthy: all copies of all partitions are within reach. While a layout
	// changes, those of the present and of the next assignment.
	Healthy = "healthy"
	// Degraded: every partition has a quorum, in both assignments while the
	// layout changes, so that everything can be read and written; but something
	// is down.
	Degraded = "degraded"
	// Unavailable: some partition has no quorum, or there is no layout.
	Unavailable = "unavailable"
)

// Health sums the cluster up. A partition counts as one of rows and one of
// blocks together: both must do for it to do.
type Health struct {
	Status                     string
	KnownNodes, ConnectedNodes int
	// StorageNodesOK are those of StorageNodesUp whose disks take writes.
	StorageNodes, StorageNodesUp, StorageNodesOK int
	Partitions                                   int
	PartitionsQuorum                             int
	PartitionsAllOK                              int
	// Readable says that every partition has a quorum of nodes that answer reads.
	Readable bool
	// Changing says that a layout change is under way.
	Changing bool
	// Reasons say what keeps the cluster from being healthy.
	Reasons []string
}

// Health looks at the layout and at which nodes are up. One whose disk takes no
// writes counts for no quorum: it may answer reads still, but not all requests.
func (o *Ops) Health() Health {
	v, up, sound, reads := o.View(), map[object.NodeID]bool{}, map[object.NodeID]bool{}, map[object.NodeID]bool{}
	failing := map[object.NodeID]string{}
	var h Health
	known := map[object.NodeID]bool{}
	for _, n := range o.fleet.Nodes() {
		known[n.ID] = true
		if n.Up {
			up[n.ID] = true
			h.ConnectedNodes++
			reads[n.ID] = n.Failing == "" || n.ReadOnly
			if n.Failing != "" {
				failing[n.ID] = n.Failing
			}
		}
	}
	for id := range up {
		sound[id] = failing[id] == ""
	}
	h.Status = Unavailable
	if v.Layout != nil {
		for _, r := range v.Layout.Roles {
			known[r.Node] = true
			h.StorageNodes++
			if up[r.Node] {
				h.StorageNodesUp++
			}
			if sound[r.Node] {
				h.StorageNodesOK++
			}
		}
		h.Changing = v.Layout.Joint()
		h.Partitions = min(len(v.Layout.Meta.Assign), len(v.Layout.Blocks.Assign))
	}
	h.KnownNodes = len(known)
	h.Readable = h.Partitions > 0
	for p := range h.Partitions {
		quorumM, allM := reach(&v.Layout.Meta, layout.Partition(p), sound)
		quorumB, allB := reach(&v.Layout.Blocks, layout.Partition(p), sound)
		readM, _ := reach(&v.Layout.Meta, layout.Partition(p), reads)
		readB, _ := reach(&v.Layout.Blocks, layout.Partition(p), reads)
		h.Readable = h.Readable && readM && readB
		if quorumM && quorumB {
			h.PartitionsQuorum++
		}
		if allM && allB {
			h.PartitionsAllOK++
		}
	}
	switch {
	case h.Partitions == 0 || h.PartitionsQuorum < h.Partitions:
	case h.StorageNodesOK == h.StorageNodes && h.PartitionsAllOK == h.Partitions:
		h.Status = Healthy
	default:
		h.Status = Degraded
	}
	h.explain(v.Layout, up)
	h.Reasons = append(h.Reasons, failures(v.Layout, failing)...)
	return h
}

// explain finds the reasons for a state that is not healthy.
func (h *Health) explain(l *control.Layout, up map[object.NodeID]bool) {
	if l == nil {
		h.Reasons = append(h.Reasons, "no layout was applied yet")
		return
	}
	if n := h.Partitions - h.PartitionsQuorum; n > 0 {
		h.Reasons = append(h.Reasons, fmt.Sprintf("%d of %d partitions have no quorum", n, h.Partitions))
	}
	for _, s := range control.StorageServices {
		ring := l.Ring(s)
		for _, n := range ring.Nodes {
			if up[n] {
				continue
			}
			what := "is down"
			if ring.Joint() && !holds(ring.Next, ring.Nodes, n) {
				what = "is down and leaving"
			} else if !holds(ring.Assign, ring.Nodes, n) {
				what = "is down and joining"
			}
			h.Reasons = append(h.Reasons, fmt.Sprintf("%s node %s %s", s, n, what))
		}
		for _, r := range l.Roles { // those with a role and no partitions
			if r.Service == s && !up[r.Node] && !slices.Contains(ring.Nodes, r.Node) {
				h.Reasons = append(h.Reasons, fmt.Sprintf("%s node %s is down and holds nothing", s, r.Node))
			}
		}
	}
}

// failures words what nodes say of their disks.
func failures(l *control.Layout, failing map[object.NodeID]string) (reasons []string) {
	if l == nil {
		return nil
	}
	for _, r := range l.Roles {
		if why := failing[r.Node]; why != "" {
			reasons = append(reasons, fmt.Sprintf("%s node %s takes no writes: %s", r.Service, r.Node, why))
		}
	}
	return reasons
}

// reach says whether a majority, and whether all, of each replica set are up.
func reach(r *layout.Ring, p layout.Partition, up map[object.NodeID]bool) (quorum, all bool) {
	quorum, all = true, true
	for _, set := range r.Sets(p) {
		n := 0
		for _, node := range set {
			if up[node] {
				n++
			}
		}
		quorum = quorum && n >= set.Majority()
		all = all && n == len(set)
	}
	return quorum, all
}
