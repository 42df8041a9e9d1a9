package meta

import (
	"github.com/prometheus/client_golang/prometheus"

	"hangar/services/meta/internal/antientropy"
	"hangar/services/meta/internal/bodies"
	"hangar/services/meta/internal/collector"
	"hangar/services/meta/internal/membership"
	"hangar/services/meta/internal/table"
	"hangar/services/meta/internal/transfer"
	"hangar/shared/kv"
)

// metrics are those of one running service.
type metrics struct {
	registry prometheus.Registerer
	all      []prometheus.Collector
}

func newMetrics(registry prometheus.Registerer, rows *table.Table, writer *kv.Committer, large *bodies.Log, old *collector.Collector, repair *antientropy.Worker) *metrics {
	m := &metrics{registry: registry}
	stats := writer.Stats()
	m.counter("updates_total", "Requests that went through the committer.", stats.Updates.Load)
	m.counter("commits_total", "Commits, each of a group of requests.", stats.Commits.Load)
	m.counter("commit_failures_total", "Commits that failed, with every request in them.", stats.Failures.Load)
	m.counter("forgotten_rows_total", "Old delete markers that were dropped.", old.Forgotten)
	m.repair(repair.Stats())
	c := large.Counters()
	m.counter("corrupt_bodies_total", "Reads of bodies whose checksum was wrong.", c.CorruptReads.Load)
	m.counter("compacted_segments_total", "Segments of bodies that compaction removed.", c.SegmentsRemoved.Load)
	m.counter("compacted_bytes_total", "Bytes of bodies that compaction moved.", c.BytesMoved.Load)
	m.gauge("commit_queue", "Requests that wait for the committer.", func() float64 { return float64(writer.Queued()) })
	m.gauge("disk_bytes", "Space that the rows and their bodies take.", func() float64 { return float64(rows.DiskBytes()) })
	m.gauge("epoch", "Layout epoch that this node has adopted.", func() float64 { return float64(rows.Epoch()) })
	m.gauge("writable", "1 while writes are taken, 0 when the disk is full or failing.", func() float64 {
		if rows.Writable() != nil {
			return 0
		}
		return 1
	})
	return m
}

func (m *metrics) repair(s *antientropy.Stats) {
	m.counter("repair_rounds_total", "Rounds in which rows were compared with another node to the end.", s.Rounds.Load)
	m.counter("repair_failed_rounds_total", "Rounds that another node or an error cut short.", s.Failures.Load)
	m.counter("repair_compared_rows_total", "Rows of parts that differed, compared one by one.", s.Compared.Load)
	m.counter("repair_rows_total", "Rows that were written to a node that lacked them.", s.Repaired.Load)
	m.counter("repair_failed_rows_total", "Rows that differ and could not be repaired.", s.Unrepaired.Load)
	m.gauge("repair_differing_partitions", "Partitions that differed in the last round with each other node, summed up.",
		func() float64 { return float64(s.Differing.Load()) })
	m.gauge("repair_last_success_seconds", "When this node was last through with every other, in Unix seconds; 0 before the first time.",
		func() float64 { return float64(s.LastSuccess.Load()) })
}

// changes adds what tells about changes of the layout.
func (m *metrics) changes(members *membership.Members, copier *transfer.Worker) {
	partitions := func(pick func(served, pending, dropping int) int) func() float64 {
		return func() float64 { return float64(pick(members.Counts())) }
	}
	m.gauge("served_partitions", "Partitions that this node serves.", partitions(func(n, _, _ int) int { return n }))
	m.gauge("pending_partitions", "Partitions of this node that it may not serve yet.", partitions(func(_, n, _ int) int { return n }))
	m.gauge("dropping_partitions", "Partitions whose rows from an earlier membership are being dropped.", partitions(func(_, _, n int) int { return n }))
	m.counter("dropped_rows_total", "Rows of an earlier membership that were dropped.", members.Dropped)
	m.gauge("copying_partitions", "Partitions whose rows this node is still to copy to new members.", func() float64 { return float64(copier.Left()) })
	m.counter("copied_rows_total", "Rows that this node copied to new members.", func() int64 { rows, _ := copier.Copied(); return rows })
	m.counter("copied_bytes_total", "Bytes of the rows that this node copied to new members.", func() int64 { _, bytes := copier.Copied(); return bytes })
}

func (m *metrics) add(c prometheus.Collector) {
	m.registry.MustRegister(c)
	m.all = append(m.all, c)
}

func (m *metrics) counter(name, help string, read func() int64) {
	m.add(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Namespace: "hangar", Subsystem: "meta", Name: name, Help: help},
		func() float64 { return float64(read()) }))
}

func (m *metrics) gauge(name, help string, read func() float64) {
	m.add(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Namespace: "hangar", Subsystem: "meta", Name: name, Help: help}, read))
}

func (m *metrics) unregister() {
	for _, c := range m.all {
		m.registry.Unregister(c)
	}
}
