package coordinator

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"hangar/shared/control"
	"hangar/shared/layout"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// The pace of a driver. It is quick at first, so that a change of little data
// is over at once.
const (
	quickest    = 20 * time.Millisecond
	slowest     = time.Second
	askTimeout  = 4 * time.Second
	retryDown   = time.Second // between questions to a node that does not answer
	mostAtOnce  = 32          // questions under way
	pollLease   = 500 * time.Millisecond
	slowSettle  = 10 * time.Second
	stopTimeout = 2 * time.Second
)

// Options are what a Driver is made from.
type Options struct {
	Store  *control.Store
	Mirror *control.Mirror
	Caller rpc.Caller
	// Node is where this process answers for its status.
	Node object.NodeID
	Log  *slog.Logger // nil: slog.Default
}

// Driver carries layout changes out while it leads. All methods are safe for
// concurrent use.
type Driver struct {
	o         Options
	candidate *control.Candidate // of the goroutine of Run
	renewed   time.Time          // when the lease was last renewed; of Run
	leading   atomic.Bool
	status    atomic.Pointer[Status] // nil unless leading
	counts    Counts

	// Of the goroutine of Run:
	seen    map[string]*Seen // by service
	pace    map[string]*pace // by service
	retryAt map[nodeOf]time.Time
	// settled holds, by service, the epoch at rest that majorities have
	// adopted, so that who left may be switched off.
	settled [2]atomic.Uint64
}

type nodeOf struct {
	service string
	node    object.NodeID
}

// Counts are of this process since it started.
type Counts struct{ Completed, Aborted atomic.Int64 }

// New makes a driver. It does nothing before Run.
func New(o Options) *Driver {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Driver{
		o: o, candidate: &control.Candidate{Holder: rand.Text(), Node: o.Node},
		seen: map[string]*Seen{}, pace: map[string]*pace{}, retryAt: map[nodeOf]time.Time{},
	}
}

// Leading reports whether this process drives a change.
func (d *Driver) Leading() bool { return d.leading.Load() }

// Counts are what Run and NoteAborted count.
func (d *Driver) Counts() *Counts { return &d.counts }

// Run drives changes whenever this process gets the lease, until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	if d.o.Mirror.WaitSynced(ctx) != nil {
		return nil
	}
	defer d.giveUp(ctx)
	wait := quickest
	for ctx.Err() == nil {
		changed := d.o.Mirror.Changed()
		l := d.o.Mirror.View().Layout
		switch {
		case l == nil:
			wait = slowSettle
		case !l.Joint():
			d.giveUp(ctx)
			wait = d.rest(ctx, l)
		case !d.lead(ctx):
			wait = pollLease
		default:
			if d.round(ctx, l) {
				wait = quickest
			} else {
				wait = min(max(2*wait, quickest), slowest)
			}
		}
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-changed:
			wait = quickest
		case <-ctx.Done():
		}
		pause.Stop()
	}
	return nil
}

// lead reports whether this process holds the lease, which it renews in time.
func (d *Driver) lead(ctx context.Context) bool {
	now := time.Now()
	if d.leading.Load() && now.Sub(d.renewed) < control.LeaseRenewal {
		return true
	}
	held, err := d.o.Store.TryLease(ctx, d.candidate)
	switch {
	case err != nil: // holds as long as nobody else can have taken it
		held = d.leading.Load() && now.Sub(d.renewed) < control.LeaseExpiry
	case held:
		d.renewed = now
	}
	if d.leading.Swap(held) != held {
		d.o.Log.InfoContext(ctx, "driving layout changes", "leader", held)
	}
	if !held {
		d.status.Store(nil)
	}
	return held
}

// giveUp releases the lease. When that fails it runs out.
func (d *Driver) giveUp(ctx context.Context) {
	d.status.Store(nil)
	if !d.leading.Swap(false) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := d.o.Store.ReleaseLease(ctx, d.candidate); err != nil {
		d.o.Log.WarnContext(ctx, "the lease of the driver runs out by itself", "error", err)
	}
}

// round takes each joint ring one step further. It reports whether something
// changed that makes the next step worth taking at once.
func (d *Driver) round(ctx context.Context, l *control.Layout) (quick bool) {
	status := &Status{Version: l.Version, Began: l.Change.Began}
	for _, service := range control.StorageServices {
		ring := l.Ring(service)
		if !ring.Joint() {
			continue
		}
		if s := d.seen[service]; s == nil || s.Epoch != ring.Epoch {
			d.seen[service], d.pace[service] = NewSeen(ring.Epoch), &pace{}
		}
		seen := d.seen[service]
		before := Decide(service, ring, l.MetaLowsEpoch, l.Change.Skip, seen)
		d.ask(ctx, service, before, l.Change.Skip, seen)
		plan := Decide(service, ring, l.MetaLowsEpoch, l.Change.Skip, seen)
		status.add(service, ring.Epoch, plan, seen, d.pace[service].estimate(time.Now(), plan, seen))
		quick = quick || plan.Phase != before.Phase
		if ctx.Err() == nil {
			d.write(ctx, service, ring.Epoch, plan)
		}
	}
	d.status.Store(status)
	return quick
}

