// Package admin is the service that changes a cluster: layout, keys, buckets.
// Operators talk to it over HTTP, gateways over rpc. It keeps nothing itself:
// what it changes is control state, so any number of it may run.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hangar/services/admin/internal/coordinator"
	"hangar/services/admin/internal/httpapi"
	"hangar/services/admin/internal/ops"
	"hangar/shared/adminapi"
	"hangar/shared/certificate"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/lifecycle"
	"hangar/shared/metaapi"
	"hangar/shared/nodeapi"
	"hangar/shared/rpc"
	"hangar/shared/telemetry"
)

// Config is what an operator may set; see package config.
type Config struct {
	Addr            string `env:"HANGAR_ADMIN_ADDR" envDefault:":3903" desc:"Address of the Admin API"`
	Token           string `env:"HANGAR_ADMIN_TOKEN" file:"true" desc:"Bearer token that gives access to the whole Admin API"`
	TLSCert         string `env:"HANGAR_ADMIN_TLS_CERT" desc:"File with the certificate of the Admin API; empty serves plain HTTP"`
	TLSKey          string `env:"HANGAR_ADMIN_TLS_KEY" desc:"File with the key of that certificate"`
	MetricsToken    string `env:"HANGAR_METRICS_TOKEN" file:"true" desc:"Bearer token for /metrics of the Admin API; empty leaves it open"`
	S3RootDomain    string `env:"HANGAR_S3_ROOT_DOMAIN" desc:"Domain whose subdomains are buckets, such as .s3.example.org; empty allows path-style requests only"`
	ControlReplicas int    `env:"HANGAR_CONTROL_REPLICAS" envDefault:"0" desc:"NATS servers that hold the control state: 1, 3 or 5; 0 keeps what it has, 1 for a new cluster"`
}

// minTokenBytes keeps tokens from being guessed.
const minTokenBytes = 8

// Validate implements config.Validator.
func (c *Config) Validate() error {
	switch {
	case c.Token == "":
		return errors.New("HANGAR_ADMIN_TOKEN (or HANGAR_ADMIN_TOKEN_FILE) must be set")
	case len(c.Token) < minTokenBytes:
		return fmt.Errorf("HANGAR_ADMIN_TOKEN must have at least %d characters", minTokenBytes)
	case c.ControlReplicas < 0 || c.ControlReplicas > 5 || c.ControlReplicas != 0 && c.ControlReplicas%2 == 0:
		return errors.New("HANGAR_CONTROL_REPLICAS must be 0, 1, 3 or 5")
	}
	return c.certificate(nil).Validate()
}

func (c *Config) certificate(log *slog.Logger) certificate.Files {
	return certificate.Files{Cert: c.TLSCert, Key: c.TLSKey, Setting: "HANGAR_ADMIN_TLS", Log: log}
}

