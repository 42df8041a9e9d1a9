// Package standalone is all of Hangar in one process: the four services and
// the message broker between them, on one data directory. The services are
// the very ones that run as processes of their own; here they find each other
// in the process instead of over sockets.
package standalone

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"hangar/services/admin"
	"hangar/services/blocks"
	"hangar/services/gateway"
	"hangar/services/meta"
	"hangar/services/standalone/internal/datadir"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/control"
	"hangar/shared/lifecycle"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/rpc"
	"hangar/shared/telemetry"
)

// Config is what an operator may set; see package config.
type Config struct {
	Gateway gateway.Config
	Admin   admin.Config
	Meta    meta.Config
	Blocks  blocks.Config

	Region      string              `env:"HANGAR_REGION" envDefault:"hangar" desc:"S3 region of a new cluster"`
	Consistency control.Consistency `env:"HANGAR_CONSISTENCY_MODE" envDefault:"consistent" desc:"Consistency of a new cluster: consistent, degraded (reads take the first answer) or dangerous (besides, writes wait for one replica only)"`
	Zone        string              `env:"HANGAR_ZONE" envDefault:"local" desc:"Name of the one zone of a new cluster"`
	AccessKey   string              `env:"HANGAR_DEFAULT_ACCESS_KEY" desc:"Access key to create if it is not there; empty: one is made up at the first start"`
	SecretKey   string              `env:"HANGAR_DEFAULT_SECRET_KEY" file:"true" desc:"Secret key of that access key"`
	Bucket      string              `env:"HANGAR_DEFAULT_BUCKET" desc:"Bucket to create if it is not there"`
	NATSListen  string              `env:"HANGAR_NATS_LISTEN" desc:"Address on which the built-in NATS server takes connections; empty: none"`
	NATSToken   string              `env:"HANGAR_NATS_TOKEN" file:"true" desc:"Token that these connections must present; needed with HANGAR_NATS_LISTEN"`

	LogLevel  string `env:"HANGAR_LOG_LEVEL" envDefault:"WARN" desc:"Least level that is logged: DEBUG, INFO, WARN or ERROR"`
	LogFormat string `env:"HANGAR_LOG_FORMAT" envDefault:"text" desc:"Format of the log: text or json"`
	OpsAddr   string `env:"HANGAR_OPS_ADDR" desc:"A further address for /health and /metrics, where profiles are served too if switched on"`
	Pprof     bool   `env:"HANGAR_PPROF" envDefault:"false" desc:"Serve Go profiles at /debug/pprof/ on HANGAR_OPS_ADDR"`
	WebAddr   string `env:"HANGAR_WEB_ADDR" envDefault:":3902" desc:"Reserved for static sites, which are not built yet"`

	// Dir is the data directory, Version this program's, Out where to say how
	// to reach the server. Whoever makes the Config sets them.
	Dir     string    `env:"-"`
	Version string    `env:"-"`
	Out     io.Writer `env:"-"`
}

// memoryLimit is what the Go runtime is told to stay below unless GOMEMLIMIT
// says otherwise. It is a soft limit: it makes the collector work harder, and
// refuses nothing.
const memoryLimit = 320 << 20

// Run serves until ctx ends. Its errors are one line each and leave the data
// directory as it was.
func Run(ctx context.Context, c Config) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	access, err := c.recall()
	if err != nil {
		return err
	}
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error { return c.start(g, access) })
}

