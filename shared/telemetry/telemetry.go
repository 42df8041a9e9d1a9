// Package telemetry gives a process its log, traces, metrics and health: one
// Instance, made in main and passed to whoever needs it.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"
)

// Config is what an operator may set; see package config.
type Config struct {
	LogLevel  slog.Level `env:"HANGAR_LOG_LEVEL" envDefault:"INFO" desc:"Least level that is logged: DEBUG, INFO, WARN or ERROR"`
	LogFormat string     `env:"HANGAR_LOG_FORMAT" envDefault:"text" desc:"Format of the log: text or json"`
	OpsAddr   string     `env:"HANGAR_OPS_ADDR" envDefault:":3905" desc:"Address of /health and /metrics; empty turns them off"`
	Pprof     bool       `env:"HANGAR_PPROF" envDefault:"false" desc:"Serve Go profiles at /debug/pprof/ on HANGAR_OPS_ADDR"`
}

// Instance is the telemetry of one process. Its fields are safe for concurrent
// use.
type Instance struct {
	Logger *slog.Logger
	// Tracers makes spans; a no-op unless the standard OTEL_EXPORTER_OTLP_…
	// variables name a collector.
	Tracers trace.TracerProvider
	// Registry holds the metrics of /metrics. A bucket or key is never a label.
	Registry *prometheus.Registry
	// Health is the checks behind /health.
	Health *Health

	pprof bool
	stop  func(ctx context.Context) error
}

// New makes the telemetry of service ("gateway", …), logging to standard error.
// Shutdown must follow, to send the last spans.
func New(ctx context.Context, c Config, service, version string) (*Instance, error) {
	logger, err := newLogger(os.Stderr, c)
	if err != nil {
		return nil, err
	}
	tracers, stop, err := newTracers(ctx, os.Getenv, service, version)
	if err != nil {
		return nil, fmt.Errorf("OpenTelemetry: %w", err)
	}
	registry, health := prometheus.NewRegistry(), NewHealth()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(service, version), health)
	return &Instance{
		Logger: logger.With("service", service), Tracers: tracers, Registry: registry,
		Health: health, pprof: c.Pprof, stop: stop,
	}, nil
}

// Shutdown sends the spans that are still held.
func (i *Instance) Shutdown(ctx context.Context) error { return i.stop(ctx) }

func buildInfo(service, version string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hangar_build_info", Help: "1, with the version that runs.",
		ConstLabels: prometheus.Labels{"service": service, "version": version},
	})
	g.Set(1)
	return g
}

func newLogger(w io.Writer, c Config) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: c.LogLevel}
	switch c.LogFormat {
	case "text", "":
		return slog.New(traced{slog.NewTextHandler(w, opts)}), nil
	case "json":
		return slog.New(traced{slog.NewJSONHandler(w, opts)}), nil
	default:
		return nil, fmt.Errorf("HANGAR_LOG_FORMAT: %q is neither text nor json", c.LogFormat)
	}
}

// traced adds the ids of ctx's span to each record, so that a log line leads
// to its trace.
type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		r.AddAttrs(slog.String("trace_id", s.TraceID().String()), slog.String("span_id", s.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }
func (h traced) WithGroup(name string) slog.Handler       { return traced{h.Handler.WithGroup(name)} }
