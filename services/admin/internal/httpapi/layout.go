package httpapi

import (
	"cmp"

	"hangar/services/admin/internal/wire"
	"hangar/shared/control"
	"hangar/shared/object"
)

func getClusterLayout(c call) (wire.ClusterLayout, error) {
	return presentLayout(c), nil
}

// presentLayout shows the layout in force, what is staged, and how far a
// change is.
func presentLayout(c call) wire.ClusterLayout {
	v := c.s.ops.View()
	out := wire.DescribeLayout(v.Layout, v.Staged)
	out.Parameters.Consistency = cmp.Or(v.Cluster.Consistency, control.Consistent)
	out.Change = describeChange(c)
	return out
}

func updateClusterLayout(c call, in wire.LayoutUpdate) (none wire.ClusterLayout, _ error) {
	if err := tooMany(len(in.Roles)); err != nil {
		return none, err
	}
	changes := make([]control.RoleChange, 0, len(in.Roles))
	for _, r := range in.Roles {
		change, err := parseRole(r)
		if err != nil {
			return none, err
		}
		changes = append(changes, change)
	}
	var zones *int
	if in.Parameters != nil && in.Parameters.ZoneRedundancy != nil {
		zones = new(int(*in.Parameters.ZoneRedundancy))
	}
	if in.Parameters != nil && in.Parameters.Consistency != "" {
		receipt, err := c.s.ops.SetConsistency(c.ctx, in.Parameters.Consistency)
		if err != nil {
			return none, err
		}
		c.applied(receipt)
	}
	if len(changes) == 0 && zones == nil {
		return getClusterLayout(c)
	}
	receipt, err := c.s.ops.Stage(c.ctx, changes, zones)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return getClusterLayout(c)
}

func parseRole(r wire.RoleChange) (control.RoleChange, error) {
	id, err := object.ParseNodeID(r.ID)
	if err != nil {
		return control.RoleChange{}, invalid(err.Error())
	}
	switch {
	case r.Remove:
		return control.RoleChange{Node: id}, nil
	case r.Zone == nil:
		return control.RoleChange{}, invalid("node " + r.ID + ": give a zone, or remove")
	case r.Capacity == nil:
		return control.RoleChange{}, invalid("node " + r.ID + ": a node of the layout needs a capacity; gateways need no role")
	}
	return control.RoleChange{Node: id, Role: &control.Role{
		Service: r.Service, Zone: *r.Zone, CapacityBytes: *r.Capacity, Tags: r.Tags,
	}}, nil
}

func previewClusterLayoutChanges(c call, _ nothing) (wire.LayoutPreview, error) {
	p, err := c.s.ops.Preview(c.ctx)
	if err != nil {
		if e := classify(err); e.status < 500 || e.code == "NotImplemented" {
			return wire.LayoutPreview{Error: e.msg}, nil // that is what a preview is for
		}
		return wire.LayoutPreview{}, err
	}
	next := wire.DescribeLayout(&p.Layout, nil)
	return wire.LayoutPreview{Message: p.Message, NewLayout: &next, Moves: wire.DescribeMoves(p.Moves), Services: wire.DescribeSpace(p.Space)}, nil
}

func applyClusterLayout(c call, in wire.AtVersion) (none wire.AppliedLayout, _ error) {
	version, err := versionOf(in, "give the version that applying leads to: the current one plus one")
	if err != nil {
		return none, err
	}
	p, receipt, err := c.s.ops.Apply(c.ctx, version)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return wire.AppliedLayout{Message: wire.NonNil(p.Message), Layout: presentLayout(c)}, nil
}

func revertClusterLayout(c call, _ nothing) (none wire.ClusterLayout, _ error) {
	receipt, err := c.s.ops.Revert(c.ctx)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return getClusterLayout(c)
}