// Deps is what an admin service stands on. The mirror must be running.
type Deps struct {
	Conn *rpc.Conn
	// Control is a connection that may change the control state; nil: Conn may.
	Control *rpc.Conn
	Mirror  *control.Mirror
	// Copy, unless empty, is a copy of the control state that this process has kept:
	// then New makes no new one when there is none.
	Copy string
	// Rows tells whether buckets are empty. Without it none can be deleted.
	Rows metaapi.Rows
	// Registry is what /metrics shows; nil makes one.
	Registry *prometheus.Registry
	// Health holds checks of this process that /health reports too; may be nil.
	Health *telemetry.Health
	// Log defaults to slog.Default.
	Log *slog.Logger
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// BootstrapInput is what a cluster starts with.
type BootstrapInput = ops.BootstrapInput

// Bootstrapped is what there is after Bootstrap, and what it made.
type Bootstrapped = ops.Bootstrapped

// Service is one admin process. Methods are safe for concurrent use.
type Service struct {
	cfg   Config
	deps  Deps
	fleet *fleet
	store *control.Store
	drive *coordinator.Driver
	ops   *ops.Ops
	http  *httpapi.Server
	ready chan struct{}
	addr  net.Addr // set before ready is closed
}

// New connects to the control state and creates its stream when there is none,
// waiting for JetStream until ctx ends. It starts nothing.
func New(ctx context.Context, cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	if deps.Control == nil {
		deps.Control = deps.Conn
	}
	store, err := control.OpenStore(ctx, deps.Control.NATS(), control.StoreOptions{Replicas: cfg.ControlReplicas, Existing: deps.Copy != ""})
	if fault.Is(err, fault.NotFound) {
		return nil, fmt.Errorf("%w, but there is a copy in %s: NATS has lost its data, or this is the first start since an upgrade from a version that kept it elsewhere; stop the other processes and restore the newest copy that any of them has with hangar control restore, or remove this one to begin a new cluster", err, deps.Copy)
	}
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, deps: deps, store: store, fleet: newFleet(deps.Conn, deps.Mirror), ready: make(chan struct{})}
	s.drive = coordinator.New(coordinator.Options{
		Store: store, Mirror: deps.Mirror, Caller: deps.Conn, Node: deps.Conn.Node(), Log: deps.Log,
	})
	s.ops = ops.New(ops.Options{
		Store: store, Mirror: deps.Mirror, Fleet: s.fleet, Driver: s.drive, Rows: deps.Rows,
		Caller: deps.Conn, Self: deps.Conn.Node(), Log: deps.Log, Now: deps.Now,
	})
	if deps.Registry == nil {
		deps.Registry = prometheus.NewRegistry()
	}
	deps.Registry.MustRegister(layoutMetrics{s.drive, deps.Mirror}, clusterMetrics{s.ops})
	s.http = httpapi.New(httpapi.Options{
		Ops: s.ops, AdminToken: cfg.Token, MetricsToken: cfg.MetricsToken, S3RootDomain: cfg.S3RootDomain, Registry: deps.Registry, Health: deps.Health, Log: deps.Log,
	})
	return s, nil
}

// Bootstrap creates what a new cluster lacks (cluster, layout, first key and
// bucket) and leaves alone what is there. It may run before Run, at every
// start, and in several processes at once.
func (s *Service) Bootstrap(ctx context.Context, in BootstrapInput) (Bootstrapped, error) {
	return s.ops.Bootstrap(ctx, in)
}

// Buckets is what gateways of the same process may use without rpc.
func (s *Service) Buckets() adminapi.Buckets { return ops.S3Buckets{Ops: s.ops} }

// Ready is closed once clients can connect.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Addr is where the Admin API is served; valid once Ready is closed.
func (s *Service) Addr() net.Addr { return s.addr }

// Run serves until ctx ends. It may be called once.
func (s *Service) Run(ctx context.Context) error {
	ln, err := s.listen(ctx)
	if err != nil {
		return err
	}
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		// Whoever asks for health first gets an answer that means something.
		if _, err := s.fleet.list(ctx, nodeapi.Quiet); err != nil {
			s.deps.Log.WarnContext(ctx, "nodes are not listed yet", "error", err)
		}
		g.Go("presence", s.fleet.Run)
		g.Go("deletions", s.ops.Run)
		stopStatus, err := s.drive.Serve(s.deps.Conn)
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		g.Defer("status of layout changes", func(context.Context) error { stopStatus(); return nil })
		g.Go("layout changes", s.drive.Run)
		stopOperator, err := nodeapi.ServeOperator(s.deps.Conn, ops.ServiceAdmin, s.deps.Conn.Node(), ops.Operator{Ops: s.ops})
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		g.Defer("requests of operators", func(context.Context) error { stopOperator(); return nil })
		stop, err := adminapi.Serve(s.deps.Conn, s.Buckets())
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		g.Defer("requests of gateways", func(context.Context) error { stop(); return nil })
		g.Go("Admin API", func(ctx context.Context) error { return s.http.Serve(ctx, ln) })
		s.addr = ln.Addr()
		close(s.ready)
		s.deps.Log.InfoContext(ctx, "serving the Admin API", "addr", ln.Addr().String())
		return nil
	})
}

func (s *Service) listen(ctx context.Context) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("HANGAR_ADMIN_ADDR: %w", err)
	}
	secure, err := s.cfg.certificate(s.deps.Log).Listen(l)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return secure, nil
}
