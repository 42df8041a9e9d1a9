// Package httpapi serves administration over HTTP: the paths and JSON shapes
// of Garage's Admin API v2, so that its user interfaces, Terraform providers
// and scripts work unchanged, extended by a node's service. It translates; what
// is done is decided in package ops.
package httpapi

import (
	"fmt"
	"maps"
	"slices"

	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/gofiber/fiber/v2/middleware/recover"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hangar/services/admin/internal/ops"
	"hangar/shared/telemetry"
)

const (
	maxBody         = 1 << 20
	maxHeader       = 16 << 10
	ioTimeout       = 30 * time.Second
	idleTimeout     = 2 * time.Minute
	requestTimeout  = 30 * time.Second
	shutdownTimeout = 10 * time.Second
	// maxConnections bounds the memory of bodies, which are read before a token
	// is looked at.
	maxConnections = 256
)

// HeaderBarrier is set to "timeout" on the answer to a change that is durable
// but that not every process had applied in time.
const HeaderBarrier = "X-Hangar-Barrier"

// Options are what a Server is made from.
type Options struct {
	Ops *ops.Ops
	// AdminToken gives access to everything; required.
	AdminToken string
	// MetricsToken guards /metrics; empty leaves it open.
	MetricsToken string
	// S3RootDomain is the domain whose subdomains are buckets, as the gateways
	// have it; may be empty.
	S3RootDomain string
	// Registry is what /metrics shows; the server adds its own. Nil makes one.
	Registry *prometheus.Registry
	// Health holds checks of this process that /health reports too; may be nil.
	Health *telemetry.Health
	Log    *slog.Logger
}

// Server is the HTTP server of the Admin API.
type Server struct {
	app          *fiber.App
	ops          *ops.Ops
	adminToken   [32]byte // SHA-256, so that comparing leaks no length
	metricsToken *[32]byte
	checks       *telemetry.Health
	s3Root       string
	names        map[string]bool // of the operations
	log          *slog.Logger
	requests     *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
}

// New makes a server. It panics if its metrics are in the registry already, or
// if a type of the table of operations cannot be described.
func New(o Options) *Server {
	s := &Server{ops: o.Ops, adminToken: sha256.Sum256([]byte(o.AdminToken)), checks: o.Health, s3Root: o.S3RootDomain, names: map[string]bool{}, log: o.Log}
	if s.log == nil {
		s.log = slog.Default()
	}
	if o.MetricsToken != "" {
		sum := sha256.Sum256([]byte(o.MetricsToken))
		s.metricsToken = &sum
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	s.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hangar_admin_requests_total", Help: "Admin API requests by operation and status.",
	}, []string{"operation", "status"})
	s.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "hangar_admin_request_duration_seconds", Help: "Time Admin API requests took.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
	}, []string{"operation"})
	o.Registry.MustRegister(s.requests, s.seconds)

	s.app = fiber.New(fiber.Config{
		AppName:                      "Hangar admin",
		ServerHeader:                 "Hangar",
		StrictRouting:                true,
		CaseSensitive:                true,
		Immutable:                    true, // strings of a request outlive it
		BodyLimit:                    maxBody,
		Concurrency:                  maxConnections,
		ReadBufferSize:               maxHeader,
		ReadTimeout:                  ioTimeout,
		WriteTimeout:                 ioTimeout,
		IdleTimeout:                  idleTimeout,
		DisableStartupMessage:        true,
		DisablePreParseMultipartForm: true,
		EnableTrustedProxyCheck:      true,
		ErrorHandler:                 s.fail,
	})
	s.app.Use(recover.New(recover.Config{EnableStackTrace: true, StackTraceHandler: func(c *fiber.Ctx, p any) {
		s.log.ErrorContext(c.UserContext(), "admin request panicked", "panic", p)
	}}))
	s.app.Get("/health", s.health)
	s.app.Get("/metrics", s.guardMetrics, adaptor.HTTPHandler(promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{})))
	s.app.Get("/check", s.checkDomain)
	if err := s.routes(); err != nil {
		panic(err)
	}
	return s
}

// Serve answers requests on l until ctx ends, then lets those under way finish
// for a limited time.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- s.app.Listener(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	if err := s.app.ShutdownWithTimeout(shutdownTimeout); err != nil {
		s.log.WarnContext(ctx, "admin requests were cut off", "error", err)
	}
	return <-served
}

// health answers without a token: load balancers ask it.
func (s *Server) health(c *fiber.Ctx) error {
	h := s.ops.Health()
	c.Set(fiber.HeaderContentType, "text/plain; charset=utf-8")
	c.Set(fiber.HeaderCacheControl, "no-store")
	if s.checks != nil {
		if r := s.checks.Check(c.UserContext()); !r.Serves() {
			return c.Status(http.StatusServiceUnavailable).SendString(failing(r))
		}
	}
	switch {
	case h.Status == ops.Healthy:
		return c.SendString("Hangar is fully operational\n")
	case h.Status == ops.Degraded:
		return c.SendString("Hangar serves requests, but some storage nodes are down or take no writes: see /v2/GetClusterHealth\n")
	case h.Readable: // a balancer that turned away would take reads away too
		return c.SendString(readOnly(h.Reasons))
	default:
		return c.Status(http.StatusServiceUnavailable).SendString("Hangar cannot serve all requests: see /v2/GetClusterHealth\n")
	}
}

// readOnly says why writes are refused, a line for each reason.
func readOnly(reasons []string) string {
	return "Hangar serves reads and refuses writes\n" + strings.Join(reasons, "\n") + "\n"
}

// failing names the checks that failed, a line each.
func failing(r telemetry.Report) string {
	var out strings.Builder
	out.WriteString("Hangar cannot serve all requests\n")
	for _, name := range slices.Sorted(maps.Keys(r.Checks)) {
		if state := r.Checks[name]; state != "ok" {
			fmt.Fprintf(&out, "%s: %s\n", name, state)
		}
	}
	return out.String()
}
