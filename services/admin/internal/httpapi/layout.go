package httpapi

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"

	"hangar/services/admin/internal/ops"
	"hangar/shared/control"
	"hangar/shared/object"
)

// zoneRedundancy is {"atLeast": n} or "maximum"; 0 stands for the latter.
type zoneRedundancy int

var zoneRedundancySchema = &jsonschema.Schema{OneOf: []*jsonschema.Schema{
	{Type: "string", Enum: []any{"maximum"}},
	{Type: "object", Required: []string{"atLeast"}, Properties: map[string]*jsonschema.Schema{"atLeast": {Type: "integer"}}},
}}

func (z zoneRedundancy) MarshalJSON() ([]byte, error) {
	if z == 0 {
		return []byte(`"maximum"`), nil
	}
	return json.Marshal(map[string]int{"atLeast": int(z)})
}

func (z *zoneRedundancy) UnmarshalJSON(b []byte) error {
	var word string
	if json.Unmarshal(b, &word) == nil {
		if word != "maximum" {
			return fmt.Errorf("zoneRedundancy %q: want \"maximum\" or {\"atLeast\": n}", word)
		}
		*z = 0
		return nil
	}
	var least struct {
		AtLeast *int `json:"atLeast"`
	}
	if err := json.Unmarshal(b, &least); err != nil {
		return err
	}
	if least.AtLeast == nil || *least.AtLeast < 1 {
		return fmt.Errorf("zoneRedundancy: atLeast must be at least 1")
	}
	*z = zoneRedundancy(*least.AtLeast)
	return nil
}

type layoutParameters struct {
	ZoneRedundancy *zoneRedundancy `json:"zoneRedundancy"`
	// Consistency is an extension. It is not staged: it holds at once.
	Consistency control.Consistency `json:"consistency,omitempty"`
}

func parametersJSON(n int) *layoutParameters {
	return &layoutParameters{ZoneRedundancy: new(zoneRedundancy(n))}
}

type layoutRole struct {
	assignedRole
	StoredPartitions int   `json:"storedPartitions"`
	UsableCapacity   int64 `json:"usableCapacity"`
}

type roleChange struct {
	ID       string   `json:"id"`
	Remove   bool     `json:"remove,omitempty"`
	Service  string   `json:"service,omitempty"`
	Zone     *string  `json:"zone,omitempty"`
	Capacity *int64   `json:"capacity,omitempty"`
	Tags     []string `json:"tags,omitempty"`
}

type clusterLayout struct {
	Version           uint64            `json:"version"`
	Roles             []layoutRole      `json:"roles"`
	Parameters        *layoutParameters `json:"parameters"`
	PartitionSize     int64             `json:"partitionSize"`
	StagedRoleChanges []roleChange      `json:"stagedRoleChanges"`
	StagedParameters  *layoutParameters `json:"stagedParameters"`
	Change            *changeJSON       `json:"change"` // an extension; null at rest
}

func layoutJSON(l *control.Layout, staged *control.StagedLayout) clusterLayout {
	if l == nil {
		l = &control.Layout{}
	}
	out := clusterLayout{
		Version: l.Version, Roles: []layoutRole{}, Parameters: parametersJSON(l.ZoneRedundancy), StagedRoleChanges: []roleChange{},
	}
	meta, metaSize := ops.PartitionUse(&l.Meta, l.Roles)
	blocks, blocksSize := ops.PartitionUse(&l.Blocks, l.Roles)
	out.PartitionSize = blocksSize
	for _, r := range l.Roles {
		role := layoutRole{assignedRole: roleJSON(r)}
		if r.Service == ops.ServiceMeta {
			role.StoredPartitions, role.UsableCapacity = meta[r.Node], int64(meta[r.Node])*metaSize
		} else {
			role.StoredPartitions, role.UsableCapacity = blocks[r.Node], int64(blocks[r.Node])*blocksSize
		}
		out.Roles = append(out.Roles, role)
	}
	if staged == nil {
		return out
	}
	for _, c := range staged.Changes {
		change := roleChange{ID: c.Node.String(), Remove: c.Role == nil}
		if r := c.Role; r != nil {
			change.Service, change.Zone, change.Capacity, change.Tags = r.Service, &r.Zone, &r.CapacityBytes, nonNil(r.Tags)
		}
		out.StagedRoleChanges = append(out.StagedRoleChanges, change)
	}
	if staged.ZoneRedundancy != nil {
		out.StagedParameters = parametersJSON(*staged.ZoneRedundancy)
	}
	return out
}

func getClusterLayout(c call) (clusterLayout, error) {
	return presentLayout(c), nil
}

// presentLayout shows the layout in force, what is staged, and how far a
// change is.
func presentLayout(c call) clusterLayout {
	v := c.s.ops.View()
	out := layoutJSON(v.Layout, v.Staged)
	out.Parameters.Consistency = cmp.Or(v.Cluster.Consistency, control.Consistent)
	out.Change = describeChange(c)
	return out
}

// layoutUpdate is the body of UpdateClusterLayout.
type layoutUpdate struct {
	Roles      []roleChange      `json:"roles,omitempty"`
	Parameters *layoutParameters `json:"parameters,omitempty"`
}

func updateClusterLayout(c call, in layoutUpdate) (none clusterLayout, _ error) {
	if err := tooMany(len(in.Roles)); err != nil {
		return none, err
	}
	changes := make([]control.RoleChange, 0, len(in.Roles))
	for _, r := range in.Roles {
		change, err := r.parse()
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

func (r roleChange) parse() (control.RoleChange, error) {
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

// layoutPreview has either an error or the rest.
type layoutPreview struct {
	Error     string         `json:"error,omitempty"`
	Message   []string       `json:"message,omitempty"`
	NewLayout *clusterLayout `json:"newLayout,omitempty"`
	// Extensions.
	Moves    []moveJSON     `json:"moves,omitzero"`
	Services []serviceSpace `json:"services,omitzero"`
}

func previewClusterLayoutChanges(c call, _ nothing) (layoutPreview, error) {
	p, err := c.s.ops.Preview(c.ctx)
	if err != nil {
		if e := classify(err); e.status < 500 || e.code == "NotImplemented" {
			return layoutPreview{Error: e.msg}, nil // that is what a preview is for
		}
		return layoutPreview{}, err
	}
	next := layoutJSON(&p.Layout, nil)
	return layoutPreview{Message: p.Message, NewLayout: &next, Moves: movesJSON(p.Moves), Services: spaceJSON(p.Space)}, nil
}

type appliedLayout struct {
	Message []string      `json:"message"`
	Layout  clusterLayout `json:"layout"`
}

func applyClusterLayout(c call, in atVersion) (none appliedLayout, _ error) {
	version, err := in.version("give the version that applying leads to: the current one plus one")
	if err != nil {
		return none, err
	}
	p, receipt, err := c.s.ops.Apply(c.ctx, version)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return appliedLayout{nonNil(p.Message), presentLayout(c)}, nil
}

func revertClusterLayout(c call, _ nothing) (none clusterLayout, _ error) {
	receipt, err := c.s.ops.Revert(c.ctx)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return getClusterLayout(c)
}
