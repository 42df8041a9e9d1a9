package metaapi_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

var errRevoked = fault.New(fault.Denied, "the key was revoked")

// admission is a mirror and what it says of one request.
type admission struct {
	mu       sync.Mutex
	revision uint64        // guarded by mu
	revoked  uint64        // since which revision; 0: not. Guarded by mu
	changed  chan struct{} // closed by the next set; guarded by mu
	asked    chan uint64   // gets what is waited for
}

func newAdmission(revision uint64) *admission {
	return &admission{revision: revision, changed: make(chan struct{}), asked: make(chan uint64, 100)}
}

func (a *admission) set(revision, revoked uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revision, a.revoked = revision, revoked
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *admission) Current(ctx context.Context, atLeast uint64) (uint64, error) {
	for first := true; ; first = false {
		a.mu.Lock()
		revision, revoked, changed := a.revision, a.revoked, a.changed
		a.mu.Unlock()
		switch {
		case revision >= atLeast && revoked > 0 && revision >= revoked:
			return 0, errRevoked
		case revision >= atLeast:
			return revision, nil
		case first:
			a.asked <- atLeast
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, fault.Wrap(fault.Unavailable, ctx.Err(), "waiting for the mirror")
		}
	}
}

// operations are one of each kind, by name.
func operations(c *metaapi.Client, key metaapi.RowKey) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"get": func(ctx context.Context) error { _, err := c.Get(ctx, key); return err },
		"put": func(ctx context.Context) error { _, err := c.Put(ctx, key, val("new")); return err },
		"update": func(ctx context.Context) error {
			_, err := c.Update(ctx, key, func(metaapi.Row) (*metaapi.Value, error) { return val("new"), nil })
			return err
		},
		"scan": func(ctx context.Context) error {
			_, err := c.Scan(ctx, metaapi.Range{Table: metaapi.Objects, Bucket: bucket, Limit: 10})
			return err
		},
	}
}

// setAccess tells some replicas of a change of access.
func (c *cluster) setAccess(revision uint64, nodes ...object.NodeID) {
	for _, n := range nodes {
		c.replicas[n].SetAccess(revision)
	}
}

