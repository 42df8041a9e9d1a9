package admin

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"hangar/services/admin/internal/coordinator"
	"hangar/shared/control"
)

// layoutMetrics shows layout changes: of the one under way what its driver
// says, which is empty in processes that do not drive it.
type layoutMetrics struct {
	drive  *coordinator.Driver
	mirror *control.Mirror
}

var (
	descLeader     = layoutDesc("leader", "1 in the process that drives a layout change, else 0.")
	descChanging   = layoutDesc("changing", "1 while a layout change is under way, else 0.")
	descVersion    = layoutDesc("version", "Version of the layout.")
	descTotal      = layoutDesc("partitions", "Partitions that change hands.", "service")
	descDone       = layoutDesc("partitions_done", "Partitions that are where the layout wants them.", "service")
	descItems      = layoutDesc("items_moved", "Rows or blocks that were brought so far.", "service")
	descBytes      = layoutDesc("bytes_moved", "Bytes of them.", "service")
	descItemsTotal = layoutDesc("items", "Rows or blocks to bring in all, as far as that is known.", "service")
	descBytesTotal = layoutDesc("bytes", "Bytes of them.", "service")
	descCompleted  = layoutDesc("completed_total", "Layout changes that this process brought to their end.")
	descAborted    = layoutDesc("aborted_total", "Layout changes that were taken back through this process.")
)

func layoutDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("hangar_admin_layout_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (m layoutMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descLeader, descChanging, descVersion, descTotal, descDone, descItems, descItemsTotal, descBytes, descBytesTotal,
		descCompleted, descAborted,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m layoutMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	is := map[bool]float64{true: 1}
	view := m.mirror.View()
	gauge(descLeader, is[m.drive.Leading()])
	gauge(descChanging, is[view.Layout != nil && view.Layout.Joint()])
	if view.Layout != nil {
		gauge(descVersion, float64(view.Layout.Version))
	}
	var services []coordinator.Service
	if m.drive.Leading() {
		if s := m.drive.Status(context.Background(), view); s != nil {
			services = s.Services
		}
	}
	for _, s := range services {
		gauge(descTotal, float64(s.PartitionsTotal), s.Service)
		gauge(descDone, float64(s.PartitionsDone), s.Service)
		gauge(descItems, float64(s.ItemsDone), s.Service)
		gauge(descItemsTotal, float64(s.ItemsTotal), s.Service)
		gauge(descBytes, float64(s.BytesDone), s.Service)
		gauge(descBytesTotal, float64(s.BytesTotal), s.Service)
	}
	counts := m.drive.Counts()
	to <- prometheus.MustNewConstMetric(descCompleted, prometheus.CounterValue, float64(counts.Completed.Load()))
	to <- prometheus.MustNewConstMetric(descAborted, prometheus.CounterValue, float64(counts.Aborted.Load()))
}
