// Package gateway is the service that clients of S3 and K2V talk to. It keeps nothing: it
// checks who asks and whether they may, turns requests into rows and blocks,
// and can be started as often as the load asks for.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/changes"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/items"
	"hangar/services/gateway/internal/objects"
	"hangar/services/gateway/internal/quota"
	"hangar/services/gateway/internal/s3"
	"hangar/shared/adminapi"
	"hangar/shared/blockapi"
	"hangar/shared/certificate"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/lifecycle"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/telemetry"
)

// Config is what an operator may set; see package config.
type Config struct {
	S3Addr       string        `env:"HANGAR_S3_ADDR" envDefault:":3900" desc:"Address of the S3 API"`
	RootDomain   string        `env:"HANGAR_S3_ROOT_DOMAIN" desc:"Domain whose subdomains are buckets, such as .s3.example.org; empty allows path-style requests only"`
	TLSCert      string        `env:"HANGAR_TLS_CERT" desc:"File with the certificate of the S3 and the K2V API; empty serves plain HTTP"`
	TLSKey       string        `env:"HANGAR_TLS_KEY" desc:"File with the key of that certificate"`
	MaxRequests  int           `env:"HANGAR_S3_MAX_REQUESTS" envDefault:"512" desc:"Requests served at once; more are answered with SlowDown"`
	StallTimeout time.Duration `env:"HANGAR_S3_STALL_TIMEOUT" envDefault:"60s" desc:"How long a client may neither send nor take a byte"`
	Grace        time.Duration `env:"HANGAR_S3_GRACE" envDefault:"20s" desc:"How long a stopping gateway waits for requests under way"`
	Drain        time.Duration `env:"HANGAR_S3_DRAIN" envDefault:"0s" desc:"How long a gateway that is asked to stop goes on serving while /health fails, so that load balancers turn away first"`
	InlineBytes  int64         `env:"HANGAR_INLINE_BYTES" envDefault:"32768" desc:"Largest object that is kept in its row instead of in blocks"`
	BlockBytes   int64         `env:"HANGAR_BLOCK_BYTES" envDefault:"1048576" desc:"Size of the blocks that larger objects are cut into"`
	WriteMemory  int64         `env:"HANGAR_WRITE_MEMORY" envDefault:"100663296" desc:"Most bytes of blocks on their way to the blocks service"`
	TraceNames   bool          `env:"HANGAR_TRACE_NAMES" envDefault:"false" desc:"Have traces name the bucket and key of each request, for whoever may read the traces"`
	K2VAddr      string        `env:"HANGAR_K2V_ADDR" envDefault:":3904" desc:"Address of the K2V API; empty serves none"`
	K2VRequests  int           `env:"HANGAR_K2V_MAX_REQUESTS" envDefault:"512" desc:"K2V requests served at once, waiting polls not counted; more are answered with SlowDown"`
	K2VPolls     int           `env:"HANGAR_K2V_MAX_POLLS" envDefault:"16384" desc:"K2V polls that may wait at once; more are answered with SlowDown"`
	ReadMemory   int64         `env:"HANGAR_READ_MEMORY" envDefault:"100663296" desc:"Most bytes of blocks read ahead"`
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	switch {
	case c.MaxRequests < 1:
		return errors.New("HANGAR_S3_MAX_REQUESTS must be at least 1")
	case c.K2VRequests < 1:
		return errors.New("HANGAR_K2V_MAX_REQUESTS must be at least 1")
	case c.K2VPolls < 1:
		return errors.New("HANGAR_K2V_MAX_POLLS must be at least 1")
	case c.StallTimeout <= 0:
		return errors.New("HANGAR_S3_STALL_TIMEOUT must be more than 0s")
	case c.Grace < 0:
		return errors.New("HANGAR_S3_GRACE must not be less than 0s")
	case c.Drain < 0 || c.Drain > maxDrain:
		return fmt.Errorf("HANGAR_S3_DRAIN must be between 0s and %s", maxDrain)
	case c.BlockBytes < 64<<10 || c.BlockBytes > blockapi.MaxBlockBytes:
		return fmt.Errorf("HANGAR_BLOCK_BYTES must be between 65536 and %d", blockapi.MaxBlockBytes)
	case c.InlineBytes < 0 || c.InlineBytes > c.BlockBytes:
		return errors.New("HANGAR_INLINE_BYTES must be between 0 and HANGAR_BLOCK_BYTES")
	}
	return c.certificate(nil).Validate()
}

