package httpapi

import (
	"context"
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
	// Extensions.
	Changing bool     `json:"layoutChanging"`
	Reasons  []string `json:"reasons"`
}

func getClusterHealth(c call) (clusterHealth, error) {
	h := c.s.ops.Health()
	return clusterHealth{
		h.Status, h.KnownNodes, h.ConnectedNodes, h.StorageNodes, h.StorageNodesOK, h.StorageNodesUp,
		h.Partitions, h.PartitionsQuorum, h.PartitionsAllOK, h.Changing, nonNil(h.Reasons),
	}, nil
}

type clusterStatus struct {
	LayoutVersion uint64       `json:"layoutVersion"`
	Nodes         []nodeStatus `json:"nodes"`
	Change        *changeJSON  `json:"change"` // an extension
}

type nodeStatus struct {
	ID              object.NodeID `json:"id"`
	Service         string        `json:"service"`
	Zone            string        `json:"zone,omitempty"`
	Role            *assignedRole `json:"role"`
	Addr            *string       `json:"addr"`
	Hostname        *string       `json:"hostname"`
	GarageVersion   *string       `json:"garageVersion" jsonschema:"the version of Hangar"`
	IsUp            bool          `json:"isUp"`
	LastSeenSecsAgo *int64        `json:"lastSeenSecsAgo"`
	Draining        bool          `json:"draining"`
	// Duty is an extension: serving, joining, leaving or none, for nodes that
	// keep data. One that is leaving must not be switched off yet.
	Duty              ops.Duty   `json:"duty,omitempty"`
	DataPartition     *freeSpace `json:"dataPartition,omitempty"`
	MetadataPartition *freeSpace `json:"metadataPartition,omitempty"`
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

func getClusterStatus(c call) (clusterStatus, error) {
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
	for i := range status.Nodes {
		n := &status.Nodes[i]
		if n.Service == ops.ServiceMeta || n.Service == ops.ServiceBlocks {
			n.Duty = c.s.ops.Duty(n.Service, n.ID)
			n.Draining = n.Duty == ops.DutyLeaving
		}
	}
	status.Change = describeChange(c)
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
	if n.Version != "" {
		s.GarageVersion = &n.Version
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

// countingTime is how long it is tried to count all buckets.
const countingTime = 10 * time.Second

type clusterStatistics struct {
	Freeform            string `json:"freeform"`
	BucketCount         *int   `json:"bucketCount"`
	TotalObjectCount    *int64 `json:"totalObjectCount"`
	TotalObjectBytes    *int64 `json:"totalObjectBytes"`
	DataAvail           *int64 `json:"dataAvail"`
	MetadataAvail       *int64 `json:"metadataAvail"`
	IncompleteAvailInfo *bool  `json:"incompleteAvailInfo"`
}

func getClusterStatistics(c call) (clusterStatistics, error) {
	ctx, cancel := context.WithTimeout(c.ctx, countingTime)
	defer cancel()
	all := c.s.ops.Statistics(ctx)
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
	out := clusterStatistics{
		BucketCount: &all.Buckets, DataAvail: all.DataAvailable, MetadataAvail: all.MetaAvailable, IncompleteAvailInfo: &all.Incomplete,
	}
	if all.Objects != nil {
		fmt.Fprintf(&b, "Objects: %d, %d bytes\n", all.Objects.Count, all.Objects.Bytes)
		out.TotalObjectCount, out.TotalObjectBytes = &all.Objects.Count, &all.Objects.Bytes
	}
	out.Freeform = b.String()
	return out, nil
}
