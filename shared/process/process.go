// Package process is what every process of a cluster stands on: the
// connection to NATS, the mirror of the control state, telemetry, and making
// itself known. A service's main is this and the service.
package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/lifecycle"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/telemetry"
)

// Config is what every service reads from the environment beside its own.
type Config struct {
	NATS      NATS
	Telemetry telemetry.Config
	Zone      string `env:"HANGAR_ZONE" desc:"Where this node stands, proposed to whoever assigns the layout; nodes of the same zone are asked first"`
}

// NATS says how to reach the message broker.
type NATS struct {
	URL      string `env:"HANGAR_NATS_URL" envDefault:"nats://127.0.0.1:4222" desc:"Addresses of the NATS servers, comma separated, the nearest first: the others are used while it is away"`
	User     string `env:"HANGAR_NATS_USER" desc:"User name for NATS"`
	Password string `env:"HANGAR_NATS_PASSWORD" file:"true" desc:"Password for NATS"`
	Token    string `env:"HANGAR_NATS_TOKEN" file:"true" desc:"Token for NATS, instead of user and password"`
	CA       string `env:"HANGAR_NATS_CA" desc:"File with the certificates to trust; turns on TLS"`
	Cert     string `env:"HANGAR_NATS_CERT" desc:"File with this process's certificate, if NATS asks for one"`
	Key      string `env:"HANGAR_NATS_KEY" desc:"File with the key of that certificate"`
	Inbox    string `env:"HANGAR_NATS_INBOX" desc:"Prefix of the subjects that answers arrive on, when this user may listen on no others"`
}

// Options are those of a connection to the broker.
func (n NATS) Options() rpc.Options {
	return rpc.Options{
		URL: n.URL, User: n.User, Password: n.Password, Token: n.Token,
		TLSCA: n.CA, TLSCert: n.Cert, TLSKey: n.Key, InboxPrefix: n.Inbox,
	}
}

// ControlCopy is the file in a data directory that holds a copy of the control
// state.
const ControlCopy = "control.export"

// connectTimeout bounds how long a starting process waits for the broker and
// for the control state.
const connectTimeout = time.Minute

// Process is what Start made. It lives as long as its group.
type Process struct {
	Conn      *rpc.Conn
	Mirror    *control.Mirror
	Telemetry *telemetry.Instance
	// Now is the wall clock: see Clock.
	Now func() time.Time

	metrics *Metrics
	id      Identity
}

// Identity is who the process is.
type Identity struct {
	Node    nodeapi.Node
	DataDir string // where the mirror keeps its copy and the disk is measured; may be empty
	// Await answers barriers: it returns once a revision is in force here.
	// Nil waits for the mirror.
	Await func(ctx context.Context, rev control.Revision) error
	// Failing says why the node should not be relied on to store anything; it
	// does not wait. Nil: there is nothing to say.
	Failing func() error
	// Disks is the room of a node with directories of its own besides DataDir, and
	// how they fare; without any, DataDir is measured. It does not wait. Nil: there
	// are none.
	Disks func() (nodeapi.Disk, []nodeapi.Directory)
}

// Start connects, follows the control state and serves /health and /metrics.
// It returns once the mirror has caught up. Everything it starts belongs to g.
func Start(g *lifecycle.Group, c Config, id Identity) (*Process, error) {
	ctx := g.Context()
	t, err := telemetry.New(ctx, c.Telemetry, id.Node.Service, id.Node.Version)
	if err != nil {
		return nil, err
	}
	g.Defer("telemetry", t.Shutdown)
	now, err := Clock(t.Logger)
	if err != nil {
		return nil, err
	}
	if c.Telemetry.OpsAddr != "" {
		l, err := c.Telemetry.Listen(ctx)
		if err != nil {
			return nil, err
		}
		g.Go("ops server", func(ctx context.Context) error { return t.Serve(ctx, l) })
	}
	t.Health.Register("ready", func(context.Context) error { return fmt.Errorf("starting") })
	metrics := NewMetrics(t.Registry)
	p := &Process{Telemetry: t, Now: now, metrics: metrics, id: id}
	conn, err := p.Connect(g, c.NATS)
	if err != nil {
		return nil, err
	}
	t.Health.Register("nats", func(context.Context) error {
		if !conn.NATS().IsConnected() {
			return fmt.Errorf("not connected to NATS")
		}
		return nil
	})
	o := control.MirrorOptions{Log: t.Logger}
	if id.DataDir != "" {
		o.PersistTo = filepath.Join(id.DataDir, ControlCopy)
	}
	m, err := Follow(g, conn, o)
	if err != nil {
		return nil, err
	}
	metrics.Follow(m)
	p.Conn, p.Mirror = conn, m
	return p, nil
}

