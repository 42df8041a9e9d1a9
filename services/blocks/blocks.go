// Package blocks is the block service: one node that keeps pieces of object
// content in its data directory and answers the clients of blockrpc.
package blocks

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"hangar/services/blocks/internal/store"
	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/blockapi/blockrpc"
	"hangar/shared/control"
	"hangar/shared/datadir"
	"hangar/shared/diskprobe"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/layout"
	"hangar/shared/lifecycle"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/rpc"
	"hangar/shared/segment"
	"hangar/shared/telemetry"
	"hangar/shared/work"
)

const (
	service = "blocks"
	// indexDir in the data directory holds the index.
	indexDir = "index"
)

// Identify returns the id of the node that lives in dir. A new or empty
// directory becomes a node with a new id. Errors name the directory.
func Identify(dir string) (object.NodeID, error) { return datadir.Open(dir, service, indexDir, 1) }

// Control is how the service sees the control state; *control.Mirror is one.
type Control interface {
	// View is the newest picture.
	View() *control.View
	// Changed is closed when the layout next changes.
	Changed() <-chan struct{}
}

// Deps is what the service stands on.
type Deps struct {
	// Server answers requests as the node that Identify returned.
	Server rpc.Server
	// Caller reaches the other nodes, as the same one.
	Caller  rpc.Caller
	Control Control
	// Verifier decides whether the owner of a block lives.
	Verifier blockapi.Verifier
	// Purger deletes what needs blocks that an operator gives up for lost; nil:
	// none can be.
	Purger    blockapi.Purger
	Telemetry *telemetry.Instance
	// Buffers may be shared with a block client in the same process; nil is a
	// pool of its own.
	Buffers *blockcodec.Buffers
}

// Service is a node of the block service.
type Service struct {
	cfg      Config
	deps     Deps
	node     object.NodeID
	log      *slog.Logger
	ready    chan struct{}
	followed atomic.Uint64 // the epoch whose partitions are served
	disk     *diskprobe.Probe
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
func (s *Service) diskOf(st *store.Store) error {
	return cmp.Or(st.Writable(), s.disk.Failing(), st.DiskFailing())
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
	return &Service{
		cfg: cfg, deps: deps, node: node, ready: make(chan struct{}),
		log:  deps.Telemetry.Logger.With("node", node.String()),
		disk: diskprobe.New(cfg.Dir, nil, deps.Telemetry.Logger),
	}, nil
}

// Ready is closed once the node answers and serves the partitions of the
// layout that was in force when it started.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends; then requests under way are finished. It is
// called once. An error is a data directory in use or damaged.
func (s *Service) Run(ctx context.Context) error {
	return lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		m := newMetrics()
		set, err := s.openWork(g)
		if err != nil {
			return err
		}
		st, err := s.open(g, m, set)
		if err != nil {
			return err
		}
		g.Go("store", st.Run)
		g.Go("disk probe", s.disk.Run)
		failing := func() error { return s.diskOf(st) }
		s.failing.Store(&failing)
		r, err := s.newRepair(g, set, st)
		if err != nil {
			return err
		}
		if err := m.register(s.deps.Telemetry.Registry, st, r, s); err != nil {
			return err
		}
		g.Defer("metrics", func(context.Context) error { m.unregister(s.deps.Telemetry.Registry); return nil })
		requests := newGate(st, r.mover, set.Foreground())
		g.Defer("requests", requests.drain)
		endpoint, err := s.serve(g, requests)
		if err != nil {
			return err
		}
		if err := s.serveOperator(g, &operator{Set: set, service: s, gate: requests, store: st, repair: r}); err != nil {
			return err
		}
		g.Go("layout", func(ctx context.Context) error { return s.follow(ctx, endpoint, st) })
		r.start(g, s.ready)
		s.deps.Telemetry.Health.Register(service, func(context.Context) error { return s.check() })
		return nil
	})
}

// serve answers requests of clients, of other nodes and of the layout's driver.
func (s *Service) serve(g *lifecycle.Group, requests *gate) (*blockrpc.Endpoint, error) {
	endpoint, err := blockrpc.Serve(s.deps.Server, s.node, requests)
	if err != nil {
		return nil, err
	}
	g.Defer("endpoint", func(context.Context) error { endpoint.Close(); return nil })
	stopPeer, err := blockrpc.ServePeer(s.deps.Server, s.node, requests)
	if err != nil {
		return nil, err
	}
	g.Defer("peer endpoint", func(context.Context) error { stopPeer(); return nil })
	stopTransfers, err := nodeapi.ServeTransfers(s.deps.Server, service, s.node, requests)
	if err != nil {
		return nil, err
	}
	g.Defer("transfer endpoint", func(context.Context) error { stopTransfers(); return nil })
	return endpoint, nil
}

// open opens index and segments. The index comes first: it locks the directory.
func (s *Service) open(g *lifecycle.Group, m *metrics, set *work.Set) (*store.Store, error) {
	idx, err := badgerkv.Open(filepath.Join(s.cfg.Dir, indexDir), badgerkv.Options{
		MemTableBytes: s.cfg.MemTableMiB << 20,
		CacheBytes:    s.cfg.CacheMiB << 20,
		ReserveBytes:  s.cfg.indexReserve(),
		Log:           s.log,
	})
	if err != nil {
		return nil, err
	}
	g.Defer("index", func(context.Context) error { return idx.Close() })
	st, err := store.Open(s.cfg.Dir, idx, store.Options{
		Segments: segment.Options{
			SegmentBytes: s.cfg.SegmentMiB << 20,
			ReserveBytes: s.cfg.ReserveMiB << 20,
			OnSync:       m.observeSync,
			Log:          s.log,
		},
		Grace:       s.cfg.GCGrace,
		SweepEvery:  s.cfg.GCSweep,
		DeadShare:   s.cfg.DeadShare,
		Verifier:    s.deps.Verifier,
		Buffers:     s.deps.Buffers,
		Concurrency: runtime.GOMAXPROCS(0),
		Work:        set,
		Log:         s.log,
	})
	if err != nil {
		return nil, err
	}
	g.Defer("segments", func(context.Context) error { return st.Close() })
	return st, nil
}

// ring is the ring of blocks in force, nil when there is none.
func (s *Service) ring() *layout.Ring {
	if l := s.deps.Control.View().Layout; l != nil {
		return &l.Blocks
	}
	return nil
}

// follow serves the partitions that the layout gives this node.
func (s *Service) follow(ctx context.Context, endpoint *blockrpc.Endpoint, st *store.Store) error {
	return process.FollowLayout(ctx, s.log, s.deps.Control.Changed, s.ready, func(ctx context.Context) error {
		ring := s.ring()
		if err := endpoint.Follow(ring); err != nil || ring == nil {
			return err
		}
		if err := st.Follow(ctx, ring, s.node); err != nil {
			return err
		}
		s.followed.Store(ring.Epoch)
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
