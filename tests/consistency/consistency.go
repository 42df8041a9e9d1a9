// Package consistency tests what Hangar promises about its data while the
// cluster suffers: real processes, real S3 and K2V requests through several gateways,
// faults chosen from a seed, and a checker of what the clients were told.
//
//	plan      what is done to the cluster and when: pure, from a seed
//	nemesis   does it
//	workload  what clients do meanwhile
//	check     whether what they were told can be the truth: pure
package consistency

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"hangar/tests/consistency/check"
	"hangar/tests/consistency/nemesis"
	"hangar/tests/consistency/plan"
	"hangar/tests/consistency/workload"
	"hangar/tests/harness/fleet"
)

// Run is one run of all workloads against one cluster.
type Run struct {
	Cluster *fleet.Fleet
	Plan    plan.Plan
	// Script, if set, is played instead of the plan's faults.
	Script func(context.Context, *nemesis.Nemesis) error
	// Load says how many clients there are and how fast they are.
	Load Load
	// Evidence is where findings are kept. Say gets progress.
	Evidence string
	Say      func(format string, args ...any)
}

// Load is the number of clients of each workload and how long they pause
// between two operations at most.
type Load struct {
	// Registers read and write hot keys, Readers only read them.
	Registers, Readers, Keys int
	// Writers put keys that Listers list.
	Writers, Listers int
	// Objects read and write large objects.
	Objects int
	// Items write and read items of K2V, Waiters poll them, and Followers poll
	// ranges of them.
	Items, Waiters, Followers int
	Think                     time.Duration
}

// Usual is a load that two cores bear.
var Usual = Load{Registers: 7, Readers: 1, Keys: 3, Writers: 3, Listers: 2, Objects: 3, Items: 3, Waiters: 2, Followers: 3, Think: 30 * time.Millisecond}

// Report is what a run found.
type Report struct {
	check.Result
	// Text is the report for people.
	Text string
	// Trouble is what kept the test from doing its work, a cluster that does
	// not come back included.
	Trouble error
}

// checkLimit bounds the check of one key's history.
const checkLimit = 20 * time.Second

// Do runs the workloads through the plan and checks what they were told.
func (r Run) Do(ctx context.Context) (Report, error) {
	registers, sets, objects, items := check.NewHistory(), check.NewHistory(), check.NewHistory(), check.NewHistory()
	var gateways, k2v []*workload.Client
	for _, m := range r.Cluster.Members() {
		if m.Service == fleet.Gateway {
			gateways = append(gateways, workload.NewClient(m.API, r.Cluster.Client(m.Zone)))
			k2v = append(k2v, workload.NewK2VClient(m.K2V, r.Cluster.Client(m.Zone)))
		}
	}
	load := func(h *check.History, salt uint64) workload.Load {
		return workload.Load{
			Seed: r.Plan.Seed ^ salt, Gateways: gateways, History: h, Think: r.Load.Think, Prefix: fmt.Sprintf("%d/", r.Plan.Seed),
		}
	}
	reg := &workload.Registers{Load: load(registers, 1<<40), Keys: r.Load.Keys}
	set := &workload.Listings{Load: load(sets, 2<<40)}
	obj := &workload.Objects{Load: load(objects, 3<<40), Keys: 2}
	itm := &workload.Items{Load: load(items, 4<<40), Keys: 4, Patience: longestPoll(r.Plan.Length)}
	itm.Gateways = k2v
	if len(r.Cluster.Small()) > 0 {
		obj.Room, obj.Length = smallRoom<<20, r.Plan.Length
	}
	during, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	client := 0
	start := func(n int, run func(context.Context, int)) {
		for range n {
			id := client
			client++
			wg.Go(func() { run(during, id) })
		}
	}
	start(r.Load.Registers, reg.Run)
	start(r.Load.Readers, reg.Read)
	start(r.Load.Writers, set.Write)
	start(r.Load.Listers, set.List)
	start(r.Load.Objects, obj.Run)
	start(r.Load.Items, itm.Run)
	start(r.Load.Waiters, itm.Wait)
	start(r.Load.Followers, itm.Follow)
	n := nemesis.Nemesis{Cluster: r.Cluster, Now: registers.Now, Say: r.Say}
	windows, trouble := r.suffer(ctx, &n)
	for _, d := range r.Cluster.Deaths() {
		if name, _, _ := strings.Cut(d, " "); !slices.Contains(r.Cluster.Small(), name) {
			trouble = errors.Join(trouble, errors.New(d))
		}
	}
	// What a healed cluster answers counts too: it shows what was lost.
	calm := time.NewTimer(2 * time.Second)
	defer calm.Stop()
	<-calm.C
	stop()
	wg.Wait()
	if r.Load.Items > 0 {
		itm.Finish(ctx)
	}
	return r.report([]part{{"registers", registers}, {"listings", sets}, {"objects", objects}, {"items", items}}, windows, trouble)
}