// Connect makes a connection that belongs to g. A process has one of its own
// already; this is for one that needs further rights.
func (p *Process) Connect(g *lifecycle.Group, n NATS) (*rpc.Conn, error) {
	ctx, cancel := context.WithTimeout(g.Context(), connectTimeout)
	defer cancel()
	o := n.Options()
	o.Name, o.Node = "hangar "+p.id.Node.Service, p.id.Node.ID
	o.Tracer, o.Observe, o.Logger = p.Telemetry.Tracers, p.metrics.Observe, p.Telemetry.Logger
	conn, err := rpc.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	p.metrics.Connected(conn)
	g.Defer("NATS connection", func(ctx context.Context) error { defer conn.Close(); return conn.Drain(ctx) })
	return conn, nil
}

// Follow starts a mirror that belongs to g. It does not wait for it.
func Follow(g *lifecycle.Group, conn *rpc.Conn, o control.MirrorOptions) (*control.Mirror, error) {
	m, err := control.NewMirror(conn.NATS(), o)
	if err != nil {
		return nil, err
	}
	g.Go("control mirror", m.Run)
	return m, nil
}

// AwaitControl returns once the mirror shows a cluster, or says what is
// missing.
func (p *Process) AwaitControl(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for {
		next := p.Mirror.Updated()
		if p.Mirror.View().Cluster.ID != "" {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("no cluster in the control state: is an admin service running?")
		}
	}
}

// Announce makes the service visible and answer barriers, and marks the
// process ready. Call it last.
func (p *Process) Announce(g *lifecycle.Group, id Identity) error {
	stop, err := Announce(p.Conn, p.Mirror, id)
	if err != nil {
		return err
	}
	g.Defer("presence", func(context.Context) error { return stop() })
	p.Telemetry.Health.Register("ready", func(context.Context) error { return nil })
	return nil
}

// Announce registers a node and answers barriers for it.
func Announce(conn *rpc.Conn, m *control.Mirror, id Identity) (stop func() error, err error) {
	await := id.Await
	if await == nil {
		await = m.WaitRevision
	}
	stopBarrier, err := nodeapi.ServeBarrier(conn, await)
	if err != nil {
		return nil, err
	}
	leave, err := nodeapi.Register(conn.NATS(), id.Node, id.status)
	if err != nil {
		stopBarrier()
		return nil, err
	}
	return func() error { err := leave(); stopBarrier(); return err }, nil
}

// status is how the node fares at present.
func (id Identity) status() (s nodeapi.Status) {
	if id.DataDir != "" {
		disk, err := Disk(id.DataDir)
		if err != nil {
			s.Failing = err.Error()
		} else {
			s.Disk = &disk
		}
	}
	if id.Disks != nil {
		if disk, dirs := id.Disks(); len(dirs) > 0 {
			s.Disk, s.Directories = &disk, dirs
		}
	}
	if id.Failing != nil {
		if err := id.Failing(); err != nil {
			s.Failing, s.ReadOnly = err.Error(), fault.Is(err, fault.StorageFull)
		}
	}
	return s
}

// Describe makes a Node of this machine.
func Describe(service, version, zone string, id object.NodeID) nodeapi.Node {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return nodeapi.Node{ID: id, Service: service, Version: version, Hostname: host, Started: time.Now(), Zone: zone}
}

// Disk measures the file system that holds dir.
func Disk(dir string) (nodeapi.Disk, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return nodeapi.Disk{}, err
	}
	return nodeapi.Disk{FreeBytes: int64(s.Bavail) * s.Bsize, TotalBytes: int64(s.Blocks) * s.Bsize}, nil
}
