package blocks

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hangar/services/blocks/internal/store"
)

// metrics are those of one running service.
type metrics struct {
	fsync prometheus.Histogram
	all   []prometheus.Collector
}

func newMetrics() *metrics {
	m := &metrics{fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "hangar", Subsystem: service, Name: "fsync_seconds",
		Help:    "Time that syncing a segment to the disk took.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),
	})}
	m.all = append(m.all, m.fsync)
	return m
}

func (m *metrics) observeSync(d time.Duration) { m.fsync.Observe(d.Seconds()) }

// register adds everything to a registry, or nothing.
func (m *metrics) register(r prometheus.Registerer, st *store.Store, work *repair) error {
	c := st.Counters()
	m.counter("puts_total", "Blocks received.", c.Puts.Load)
	m.counter("puts_known_total", "Blocks received that were there already.", c.Known.Load)
	m.counter("gets_total", "Blocks asked for.", c.Gets.Load)
	m.counter("corrupt_reads_total", "Reads of blocks whose checksum was wrong.", c.CorruptReads.Load)
	m.counter("gc_verified_total", "Questions to the metadata whether an owner lives.", c.Verified.Load)
	m.counter("gc_unknown_total", "Such questions that got no answer.", c.Unknown.Load)
	m.counter("gc_owners_dropped_total", "Dead owners whose references were dropped.", c.OwnersDropped.Load)
	m.counter("gc_hints_lost_total", "Hints of dead owners left to the sweep.", c.HintsLost.Load)
	m.counter("compacted_segments_total", "Segments removed by compaction.", c.SegmentsRemoved.Load)
	m.counter("compacted_bytes_total", "Bytes that compaction moved.", c.BytesMoved.Load)
	m.counter("old_epochs_total", "Writes refused because they came by an older layout.", c.OldEpochs.Load)
	m.counter("repaired_total", "Blocks taken from other nodes.", c.Repaired.Load)
	m.counter("repaired_references_total", "References taken from other nodes.", c.RepairedRefs.Load)
	m.counter("resync_done_total", "Wanted blocks settled.", work.worker.Synced.Load)
	m.counter("resync_failed_total", "Tries at wanted blocks that failed.", work.worker.Failed.Load)
	m.counter("resync_dead_total", "References not taken over because their owner is dead.", work.worker.DeadRefs.Load)
	m.counter("compare_rounds_total", "Comparisons of everything with all replicas.", work.comparer.Rounds.Load)
	m.counter("compare_found_total", "Blocks that a comparison found lacking.", work.comparer.Found.Load)
	m.counter("given_up_references_total", "References given up after a change of the layout.", work.mover.Given.Load)
	m.all = append(m.all, newUsage(st))
	for i, metric := range m.all {
		if err := r.Register(metric); err != nil {
			m.all = m.all[:i]
			m.unregister(r)
			return err
		}
	}
	return nil
}

func (m *metrics) counter(name, help string, read func() int64) {
	m.all = append(m.all, prometheus.NewCounterFunc(
		prometheus.CounterOpts{Namespace: "hangar", Subsystem: service, Name: name, Help: help},
		func() float64 { return float64(read()) }))
}

func (m *metrics) unregister(r prometheus.Registerer) {
	for _, c := range m.all {
		r.Unregister(c)
	}
}

// usage reads the sums of a store once per scrape.
type usage struct {
	store                                                  *store.Store
	blocks, live, dead, segments, queued, writable, wanted *prometheus.Desc
}

func newUsage(st *store.Store) *usage {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("hangar", service, name), help, nil, nil)
	}
	return &usage{
		store:    st,
		blocks:   desc("stored", "Blocks held."),
		live:     desc("live_bytes", "Bytes of blocks that somebody needs, as stored."),
		dead:     desc("dead_bytes", "Bytes in segments that nobody needs."),
		segments: desc("segments", "Segment files."),
		queued:   desc("gc_queue", "Owners that wait to be verified."),
		wanted:   desc("resync_queue", "Blocks that wait to be fetched, referred to or replaced."),
		writable: desc("writable", "1 while writes are taken, 0 when the disk is full or failing."),
	}
}

// Describe implements prometheus.Collector.
func (u *usage) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{u.blocks, u.live, u.dead, u.segments, u.queued, u.writable, u.wanted} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (u *usage) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	writable := int64(1)
	if u.store.Writable() != nil {
		writable = 0
	}
	gauge(u.writable, writable)
	gauge(u.wanted, u.store.Wanted())
	now, err := u.store.Usage()
	if err != nil {
		out <- prometheus.NewInvalidMetric(u.blocks, err)
		return
	}
	gauge(u.blocks, now.Blocks)
	gauge(u.live, now.LiveBytes)
	gauge(u.dead, now.DeadBytes)
	gauge(u.segments, int64(now.Segments))
	gauge(u.queued, now.Queued)
}
