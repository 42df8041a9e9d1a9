package gateway

import (
	"crypto/tls"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hangar/services/gateway/internal/k2v"
	"hangar/services/gateway/internal/s3"
)

// metrics are those of one API. Buckets and keys are no labels.
type metrics struct {
	api      string // "s3" or "k2v"
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	all      []prometheus.Collector
}

func newMetrics(r *prometheus.Registry, api string) *metrics {
	m := &metrics{
		api: api, registry: r,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hangar_" + api + "_requests_total", Help: "Requests answered, by operation and HTTP status.",
		}, []string{"operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hangar_" + api + "_request_duration_seconds", Help: "Time from the headers of a request to the last byte of its response.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 12),
		}, []string{"operation"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hangar_" + api + "_bytes_total", Help: "Body bytes, received (in) and sent (out).",
		}, []string{"direction"}),
	}
	m.add(m.requests, m.seconds, m.bytes)
	return m
}

func (m *metrics) add(cs ...prometheus.Collector) {
	m.registry.MustRegister(cs...)
	m.all = append(m.all, cs...)
}

// track shows how many requests are under way.
func (m *metrics) track(active func() int64) {
	m.add(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hangar_" + m.api + "_requests_active", Help: "Requests under way.",
	}, func() float64 { return float64(active()) }))
}

// trackPolls shows how many requests wait for changes.
func (m *metrics) trackPolls(parked func() int) {
	m.add(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hangar_k2v_polls_waiting", Help: "Polls that wait for a change.",
	}, func() float64 { return float64(parked()) }))
}

// certificate shows until when the certificate of the S3 API in use is valid.
func (m *metrics) certificate(conf *tls.Config) {
	m.add(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hangar_s3_certificate_expiry_timestamp_seconds",
		Help: "When the certificate of the S3 API expires, in Unix seconds; absent without TLS.",
	}, func() float64 {
		pair, err := conf.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil || pair.Leaf == nil {
			return 0 // as one that has expired: the alert says to look
		}
		return float64(pair.Leaf.NotAfter.Unix())
	}))
}

func (m *metrics) observeS3(o s3.Outcome) { m.observe(outcome(o)) }

func (m *metrics) observeK2V(o k2v.Outcome) { m.observe(outcome(o)) }

// outcome is what one request of any API came to.
type outcome struct {
	Op      string
	Status  int
	In, Out int64
	Took    time.Duration
}

func (m *metrics) observe(o outcome) {
	m.requests.WithLabelValues(o.Op, strconv.Itoa(o.Status)).Inc()
	m.seconds.WithLabelValues(o.Op).Observe(o.Took.Seconds())
	m.bytes.WithLabelValues("in").Add(float64(o.In))
	m.bytes.WithLabelValues("out").Add(float64(o.Out))
}

func (m *metrics) unregister() {
	for _, c := range m.all {
		m.registry.Unregister(c)
	}
}
