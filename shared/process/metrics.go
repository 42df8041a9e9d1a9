package process

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/rpc"
)

// Metrics are those that every process has: what it served over rpc, how its
// connections to NATS fare, and how far it follows the control state. Safe for
// concurrent use.
type Metrics struct {
	seconds *prometheus.HistogramVec
	errors  *prometheus.CounterVec

	mu     sync.Mutex
	conns  []*rpc.Conn     // guarded by mu
	mirror *control.Mirror // guarded by mu; nil before Follow
}

// NewMetrics makes the metrics of a process and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hangar_rpc_request_duration_seconds", Help: "Time that requests of other processes took here, by operation.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}, []string{"operation"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hangar_rpc_errors_total", Help: "Such requests that failed, by operation and kind of error.",
		}, []string{"operation", "kind"}),
	}
	r.MustRegister(m.seconds, m.errors, natsMetrics{m}, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hangar_control_revision", Help: "Revision of the control state that this process has applied.",
	}, m.revision))
	return m
}

// Observe is for rpc.Options.
func (m *Metrics) Observe(operation string) func(took time.Duration, err error) {
	seconds := m.seconds.WithLabelValues(operation)
	return func(took time.Duration, err error) {
		seconds.Observe(took.Seconds())
		if err != nil {
			m.errors.WithLabelValues(operation, fault.KindOf(err).String()).Inc()
		}
	}
}

// Connected adds a connection.
func (m *Metrics) Connected(c *rpc.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = append(m.conns, c)
}

// Follow sets the mirror.
func (m *Metrics) Follow(mirror *control.Mirror) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mirror = mirror
}

func (m *Metrics) revision() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mirror == nil {
		return 0
	}
	return float64(m.mirror.View().Revision)
}

// natsMetrics sums up the connections.
type natsMetrics struct{ *Metrics }

var (
	descConnected  = natsDesc("connected", "Connections to NATS that stand; one to a process of its own, four in the all-in-one server.")
	descReconnects = natsDesc("reconnects_total", "Times that a connection to NATS had to be made again.")
	descMessages   = natsDesc("messages_total", "Messages received from (in) and sent to (out) NATS.", "direction")
	descBytes      = natsDesc("bytes_total", "Bytes of them.", "direction")
)

func natsDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("hangar_nats_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (natsMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descConnected, descReconnects, descMessages, descBytes} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (n natsMetrics) Collect(to chan<- prometheus.Metric) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var connected, reconnects, in, out, inBytes, outBytes float64
	for _, c := range n.conns {
		if c.NATS().IsConnected() {
			connected++
		}
		s := c.NATS().Stats()
		reconnects += float64(s.Reconnects)
		in, out = in+float64(s.InMsgs), out+float64(s.OutMsgs)
		inBytes, outBytes = inBytes+float64(s.InBytes), outBytes+float64(s.OutBytes)
	}
	to <- prometheus.MustNewConstMetric(descConnected, prometheus.GaugeValue, connected)
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	counter(descReconnects, reconnects)
	counter(descMessages, in, "in")
	counter(descMessages, out, "out")
	counter(descBytes, inBytes, "in")
	counter(descBytes, outBytes, "out")
}
