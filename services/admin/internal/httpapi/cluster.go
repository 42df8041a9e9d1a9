package httpapi

import (
	"context"
	"fmt"
	"strings"
	"time"

	"hangar/shared/nodeapi"
	"hangar/shared/object"

	"hangar/services/admin/internal/ops"
	"hangar/services/admin/internal/wire"
)

func getClusterHealth(c call) (wire.ClusterHealth, error) {
	h := c.s.ops.Health()
	return wire.ClusterHealth{
		Status: h.Status, KnownNodes: h.KnownNodes, ConnectedNodes: h.ConnectedNodes,
		StorageNodes: h.StorageNodes, StorageNodesOK: h.StorageNodesOK, StorageNodesUp: h.StorageNodesUp,
		Partitions: h.Partitions, PartitionsQuorum: h.PartitionsQuorum, PartitionsAllOK: h.PartitionsAllOK,
		Changing: h.Changing, Reasons: wire.NonNil(h.Reasons),
	}, nil
}

func getClusterStatus(c call) (wire.ClusterStatus, error) {
	v, status := c.s.ops.View(), wire.ClusterStatus{Nodes: []wire.NodeStatus{}}
	roles := map[object.NodeID]wire.AssignedRole{}
	var order []object.NodeID
	if v.Layout != nil {
		status.LayoutVersion = v.Layout.Version
		for _, r := range v.Layout.Roles {
			roles[r.Node] = wire.DescribeRole(r)
			order = append(order, r.Node)
		}
	}
	for _, n := range c.s.ops.Nodes() {
		s := wire.DescribeNode(n, c.s.ops.Now())
		if r, ok := roles[n.ID]; ok {
			s.Role = &r
			delete(roles, n.ID)
		}
		status.Nodes = append(status.Nodes, s)
	}
	for _, id := range order { // those with a role that nobody has heard of
		if r, ok := roles[id]; ok {
			status.Nodes = append(status.Nodes, wire.NodeStatus{ID: id, Service: r.Service, Role: &r})
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

// countingTime is how long it is tried to count all buckets.
const countingTime = 10 * time.Second

func getClusterStatistics(c call) (wire.ClusterStatistics, error) {
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
	out := wire.ClusterStatistics{
		BucketCount: &all.Buckets, DataAvail: all.DataAvailable, MetadataAvail: all.MetaAvailable, IncompleteAvailInfo: &all.Incomplete,
	}
	if all.Objects != nil {
		fmt.Fprintf(&b, "Objects: %d, %d bytes\n", all.Objects.Count, all.Objects.Bytes)
		out.TotalObjectCount, out.TotalObjectBytes = &all.Objects.Count, &all.Objects.Bytes
	}
	if err := holdings(c, &out, &b); err != nil {
		return out, err
	}
	out.Freeform = b.String()
	return out, nil
}

// holdings adds up what the storage nodes hold.
func holdings(c call, out *wire.ClusterStatistics, b *strings.Builder) error {
	told, err := ops.Ask(c.ctx, c.s.ops, ops.Question{Nodes: ops.AllNodes, Services: ops.StorageServices, Timeout: ops.QuickAnswer},
		func(ctx context.Context, r nodeapi.Remote) (nodeapi.Statistics, error) { return r.Statistics(ctx) })
	if err != nil {
		return err
	}
	var rows []*nodeapi.RowStatistics
	for _, f := range told.Success {
		if f.Rows != nil {
			rows = append(rows, f.Rows)
		}
		if k := f.Blocks; k != nil {
			if out.BlockManagerStats == nil {
				out.BlockManagerStats, out.BlockBytes = &wire.BlockManagerStats{}, new(int64)
			}
			sum, one := out.BlockManagerStats, wire.DescribeBlocks(k)
			sum.RCEntries += one.RCEntries
			sum.ResyncQueueLen += one.ResyncQueueLen
			sum.ResyncErrors += one.ResyncErrors
			*out.BlockBytes += k.LiveBytes
		}
	}
	out.TableStats, out.NodesNotCounted = wire.NonNil(wire.DescribeTables(rows...)), len(told.Failed)
	b.WriteString("On all storage nodes, each copy counted:\n")
	b.WriteString(wire.TableText(out.TableStats))
	if k := out.BlockManagerStats; k != nil {
		b.WriteString(wire.BlockText(k, *out.BlockBytes))
	}
	if len(told.Failed) > 0 {
		fmt.Fprintf(b, "Nodes that could not be asked: %d\n", len(told.Failed))
	}
	return nil
}
