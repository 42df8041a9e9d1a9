package consistency

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"hangar/tests/consistency/nemesis"
	"hangar/tests/consistency/plan"
	"hangar/tests/harness"
	"hangar/tests/harness/netns"
)

// seed is HANGAR_SEED, or one that nobody has seen before.
func seed(t *testing.T) uint64 {
	text := os.Getenv("HANGAR_SEED")
	if text == "" {
		return uint64(rand.Uint32())
	}
	s, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("HANGAR_SEED: %v", err)
	}
	return s
}

// length is HANGAR_LENGTH or, without it, usual.
func length(t *testing.T, usual time.Duration) time.Duration {
	text := os.Getenv("HANGAR_LENGTH")
	if text == "" {
		return usual
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("HANGAR_LENGTH: %v", err)
	}
	return d
}

// evidence is where a failed run leaves what it found: not with the test's
// temporary files, which are gone when somebody looks.
func evidence(t *testing.T, seed uint64) string {
	dir := os.Getenv("HANGAR_EVIDENCE")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "hangar-consistency")
	}
	return filepath.Join(dir, filepath.Base(t.Name())+"-"+strconv.FormatUint(seed, 10))
}

func bin(t *testing.T) string { return filepath.Dir(harness.Bin(t, "hangar")) }

// run plays the plan of a seed on a fresh cluster.
func run(t *testing.T, seed uint64, length time.Duration, relayout bool) {
	t.Helper()
	shape := Shape{Meta: 3, Blocks: 3, Gateways: 3, Bin: bin(t), Hosts: true, Small: os.Geteuid() == 0}
	if why := netns.Possible(); why != nil && os.Getenv(netns.Require) == "" {
		t.Logf("no test hosts, so nobody is cut off: %v", why)
		shape.Hosts = false
	}
	c, err := Start(t, shape)
	if err != nil {
		t.Fatal(err)
	}
	r := Run{Cluster: c, Plan: plan.New(seed, length, nemesis.Kinds(c, relayout)), Load: Usual, Evidence: evidence(t, seed), Say: t.Logf}
	ctx, cancel := context.WithTimeout(t.Context(), length+5*time.Minute)
	defer cancel()
	rep, err := r.Do(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", rep.Text)
	if !rep.OK() {
		t.Errorf("the cluster broke its promise; to repeat: HANGAR_SEED=%d HANGAR_LENGTH=%v make consistency", seed, length)
	}
	if rep.Trouble != nil {
		t.Errorf("seed %d, length %v: %v", seed, length, rep.Trouble)
	}
}

// TestFaults: what clients are told stays true whatever happens to the cluster.
// The seed is a new one each time unless HANGAR_SEED names it.
func TestFaults(t *testing.T) {
	usual := shortRun
	if long() {
		usual = 10 * time.Minute
	}
	run(t, seed(t), length(t, usual), true)
}

// shortRun is the length of a run in the short form.
const shortRun = 40 * time.Second

// regressions are runs that once found something, and one that covers many
// kinds of fault.
var regressions = []struct {
	seed   uint64
	length time.Duration
	// relayout says whether changes of the layout were among the faults.
	relayout bool
	why      string
}{
	{1923792116, shortRun, false, "nine kinds of fault, cuts of the network mixed with a full disk and a wrong clock"},
}

// TestRegressions plays again what once found something.
func TestRegressions(t *testing.T) {
	if long() && os.Getenv("HANGAR_SEED") != "" {
		t.Skip("one seed is asked for")
	}
	for _, r := range regressions {
		t.Run(strconv.FormatUint(r.seed, 10), func(t *testing.T) {
			t.Log(r.why)
			run(t, r.seed, r.length, r.relayout)
		})
	}
}
