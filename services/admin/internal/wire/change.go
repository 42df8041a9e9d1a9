package wire

import (
	"time"

	"hangar/services/admin/internal/coordinator"
	"hangar/services/admin/internal/ops"
	"hangar/shared/control"
	"hangar/shared/object"
)

// ChangeJSON is an extension: a layout change under way.
type ChangeJSON struct {
	Version   uint64    `json:"version"`
	StartedAt time.Time `json:"startedAt"`
	// Phase is that of the service that is furthest behind.
	Phase    coordinator.Phase     `json:"phase"`
	Skipped  []object.NodeID       `json:"skippedNodes"`
	Services []coordinator.Service `json:"services"`
}

// MoveJSON is what a change of the layout carries between two nodes.
type MoveJSON struct {
	Service    string        `json:"service"`
	From       object.NodeID `json:"from"`
	To         object.NodeID `json:"to"`
	Partitions int           `json:"partitions"`
	// BytesAtMost is 0 when it is not known.
	BytesAtMost int64 `json:"bytesAtMost"`
}

// DescribeMoves writes moves.
func DescribeMoves(moves []ops.Move) []MoveJSON {
	out := make([]MoveJSON, 0, len(moves))
	for _, m := range moves {
		out = append(out, MoveJSON{m.Service, m.From, m.To, m.Partitions, m.Bytes})
	}
	return out
}

// ServiceSpace is what a change of the layout does to a service.
type ServiceSpace struct {
	Service         string      `json:"service"`
	Partitions      int         `json:"partitions"`
	PartitionsMoved int         `json:"partitionsMoved"`
	UsableBefore    int64       `json:"usableCapacityBefore"`
	UsableAfter     int64       `json:"usableCapacityAfter"`
	ZonesBefore     int         `json:"zonesBefore"`
	ZonesAfter      int         `json:"zonesAfter"`
	LeastZones      int         `json:"leastZonesOfAPartition"`
	Nodes           []NodeSpace `json:"nodes"`
}

// NodeSpace is what it does to a node.
type NodeSpace struct {
	ID          object.NodeID `json:"id"`
	Zone        string        `json:"zone"`
	Capacity    int64         `json:"capacity"`
	Before      int           `json:"partitionsBefore"`
	After       int           `json:"partitionsAfter"`
	UsableAfter int64         `json:"usableCapacityAfter"`
}

// DescribeSpace writes what a change does to the services.
func DescribeSpace(spaces []ops.Space) []ServiceSpace {
	out := make([]ServiceSpace, 0, len(spaces))
	for _, s := range spaces {
		j := ServiceSpace{s.Service, s.Partitions, s.PartitionsMoved, s.UsableBefore, s.UsableAfter, s.ZonesBefore, s.ZonesAfter, s.RedundancyAfter, []NodeSpace{}}
		for _, n := range s.Nodes {
			j.Nodes = append(j.Nodes, NodeSpace{n.Node, n.Zone, n.Capacity, n.PartitionsBefore, n.PartitionsAfter, n.UsableAfter})
		}
		out = append(out, j)
	}
	return out
}

// LayoutHistory is the answer of GetClusterLayoutHistory.
type LayoutHistory struct {
	CurrentVersion uint64        `json:"currentVersion"`
	MinAck         uint64        `json:"minAck"`
	Versions       []PastVersion `json:"versions"`
	// UpdateTrackers is null: majorities are counted instead of versions.
	UpdateTrackers *struct{} `json:"updateTrackers"`
}

// PastVersion is a version of the layout.
type PastVersion struct {
	Version uint64 `json:"version"`
	// Status is one of Garage's.
	Status       string `json:"status"`
	StorageNodes int    `json:"storageNodes"`
	GatewayNodes int    `json:"gatewayNodes"`
	// Extensions: when it was applied, what became of it, and its roles.
	AppliedAt time.Time            `json:"appliedAt"`
	Outcome   control.LayoutStatus `json:"outcome"`
	Roles     []AssignedRole       `json:"roles"`
}

// AtVersion names the version that a change of the layout is about, so that
// nobody decides on a layout other than the one looked at.
type AtVersion struct {
	Version *uint64 `json:"version"`
}

// SkipOrder is the body of ClusterLayoutSkipDeadNodes.
type SkipOrder struct {
	AtVersion
	// AllowMissingData changes nothing: a change that would leave a partition
	// without a majority can only be aborted.
	AllowMissingData bool `json:"allowMissingData,omitempty"`
}

// SkippedNodes are the nodes that a change goes on without.
type SkippedNodes struct {
	AckUpdated  []object.NodeID `json:"ackUpdated"`
	SyncUpdated []object.NodeID `json:"syncUpdated"`
}
