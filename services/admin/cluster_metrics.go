package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hangar/services/admin/internal/ops"
)

// clusterMetrics shows the cluster as this admin process sees it: all of them
// see the same within a few seconds.
type clusterMetrics struct{ ops *ops.Ops }

var (
	nodeLabels      = []string{"id", "service", "zone"}
	descHealthy     = clusterDesc("healthy", "1 while all storage nodes are up and take writes and all copies are within reach, else 0.")
	descAvailable   = clusterDesc("available", "1 while every partition has a quorum of nodes that take writes, else 0.")
	descKnown       = clusterDesc("known_nodes", "Nodes that have a role or were heard of in the last ten minutes.")
	descConnected   = clusterDesc("connected_nodes", "Nodes that are up.")
	descStorage     = clusterDesc("storage_nodes", "Nodes that have a role in the layout.")
	descStorageOK   = clusterDesc("storage_nodes_ok", "Nodes that have a role, are up and take writes.")
	descPartitions  = clusterDesc("partitions", "Partitions of the layout.")
	descQuorum      = clusterDesc("partitions_quorum", "Partitions with a quorum of nodes that take writes.")
	descAllOK       = clusterDesc("partitions_all_ok", "Partitions all of whose nodes are up and take writes.")
	descFactor      = clusterDesc("replication_factor", "Copies that the cluster keeps.")
	descLate        = clusterDesc("barrier_timeouts_total", "Changes of the control state through this process that some other process had not applied in time.")
	descNodeUp      = clusterDesc("node_up", "1 while the node is heard of, else 0.", nodeLabels...)
	descNodeFailing = clusterDesc("node_failing", "1 while the node says that its disk takes no writes, else 0.", nodeLabels...)
	descNodeSilent  = clusterDesc("node_silent_seconds", "Time since the node was last heard of.", nodeLabels...)
	descNodeFree    = clusterDesc("node_disk_free_bytes", "Free space where the node keeps its data.", nodeLabels...)
	descNodeSize    = clusterDesc("node_disk_size_bytes", "Size of the file system where the node keeps its data.", nodeLabels...)
)

func clusterDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("hangar_cluster_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (clusterMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descHealthy, descAvailable, descKnown, descConnected, descStorage, descStorageOK, descPartitions, descQuorum,
		descAllOK, descFactor, descLate, descNodeUp, descNodeFailing, descNodeSilent, descNodeFree, descNodeSize,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m clusterMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	is := map[bool]float64{true: 1}
	h := m.ops.Health()
	gauge(descHealthy, is[h.Status == ops.Healthy])
	gauge(descAvailable, is[h.Status != ops.Unavailable])
	gauge(descKnown, float64(h.KnownNodes))
	gauge(descConnected, float64(h.ConnectedNodes))
	gauge(descStorage, float64(h.StorageNodes))
	gauge(descStorageOK, float64(h.StorageNodesOK))
	gauge(descPartitions, float64(h.Partitions))
	gauge(descQuorum, float64(h.PartitionsQuorum))
	gauge(descAllOK, float64(h.PartitionsAllOK))
	gauge(descFactor, float64(m.ops.View().Cluster.ReplicationFactor))
	to <- prometheus.MustNewConstMetric(descLate, prometheus.CounterValue, float64(m.ops.Late()))
	for _, n := range m.ops.Nodes() {
		labels := []string{n.ID.String(), n.Service, n.Zone}
		gauge(descNodeUp, is[n.Up], labels...)
		gauge(descNodeFailing, is[n.Failing != ""], labels...)
		gauge(descNodeSilent, time.Since(n.LastSeen).Seconds(), labels...)
		if n.TotalBytes > 0 {
			gauge(descNodeFree, float64(n.AvailableBytes), labels...)
			gauge(descNodeSize, float64(n.TotalBytes), labels...)
		}
	}
}
