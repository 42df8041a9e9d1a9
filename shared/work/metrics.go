package work

import (
	"github.com/prometheus/client_golang/prometheus"

	"hangar/shared/nodeapi"
)

// metrics reads the workers of a Set once per scrape.
type metrics struct {
	set                                                            *Set
	state, errors, row, queue, failures, busy, rested, tranquility *prometheus.Desc
}

func newMetrics(service string, s *Set) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("hangar", "worker", name), help,
			append([]string{"worker"}, labels...), prometheus.Labels{"service": service})
	}
	return &metrics{
		set:         s,
		state:       desc("state", "1 for the state that background work is in.", "state"),
		errors:      desc("errors_total", "Pieces of background work that failed."),
		row:         desc("consecutive_errors", "Pieces of background work that failed since the last that did not."),
		queue:       desc("queue_length", "What waits for background work."),
		failures:    desc("persistent_errors", "What background work keeps as failed, to be tried again."),
		busy:        desc("busy_seconds_total", "Time that background work took."),
		rested:      desc("rest_seconds_total", "Time that background work rested for the sake of requests."),
		tranquility: desc("tranquility_ratio", "How many times as long as it works the work rests."),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.state, m.errors, m.row, m.queue, m.failures, m.busy, m.rested, m.tranquility} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	for _, w := range m.set.all() {
		s := w.Status()
		put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(d, kind, v, append([]string{s.Name}, labels...)...)
		}
		for _, state := range []nodeapi.WorkerState{nodeapi.Busy, nodeapi.Throttled, nodeapi.Idle, nodeapi.Done} {
			is := 0.0
			if s.State == state {
				is = 1
			}
			put(m.state, prometheus.GaugeValue, is, string(state))
		}
		busy, rested := w.times()
		put(m.busy, prometheus.CounterValue, busy.Seconds())
		put(m.rested, prometheus.CounterValue, rested.Seconds())
		put(m.errors, prometheus.CounterValue, float64(s.Errors))
		put(m.row, prometheus.GaugeValue, float64(s.ConsecutiveErrors))
		if s.QueueLength != nil {
			put(m.queue, prometheus.GaugeValue, float64(*s.QueueLength))
		}
		if s.PersistentErrors != nil {
			put(m.failures, prometheus.GaugeValue, float64(*s.PersistentErrors))
		}
		if s.Tranquility != nil {
			put(m.tranquility, prometheus.GaugeValue, w.ratio())
		}
	}
}
