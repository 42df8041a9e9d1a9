package blocks

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hangar/services/blocks/internal/store"
	"hangar/shared/object"
	"hangar/shared/process"
)

// metrics are those of one running service.
type metrics struct {
	fsync prometheus.Histogram
	all   []prometheus.Collector
}

func newMetrics() *metrics {
	m := &metrics{fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "hangar", Subsystem: service, Name: "sync_duration_seconds",
		Help:    "Time that syncing a segment to the disk took.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),
	})}
	m.all = append(m.all, m.fsync)
	return m
}

func (m *metrics) observeSync(d time.Duration) { m.fsync.Observe(d.Seconds()) }

// register adds everything to a registry, or nothing.
func (m *metrics) register(r prometheus.Registerer, st *store.Store, work *repair, node *Service) error {
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
	m.counter("repaired_blocks_total", "Blocks taken from other nodes.", c.Repaired.Load)
	m.counter("repaired_references_total", "References taken from other nodes.", c.RepairedRefs.Load)
	m.counter("resync_done_total", "Wanted blocks settled.", work.worker.Synced.Load)
	m.counter("resync_failed_total", "Tries at wanted blocks that failed.", work.worker.Failed.Load)
	m.counter("resync_dead_total", "References not taken over because their owner is dead.", work.worker.DeadRefs.Load)
	m.counter("compare_rounds_total", "Comparisons of everything with all replicas.", work.comparer.Rounds.Load)
	m.counter("compare_found_total", "Blocks that a comparison found lacking.", work.comparer.Found.Load)
	m.counter("given_up_references_total", "References given up after a change of the layout.", work.mover.Given.Load)
	m.counter("written_bytes_total", "Bytes of blocks that were written, as stored.", func() int64 { n, _ := st.Traffic(); return n })
	m.counter("read_bytes_total", "Bytes of blocks that were read, as stored.", func() int64 { _, n := st.Traffic(); return n })
	m.counter("disk_probe_failures_total", "Small writes beside the requests that failed.", node.disk.Failures)
	m.all = append(m.all, newUsage(node, st))
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
	store   *store.Store
	service *Service

	blocks, live, dead, segments, queued, writable, wanted, errored *prometheus.Desc
	failing, probe, free, size, reserve                             *prometheus.Desc

	dirState, dirLive, dirUsed, dirCapacity, dirFree, dirSize *prometheus.Desc
}

func newUsage(s *Service, st *store.Store) *usage {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("hangar", service, name), help, nil, nil)
	}
	dir := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("hangar", service, "directory_"+name), help, append([]string{"directory"}, more...), nil)
	}
	return &usage{
		dirState:    dir("state", "1 for the state that a data directory is in: writing, full, failing, draining or empty.", "state"),
		dirLive:     dir("live_bytes", "Bytes of blocks that somebody needs in a data directory."),
		dirUsed:     dir("used_bytes", "Bytes that the segments in a data directory take."),
		dirCapacity: dir("capacity_bytes", "Capacity of a data directory that its share of the blocks is measured by."),
		dirFree:     dir("free_bytes", "Free space of the file system of a data directory."),
		dirSize:     dir("size_bytes", "Size of that file system."),
		store:       st, service: s,
		blocks:   desc("stored_blocks", "Blocks held."),
		live:     desc("live_bytes", "Bytes of blocks that somebody needs, as stored."),
		dead:     desc("dead_bytes", "Bytes in segments that nobody needs."),
		segments: desc("segments", "Segment files."),
		queued:   desc("gc_queue_length", "Owners that wait to be verified."),
		wanted:   desc("resync_queue_length", "Blocks that wait to be fetched, referred to or replaced."),
		errored:  desc("resync_errored_blocks", "Of those, the ones whose last try failed; a thousand stands for more."),
		failing:  desc("disk_failing", "1 while no data directory takes writes: each is full down to the reserve or its capacity, fails or stalls; else 0."),
		probe:    desc("disk_probe_seconds", "Time that the last small write beside the requests took with its sync, or that the one under way takes so far."),
		free:     desc("disk_free_bytes", "Free space of the file system with the data directory."),
		size:     desc("disk_size_bytes", "Size of that file system."),
		reserve:  desc("disk_reserve_bytes", "Free space below which writes are refused."),
		writable: desc("writable", "1 while writes are taken, 0 when the disk is full or failing."),
	}
}

// Describe implements prometheus.Collector.
func (u *usage) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		u.blocks, u.live, u.dead, u.segments, u.queued, u.writable, u.wanted, u.errored,
		u.failing, u.probe, u.free, u.size, u.reserve,
		u.dirState, u.dirLive, u.dirUsed, u.dirCapacity, u.dirFree, u.dirSize,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (u *usage) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	is := map[bool]int64{true: 1}
	gauge(u.writable, is[u.store.Writable() == nil])
	gauge(u.wanted, u.store.Wanted())
	u.disk(out, gauge)
	u.directories(out)
	failures, err := u.store.Failing(object.Hash{}, mostFailures)
	if err != nil {
		out <- prometheus.NewInvalidMetric(u.errored, err)
		return
	}
	gauge(u.errored, int64(len(failures)))
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

// mostFailures bounds what a scrape reads of the failures.
const mostFailures = 1000

// directories shows how each data directory fares.
func (u *usage) directories(out chan<- prometheus.Metric) {
	list, err := u.store.Directories()
	if err != nil {
		out <- prometheus.NewInvalidMetric(u.dirState, err)
		return
	}
	for _, d := range list {
		gauge := func(desc *prometheus.Desc, v int64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(v), append([]string{d.Path}, labels...)...)
		}
		gauge(u.dirState, 1, string(d.State))
		gauge(u.dirLive, d.LiveBytes)
		gauge(u.dirUsed, d.UsedBytes)
		gauge(u.dirCapacity, d.ShareBytes)
		gauge(u.dirFree, d.FreeBytes)
		gauge(u.dirSize, d.SizeBytes)
	}
}

// disk shows how the disk fares.
func (u *usage) disk(out chan<- prometheus.Metric, gauge func(*prometheus.Desc, int64)) {
	s, is := u.service, map[bool]int64{true: 1}
	gauge(u.failing, is[s.Failing() != nil])
	out <- prometheus.MustNewConstMetric(u.probe, prometheus.GaugeValue, s.disk.Took().Seconds())
	gauge(u.reserve, s.cfg.ReserveMiB<<20)
	if d, err := process.Disk(s.cfg.Dir); err == nil {
		gauge(u.free, d.FreeBytes)
		gauge(u.size, d.TotalBytes)
	}
}
