// Package ops holds the use cases of administration: what it means to create
// a key, delete a bucket, apply a layout. It knows nothing of HTTP. Every
// change is a compare-and-set of control state followed by a barrier: it is
// reported once each live process has applied it.
package ops

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"hangar/services/admin/internal/coordinator"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/work"
)

const (
	// BarrierTimeout is how long a change waits for the other processes.
	BarrierTimeout = 2 * time.Second
	// shutOutTimeout is how long a deletion waits for every process to know
	// that a bucket takes no more writes: long enough for one that just died
	// to be forgotten.
	shutOutTimeout = 8 * time.Second
	// abandonedAfter is when a deletion mark is taken for one of an admin
	// process that died.
	abandonedAfter = time.Minute
	sweepInterval  = 30 * time.Second
	cleanupTimeout = 10 * time.Second
)

// Node is what is known of a process that announces itself.
type Node struct {
	ID object.NodeID
	// Service is "gateway", "meta", "blocks" or "admin".
	Service string
	// Zone is where the node says it stands; its role decides.
	Zone     string
	Addr     string
	K2VAddr  string // of gateways that serve it
	Hostname string
	Version  string
	Started  time.Time
	Up       bool
	LastSeen time.Time
	// Failing says why the node cannot be relied on to store anything, empty
	// while it can.
	Failing string
	// ReadOnly says that Failing keeps the node from nothing but writes.
	ReadOnly bool
	// Bytes available and in total where its data lies; zero total: unknown.
	AvailableBytes, TotalBytes int64
	// Directories are those of a node that may keep data in several.
	Directories []nodeapi.Directory
}

// Fleet knows the processes of the cluster. Safe for concurrent use.
type Fleet interface {
	// Nodes lists the processes heard of, this one included.
	Nodes() []Node
	// Refresh asks anew who is there.
	Refresh(ctx context.Context) error
	// Barrier returns nil once every live process has applied rev, an error if
	// ctx ended first. With certain set, processes that fell silent a moment ago
	// count as live. If rev is a change of access then, after nil, nothing takes
	// effect any more that an older state allows, whoever was not heard of: of
	// each row, too few replicas are left that would do it.
	Barrier(ctx context.Context, rev control.Revision, certain bool) error
}

// Driver carries layout changes out; see coordinator.Driver. Safe for
// concurrent use.
type Driver interface {
	// Status returns how far the change under way has come, nil when none is.
	Status(ctx context.Context, v *control.View) *coordinator.Status
	// Settled is the epoch of a service's ring that majorities have adopted.
	Settled(service string) uint64
	Leading() bool
	Counts() *coordinator.Counts
}

// Options are what Ops is built from. Store and Mirror are required.
type Options struct {
	Store  *control.Store
	Mirror *control.Mirror
	// Fleet nil means that this process is alone.
	Fleet Fleet
	// Driver nil means that another process carries layout changes out.
	Driver Driver
	// Rows nil means that buckets cannot be looked into, hence not deleted.
	Rows metaapi.Rows
	// Caller reaches the operators of nodes; nil means that none can be.
	Caller rpc.Caller
	// Self is this process.
	Self object.NodeID
	// Now defaults to time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Ops performs administration. Safe for concurrent use.
type Ops struct {
	store   *control.Store
	mirror  *control.Mirror
	fleet   Fleet
	driver  Driver
	rows    metaapi.Rows
	caller  rpc.Caller
	self    object.NodeID
	now     func() time.Time
	log     *slog.Logger
	compute func(layout.Input) (layout.Assignment, error)

	sweeps work.Results
	tidy   tidying
	// late counts changes that were not applied everywhere in time.
	late atomic.Int64
}

// Late counts the changes that some process had not applied within
// BarrierTimeout.
func (o *Ops) Late() int64 { return o.late.Load() }

// New makes an Ops.
func New(o Options) *Ops {
	ops := &Ops{store: o.Store, mirror: o.Mirror, fleet: o.Fleet, driver: o.Driver, rows: o.Rows, caller: o.Caller, self: o.Self, now: o.Now, log: o.Log, compute: layout.Compute}
	ops.tidy.order = make(chan struct{}, 1)
	if ops.fleet == nil {
		ops.fleet = alone{o.Mirror}
	}
	if ops.now == nil {
		ops.now = time.Now
	}
	if ops.log == nil {
		ops.log = slog.Default()
	}
	return ops
}

// alone is the fleet of one process.
type alone struct{ mirror *control.Mirror }

func (alone) Nodes() []Node { return nil }

func (alone) Refresh(context.Context) error { return nil }

func (a alone) Barrier(ctx context.Context, rev control.Revision, _ bool) error {
	return a.mirror.WaitRevision(ctx, rev)
}

// View is the newest control state this process knows.
func (o *Ops) View() *control.View { return o.mirror.View() }

// Nodes lists the processes heard of.
func (o *Ops) Nodes() []Node { return o.fleet.Nodes() }

// Now is the time by which keys and tokens expire.
func (o *Ops) Now() time.Time { return o.now() }

// Receipt says what became of a change that is durable.
type Receipt struct {
	Revision control.Revision
	// Everywhere says that the barrier was passed: see Fleet. Otherwise its time
	// ran out, and it will be passed a little later.
	Everywhere bool
}

// settle waits until this process shows a change and, for a limited time,
// until all others do.
func (o *Ops) settle(ctx context.Context, rev control.Revision) (Receipt, error) {
	if err := o.mirror.WaitRevision(ctx, rev); err != nil {
		return Receipt{}, fault.Wrap(fault.Indeterminate, err, "the change was made but is not visible yet")
	}
	wait, cancel := context.WithTimeout(ctx, BarrierTimeout)
	defer cancel()
	err := o.fleet.Barrier(wait, rev, false)
	if err != nil {
		o.late.Add(1)
		o.log.WarnContext(ctx, "a change is not applied everywhere yet", "revision", rev, "error", err)
	}
	return Receipt{Revision: rev, Everywhere: err == nil}, nil
}

// done settles a change that was made, or passes its error on.
func (o *Ops) done(ctx context.Context, rev control.Revision, err error) (Receipt, error) {
	if err != nil {
		return Receipt{}, err
	}
	return o.settle(ctx, rev)
}

// Run finishes or takes back what processes that died left behind, until ctx
// ends.
func (o *Ops) Run(ctx context.Context) error {
	if o.mirror.WaitSynced(ctx) != nil {
		return nil
	}
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		err := o.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			o.log.WarnContext(ctx, "clearing up after deletions", "error", err)
		}
		o.sweeps.Note(o.now(), err)
		o.tidyAliases(ctx)
		select {
		case <-tick.C:
		case <-o.tidy.order:
		case <-ctx.Done():
			return nil
		}
	}
}
