package meta

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"hangar/services/meta/internal/antientropy"
	"hangar/services/meta/internal/snapshot"
	"hangar/shared/datadir"
	"hangar/shared/fault"
	"hangar/shared/lifecycle"
	"hangar/shared/nodeapi"
	"hangar/shared/work"
)

const (
	// snapshotsDir is where, in the data directory, snapshots are kept by default.
	snapshotsDir = "snapshots"
	// workFile keeps what operators set and how far repairs are.
	workFile = "work.json"
	// snapshotLook is the longest time between two looks whether a snapshot is due.
	snapshotLook = time.Hour
	// snapshotRetry is how long after a failure the next is made.
	snapshotRetry = 10 * time.Minute
)

// operations is the node's background work, as operators see and order it.
type operations struct {
	*work.Set
	snapshots *snapshots
	repairs   map[nodeapi.RepairKind]*work.Task
	node      node
	compare   *antientropy.Worker
}

var (
	_ nodeapi.Operator = (*operations)(nil)
	_ nodeapi.Counter  = (*operations)(nil)
)

// Repair implements nodeapi.Operator.
func (o *operations) Repair(_ context.Context, r nodeapi.Repair) error {
	task := o.repairs[r.Kind]
	if task == nil {
		return fault.New(fault.NotImplemented, "repair %q is none of the metadata service", r.Kind)
	}
	return task.Start()
}

// Snapshot implements nodeapi.Operator. It goes on when ctx ends: then whether a
// snapshot was kept is not known.
func (o *operations) Snapshot(ctx context.Context) error { return o.snapshots.order(ctx) }

// operations makes what operators may order.
func (s *Service) operations(n node, compare *antientropy.Worker) (o *operations, err error) {
	o = &operations{Set: n.set, node: n, compare: compare}
	if o.snapshots, err = s.snapshots(n); err != nil {
		return nil, err
	}
	o.repairs, err = s.repairTasks(n, compare)
	return o, err
}

// operate runs that and offers it, until the group stops.
func (s *Service) operate(g *lifecycle.Group, o *operations) error {
	o.snapshots.Go(g, o.snapshots.run)
	for _, task := range o.repairs {
		task.Go(g)
	}
	stop, err := nodeapi.ServeOperator(s.deps.Server, "meta", s.node, o)
	if err != nil {
		return err
	}
	g.Defer("operator", func(context.Context) error { stop(); return nil })
	stopCounting, err := nodeapi.ServeStatistics(s.deps.Server, "meta", s.node, o)
	if err != nil {
		return err
	}
	g.Defer("statistics", func(context.Context) error { stopCounting(); return nil })
	return nil
}

// snapshots is the worker that makes them, by order and now and then.
type snapshots struct {
	*work.Worker
	maker  *snapshot.Maker
	every  time.Duration // zero: by order only
	orders chan chan<- error
}

// snapshots makes the worker.
func (s *Service) snapshots(n node) (*snapshots, error) {
	dir := s.cfg.SnapshotDir
	if dir == "" {
		dir = filepath.Join(s.cfg.Dir, snapshotsDir)
	}
	w := &snapshots{every: s.cfg.SnapshotInterval, orders: make(chan chan<- error)}
	w.maker = &snapshot.Maker{
		Dir: dir, Store: n.store, Bodies: n.large, ReserveBytes: s.cfg.ReserveMiB << 20, Now: s.deps.Now,
		About: func() snapshot.About {
			c := s.deps.Control.View().Cluster
			return snapshot.About{DataFormat: format, Cluster: c.ID, Node: s.node, ReplicationFactor: c.ReplicationFactor}
		},
	}
	var err error
	w.Worker, err = n.set.Worker(work.WorkerOptions{Name: "snapshots", Notes: w.notes})
	return w, err
}

func (w *snapshots) notes() []string {
	when, err := w.maker.Newest()
	switch {
	case err != nil:
		return []string{err.Error()}
	case when.IsZero():
		return []string{"none yet in " + w.maker.Dir}
	}
	return []string{fmt.Sprintf("the newest in %s is of %s", w.maker.Dir, when.Format(time.RFC3339))}
}

// order has a snapshot made and waits for it.
func (w *snapshots) order(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case w.orders <- done:
	case <-ctx.Done():
		return fault.New(fault.Conflict, "a snapshot is being made")
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fault.Wrap(fault.Indeterminate, ctx.Err(), "the snapshot is still being made")
	}
}

// run makes snapshots until ctx ends.
func (w *snapshots) run(ctx context.Context) error {
	var failed time.Time // when one that was due was last not made
	for ctx.Err() == nil {
		timer := time.NewTimer(w.wait(failed))
		var reply chan<- error
		select {
		case <-ctx.Done():
		case reply = <-w.orders:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil || reply == nil && w.wait(failed) > 0 {
			continue
		}
		w.Busy()
		err := w.maker.Make(ctx)
		w.Idle()
		if failed = (time.Time{}); err != nil {
			failed = w.maker.Now()
		}
		if ctx.Err() == nil {
			w.Result(err)
		}
		if reply != nil {
			reply <- err
		}
	}
	return nil
}

// wait is how long no snapshot is due.
func (w *snapshots) wait(failed time.Time) time.Duration {
	newest, err := w.maker.Newest()
	if w.every == 0 || err != nil {
		return snapshotLook
	}
	due := newest.Add(w.every)
	if retry := failed.Add(snapshotRetry); !failed.IsZero() && retry.After(due) {
		due = retry
	}
	return min(max(due.Sub(w.maker.Now()), 0), snapshotLook)
}

// Restored says what Restore made.
type Restored = snapshot.About

// Restore makes a data directory of a snapshot: the node as it was then, with its
// id. lastCopy says that no other node holds newer rows of it. Where others do, a
// node that went back in time would break what the others rest on: it must come
// back as a new one, which they fill. So without lastCopy only a snapshot of a
// cluster without copies is taken. Errors: Precondition (that), NotFound (from is
// no snapshot), Invalid (of a newer format), AlreadyExists (to is not empty),
// StorageFull.
func Restore(from, to string, lastCopy bool) (Restored, error) {
	about, err := snapshot.Read(from)
	if err != nil {
		return about, err
	}
	if about.DataFormat > format {
		return about, fault.New(fault.Invalid, "the snapshot is of format %d, this program knows %d", about.DataFormat, format)
	}
	if about.ReplicationFactor > 1 && !lastCopy {
		return about, fault.New(fault.Precondition,
			"the cluster keeps %d copies of each row: replace the node by a new one, which the others fill", about.ReplicationFactor)
	}
	if err := snapshot.Restore(from, to); err != nil {
		return about, err
	}
	return about, datadir.Restore(to, "meta", about.DataFormat, about.Node)
}