// write makes the change of the record that a plan asks for, if any.
func (d *Driver) write(ctx context.Context, service string, epoch uint64, plan Plan) {
	var l *control.Layout
	var err error
	switch {
	case plan.Marks != nil:
		_, _, err = d.o.Store.TakeMetaLows(ctx, epoch, plan.Marks)
	case plan.End:
		l, _, err = d.o.Store.EndRing(ctx, service, epoch)
	}
	if err != nil { // it is tried again
		d.o.Log.WarnContext(ctx, "a step of the layout change was not written", "service", service, "phase", plan.Phase, "error", err)
		return
	}
	if l == nil {
		return
	}
	d.o.Log.InfoContext(ctx, "the data of a service is in place", "service", service, "version", l.Version, "partitions", plan.Total)
	if !l.Joint() {
		d.counts.Completed.Add(1)
	}
}

// ask puts the questions of a plan to the nodes and takes what they answer.
func (d *Driver) ask(ctx context.Context, service string, plan Plan, skip []object.NodeID, seen *Seen) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex // guards seen and retryAt
	slots := make(chan struct{}, mostAtOnce)
	start := func(n object.NodeID, do func() (take func(), err error)) {
		key := nodeOf{service, n}
		mu.Lock()
		early := time.Now().Before(d.retryAt[key])
		mu.Unlock()
		if early {
			return
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			take, err := do()
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				delete(d.retryAt, key)
				take()
				return
			}
			d.retryAt[key] = time.Now().Add(retryDown)
			seen.Failed(n, err)
		})
	}
	for _, n := range plan.Adopt {
		start(n, func() (func(), error) {
			a, err := nodeapi.AskAdopt(ctx, d.o.Caller, service, n, seen.Epoch)
			return func() { seen.Adopted(n, a) }, err
		})
	}
	for n, partitions := range plan.Orders {
		order := nodeapi.Transfer{Epoch: seen.Epoch, Partitions: partitions, Skip: skip}
		start(n, func() (func(), error) {
			p, err := nodeapi.AskTransfer(ctx, d.o.Caller, service, n, order)
			return func() { seen.Moved(n, partitions, p) }, err
		})
	}
	all.Wait()
}

// rest sees to what follows a change: that the history is kept, and that it is
// known when those who left may be switched off. Every process does so for
// itself. It returns when to look again.
func (d *Driver) rest(ctx context.Context, l *control.Layout) time.Duration {
	clear(d.seen)
	clear(d.pace)
	clear(d.retryAt)
	if h := d.o.Mirror.View().History; h.Last() == nil || h.Last().Version < l.Version || h.Last().Status == control.LayoutChanging {
		if _, err := d.o.Store.NoteLayout(ctx, l, time.Now()); err != nil {
			d.o.Log.WarnContext(ctx, "the layout is missing in the history", "version", l.Version, "error", err)
		}
	}
	wait := time.Duration(1<<63 - 1)
	for i, service := range control.StorageServices {
		ring := l.Ring(service)
		if ring.Epoch < 2 || d.settled[i].Load() == ring.Epoch {
			continue // nobody has left before the second epoch
		}
		if d.settle(ctx, service, ring) {
			d.settled[i].Store(ring.Epoch)
			continue
		}
		wait = min(wait, slowSettle)
		if time.Since(d.renewed) < time.Minute { // the change has just ended
			wait = min(wait, slowest)
		}
	}
	return wait
}

// settle reports whether a majority of every partition has adopted the epoch
// of a ring at rest.
func (d *Driver) settle(ctx context.Context, service string, ring *layout.Ring) bool {
	seen := NewSeen(ring.Epoch)
	d.ask(ctx, service, Plan{Adopt: ring.Nodes}, nil, seen)
	return seen.settled(ring)
}

// Settled returns the epoch at rest of a service that majorities are known to
// have adopted: nodes that it does not have may be switched off.
func (d *Driver) Settled(service string) uint64 {
	for i, s := range control.StorageServices {
		if s == service {
			return d.settled[i].Load()
		}
	}
	return 0
}
