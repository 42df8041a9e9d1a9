package consistency

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"hangar/tests/consistency/plan"
	"hangar/tests/harness/fleet"
)

// bite is a rule of the protocol that is switched off, and a run that must
// notice.
type bite struct {
	mutation string
	// why the run is made as it is.
	why  string
	plan func(seed uint64) plan.Plan
	load Load
	// runs is how many seeds are tried at most.
	runs int
}

// control is no rule: a build with the tag that behaves.
const control = "none"

var (
	fight      = Load{Registers: 8, Readers: 4, Keys: 3, Think: 8 * time.Millisecond}
	fightItems = Load{Items: 6, Waiters: 2, Followers: 2, Think: 8 * time.Millisecond}
)

// noFaults leaves the cluster alone for ten seconds.
func noFaults(seed uint64) plan.Plan { return plan.New(seed, 10*time.Second, nil) }

var bites = []bite{
	{
		mutation: control, why: "nothing is switched off: the runs below are not wrong by themselves",
		plan: orphanedWrites, load: fight, runs: 2,
	},
	{
		mutation: control, why: "the same, of items",
		plan: noFaults, load: fightItems, runs: 1,
	},
	{
		mutation: "concurrent-values", why: "an insert supersedes what its token does not cover: contention alone finds it",
		plan: noFaults, load: fightItems, runs: 1,
	},
	{
		mutation: "change-messages", why: "gateways do not tell each other of writes: polls at others hear of them too late",
		plan: noFaults, load: fightItems, runs: 1,
	},
	{
		mutation: "promise", why: "two conditional writes of one base: contention alone finds it",
		plan: noFaults, load: fight, runs: 3,
	},
	{
		mutation: "write-back", why: "a write that reached one replica of three, whose writer died: targeted",
		plan: orphanedWrites, load: fight, runs: 6,
	},
	{
		mutation: "committed-base", why: "a condition judged on a write that reached one replica and may be lost: targeted",
		plan: orphanedWrites, load: fight, runs: 6,
	},
	{
		mutation: "fate", why: "a write that timed out and was overtaken comes back: targeted",
		plan: orphanedWrites, load: fight, runs: 6,
	},
}

// orphanedWrites kills most metadata replicas and then the gateways that wait
// for them: writes are left at a minority, and nobody is left to finish them.
func orphanedWrites(seed uint64) plan.Plan {
	const round = 4 * time.Second
	p := plan.Plan{Seed: seed, Length: 6*round + 2*time.Second}
	for i := range 6 {
		at, which := time.Second+time.Duration(i)*round, int(seed)+i
		p.Faults = append(p.Faults,
			plan.Fault{Kind: plan.KillMany, At: at, For: 900 * time.Millisecond, Service: fleet.Meta, Which: []int{which, which / 3}},
			plan.Fault{Kind: plan.KillMany, At: at + 500*time.Millisecond, For: 300 * time.Millisecond, Service: fleet.Gateway, Which: []int{which, which / 2}})
	}
	return p
}

// TestBites: without a rule of the protocol the checker objects. The epoch
// fence takes a scenario of its own: see TestFenceBites. It needs binaries of
// their own: see `make consistency-bites`.
func TestBites(t *testing.T) {
	mutants := os.Getenv("HANGAR_MUTANTS")
	if mutants == "" {
		t.Skip("HANGAR_MUTANTS does not say where the binaries built with the tag mutations are")
	}
	for _, b := range bites {
		t.Run(b.mutation, func(t *testing.T) {
			first := seed(t)
			for i := range b.runs {
				if b.bitten(t, mutants, first+uint64(i)) {
					if b.mutation == control {
						t.Errorf("a violation where no rule is missing")
					}
					return
				}
			}
			if b.mutation != control {
				t.Errorf("nothing noticed that the rule is missing")
			}
		})
	}
}

// bitten reports whether one run noticed.
func (b bite) bitten(t *testing.T, mutants string, seed uint64) bool {
	t.Helper()
	env := map[string][]string{}
	for _, s := range []string{fleet.Meta, fleet.Gateway, fleet.Blocks, fleet.Admin} {
		env[s] = []string{"MUTATION=" + b.mutation}
	}
	c, err := Start(t, Shape{Meta: 3, Blocks: 3, Gateways: 3, Bin: mutants, Env: env})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}()
	r := Run{Cluster: c, Plan: b.plan(seed), Load: b.load, Evidence: evidence(t, seed), Say: func(string, ...any) {}}
	rep, err := r.Do(context.WithoutCancel(t.Context()))
	if err != nil || rep.Trouble != nil {
		t.Fatal(err, rep.Trouble)
	}
	found := "nothing"
	if len(rep.Violations) > 0 {
		found = rep.Violations[0]
	}
	t.Logf("seed %d (%s) found %d violations: %s\n%s", seed, b.why, len(rep.Violations), found, strings.Join(rep.Files, "\n"))
	return len(rep.Violations) > 0
}
