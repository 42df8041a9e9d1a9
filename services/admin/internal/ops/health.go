package ops

import (
	"hangar/shared/layout"
	"hangar/shared/object"
)

// The states of a cluster.
const (
	Healthy     = "healthy"     // every node with a role is up
	Degraded    = "degraded"    // each partition has a quorum
	Unavailable = "unavailable" // some partition has none, or there is no layout
)

// Health sums the cluster up. A partition counts as one of rows and one of
// blocks together: both must do for it to do.
type Health struct {
	Status                       string
	KnownNodes, ConnectedNodes   int
	StorageNodes, StorageNodesUp int
	Partitions                   int
	PartitionsQuorum             int
	PartitionsAllOK              int
}

// Health looks at the layout and at which nodes are up.
func (o *Ops) Health() Health {
	v, up := o.View(), map[object.NodeID]bool{}
	var h Health
	known := map[object.NodeID]bool{}
	for _, n := range o.fleet.Nodes() {
		known[n.ID] = true
		if n.Up {
			up[n.ID] = true
			h.ConnectedNodes++
		}
	}
	h.Status = Unavailable
	if v.Layout != nil {
		for _, r := range v.Layout.Roles {
			known[r.Node] = true
			h.StorageNodes++
			if up[r.Node] {
				h.StorageNodesUp++
			}
		}
		h.Partitions = min(len(v.Layout.Meta.Assign), len(v.Layout.Blocks.Assign))
	}
	h.KnownNodes = len(known)
	for p := range h.Partitions {
		quorumM, allM := reach(&v.Layout.Meta, layout.Partition(p), up)
		quorumB, allB := reach(&v.Layout.Blocks, layout.Partition(p), up)
		if quorumM && quorumB {
			h.PartitionsQuorum++
		}
		if allM && allB {
			h.PartitionsAllOK++
		}
	}
	switch {
	case h.Partitions == 0 || h.PartitionsQuorum < h.Partitions:
	case h.StorageNodesUp == h.StorageNodes:
		h.Status = Healthy
	default:
		h.Status = Degraded
	}
	return h
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
