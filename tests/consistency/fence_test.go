package consistency

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"hangar/tests/consistency/workload"
	"hangar/tests/harness/fleet"
)

// TestFence shows what the epoch fence is for. A gateway sleeps while two of
// three metadata nodes are replaced, and wakes amid the change with writes to do
// and the old layout in mind. The nodes that take over have copied the keys in
// question and are down at that moment, so that the three old nodes alone could
// acknowledge such a write; none of them is asked again before the change ends.
//
// With the fence they refuse, and the gateway waits for the quorum of both sets.
// Without it (see bites_test.go) the writes are acknowledged, and lost.
func TestFence(t *testing.T) {
	if !long() {
		t.Skip("part of the long form")
	}
	if lost := fence(t, bin(t), nil); lost > 0 {
		t.Errorf("%d acknowledged writes are lost", lost)
	}
}

// TestFenceBites: without the fence acknowledged writes are lost. See
// `make consistency-bites`.
func TestFenceBites(t *testing.T) {
	mutants := os.Getenv("HANGAR_MUTANTS")
	if mutants == "" {
		t.Skip("HANGAR_MUTANTS does not say where the binaries built with the tag mutations are")
	}
	lost := 0
	for try := 0; try < 3 && lost == 0; try++ {
		lost = fence(t, mutants, []string{"MUTATION=epoch-fence"})
		t.Logf("%d acknowledged writes are lost", lost)
	}
	if lost == 0 {
		t.Error("nothing noticed that the fence is missing")
	}
}

const (
	fenced = 60   // keys that are written by the gateway that slept
	filler = 5000 // rows that keep the change from ending too soon
	// copied is when both nodes that copy have surely passed the first keys: they
	// note their place every 1024 rows, and none has more than about half of all.
	copied = 3600
)

// fenceRun is the cluster of one run.
type fenceRun struct {
	t   *testing.T
	c   *fleet.Fleet
	ctx context.Context
}

// fence returns how many acknowledged writes were lost.
func fence(t *testing.T, bin string, env []string) (lost int) {
	t.Helper()
	c, err := Start(t, Shape{Meta: 3, Blocks: 3, Gateways: 2, Bin: bin, Env: map[string][]string{
		fleet.Meta: env, fleet.Gateway: env, fleet.Blocks: env, fleet.Admin: env,
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	r := &fenceRun{t, c, ctx}
	defer func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}()
	awake, asleep := r.client("gateway-1"), r.client("gateway-2")
	put(ctx, awake, fenced, func(i int) workload.Object { return early(i, 1) })
	put(ctx, awake, filler, func(i int) workload.Object { return workload.NewObject(fmt.Sprintf("z-%d", i), 1, i, 200) })
	roles := r.replacement()
	r.must(c.Signal("gateway-2", syscall.SIGSTOP))
	r.must(c.Layouts().Apply(ctx, roles))
	r.awaitCopied(copied)
	// The driver goes first: it would have others begin the copying anew.
	for _, name := range []string{"admin-1", "meta-4", "meta-5"} {
		r.must(c.Kill(name))
	}
	acked := make(chan []int)
	go func() {
		acked <- put(ctx, asleep, fenced, func(i int) workload.Object { return early(i, 2) })
	}()
	time.Sleep(500 * time.Millisecond) // the requests wait in the sleeper's sockets: nothing tells of that
	r.must(c.Signal("gateway-2", syscall.SIGCONT))
	written := <-acked
	r.must(c.Kill("meta-1"))
	for _, name := range []string{"meta-4", "meta-5"} {
		r.must(c.Start(name))
		r.must(c.AwaitHealthy(ctx, name))
	}
	r.must(c.Start("admin-1"))
	r.must(c.Layouts().AwaitStable(ctx))
	for _, i := range written {
		if err := awake.ReadBack(ctx, early(i, 2)); err != nil {
			lost++
			t.Log(err)
		}
	}
	t.Logf("%d of %d writes of the gateway that slept were acknowledged", len(written), fenced)
	return lost
}

// early is an object that is copied before the filler, in its first or second
// version.
func early(i, version int) workload.Object {
	return workload.NewObject(fmt.Sprintf("a-%d", i), version, i, 100)
}

// put writes n objects at the same time and returns which were acknowledged.
func put(ctx context.Context, c *workload.Client, n int, object func(int) workload.Object) (acked []int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	room := make(chan struct{}, fenced)
	for i := range n {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if c.PutObject(ctx, object(i)) == nil {
				mu.Lock()
				defer mu.Unlock()
				acked = append(acked, i)
			}
		})
	}
	wg.Wait()
	return acked
}

func (r *fenceRun) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *fenceRun) member(name string) fleet.Member {
	r.t.Helper()
	for _, m := range r.c.Members() {
		if m.Name == name {
			return m
		}
	}
	r.t.Fatalf("there is no %s", name)
	return fleet.Member{}
}

func (r *fenceRun) client(gateway string) *workload.Client {
	m := r.member(gateway)
	return workload.NewClient(m.API, r.c.Client(m.Zone))
}

// replacement starts meta-4 and meta-5, and returns the roles that put them in
// the places of meta-2 and meta-3.
func (r *fenceRun) replacement() (roles []fleet.Role) {
	for i, old := range []string{"meta-2", "meta-3"} {
		next, zone := fmt.Sprintf("meta-%d", 4+i), r.member(old).Zone
		r.must(r.c.Add(next, fleet.Meta, zone))
		r.must(r.c.AwaitHealthy(r.ctx, next))
		for _, name := range []string{old, next} {
			id, err := r.member(name).NodeID()
			r.must(err)
			role := fleet.Role{ID: id, Zone: zone, Capacity: fleet.Capacity}
			if name == old {
				role = fleet.Role{ID: id, Remove: true}
			}
			roles = append(roles, role)
		}
	}
	return roles
}

// awaitCopied returns once so many rows are where the change wants them.
func (r *fenceRun) awaitCopied(rows int64) {
	for {
		l, err := r.c.Layouts().Get(r.ctx)
		var change struct{ Services []struct{ ItemsDone int64 } }
		if err == nil && l.Changing() {
			err = json.Unmarshal(l.Change, &change)
		}
		r.must(err)
		if !l.Changing() {
			r.t.Fatal("the change has ended already")
		}
		for _, s := range change.Services {
			if s.ItemsDone >= rows {
				return
			}
		}
		select {
		case <-r.ctx.Done():
			r.t.Fatal("rows are not copied")
		case <-time.After(20 * time.Millisecond): // another process
		}
	}
}
