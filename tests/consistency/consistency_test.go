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
func run(t *testing.T, seed uint64, length time.Duration) {
	t.Helper()
	c, err := StartLocal(t, t.TempDir(), Shape{Meta: 3, Blocks: 3, Gateways: 3, Bin: bin(t)})
	if err != nil {
		t.Fatal(err)
	}
	r := Run{Cluster: c, Plan: plan.New(seed, length, nemesis.Kinds(c)), Load: Usual, Evidence: evidence(t, seed), Say: t.Logf}
	ctx, cancel := context.WithTimeout(t.Context(), length+5*time.Minute)
	defer cancel()
	rep, err := r.Do(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", rep.Text)
	if !rep.OK() {
		t.Errorf("seed %d, length %v: the cluster broke its promise", seed, length)
	}
	if rep.Trouble != nil {
		t.Errorf("seed %d, length %v: %v", seed, length, rep.Trouble)
	}
}

// TestFaults: what clients are told stays true whatever happens to the cluster.
func TestFaults(t *testing.T) {
	usual := 40 * time.Second
	if os.Getenv("HANGAR_LONG") != "" {
		usual = 10 * time.Minute
	}
	s := seed(t)
	run(t, s, length(t, usual))
}
