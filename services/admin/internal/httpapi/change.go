package httpapi

import (
	"time"

	"hangar/services/admin/internal/coordinator"
	"hangar/services/admin/internal/ops"
	"hangar/shared/control"
	"hangar/shared/object"
)

// changeJSON is an extension: a layout change under way.
type changeJSON struct {
	Version   uint64    `json:"version"`
	StartedAt time.Time `json:"startedAt"`
	// Phase is that of the service that is furthest behind.
	Phase    coordinator.Phase     `json:"phase"`
	Skipped  []object.NodeID       `json:"skippedNodes"`
	Services []coordinator.Service `json:"services"`
}

func describeChange(c call) *changeJSON {
	s := c.s.ops.ChangeStatus(c.ctx)
	if s == nil {
		return nil
	}
	out := &changeJSON{Version: s.Version, StartedAt: s.Began, Services: nonNil(s.Services), Skipped: []object.NodeID{}}
	if l := c.s.ops.View().Layout; l != nil && l.Change != nil {
		out.Skipped = nonNil(l.Change.Skip)
	}
	order := map[coordinator.Phase]int{coordinator.Fencing: 1, coordinator.Marking: 2, coordinator.Copying: 3, coordinator.Ending: 4}
	for _, service := range s.Services {
		if out.Phase == "" || order[service.Phase] < order[out.Phase] {
			out.Phase = service.Phase
		}
	}
	return out
}

type moveJSON struct {
	Service    string        `json:"service"`
	From       object.NodeID `json:"from"`
	To         object.NodeID `json:"to"`
	Partitions int           `json:"partitions"`
	// BytesAtMost is 0 when it is not known.
	BytesAtMost int64 `json:"bytesAtMost"`
}

func movesJSON(moves []ops.Move) []moveJSON {
	out := make([]moveJSON, 0, len(moves))
	for _, m := range moves {
		out = append(out, moveJSON{m.Service, m.From, m.To, m.Partitions, m.Bytes})
	}
	return out
}

type serviceSpace struct {
	Service         string      `json:"service"`
	Partitions      int         `json:"partitions"`
	PartitionsMoved int         `json:"partitionsMoved"`
	UsableBefore    int64       `json:"usableCapacityBefore"`
	UsableAfter     int64       `json:"usableCapacityAfter"`
	ZonesBefore     int         `json:"zonesBefore"`
	ZonesAfter      int         `json:"zonesAfter"`
	LeastZones      int         `json:"leastZonesOfAPartition"`
	Nodes           []nodeSpace `json:"nodes"`
}

type nodeSpace struct {
	ID          object.NodeID `json:"id"`
	Zone        string        `json:"zone"`
	Capacity    int64         `json:"capacity"`
	Before      int           `json:"partitionsBefore"`
	After       int           `json:"partitionsAfter"`
	UsableAfter int64         `json:"usableCapacityAfter"`
}

func spaceJSON(spaces []ops.Space) []serviceSpace {
	out := make([]serviceSpace, 0, len(spaces))
	for _, s := range spaces {
		j := serviceSpace{s.Service, s.Partitions, s.PartitionsMoved, s.UsableBefore, s.UsableAfter, s.ZonesBefore, s.ZonesAfter, s.RedundancyAfter, []nodeSpace{}}
		for _, n := range s.Nodes {
			j.Nodes = append(j.Nodes, nodeSpace{n.Node, n.Zone, n.Capacity, n.PartitionsBefore, n.PartitionsAfter, n.UsableAfter})
		}
		out = append(out, j)
	}
	return out
}

type layoutHistory struct {
	CurrentVersion uint64        `json:"currentVersion"`
	MinAck         uint64        `json:"minAck"`
	Versions       []pastVersion `json:"versions"`
	// UpdateTrackers is null: majorities are counted instead of versions.
	UpdateTrackers *struct{} `json:"updateTrackers"`
}

type pastVersion struct {
	Version uint64 `json:"version"`
	// Status is one of Garage's.
	Status       string `json:"status"`
	StorageNodes int    `json:"storageNodes"`
	GatewayNodes int    `json:"gatewayNodes"`
	// Extensions: when it was applied, what became of it, and its roles.
	AppliedAt time.Time            `json:"appliedAt"`
	Outcome   control.LayoutStatus `json:"outcome"`
	Roles     []assignedRole       `json:"roles"`
}

func getClusterLayoutHistory(c call) (layoutHistory, error) {
	v, out := c.s.ops.View(), layoutHistory{Versions: []pastVersion{}}
	if v.Layout != nil {
		out.CurrentVersion, out.MinAck = v.Layout.Version, v.Layout.Version
		if v.Layout.Joint() {
			out.MinAck--
		}
	}
	for _, l := range v.PastLayouts(c.s.ops.Now()) {
		p := pastVersion{Version: l.Version, Status: "Historical", StorageNodes: len(l.Roles), AppliedAt: l.At, Outcome: l.Status, Roles: []assignedRole{}}
		switch l.Version {
		case out.CurrentVersion:
			p.Status = "Current"
		case out.MinAck:
			p.Status = "Draining"
		}
		for _, r := range l.Roles {
			p.Roles = append(p.Roles, roleJSON(r))
		}
		out.Versions = append(out.Versions, p)
	}
	return out, nil
}

// atVersion names the version that a change of the layout is about, so that
// nobody decides on a layout other than the one looked at.
type atVersion struct {
	Version *uint64 `json:"version"`
}

// version reads it; missing says what to give.
func (a atVersion) version(missing string) (uint64, error) {
	if a.Version == nil {
		return 0, invalid(missing)
	}
	return *a.Version, nil
}

type skipOrder struct {
	atVersion
	// AllowMissingData changes nothing: a change that would leave a partition
	// without a majority can only be aborted.
	AllowMissingData bool `json:"allowMissingData,omitempty"`
}

type skippedNodes struct {
	AckUpdated  []object.NodeID `json:"ackUpdated"`
	SyncUpdated []object.NodeID `json:"syncUpdated"`
}

func clusterLayoutSkipDeadNodes(c call, in skipOrder) (none skippedNodes, _ error) {
	version, err := in.version("give the version that is under way")
	if err != nil {
		return none, err
	}
	skipped, receipt, err := c.s.ops.SkipDead(c.ctx, version)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return skippedNodes{nonNil(skipped.Nodes), nonNil(skipped.Copies)}, nil
}

func abortClusterLayoutChange(c call, in atVersion) (none clusterLayout, _ error) {
	version, err := in.version("give the version that is under way")
	if err != nil {
		return none, err
	}
	receipt, err := c.s.ops.Abort(c.ctx, version)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return getClusterLayout(c)
}