// TestBehindAndStillAdmitted: an operation admitted by an older state than the
// replicas' waits for the mirror, and is done.
func TestBehindAndStillAdmitted(t *testing.T) {
	for name := range operations(nil, metaapi.RowKey{}) {
		t.Run(name, func(t *testing.T) {
			c, a := newCluster(t, 3, 3), newAdmission(4)
			c.setAccess(5, c.nodes...)
			done := make(chan error, 1)
			go func() { done <- operations(c.client, key("k"))[name](metaapi.WithAdmission(t.Context(), a)) }()
			if want := <-a.asked; want != 5 {
				t.Errorf("it waits for revision %d", want)
			}
			a.set(7, 0)
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBehindAndRevoked: it is refused as the edge would have, and nothing
// happened.
func TestBehindAndRevoked(t *testing.T) {
	for name := range operations(nil, metaapi.RowKey{}) {
		for _, known := range []int{2, 3} { // a majority, all
			t.Run(name, func(t *testing.T) {
				c, a := newCluster(t, 3, 3), newAdmission(4)
				if _, err := c.client.Put(t.Context(), key("k"), val("old")); err != nil {
					t.Fatal(err)
				}
				c.net.Settle()
				c.setAccess(5, c.nodes[:known]...)
				if known == 2 {
					c.net.Cut(c.nodes[2], true) // the one that would take it
				}
				done := make(chan error, 1)
				go func() { done <- operations(c.client, key("k"))[name](metaapi.WithAdmission(t.Context(), a)) }()
				<-a.asked
				a.set(5, 5)
				if err := <-done; !errors.Is(err, errRevoked) {
					// That the third took it can not be ruled out.
					if known == 3 || !fault.Is(err, fault.Indeterminate) {
						t.Errorf("%v", err)
					}
				}
				row, err := c.client.Get(t.Context(), key("k"))
				if err != nil || string(row.Value.Head) != "old" {
					t.Errorf("the row is %+v, %v", row, err)
				}
			})
		}
	}
}

// TestRevokedBeforeItBegins: nothing is sent.
func TestRevokedBeforeItBegins(t *testing.T) {
	c, a := newCluster(t, 3, 3), newAdmission(5)
	a.set(5, 5)
	for name, do := range operations(c.client, key("k")) {
		calls := c.net.Calls()
		if err := do(metaapi.WithAdmission(t.Context(), a)); !errors.Is(err, errRevoked) || c.net.Calls() != calls {
			t.Errorf("%s: %v after %d exchanges", name, err, c.net.Calls()-calls)
		}
	}
}

// TestTakenByOneReplica: a write that one replica took before the others refused
// is not denied, as if nothing had happened: its fate is unknown. Admitted anew
// it is carried to its end, as the same operation.
func TestTakenByOneReplica(t *testing.T) {
	for _, revoked := range []uint64{0, 5} {
		c, a := newCluster(t, 3, 3), newAdmission(4)
		c.setAccess(5, c.nodes[:2]...)
		done := make(chan error, 1)
		go func() {
			_, err := c.client.Put(metaapi.WithAdmission(t.Context(), a), key("k"), val("new"))
			done <- err
		}()
		<-a.asked
		c.net.Settle() // the third took it
		a.set(6, revoked)
		err := <-done
		switch {
		case revoked == 0 && err != nil:
			t.Error(err)
		case revoked > 0 && !fault.Is(err, fault.Indeterminate):
			t.Errorf("a write that a replica holds is reported as %v", err)
		case revoked > 0 && errors.Is(err, errRevoked):
			t.Errorf("%v passes for a refusal", err)
		}
	}
}

// TestQuorumWithoutRefusal: what a majority answers stands, whatever one knows.
func TestQuorumWithoutRefusal(t *testing.T) {
	for _, name := range []string{"get", "put", "update"} { // a scan asks no more than it needs
		c, a := newCluster(t, 3, 3), newAdmission(4)
		c.setAccess(5, c.nodes[0])
		a.set(4, 5) // it would be refused by a newer state
		if err := operations(c.client, key("k"))[name](metaapi.WithAdmission(t.Context(), a)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMirrorNeverCatchesUp: the wait ends with the operation.
func TestMirrorNeverCatchesUp(t *testing.T) {
	for name := range operations(nil, metaapi.RowKey{}) {
		c, a := newCluster(t, 3, 3), newAdmission(4)
		c.setAccess(5, c.nodes...)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := operations(c.client, key("k"))[name](metaapi.WithAdmission(ctx, a))
		cancel()
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOwnWorkNeedsNoAdmission: nobody refuses what no one asked for.
func TestOwnWorkNeedsNoAdmission(t *testing.T) {
	c, a := newCluster(t, 3, 3), newAdmission(4)
	c.setAccess(5, c.nodes...)
	ctx := metaapi.WithAdmission(metaapi.WithAdmission(t.Context(), a), nil)
	for name, do := range operations(c.client, key("k")) {
		if err := do(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// admittedRows is a table whose caller always has an admission that the replicas
// want renewed.
type admittedRows struct {
	metaapi.Rows
	a metaapi.Admission
}

func (r admittedRows) Get(ctx context.Context, key metaapi.RowKey) (metaapi.Row, error) {
	return r.Rows.Get(metaapi.WithAdmission(ctx, r.a), key)
}

func (r admittedRows) Put(ctx context.Context, key metaapi.RowKey, v *metaapi.Value) (metaapi.Written, error) {
	return r.Rows.Put(metaapi.WithAdmission(ctx, r.a), key, v)
}

func (r admittedRows) Update(ctx context.Context, key metaapi.RowKey, decide metaapi.Update) (metaapi.Written, error) {
	return r.Rows.Update(metaapi.WithAdmission(ctx, r.a), key, decide)
}

func (r admittedRows) Scan(ctx context.Context, q metaapi.Range) (metaapi.Page, error) {
	return r.Rows.Scan(metaapi.WithAdmission(ctx, r.a), q)
}

// alwaysBehind is an admission whose first word is always too old.
type alwaysBehind struct{}

func (alwaysBehind) Current(_ context.Context, atLeast uint64) (uint64, error) {
	return max(atLeast, 1), nil
}

// TestRowsWhileBehind: the table is the same for those who are always behind.
func TestRowsWhileBehind(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		metatest.RunRows(t, func(t *testing.T) metaapi.Rows {
			c := newCluster(t, 3, 3)
			c.setAccess(2, c.nodes...)
			return admittedRows{c.client, alwaysBehind{}}
		})
	})
	t.Run("some", func(t *testing.T) {
		metatest.RunRows(t, func(t *testing.T) metaapi.Rows {
			c := newCluster(t, 3, 3)
			c.setAccess(2, c.nodes[0])
			c.setAccess(3, c.nodes[1])
			return admittedRows{c.client, alwaysBehind{}}
		})
	})
	nats := rpctest.NATS(t)
	t.Run("NATS", func(t *testing.T) {
		metatest.RunRows(t, func(t *testing.T) metaapi.Rows { return behindOverRPC(t, nats) })
	})
}

func behindOverRPC(t *testing.T, nats *natsd.Server) metaapi.Rows {
	var replicas []*metatest.Replica
	client := overRPCWith(t, nats, (*rpc.Lane)(nil), 3, 3, func(r *metatest.Replica) { replicas = append(replicas, r) })
	for _, r := range replicas {
		r.SetAccess(2)
	}
	return admittedRows{client, alwaysBehind{}}
}
