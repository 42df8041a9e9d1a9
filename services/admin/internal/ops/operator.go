package ops

import (
	"context"
	"fmt"
	"sync"
	"time"

	"hangar/shared/fault"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/work"
)

// tidying is the repair of aliases: an order wakes Run, which does it.
type tidying struct {
	results work.Results
	order   chan struct{} // of one place

	mu      sync.Mutex
	ordered bool                       // and not done yet; guarded by mu
	suspect map[string]object.BucketID // dangling names; Run's own
	since   time.Time                  // when suspect was taken; Run's own
	changed int                        // guarded by mu
}

// Operator is what this admin process offers operators as a node: its few
// workers, and the repair of aliases.
type Operator struct{ *Ops }

var _ nodeapi.Operator = Operator{}

// Workers implements nodeapi.Operator.
func (o Operator) Workers(context.Context) ([]nodeapi.Worker, error) {
	v := o.View()
	waiting := int64(len(v.Deleted()))
	sweep := nodeapi.Worker{ID: 1, Name: "Clearing up after deletions", State: nodeapi.Idle, QueueLength: &waiting}
	o.sweeps.Describe(&sweep)
	if waiting > 0 {
		sweep.State = nodeapi.Busy
	}
	o.tidy.mu.Lock()
	ordered, changed := o.tidy.ordered, o.tidy.changed
	o.tidy.mu.Unlock()
	tidy := nodeapi.Worker{ID: 2, Name: "Repair of aliases", State: nodeapi.Done}
	o.tidy.results.Describe(&tidy)
	if ordered {
		tidy.State = nodeapi.Busy
	}
	tidy.Notes = []string{fmt.Sprintf("%d records changed", changed)}
	out := []nodeapi.Worker{sweep, tidy}
	if o.driver != nil {
		drive := nodeapi.Worker{ID: 3, Name: "Layout changes", State: nodeapi.Idle}
		if o.driver.Leading() && v.Layout != nil && v.Layout.Joint() {
			drive.State = nodeapi.Busy
		}
		out = append(out, drive)
	}
	return out, nil
}

// Variables implements nodeapi.Operator: there are none.
func (Operator) Variables(context.Context) (map[string]string, error) {
	return map[string]string{}, nil
}

// SetVariable implements nodeapi.Operator.
func (Operator) SetVariable(_ context.Context, name, _ string) error {
	return fault.New(fault.NotFound, "an admin node has no variable %q", name)
}

// Snapshot implements nodeapi.Operator.
func (Operator) Snapshot(context.Context) error {
	return fault.New(fault.NotImplemented, "an admin node keeps no metadata")
}

// Repair implements nodeapi.Operator.
func (o Operator) Repair(_ context.Context, r nodeapi.Repair) error {
	if r.Kind != nodeapi.RepairAliases {
		return fault.New(fault.NotImplemented, "an admin node repairs only aliases")
	}
	o.tidy.mu.Lock()
	defer o.tidy.mu.Unlock()
	if o.tidy.ordered {
		return fault.New(fault.Conflict, "the repair of aliases is under way")
	}
	o.tidy.ordered, o.tidy.changed = true, 0
	o.tidy.order <- struct{}{} // has room: ordered says that none waits
	return nil
}

// tidyAliases does what was ordered. A name that dangles may belong to a bucket
// that is being made, so it must have dangled for a while before it is removed:
// the work takes two looks.
func (o *Ops) tidyAliases(ctx context.Context) {
	t := &o.tidy
	t.mu.Lock()
	ordered := t.ordered
	t.mu.Unlock()
	if !ordered || t.suspect != nil && o.now().Sub(t.since) < abandonedAfter {
		return
	}
	changed, done, err := o.lookAtAliases(ctx)
	t.mu.Lock()
	t.changed += changed
	t.ordered = !done && err == nil
	t.mu.Unlock()
	if err != nil || done {
		t.suspect = nil
	}
	t.results.Note(o.now(), err)
	if err != nil && ctx.Err() == nil {
		o.log.WarnContext(ctx, "repair of aliases", "error", err)
	}
}

func (o *Ops) lookAtAliases(ctx context.Context) (changed int, done bool, err error) {
	v, err := o.store.Sync(ctx, o.mirror)
	if err != nil {
		return 0, false, err
	}
	t, dangling := &o.tidy, v.Dangling()
	if t.suspect == nil {
		changed, err = o.store.TidyKeys(ctx, v)
		t.suspect, t.since = dangling, o.now()
		return changed, len(dangling) == 0, err
	}
	for name, id := range t.suspect {
		if dangling[name] != id {
			continue
		}
		dropped, err := o.store.DropDangling(ctx, name, id)
		if dropped {
			changed++
		}
		if err != nil {
			return changed, false, err
		}
	}
	return changed, true, nil
}