// maxDrain leaves room within the time that a part of a process has to stop.
const maxDrain = 25 * time.Second

func (c *Config) certificate(log *slog.Logger) certificate.Files {
	return certificate.Files{Cert: c.TLSCert, Key: c.TLSKey, Setting: "HANGAR_TLS", Log: log}
}

// Deps is what a gateway stands on.
type Deps struct {
	Rows   metaapi.ItemRows
	Blocks blockapi.Store
	// Bus tells gateways of each other's writes; nil is for one on its own.
	Bus     changes.Bus
	Buckets adminapi.Buckets
	// View returns the control state as it is now. It must hold a cluster once
	// Run is called.
	View func() *control.View
	// Await returns once View shows a revision, or with ctx's error: requests
	// wait for it that metadata nodes found admitted by an older one.
	Await     func(ctx context.Context, rev control.Revision) error
	Telemetry *telemetry.Instance
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Gateway serves the S3 and K2V APIs.
type Gateway struct {
	cfg     Config
	deps    Deps
	ready   chan struct{}
	addr    net.Addr // set before ready is closed
	k2vAddr net.Addr // the same; nil without the K2V API
	store   atomic.Pointer[objects.Service]
	items   atomic.Pointer[items.Service]
}

// New makes a gateway. It starts nothing.
func New(cfg Config, deps Deps) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Gateway{cfg: cfg, deps: deps, ready: make(chan struct{})}, nil
}

// Ready is closed once clients can connect.
func (g *Gateway) Ready() <-chan struct{} { return g.ready }

// Addr is where the S3 API is served; valid once Ready is closed.
func (g *Gateway) Addr() net.Addr { return g.addr }

// K2VAddr is where the K2V API is served, nil for nowhere; valid once Ready is
// closed.
func (g *Gateway) K2VAddr() net.Addr { return g.k2vAddr }

// Run serves until ctx ends, then lets requests under way finish within the
// configured grace. It may be called once.
func (g *Gateway) Run(ctx context.Context) error {
	ln, conf, err := g.listen(ctx)
	if err != nil {
		return err
	}
	log := g.deps.Telemetry.Logger
	store := objects.New(g.deps.Rows, g.deps.Blocks, log, objects.Config{
		InlineBytes: g.cfg.InlineBytes, BlockBytes: g.cfg.BlockBytes,
		WriteMemory: g.cfg.WriteMemory, ReadMemory: g.cfg.ReadMemory,
		MayWrite: g.mayWrite, Limits: g.limits, Buckets: g.buckets, Now: g.deps.Now,
	})
	g.store.Store(store)
	seen := newMetrics(g.deps.Telemetry.Registry, "s3")
	defer seen.unregister()
	if conf != nil {
		seen.certificate(conf)
	}
	cluster := g.deps.View().Cluster
	api := s3.New(s3.Options{
		Store: store, Buckets: g.deps.Buckets,
		View: func() access.Directory { return g.deps.View() }, Await: g.deps.Await,
		Region: cluster.Region, Owner: cluster.ID, RootDomain: g.cfg.RootDomain,
		Log: log, Tracer: g.deps.Telemetry.Tracers.Tracer("hangar/services/gateway"), TraceNames: g.cfg.TraceNames,
		Observe: seen.observeS3, Now: g.deps.Now,
	})
	server := httpd.New(httpd.Config{
		MaxRequests: g.cfg.MaxRequests, StallTimeout: g.cfg.StallTimeout, Grace: g.cfg.Grace, TLS: conf,
	}, api, log)
	seen.track(server.Active)
	g.deps.Telemetry.Health.Register("s3", g.check)
	return lifecycle.Run(ctx, func(group *lifecycle.Group) error {
		group.Go("clean-up after objects", store.Run)
		group.Go("S3 API", func(ctx context.Context) error { return server.Serve(ctx, ln) })
		g.addr = ln.Addr()
		if err := g.serveK2V(ctx, group, conf); err != nil {
			return err
		}
		close(g.ready)
		log.InfoContext(ctx, "serving S3", "addr", ln.Addr().String(), "region", cluster.Region)
		return nil
	})
}

