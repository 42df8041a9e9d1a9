package wire

import (
	"time"

	"hangar/services/admin/internal/ops"
	"hangar/shared/control"
	"hangar/shared/object"
)

// ClusterHealth is the answer of GetClusterHealth.
type ClusterHealth struct {
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

// ClusterStatus is the answer of GetClusterStatus.
type ClusterStatus struct {
	LayoutVersion uint64       `json:"layoutVersion"`
	Nodes         []NodeStatus `json:"nodes"`
	Change        *ChangeJSON  `json:"change"` // an extension
}

// NodeStatus is a node and its role.
type NodeStatus struct {
	ID              object.NodeID `json:"id"`
	Service         string        `json:"service"`
	Zone            string        `json:"zone,omitempty"`
	Role            *AssignedRole `json:"role"`
	Addr            *string       `json:"addr"`
	Hostname        *string       `json:"hostname"`
	GarageVersion   *string       `json:"garageVersion" jsonschema:"the version of Hangar"`
	IsUp            bool          `json:"isUp"`
	LastSeenSecsAgo *int64        `json:"lastSeenSecsAgo"`
	Draining        bool          `json:"draining"`
	// K2VAddr is an extension: where a gateway serves K2V.
	K2VAddr string `json:"k2vAddr,omitempty"`
	// Duty is an extension: serving, joining, leaving or none, for nodes that
	// keep data. One that is leaving must not be switched off yet.
	Duty              ops.Duty   `json:"duty,omitempty"`
	DataPartition     *FreeSpace `json:"dataPartition,omitempty"`
	MetadataPartition *FreeSpace `json:"metadataPartition,omitempty"`
}

// AssignedRole is a role of the layout.
type AssignedRole struct {
	ID       object.NodeID `json:"id"`
	Service  string        `json:"service"`
	Zone     string        `json:"zone"`
	Tags     []string      `json:"tags"`
	Capacity *int64        `json:"capacity"`
}

// FreeSpace is the room of a disk in bytes.
type FreeSpace struct {
	Available int64 `json:"available"`
	Total     int64 `json:"total"`
}

// DescribeRole writes a role.
func DescribeRole(r control.Role) AssignedRole {
	return AssignedRole{r.Node, r.Service, r.Zone, NonNil(r.Tags), &r.CapacityBytes}
}

// DescribeNode writes a node without its role, as it is at now.
func DescribeNode(n ops.Node, now time.Time) NodeStatus {
	s := NodeStatus{ID: n.ID, Service: n.Service, Zone: n.Zone, IsUp: n.Up, K2VAddr: n.K2VAddr}
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
		space := &FreeSpace{n.AvailableBytes, n.TotalBytes}
		if n.Service == ops.ServiceBlocks {
			s.DataPartition = space
		} else {
			s.MetadataPartition = space
		}
	}
	return s
}

// ClusterStatistics is the answer of GetClusterStatistics; what is not known is null.
type ClusterStatistics struct {
	Freeform            string `json:"freeform"`
	BucketCount         *int   `json:"bucketCount"`
	TotalObjectCount    *int64 `json:"totalObjectCount"`
	TotalObjectBytes    *int64 `json:"totalObjectBytes"`
	DataAvail           *int64 `json:"dataAvail"`
	MetadataAvail       *int64 `json:"metadataAvail"`
	IncompleteAvailInfo *bool  `json:"incompleteAvailInfo"`
	// Extensions: what storage nodes hold, added up, so every copy counts, and how
	// many could not be asked.
	TableStats        []TableStats       `json:"tableStats"`
	BlockManagerStats *BlockManagerStats `json:"blockManagerStats"`
	BlockBytes        *int64             `json:"blockBytes"`
	NodesNotCounted   int                `json:"nodesNotCounted"`
}
