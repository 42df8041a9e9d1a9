// Package blocks is the block service: one node that keeps pieces of object
// content in its data directory and answers the clients of blockrpc.
package blocks

import (
	"context"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"hangar/services/blocks/internal/store"
	"hangar/services/blocks/internal/volume"
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
	// The formats of a data directory: of a node that never had others, and of
	// one whose segments may lie in several. Who knows only the first would take
	// those for damaged.
	oneDirectory, manyDirectories = 1, 2
)

// Identify returns the id of the node that lives in dir. A new or empty
// directory becomes a node with a new id. Errors name the directory.
func Identify(dir string) (object.NodeID, error) {
	return datadir.OpenUpTo(dir, service, indexDir, oneDirectory, manyDirectories)
}

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
	dirs     []volume.Spec
	deps     Deps
	node     object.NodeID
	log      *slog.Logger
	ready    chan struct{}
	followed atomic.Uint64 // the epoch whose partitions are served
	disk     *diskprobe.Probe

	opened sync.RWMutex // held while the state of the store is looked at
	store  *store.Store // guarded by opened; nil before it is open and when it closes
	disks  disks
}

// New makes a service. It starts nothing, but claims a new data directory.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	dirs, err := volume.Parse(cfg.DataDirs)
	if err != nil {
		return nil, err
	}
	format := oneDirectory
	if len(dirs) > 0 {
		format = manyDirectories
	}
	node, err := datadir.OpenUpTo(cfg.Dir, service, indexDir, format, manyDirectories)
	if err != nil {
		return nil, err
	}
	return &Service{
		cfg: cfg, dirs: dirs, deps: deps, node: node, ready: make(chan struct{}),
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
		s.show(st)
		g.Defer("health", func(context.Context) error { s.show(nil); return nil })
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
		s.deps.Telemetry.Health.Warn(service, s.warnings)
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
		Node:        s.node,
		Directories: s.dirs,
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