// longestPoll is how long a poll waits at most in a run of some length: long ones
// last longer than anybody may wait for what has happened.
func longestPoll(length time.Duration) time.Duration {
	if length < 2*time.Minute {
		return 5 * time.Second
	}
	return pollLimit + 10*time.Second
}

// pollLimit is how late a poll may hear of a write although messages between
// gateways are lost: it looks again every 30 seconds, and what it asks may have
// to wait for a fault to end.
const pollLimit = 45 * time.Second

// suffer plays the faults.
func (r Run) suffer(ctx context.Context, n *nemesis.Nemesis) ([]check.Window, error) {
	if r.Script == nil {
		return n.Run(ctx, r.Plan)
	}
	err := r.Script(ctx, n)
	return nil, errors.Join(err, n.Heal(context.WithoutCancel(ctx)))
}

// part is the history of one workload.
type part struct {
	name    string
	history *check.History
}

// report checks the histories and words the outcome.
func (r Run) report(parts []part, windows []check.Window, trouble error) (Report, error) {
	rep := Report{Trouble: trouble}
	var text strings.Builder
	text.WriteString(r.Plan.String())
	var all []check.Op
	for _, p := range parts {
		ops := p.history.Ops()
		all = append(all, ops...)
		var res check.Result
		var err error
		switch p.name {
		case "listings":
			res = check.Listings(ops)
		case "items":
			res, err = check.Items(ops, checkLimit, r.Evidence)
			late, woken := check.Waits(ops, pollLimit)
			res.Violations = append(res.Violations, late...)
			if n := len(woken); n > 0 {
				fmt.Fprintf(&text, "items: %d polls woken by a write, p50 %v, p99 %v after it\n", n, woken[n/2], woken[n*99/100])
			}
		default:
			res, err = check.Registers(ops, checkLimit, r.Evidence)
		}
		if err != nil {
			return rep, err
		}
		res.Violations = append(res.Violations, p.history.Violations()...)
		fmt.Fprintf(&text, "%s: %d operations checked, %d violations, %d keys undecided\n", p.name, res.Checked, len(res.Violations), len(res.Undecided))
		if !res.OK() {
			path := filepath.Join(r.Evidence, p.name+".jsonl")
			if err := errors.Join(os.MkdirAll(r.Evidence, 0o755), check.Write(path, ops)); err != nil {
				return rep, err
			}
			res.Files = append(res.Files, path)
		}
		rep.Merge(res)
	}
	if err := check.Availability(&text, all, windows); err != nil {
		return rep, err
	}
	for _, v := range rep.Violations {
		fmt.Fprintf(&text, "VIOLATION: %s\n", v)
	}
	for _, k := range rep.Undecided {
		fmt.Fprintf(&text, "undecided: %s\n", k)
	}
	for _, f := range rep.Files {
		fmt.Fprintf(&text, "evidence: %s\n", f)
	}
	rep.Text = text.String()
	return rep, nil
}
