package admin

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"hangar/services/admin/internal/ops"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

const (
	pollInterval = time.Second
	// upFor is how long a node counts as up after it was last heard of.
	upFor = 5 * time.Second
	// forgetAfter is when a silent node without a role is listed no more.
	forgetAfter = 10 * time.Minute
	// quickBarrier is how long the nodes last heard of are given at least
	// before it is looked up which are there now.
	quickBarrier = 250 * time.Millisecond
)

// fleet keeps an eye on the processes of the cluster.
type fleet struct {
	conn   *rpc.Conn
	mirror *control.Mirror

	mu   sync.Mutex
	seen map[nodeKey]sighting // guarded by mu
	last time.Time            // of the newest listing; guarded by mu
	// slowest is how long the farthest node took to answer, less and less
	// remembered; guarded by mu.
	slowest time.Duration
}

// nodeKey tells the services apart that one process may announce under one id.
type nodeKey struct {
	service string
	id      object.NodeID
}

type sighting struct {
	node nodeapi.Node
	at   time.Time
}

var _ ops.Fleet = (*fleet)(nil)

func newFleet(conn *rpc.Conn, mirror *control.Mirror) *fleet {
	return &fleet{conn: conn, mirror: mirror, seen: map[nodeKey]sighting{}}
}

// Run listens for who is there until ctx ends.
func (f *fleet) Run(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		// A failure shows as nodes not heard of. It listens to the end, or a
		// node far away would never be heard of behind near ones.
		_, _ = f.list(ctx, nodeapi.Window)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// list asks who is there and remembers the answers.
func (f *fleet) list(ctx context.Context, silence time.Duration) ([]nodeapi.Node, error) {
	nodes, slowest, err := nodeapi.List(ctx, f.conn.NATS(), silence)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = now
	f.slowest = max(slowest, f.slowest*9/10)
	for _, n := range nodes {
		f.seen[nodeKey{n.Service, n.ID}] = sighting{n, now}
	}
	maps.DeleteFunc(f.seen, func(_ nodeKey, s sighting) bool { return now.Sub(s.at) > forgetAfter })
	return nodes, nil
}

// silence is long enough for every node that answered of late.
func (f *fleet) silence() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return max(nodeapi.Quiet, 2*f.slowest)
}

// heard returns the nodes heard of since t.
func (f *fleet) heard(t time.Time) (nodes []nodeapi.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.seen {
		if !s.at.Before(t) {
			nodes = append(nodes, s.node)
		}
	}
	return nodes
}

// newest returns the nodes of the newest listing, ok false when it is old.
func (f *fleet) newest() (nodes []nodeapi.Node, ok bool) {
	f.mu.Lock()
	last := f.last
	f.mu.Unlock()
	return f.heard(last), time.Since(last) < 3*pollInterval
}

// Nodes implements ops.Fleet.
func (f *fleet) Nodes() []ops.Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, out := time.Now(), make([]ops.Node, 0, len(f.seen))
	for _, s := range f.seen {
		n := ops.Node{
			ID: s.node.ID, Service: s.node.Service, Zone: s.node.Zone, Hostname: s.node.Hostname,
			Version: s.node.Version, Started: s.node.Started,
			Addr: cmp.Or(s.node.S3Addr, s.node.AdminAddr), K2VAddr: s.node.K2VAddr, Up: now.Sub(s.at) <= upFor, LastSeen: s.at,
			Failing: s.node.Failing, ReadOnly: s.node.ReadOnly, Directories: s.node.Directories,
		}
		if d := s.node.Disk; d != nil {
			n.AvailableBytes, n.TotalBytes = d.FreeBytes, d.TotalBytes
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b ops.Node) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), slices.Compare(a.ID[:], b.ID[:]))
	})
	return out
}

// Refresh implements ops.Fleet.
func (f *fleet) Refresh(ctx context.Context) error {
	_, err := f.list(ctx, nodeapi.Quiet)
	return err
}

// Barrier implements ops.Fleet.
func (f *fleet) Barrier(ctx context.Context, rev control.Revision, certain bool) error {
	if err := f.mirror.WaitRevision(ctx, rev); err != nil {
		return err
	}
	ring := f.guards(rev)
	if certain {
		return f.certainBarrier(ctx, rev, ring)
	}
	if nodes, ok := f.newest(); ok {
		quick, cancel := context.WithTimeout(ctx, max(quickBarrier, 2*f.silence()))
		err := nodeapi.AwaitRevision(quick, f.conn, rev, nodes, ring)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	nodes, err := f.list(ctx, f.silence())
	if err != nil {
		return err
	}
	return nodeapi.AwaitRevision(ctx, f.conn, rev, nodes, ring)
}

// guards is the ring whose replicas have to know of a change, nil when none
// have: they keep those out who were let in before access was changed. What is
// in force at the change, or later, will do: what came before it is fenced off,
// see docs/protocol.md.
func (f *fleet) guards(rev control.Revision) *layout.Ring {
	v := f.mirror.View()
	if v.Access < rev || v.Layout == nil || len(v.Layout.Meta.Assign) == 0 {
		return nil
	}
	return &v.Layout.Meta
}

// certainBarrier also waits for nodes that fell silent, until they confirm or
// have been silent for upFor.
func (f *fleet) certainBarrier(ctx context.Context, rev control.Revision, ring *layout.Ring) error {
	for {
		if _, err := f.list(ctx, f.silence()); err != nil {
			return err
		}
		try, cancel := context.WithTimeout(ctx, time.Second)
		err := nodeapi.AwaitRevision(try, f.conn, rev, f.heard(time.Now().Add(-upFor)), ring)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fault.Wrap(fault.Unavailable, err, "waiting for every process")
		}
	}
}