// Await returns once this gateway has applied the control state of a revision,
// and has finished the writes that it let in before. Other services' barriers
// rest on it.
func (g *Gateway) Await(ctx context.Context, m *control.Mirror, rev control.Revision) error {
	if err := m.WaitRevision(ctx, rev); err != nil {
		return err
	}
	if s := g.store.Load(); s != nil {
		if err := s.Quiesce(ctx); err != nil {
			return err
		}
	}
	if s := g.items.Load(); s != nil {
		return s.Quiesce(ctx)
	}
	return nil
}

// mayWrite is asked right before content becomes visible: the bucket may have
// been shut since the request began.
func (g *Gateway) mayWrite(id object.BucketID) error {
	b := g.deps.View().Bucket(id)
	switch {
	case b == nil:
		return fault.Wrap(fault.NotFound, access.ErrNoSuchBucket, "bucket %s", id)
	case b.State != control.BucketActive:
		return fault.Wrap(fault.Conflict, access.ErrBucketBusy, "bucket %s", id)
	}
	return nil
}

// limits are those of a bucket's quota.
func (g *Gateway) limits(id object.BucketID) quota.Limits {
	b := g.deps.View().Bucket(id)
	if b == nil {
		return quota.Limits{} // and no writes
	}
	return quota.Limits{Objects: b.MaxObjects, Bytes: b.MaxBytes}
}

func (g *Gateway) buckets() (ids []object.BucketID) {
	for _, b := range g.deps.View().Buckets() {
		ids = append(ids, b.ID)
	}
	return ids
}

// check reports why requests would fail at present.
func (g *Gateway) check(context.Context) error {
	switch v := g.deps.View(); {
	case v.Cluster.ID == "":
		return errors.New("no cluster in the control state")
	case v.Layout == nil || len(v.Layout.Meta.Assign) == 0 || len(v.Layout.Blocks.Assign) == 0:
		return errors.New("no layout has been applied")
	}
	return nil
}

func (g *Gateway) listen(ctx context.Context) (ln net.Listener, conf *tls.Config, err error) {
	var log *slog.Logger
	if g.deps.Telemetry != nil {
		log = g.deps.Telemetry.Logger
	}
	if conf, err = g.cfg.certificate(log).Server(); err != nil {
		return nil, nil, err
	}
	ln, err = new(net.ListenConfig).Listen(ctx, "tcp", g.cfg.S3Addr)
	if err != nil {
		return nil, nil, fmt.Errorf("HANGAR_S3_ADDR: %w", err)
	}
	return ln, conf, nil
}

// Drain has /health say that this gateway is about to stop, and returns once
// load balancers have had time to notice. Requests are served all the while.
func (g *Gateway) Drain(ctx context.Context) error {
	g.deps.Telemetry.Health.Register("s3", func(context.Context) error { return errors.New("about to stop") })
	if g.cfg.Drain > 0 {
		g.deps.Telemetry.Logger.InfoContext(ctx, "about to stop: load balancers turn away", "for", g.cfg.Drain)
	}
	return lifecycle.Sleep(ctx, g.cfg.Drain)
}
