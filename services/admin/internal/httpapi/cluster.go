package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hangar/shared/control"
	"hangar/shared/object"

	"hangar/services/admin/internal/ops"
)

type clusterHealth struct {
	Status           string `json:"status"`
	KnownNodes       int    `json:"knownNodes"`
	ConnectedNodes   int    `json:"connectedNodes"`
	StorageNodes     int    `json:"storageNodes"`
	StorageNodesOK   int    `json:"storageNodesOk"`
	StorageNodesUp   int    `json:"storageNodesUp"`
	Partitions       int    `json:"partitions"`
	PartitionsQuorum int    `json:"partitionsQuorum"`
	PartitionsAllOK  int    `json:"partitionsAllOk"`
}

func getClusterHealth(c call) (any, error) {
	h := c.s.ops.Health()
	return clusterHealth{
		h.Status, h.KnownNodes, h.ConnectedNodes, h.StorageNodes, h.StorageNodesUp, h.StorageNodesUp,
		h.Partitions, h.PartitionsQuorum, h.PartitionsAllOK,
	}, nil
}

type clusterStatus struct {
	LayoutVersion uint64       `json:"layoutVersion"`
	Nodes         []nodeStatus `json:"nodes"`
}

type nodeStatus struct {
	ID                object.NodeID `json:"id"`
	Service           string        `json:"service"`
	Zone              string        `json:"zone,omitempty"`
	Role              *assignedRole `json:"role"`
	Addr              *string       `json:"addr"`
	Hostname          *string       `json:"hostname"`
	IsUp              bool          `json:"isUp"`
	LastSeenSecsAgo   *int64        `json:"lastSeenSecsAgo"`
	Draining          bool          `json:"draining"`
	DataPartition     *freeSpace    `json:"dataPartition,omitempty"`
	MetadataPartition *freeSpace    `json:"metadataPartition,omitempty"`
}

type assignedRole struct {
	ID       object.NodeID `json:"id"`
	Service  string        `json:"service"`
	Zone     string        `json:"zone"`
	Tags     []string      `json:"tags"`
	Capacity *int64        `json:"capacity"`
}

type freeSpace struct {
	Available int64 `json:"available"`
	Total     int64 `json:"total"`
}

func roleJSON(r control.Role) assignedRole {
	return assignedRole{r.Node, r.Service, r.Zone, nonNil(r.Tags), &r.CapacityBytes}
}

func getClusterStatus(c call) (any, error) {
	v, status := c.s.ops.View(), clusterStatus{Nodes: []nodeStatus{}}
	roles := map[object.NodeID]assignedRole{}
	var order []object.NodeID
	if v.Layout != nil {
		status.LayoutVersion = v.Layout.Version
		for _, r := range v.Layout.Roles {
			roles[r.Node] = roleJSON(r)
			order = append(order, r.Node)
		}
	}
	for _, n := range c.s.ops.Nodes() {
		s := describeNode(n, c.s.ops.Now())
		if r, ok := roles[n.ID]; ok {
			s.Role = &r
			delete(roles, n.ID)
		}
		status.Nodes = append(status.Nodes, s)
	}
	for _, id := range order { // those with a role that nobody has heard of
		if r, ok := roles[id]; ok {
			status.Nodes = append(status.Nodes, nodeStatus{ID: id, Service: r.Service, Role: &r})
		}
	}
	return status, nil
}

func describeNode(n ops.Node, now time.Time) nodeStatus {
	s := nodeStatus{ID: n.ID, Service: n.Service, Zone: n.Zone, IsUp: n.Up}
	if n.Addr != "" {
		s.Addr = &n.Addr
	}
	if n.Hostname != "" {
		s.Hostname = &n.Hostname
	}
	if !n.LastSeen.IsZero() && !n.Up {
		s.LastSeenSecsAgo = new(int64(max(now.Sub(n.LastSeen), 0) / time.Second))
	}
	if n.TotalBytes > 0 {
		space := &freeSpace{n.AvailableBytes, n.TotalBytes}
		if n.Service == ops.ServiceBlocks {
			s.DataPartition = space
		} else {
			s.MetadataPartition = space
		}
	}
	return s
}

func getClusterStatistics(c call) (any, error) {
	v, h := c.s.ops.View(), c.s.ops.Health()
	var b strings.Builder
	fmt.Fprintf(&b, "Cluster %s in region %s, %d copies, %d partitions\n",
		v.Cluster.ID, v.Cluster.Region, v.Cluster.ReplicationFactor, h.Partitions)
	fmt.Fprintf(&b, "Buckets: %d\nAccess keys: %d\n", len(v.Buckets()), len(v.Keys()))
	fmt.Fprintf(&b, "Storage nodes: %d of %d up\n", h.StorageNodesUp, h.StorageNodes)
	if v.Layout != nil {
		_, size := ops.PartitionUse(&v.Layout.Blocks, v.Layout.Roles)
		fmt.Fprintf(&b, "Usable capacity: %d bytes\n", size*int64(len(v.Layout.Blocks.Assign)))
	}
	return map[string]string{"freeform": b.String()}, nil
}

// zoneRedundancy is {"atLeast": n} or "maximum"; 0 stands for the latter.
type zoneRedundancy int

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
}

func parametersJSON(n int) *layoutParameters {
	return &layoutParameters{new(zoneRedundancy(n))}
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

func getClusterLayout(c call) (any, error) {
	v := c.s.ops.View()
	return layoutJSON(v.Layout, v.Staged), nil
}

func updateClusterLayout(c call) (any, error) {
	in, err := body[struct {
		Roles      []roleChange      `json:"roles"`
		Parameters *layoutParameters `json:"parameters"`
	}](c)
	if err != nil {
		return nil, err
	}
	changes := make([]control.RoleChange, 0, len(in.Roles))
	for _, r := range in.Roles {
		change, err := r.parse()
		if err != nil {
			return nil, err
		}
		changes = append(changes, change)
	}
	var zones *int
	if in.Parameters != nil && in.Parameters.ZoneRedundancy != nil {
		zones = new(int(*in.Parameters.ZoneRedundancy))
	}
	receipt, err := c.s.ops.Stage(c.ctx, changes, zones)
	if err != nil {
		return nil, err
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

func previewClusterLayoutChanges(c call) (any, error) {
	p, err := c.s.ops.Preview(c.ctx)
	if err != nil {
		if e := classify(err); e.status < 500 || e.code == "NotImplemented" {
			return map[string]string{"error": e.msg}, nil // that is what a preview is for
		}
		return nil, err
	}
	return map[string]any{"message": p.Message, "newLayout": layoutJSON(&p.Layout, nil)}, nil
}

func applyClusterLayout(c call) (any, error) {
	in, err := body[struct {
		Version *uint64 `json:"version"`
	}](c)
	if err != nil {
		return nil, err
	}
	if in.Version == nil {
		return nil, invalid("give the version that applying leads to: the current one plus one")
	}
	p, receipt, err := c.s.ops.Apply(c.ctx, *in.Version)
	if err != nil {
		return nil, err
	}
	c.applied(receipt)
	v := c.s.ops.View()
	return map[string]any{"message": p.Message, "layout": layoutJSON(v.Layout, v.Staged)}, nil
}

func revertClusterLayout(c call) (any, error) {
	receipt, err := c.s.ops.Revert(c.ctx)
	if err != nil {
		return nil, err
	}
	c.applied(receipt)
	return getClusterLayout(c)
}
