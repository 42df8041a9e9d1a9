package meta

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"hangar/services/meta/internal/antientropy"
	"hangar/services/meta/internal/bodies"
	"hangar/services/meta/internal/collector"
	"hangar/services/meta/internal/journal"
	"hangar/services/meta/internal/membership"
	"hangar/services/meta/internal/table"
	"hangar/services/meta/internal/transfer"
	"hangar/shared/kv"
	"hangar/shared/nodeapi"
	"hangar/shared/process"
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
	m.gauge("commit_queue_length", "Requests that wait for the committer.", func() float64 { return float64(writer.Queued()) })
	m.gauge("used_bytes", "Space that the rows and their bodies take.", func() float64 { return float64(rows.DiskBytes()) })
	m.gauge("epoch", "Layout epoch that this node has adopted.", func() float64 { return float64(rows.Epoch()) })
	m.gauge("writable", "1 while writes are taken, 0 when the disk is full or failing.", func() float64 {
		if rows.Writable() != nil {
			return 0
		}
		return 1
	})
	return m
}

// disk adds what tells how the disk fares.
func (m *metrics) disk(s *Service, store *journal.Store) {
	is := func(err error) float64 {
		if err != nil {
			return 1
		}
		return 0
	}
	m.gauge("commit_broken", "1 once a commit failed in a way after which this node takes no writes until it is restarted, else 0.",
		func() float64 { return is(store.Failed()) })
	m.gauge("disk_failing", "1 while the disk takes no writes, is full down to the reserve or stalls, else 0.",
		func() float64 { return is(s.Failing()) })
	m.gauge("disk_probe_seconds", "Time that the last small write beside the requests took with its sync, or that the one under way takes so far.",
		func() float64 { return s.disk.Took().Seconds() })
	m.counter("disk_probe_failures_total", "Such writes that failed.", s.disk.Failures)
	space := func(pick func(nodeapi.Disk) int64) func() float64 {
		return func() float64 {
			d, err := process.Disk(s.cfg.Dir)
			if err != nil {
				return math.NaN()
			}
			return float64(pick(d))
		}
	}
	m.gauge("disk_free_bytes", "Free space of the file system with the data directory.", space(func(d nodeapi.Disk) int64 { return d.FreeBytes }))
	m.gauge("disk_size_bytes", "Size of that file system.", space(func(d nodeapi.Disk) int64 { return d.TotalBytes }))
	m.gauge("disk_reserve_bytes", "Free space below which writes are refused.", func() float64 { return float64(s.cfg.ReserveMiB << 20) })
	m.counter("journal_checkpoints_total", "Checkpoints of the journal.", store.Counters().Checkpoints.Load)
	m.counter("written_bytes_total", "Bytes of bodies and of the journal that were written.", func() int64 { n, _ := store.Log().Traffic(); return n })
	m.counter("read_bytes_total", "Bytes of bodies that were read.", func() int64 { _, n := store.Log().Traffic(); return n })
	m.add(s.syncs)
}

func newSyncs() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "hangar", Subsystem: "meta", Name: "sync_duration_seconds",
		Help:    "Time that syncing the journal and the bodies to the disk took.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),
	})
}

func (m *metrics) repair(s *antientropy.Stats) {
	m.counter("repair_rounds_total", "Rounds in which rows were compared with another node to the end.", s.Rounds.Load)
	m.counter("repair_failed_rounds_total", "Rounds that another node or an error cut short.", s.Failures.Load)
	m.counter("repair_compared_rows_total", "Rows of parts that differed, compared one by one.", s.Compared.Load)
	m.counter("repair_rows_total", "Rows that were written to a node that lacked them.", s.Repaired.Load)
	m.counter("repair_failed_rows_total", "Rows that differ and could not be repaired.", s.Unrepaired.Load)
	m.gauge("repair_differing_partitions", "Partitions that differed in the last round with each other node, summed up.",
		func() float64 { return float64(s.Differing.Load()) })
	m.gauge("repair_last_success_timestamp_seconds", "When this node was last through with every other, in Unix seconds; 0 before the first time.",
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
