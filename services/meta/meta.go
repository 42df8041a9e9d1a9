// Package meta is the metadata service: one node of the replicated table that
// holds objects, uploads and lists of blocks. It keeps rows in an ordered store
// in its data directory, their larger bodies and a journal of all changes in a
// log of segments beside it, and answers coordinators over rpc.
package meta

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hangar/services/meta/internal/admission"
	"hangar/services/meta/internal/bodies"
	"hangar/services/meta/internal/journal"
	"hangar/services/meta/internal/membership"
	"hangar/services/meta/internal/snapshot"
	"hangar/services/meta/internal/table"
	"hangar/services/meta/internal/transfer"
	"hangar/shared/control"
	"hangar/shared/datadir"
	"hangar/shared/diskprobe"
	"hangar/shared/kv"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/layout"
	"hangar/shared/lifecycle"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/rpc"
	"hangar/shared/segment"
	"hangar/shared/telemetry"
	"hangar/shared/work"
)

// format of the data directory: 1 was without the journal.
const format = 2

// Where, in the data directory, the ordered store and the log of bodies are.
const (
	rowsDir   = snapshot.RowsDir
	bodiesDir = snapshot.BodiesDir
)

// Identify returns the id of the node that lives in dir. A new or empty
// directory becomes a node with a new id. Errors name the directory.
func Identify(dir string) (object.NodeID, error) { return datadir.Open(dir, "meta", rowsDir, format) }

// Control is how the service sees the control state; *control.Mirror is one.
type Control interface {
	// View is the newest picture. It must hold a cluster once Run is called.
	View() *control.View
	// Changed is closed when the layout next changes.
	Changed() <-chan struct{}
}

// Deps is what the service stands on.
type Deps struct {
	// Server answers requests as the node that Identify returned.
	Server rpc.Server
	// Caller sends requests to other nodes, and to this one.
	Caller    rpc.Caller
	Control   Control
	Telemetry *telemetry.Instance
	// Now is the wall clock, by which delete markers grow old; nil means
	// time.Now.
	Now func() time.Time
}

// Service is a metadata node.
type Service struct {
	cfg      Config
	deps     Deps
	node     object.NodeID
	rows     string // the store's directory
	log      *slog.Logger
	ready    chan struct{}
	followed atomic.Uint64 // the epoch whose partitions are served
	gate     atomic.Pointer[admission.Gate]
	disk     *diskprobe.Probe
	syncs    prometheus.Histogram
	failing  atomic.Pointer[func() error] // set once the store is open
}

// Failing says why this node's disk is not to be relied on, nil while it takes
// writes. It waits for no disk.
func (s *Service) Failing() error {
	if f := s.failing.Load(); f != nil {
		return (*f)()
	}
	return nil
}

// diskOf is the state of the disk under an open store.
func (s *Service) diskOf(rows *table.Table, store *journal.Store) error {
	return cmp.Or(rows.Writable(), s.disk.Failing(), store.Log().Failing(diskprobe.Stall))
}

// New makes a service. It starts nothing, but claims a new data directory.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	node, err := Identify(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	return &Service{
		cfg: cfg, deps: deps, node: node, rows: filepath.Join(cfg.Dir, rowsDir), ready: make(chan struct{}),
		log:   deps.Telemetry.Logger.With("node", node.String()),
		syncs: newSyncs(),
		disk:  diskprobe.New(cfg.Dir, nil, deps.Telemetry.Logger),
	}, nil
}

// Ready is closed once the node answers and serves the partitions of the
// layout that was in force when it started.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// node is what a running service consists of.
type node struct {
	base    *badgerkv.Store // under store
	store   *journal.Store
	writer  *kv.Committer
	large   *bodies.Log
	rows    *table.Table
	members *membership.Members
	client  *metaapi.Client
	set     *work.Set
}

// Run serves until ctx ends; then requests under way are finished. It is called
// once. An error is a data directory in use or damaged, or another cluster's.
func (s *Service) Run(ctx context.Context) error {
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		n, err := s.load(g)
		if err != nil {
			return err
		}
		copier, err := s.copier(n.set, n.store, n.writer, n.client)
		if err != nil {
			return fmt.Errorf("%s: %w", s.rows, err)
		}
		old, err := s.collector(n.set, n.rows, n.members)
		if err != nil {
			return err
		}
		repair, err := s.repair(n.set, n.rows, n.members, n.writer, n.client)
		if err != nil {
			return err
		}
		orders, err := s.operations(n, repair)
		if err != nil {
			return err
		}
		g.Go("committer", n.writer.Run)
		g.Defer("rows", func(context.Context) error { n.rows.Close(); return nil })
		g.Go("members", n.members.Run)
		g.Go("copier", copier.Run)
		if err := s.keepTidy(g, n.set, n.store, n.large); err != nil {
			return err
		}
		g.Go("disk probe", s.disk.Run)
		failing := func() error { return s.diskOf(n.rows, n.store) }
		s.failing.Store(&failing)
		metrics := newMetrics(s.deps.Telemetry.Registry, n.rows, n.writer, n.large, old, repair)
		metrics.disk(s, n.store)
		metrics.changes(n.members, copier)
		g.Defer("metrics", func(context.Context) error { metrics.unregister(); return nil })

		server, err := s.serve(g, n.members, copier)
		if err != nil {
			return err
		}
		g.Go("layout", func(ctx context.Context) error { return s.follow(ctx, server, n.members) })
		old.Work.Go(g, s.onceReady(old.Run))
		repair.Work.Go(g, s.onceReady(repair.Run))
		if err := s.operate(g, orders); err != nil {
			return err
		}
		s.deps.Telemetry.Health.Register("meta", func(context.Context) error { return s.check() })
		return nil
	})
}