// prepare finds what is wrong before anything is written.
func (c *Config) prepare(ctx context.Context) error {
	c.Meta.Dir, c.Blocks.Dir = filepath.Join(c.Dir, "meta"), filepath.Join(c.Dir, "blocks")
	for _, v := range []interface{ Validate() error }{&c.Gateway, &c.Meta, &c.Blocks} {
		if err := v.Validate(); err != nil {
			return err
		}
	}
	switch {
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return errors.New("HANGAR_DEFAULT_ACCESS_KEY and HANGAR_DEFAULT_SECRET_KEY go together: set both or none")
	case c.NATSListen != "" && c.NATSToken == "":
		return errors.New("HANGAR_NATS_LISTEN opens the cluster's inside to the network: set HANGAR_NATS_TOKEN too")
	}
	if err := c.Consistency.Validate(); err != nil {
		return fmt.Errorf("HANGAR_CONSISTENCY_MODE: %w", err)
	}
	for _, a := range []struct{ name, addr string }{
		{"HANGAR_S3_ADDR", c.Gateway.S3Addr}, {"HANGAR_ADMIN_ADDR", c.Admin.Addr}, {"HANGAR_K2V_ADDR", c.Gateway.K2VAddr},
	} {
		if a.addr == "" {
			continue
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", a.addr)
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		l.Close()
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// lockDir makes sure that no other server uses dir. The lock ends with the
// process, however it ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, fmt.Errorf("%s is in use by another hangar server", dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", dir, err)
	}
	return f, nil
}

// recall brings back what earlier starts made up.
func (c *Config) recall() (datadir.Access, error) {
	a, err := datadir.ReadAccess(c.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return a, err
	}
	if c.Admin.Token == "" {
		c.Admin.Token = a.AdminToken
	}
	if c.Admin.Token == "" {
		b := make([]byte, 32)
		_, _ = rand.Read(b) // never fails
		c.Admin.Token = hex.EncodeToString(b)
	}
	return a, c.Admin.Validate()
}

// server is what start builds up.
type server struct {
	c       Config
	g       *lifecycle.Group
	t       *telemetry.Instance
	metrics *process.Metrics
	broker  *natsd.Server
	lane    *rpc.Lane
	mirror  *control.Mirror
	now     func() time.Time // the wall clock
	// buffers is the memory that block client and block service share.
	buffers *blockcodec.Buffers
}

func (c *Config) start(g *lifecycle.Group, before datadir.Access) error {
	ctx := g.Context()
	tc := telemetry.Config{LogFormat: c.LogFormat, OpsAddr: c.OpsAddr, Pprof: c.Pprof}
	if err := tc.LogLevel.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return fmt.Errorf("HANGAR_LOG_LEVEL: %q is none of DEBUG, INFO, WARN, ERROR", c.LogLevel)
	}
	t, err := telemetry.New(ctx, tc, "hangar", c.Version)
	if err != nil {
		return err
	}
	g.Defer("telemetry", t.Shutdown)
	if c.OpsAddr != "" {
		l, err := tc.Listen(ctx)
		if err != nil {
			return err
		}
		g.Go("ops server", func(ctx context.Context) error { return t.Serve(ctx, l) })
	}
	broker, err := natsd.Start(natsd.Options{
		Dir: filepath.Join(c.Dir, "nats"), Listen: c.NATSListen, Token: c.NATSToken, Logger: t.Logger,
	})
	if err != nil {
		return err
	}
	g.Defer("NATS", func(context.Context) error { broker.Shutdown(); return nil })
	s := &server{c: *c, g: g, t: t, metrics: process.NewMetrics(t.Registry), broker: broker, lane: rpc.NewLane(), buffers: new(blockcodec.Buffers)}
	made, err := s.services(ctx)
	if err != nil {
		return err
	}
	access, err := s.remember(before, made)
	if err != nil {
		return err
	}
	s.announce(access, made.MadeCluster)
	return nil
}

// connect gives a service its own connection; it answers as node.
func (s *server) connect(ctx context.Context, name string, node object.NodeID) (*rpc.Conn, error) {
	conn, err := rpc.Connect(ctx, rpc.Options{
		InProcess: s.broker.InProcess(), Token: s.c.NATSToken, Name: "hangar " + name,
		Node: node, Lane: s.lane, Tracer: s.t.Tracers, Observe: s.metrics.Observe, Logger: s.t.Logger,
	})
	if err != nil {
		return nil, err
	}
	s.metrics.Connected(conn)
	s.g.Defer(name+" connection", func(ctx context.Context) error { defer conn.Close(); return conn.Drain(ctx) })
	return conn, nil
}

// remember writes down how to reach the server.
func (s *server) remember(before datadir.Access, made admin.Bootstrapped) (datadir.Access, error) {
	a := datadir.Access{
		S3Endpoint: endpoint(s.c.Gateway.TLSCert != "", s.c.Gateway.S3Addr), Region: made.Cluster.Region,
		AccessKey: before.AccessKey, SecretKey: before.SecretKey, Bucket: cmp.Or(s.c.Bucket, before.Bucket),
		AdminEndpoint: endpoint(s.c.Admin.TLSCert != "", s.c.Admin.Addr), AdminToken: s.c.Admin.Token,
	}
	if addr := s.c.Gateway.K2VAddr; addr != "" {
		a.K2VEndpoint = endpoint(s.c.Gateway.TLSCert != "", addr)
	}
	if made.Key != nil {
		a.AccessKey, a.SecretKey = made.Key.ID, made.Key.Secret
	}
	return a, datadir.WriteAccess(s.c.Dir, a)
}

// endpoint is the URL at which this machine reaches an address to listen on.
func endpoint(tls bool, addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http://"
	if tls {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, port)
}

// announce says that the server is ready and how to use it.
func (s *server) announce(a datadir.Access, first bool) {
	bucket := cmp.Or(a.Bucket, "first-bucket")
	w := s.c.Out
	secret := a.SecretKey
	if !first && !isTerminal(w) {
		// Later starts write into somebody's log.
		secret = "in " + filepath.Join(s.c.Dir, datadir.AccessFile)
	}
	fmt.Fprintf(w, "\nHangar is ready.\n\n  S3 endpoint   %s\n  K2V endpoint  %s\n  Region        %s\n  Access key    %s\n  Secret key    %s\n  Admin API     %s (token in %s)\n\nTry:\n\n",
		a.S3Endpoint, cmp.Or(a.K2VEndpoint, "none"), a.Region, a.AccessKey, secret, a.AdminEndpoint, filepath.Join(s.c.Dir, datadir.AccessFile))
	if secret == a.SecretKey {
		fmt.Fprintf(w, "  export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s AWS_DEFAULT_REGION=%s\n", a.AccessKey, a.SecretKey, a.Region)
	}
	if a.Bucket == "" {
		fmt.Fprintf(w, "  aws --endpoint-url %s s3 mb s3://%s\n", a.S3Endpoint, bucket)
	}
	fmt.Fprintf(w, "  aws --endpoint-url %s s3 cp README.md s3://%s/\n\nCtrl-C stops it.\n", a.S3Endpoint, bucket)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// startTimeout bounds the wait for the built-in broker and the control state.
const startTimeout = time.Minute
