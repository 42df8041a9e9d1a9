package telemetry

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hangar/shared/fault"
)

// checkTimeout bounds each health check.
const checkTimeout = 2 * time.Second

// Check returns nil when what it looks at works, else one line that says what
// does not. An error of kind StorageFull says that it serves reads still. Its ctx
// allows two seconds.
type Check func(ctx context.Context) error

// Health is a set of named checks. Safe for concurrent use.
type Health struct {
	mu     sync.Mutex
	checks map[string]Check           // guarded by mu
	warn   map[string]func() []string // guarded by mu
}

// NewHealth returns a set that is healthy because it checks nothing.
func NewHealth() *Health {
	return &Health{checks: make(map[string]Check), warn: make(map[string]func() []string)}
}

// Register adds a check under a name, or replaces the one it had.
func (h *Health) Register(name string, c Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks[name] = c
}

// Warn registers what is wrong although requests succeed, under a name: it makes
// nothing unhealthy. warnings must not wait.
func (h *Health) Warn(name string, warnings func() []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.warn[name] = warnings
}

// Report is what /health answers, as JSON.
type Report struct {
	// Status is "ok", "read-only" when nothing is wrong but that writes are refused,
	// or "failing".
	Status string `json:"status"`
	// Checks holds, per check, "ok" or what is wrong.
	Checks map[string]string `json:"checks"`
	// Warnings are what needs care although requests succeed.
	Warnings map[string][]string `json:"warnings,omitempty"`
}

// OK reports whether every check passed.
func (r Report) OK() bool { return r.Status == "ok" }

// Serves reports whether requests should come here: all, or at least reads.
func (r Report) Serves() bool { return r.Status != "failing" }

// Describe implements prometheus.Collector.
func (h *Health) Describe(to chan<- *prometheus.Desc) { to <- descHealth }

var descHealth = prometheus.NewDesc("hangar_health_ok", "1 while a check of /health passes, else 0.", []string{"check"}, nil)

// Collect implements prometheus.Collector: it runs all checks.
func (h *Health) Collect(to chan<- prometheus.Metric) {
	for name, state := range h.Check(context.Background()).Checks {
		ok := 0.0
		if state == "ok" {
			ok = 1
		}
		to <- prometheus.MustNewConstMetric(descHealth, prometheus.GaugeValue, ok, name)
	}
}

// Check runs all checks at once.
func (h *Health) Check(ctx context.Context) Report {
	h.mu.Lock()
	checks, warn := maps.Clone(h.checks), maps.Clone(h.warn)
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()

	type result struct {
		name string
		err  error
	}
	results := make(chan result, len(checks))
	for name, check := range checks {
		go func() { results <- result{name, check(ctx)} }()
	}
	report := Report{Status: "ok", Checks: make(map[string]string, len(checks))}
	for name := range checks {
		report.Checks[name] = "does not answer"
	}
	answered := 0
	// A check that ignores its ctx must not make the health of all unknown.
	for range checks {
		select {
		case r := <-results:
			answered++
			report.Checks[r.name] = "ok"
			switch {
			case r.err == nil:
				continue
			case fault.Is(r.err, fault.StorageFull) && report.Status == "ok":
				report.Status = "read-only"
			case !fault.Is(r.err, fault.StorageFull):
				report.Status = "failing"
			}
			report.Checks[r.name] = r.err.Error()
		case <-ctx.Done():
		}
	}
	if answered < len(checks) {
		report.Status = "failing"
	}
	for name, warnings := range warn {
		if w := warnings(); len(w) > 0 {
			if report.Warnings == nil {
				report.Warnings = make(map[string][]string)
			}
			report.Warnings[name] = w
		}
	}
	return report
}