// load opens what the data directory holds. Nothing runs yet.
func (s *Service) load(g *lifecycle.Group) (n node, err error) {
	if n.base, n.store, err = s.open(g); err != nil {
		return n, err
	}
	n.writer = kv.NewCommitter(n.store)
	if n.large, err = bodies.New(n.store, n.writer, bodies.Options{DeadShare: s.cfg.DeadShare, Log: s.log}); err != nil {
		return n, err
	}
	bits := s.deps.Control.View().Cluster.PartitionBits
	once, err := incarnation(s.cfg.Dir)
	if err != nil {
		return n, err
	}
	if n.rows, err = table.Open(n.store, n.writer, n.large, bits, once); err != nil {
		return n, fmt.Errorf("%s: %w", s.rows, err)
	}
	if n.members, err = membership.Open(n.rows, bits, s.node, s.log); err != nil {
		return n, fmt.Errorf("%s: %w", s.rows, err)
	}
	n.client = s.client()
	n.set, err = s.background(g)
	return n, err
}

// serve answers requests until the group stops.
func (s *Service) serve(g *lifecycle.Group, members *membership.Members, copier *transfer.Worker) (*metaapi.Server, error) {
	gate := admission.New(members, s.deps.Control.View)
	s.gate.Store(gate)
	server, err := metaapi.Serve(s.deps.Server, s.node, gate)
	if err != nil {
		return nil, err
	}
	g.Defer("server", func(context.Context) error { server.Close(); return nil })
	stopPeer, err := metaapi.ServePeer(s.deps.Server, s.node, members)
	if err != nil {
		return nil, err
	}
	g.Defer("peers", func(context.Context) error { stopPeer(); return nil })
	return server, s.serveTransfers(g, members, copier)
}

// Await returns once this node has applied the control state of a revision, and
// has finished the requests that it let in before: it then takes part no more in
// anything that rests on an older one. Others' barriers rest on it.
func (s *Service) Await(ctx context.Context, m *control.Mirror, rev control.Revision) error {
	if err := m.WaitRevision(ctx, rev); err != nil {
		return err
	}
	if g := s.gate.Load(); g != nil {
		return g.Quiesce(ctx)
	}
	return nil
}

// open opens the store, which stays locked until the group stops.
func (s *Service) open(g *lifecycle.Group) (*badgerkv.Store, *journal.Store, error) {
	if !s.cfg.Sync {
		s.log.Warn("HANGAR_META_SYNC is false: acknowledged writes may be lost when power fails")
	}
	base, err := badgerkv.Open(s.rows, badgerkv.Options{
		MemTableBytes: s.cfg.MemTableMiB << 20,
		CacheBytes:    s.cfg.CacheMiB << 20,
		ReserveBytes:  s.cfg.rowsReserve(),
		NoSync:        true, // the journal syncs, if anything does
		Log:           s.log,
	})
	if err != nil {
		return nil, nil, err
	}
	g.Defer("store", func(context.Context) error { return base.Close() })
	store, err := journal.Open(filepath.Join(s.cfg.Dir, bodiesDir), base, journal.Options{
		Segments: segment.Options{
			SegmentBytes: s.cfg.SegmentMiB << 20,
			ReserveBytes: s.cfg.ReserveMiB << 20,
			NoSync:       !s.cfg.Sync,
			OnSync:       func(d time.Duration) { s.syncs.Observe(d.Seconds()) },
			Log:          s.log,
		},
		Log: s.log,
	})
	if err != nil {
		return nil, nil, err
	}
	g.Defer("journal", func(context.Context) error { return store.Close() })
	return base, store, nil
}

// ring is the metadata ring in force, nil when there is none.
func (s *Service) ring() *layout.Ring {
	if l := s.deps.Control.View().Layout; l != nil {
		return &l.Meta
	}
	return nil
}

// follow fences off older layouts, settles which partitions this node may serve
// in the newest, and only then is to be asked for them.
func (s *Service) follow(ctx context.Context, server *metaapi.Server, members *membership.Members) error {
	return process.FollowLayout(ctx, s.log, s.deps.Control.Changed, s.ready, func(ctx context.Context) error {
		l := s.deps.Control.View().Layout
		if err := members.Follow(ctx, l); err != nil || l == nil {
			return err
		}
		if err := server.Follow(&l.Meta); err != nil {
			return err
		}
		s.followed.Store(l.Meta.Epoch)
		return nil
	})
}

// check reports why requests would fail at present.
func (s *Service) check() error {
	if err := s.Failing(); err != nil {
		return err
	}
	if ring := s.ring(); ring != nil && s.followed.Load() < ring.Epoch {
		return errors.New("the current layout is not followed yet")
	}
	return nil
}
