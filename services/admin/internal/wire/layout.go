package wire

import (
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"

	"hangar/services/admin/internal/ops"
	"hangar/shared/control"
)

// ZoneRedundancy is {"atLeast": n} or "maximum"; 0 stands for the latter.
type ZoneRedundancy int

// ZoneRedundancySchema is the JSON schema of a ZoneRedundancy.
var ZoneRedundancySchema = &jsonschema.Schema{OneOf: []*jsonschema.Schema{
	{Type: "string", Enum: []any{"maximum"}},
	{Type: "object", Required: []string{"atLeast"}, Properties: map[string]*jsonschema.Schema{"atLeast": {Type: "integer"}}},
}}

// MarshalJSON implements json.Marshaler.
func (z ZoneRedundancy) MarshalJSON() ([]byte, error) {
	if z == 0 {
		return []byte(`"maximum"`), nil
	}
	return json.Marshal(map[string]int{"atLeast": int(z)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (z *ZoneRedundancy) UnmarshalJSON(b []byte) error {
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
	*z = ZoneRedundancy(*least.AtLeast)
	return nil
}

// LayoutParameters are the parameters of the layout.
type LayoutParameters struct {
	ZoneRedundancy *ZoneRedundancy `json:"zoneRedundancy"`
	// Consistency is an extension. It is not staged: it holds at once.
	Consistency control.Consistency `json:"consistency,omitempty"`
}

func parametersJSON(n int) *LayoutParameters {
	return &LayoutParameters{ZoneRedundancy: new(ZoneRedundancy(n))}
}

// LayoutRole is a role and what it makes of the node.
type LayoutRole struct {
	AssignedRole
	StoredPartitions int   `json:"storedPartitions"`
	UsableCapacity   int64 `json:"usableCapacity"`
}

// RoleChange is a change of a role, staged or to be staged.
type RoleChange struct {
	ID       string   `json:"id"`
	Remove   bool     `json:"remove,omitempty"`
	Service  string   `json:"service,omitempty"`
	Zone     *string  `json:"zone,omitempty"`
	Capacity *int64   `json:"capacity,omitempty"`
	Tags     []string `json:"tags,omitempty"`
}

// ClusterLayout is the layout in force and what is staged.
type ClusterLayout struct {
	Version           uint64            `json:"version"`
	Roles             []LayoutRole      `json:"roles"`
	Parameters        *LayoutParameters `json:"parameters"`
	PartitionSize     int64             `json:"partitionSize"`
	StagedRoleChanges []RoleChange      `json:"stagedRoleChanges"`
	StagedParameters  *LayoutParameters `json:"stagedParameters"`
	Change            *ChangeJSON       `json:"change"` // an extension; null at rest
}

// DescribeLayout writes a layout and what is staged; both may be nil.
func DescribeLayout(l *control.Layout, staged *control.StagedLayout) ClusterLayout {
	if l == nil {
		l = &control.Layout{}
	}
	out := ClusterLayout{
		Version: l.Version, Roles: []LayoutRole{}, Parameters: parametersJSON(l.ZoneRedundancy), StagedRoleChanges: []RoleChange{},
	}
	meta, metaSize := ops.PartitionUse(&l.Meta, l.Roles)
	blocks, blocksSize := ops.PartitionUse(&l.Blocks, l.Roles)
	out.PartitionSize = blocksSize
	for _, r := range l.Roles {
		role := LayoutRole{AssignedRole: DescribeRole(r)}
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
		change := RoleChange{ID: c.Node.String(), Remove: c.Role == nil}
		if r := c.Role; r != nil {
			change.Service, change.Zone, change.Capacity, change.Tags = r.Service, &r.Zone, &r.CapacityBytes, NonNil(r.Tags)
		}
		out.StagedRoleChanges = append(out.StagedRoleChanges, change)
	}
	if staged.ZoneRedundancy != nil {
		out.StagedParameters = parametersJSON(*staged.ZoneRedundancy)
	}
	return out
}

// LayoutUpdate is the body of UpdateClusterLayout.
type LayoutUpdate struct {
	Roles      []RoleChange      `json:"roles,omitempty"`
	Parameters *LayoutParameters `json:"parameters,omitempty"`
}

// LayoutPreview has either an error or the rest.
type LayoutPreview struct {
	Error     string         `json:"error,omitempty"`
	Message   []string       `json:"message,omitempty"`
	NewLayout *ClusterLayout `json:"newLayout,omitempty"`
	// Extensions.
	Moves    []MoveJSON     `json:"moves,omitzero"`
	Services []ServiceSpace `json:"services,omitzero"`
}

// AppliedLayout is the answer of ApplyClusterLayout.
type AppliedLayout struct {
	Message []string      `json:"message"`
	Layout  ClusterLayout `json:"layout"`
}
