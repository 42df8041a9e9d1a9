package httpapi

import (
	"hangar/services/admin/internal/coordinator"
	"hangar/services/admin/internal/wire"
	"hangar/shared/object"
)

func describeChange(c call) *wire.ChangeJSON {
	s := c.s.ops.ChangeStatus(c.ctx)
	if s == nil {
		return nil
	}
	out := &wire.ChangeJSON{Version: s.Version, StartedAt: s.Began, Services: wire.NonNil(s.Services), Skipped: []object.NodeID{}}
	if l := c.s.ops.View().Layout; l != nil && l.Change != nil {
		out.Skipped = wire.NonNil(l.Change.Skip)
	}
	order := map[coordinator.Phase]int{coordinator.Fencing: 1, coordinator.Marking: 2, coordinator.Copying: 3, coordinator.Ending: 4}
	for _, service := range s.Services {
		if out.Phase == "" || order[service.Phase] < order[out.Phase] {
			out.Phase = service.Phase
		}
	}
	return out
}

func getClusterLayoutHistory(c call) (wire.LayoutHistory, error) {
	v, out := c.s.ops.View(), wire.LayoutHistory{Versions: []wire.PastVersion{}}
	if v.Layout != nil {
		out.CurrentVersion, out.MinAck = v.Layout.Version, v.Layout.Version
		if v.Layout.Joint() {
			out.MinAck--
		}
	}
	for _, l := range v.PastLayouts(c.s.ops.Now()) {
		p := wire.PastVersion{Version: l.Version, Status: "Historical", StorageNodes: len(l.Roles), AppliedAt: l.At, Outcome: l.Status, Roles: []wire.AssignedRole{}}
		switch l.Version {
		case out.CurrentVersion:
			p.Status = "Current"
		case out.MinAck:
			p.Status = "Draining"
		}
		for _, r := range l.Roles {
			p.Roles = append(p.Roles, wire.DescribeRole(r))
		}
		out.Versions = append(out.Versions, p)
	}
	return out, nil
}

// version reads it; missing says what to give.
func versionOf(a wire.AtVersion, missing string) (uint64, error) {
	if a.Version == nil {
		return 0, invalid(missing)
	}
	return *a.Version, nil
}

func clusterLayoutSkipDeadNodes(c call, in wire.SkipOrder) (none wire.SkippedNodes, _ error) {
	version, err := versionOf(in.AtVersion, "give the version that is under way")
	if err != nil {
		return none, err
	}
	skipped, receipt, err := c.s.ops.SkipDead(c.ctx, version)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return wire.SkippedNodes{AckUpdated: wire.NonNil(skipped.Nodes), SyncUpdated: wire.NonNil(skipped.Copies)}, nil
}

func abortClusterLayoutChange(c call, in wire.AtVersion) (none wire.ClusterLayout, _ error) {
	version, err := versionOf(in, "give the version that is under way")
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
