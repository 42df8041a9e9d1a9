package table_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"hangar/services/meta/internal/bodies"
	"hangar/services/meta/internal/journal"
	"hangar/services/meta/internal/journal/journaltest"
	"hangar/services/meta/internal/table"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/register"
	"hangar/shared/segment"
)

// TestPowerLoss takes the power away while rows are written and deleted by many,
// bodies are compacted and checkpoints are made. After each loss every
// acknowledged row is there, whole, and everything derived agrees.
func TestPowerLoss(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 4
	}
	removed := int64(0)
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			dir, acked := t.TempDir(), map[string]int64{}
			for round := int64(1); round <= 3; round++ {
				var gone int64
				dir, gone = losePower(t, dir, r, round, acked)
				removed += gone
			}
			n := start(t, openStore(t, dir))
			checkAcked(t, n, acked)
			if err := n.compact(context.Background()); err != nil {
				t.Error(err)
			}
			checkAcked(t, n, acked)
			n.verify(t)
		})
	}
	if removed == 0 {
		t.Error("no segment was removed: the test shows nothing")
	}
}

// isDeleted says which versions are delete markers.
func isDeleted(at int64) bool { return at%5 == 0 }

// checkAcked checks that each row is at least as new as acknowledged, and whole.
func checkAcked(t *testing.T, n *node, acked map[string]int64) {
	t.Helper()
	for key, at := range acked {
		r := n.handle(t, objectKey(key), register.Request{Kind: register.Read})
		now := r.Row.Tag.Time
		switch {
		case now < at:
			t.Errorf("%s was acknowledged at %d and is at %d", key, at, now)
		case isDeleted(now) != (r.Row.Value == nil):
			t.Errorf("%s at %d: deleted is %v", key, now, r.Row.Value == nil)
		case r.Row.Value != nil && string(r.Row.Value.Body) != bodyOf(key, now):
			t.Errorf("%s at %d is not whole", key, now)
		}
	}
}

// losePower opens dir, checks acked, and works until the power fails. It returns
// the directory that is left, and how many segments were removed.
func losePower(t *testing.T, dir string, r *rand.Rand, round int64, acked map[string]int64) (left string, removed int64) {
	t.Helper()
	s := openStore(t, dir)
	d := journaltest.New(dir)
	s.Base = d.Base(s.Base)
	j, err := journal.Open(s.bodies, s.Base, journal.Options{
		Segments:        segment.Options{SegmentBytes: 32 << 10, ReserveBytes: 1, OpenFile: d.OpenFile},
		CheckpointBytes: 32 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	writer := kv.NewCommitter(j)
	large, err := bodies.New(j, writer, bodies.Options{DeadShare: 0.3})
	if err != nil {
		t.Fatal(err)
	}
	tab, err := table.Open(j, writer, large, bits, 1)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Table: tab, store: j, journal: j, bodies: large}
	ctx, cancel := context.WithCancel(context.Background())
	var running, working sync.WaitGroup
	running.Go(func() { _ = writer.Run(ctx) })
	checkAcked(t, n, acked)
	if err := verify(j, bits); err != nil {
		t.Error(err)
	}
	d.FailAfter(200 + r.IntN(1500))
	running.Go(func() {
		for !d.Dead() {
			_ = n.compact(ctx) // fails when the power does
		}
	})
	var mu sync.Mutex
	for w := range 4 {
		working.Go(func() {
			for i := int64(1); writeRow(t, n, fmt.Sprint(w, "-", i%15), round*1_000_000+i, &mu, acked); i++ {
				continue
			}
		})
	}
	working.Wait()
	cancel()
	running.Wait()
	left = t.TempDir()
	if err := errors.Join(d.Lose(left, r), j.Log().Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if files, err := filepath.Glob(filepath.Join(left, journaltest.LogDir, "*")); err != nil || len(files) == 0 {
		t.Fatal("nothing is left", err)
	}
	return left, large.Counters().SegmentsRemoved.Load()
}

// writeRow writes one version and reports whether there is still power.
func writeRow(t *testing.T, n *node, key string, at int64, mu *sync.Mutex, acked map[string]int64) bool {
	q := register.Request{Kind: register.Apply, Row: register.Row{Tag: tag(at), Op: tag(at)}}
	if !isDeleted(at) {
		q.Row.Value = value("h", bodyOf(key, at))
	}
	_, err := n.Handle(context.Background(), objectKey(key), q)
	switch {
	case err == nil:
		mu.Lock()
		acked[key] = at
		mu.Unlock()
	case !errors.Is(err, journaltest.ErrPower) && !fault.Is(err, fault.StorageFull):
		t.Errorf("not the power: %v", err)
	}
	return err == nil
}
