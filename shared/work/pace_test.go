package work

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"hangar/shared/lifecycle"
)

// TestPace simulates requests of which those that meet work take loud times as
// long, with noise, and watches where the control settles.
func TestPace(t *testing.T) {
	for _, loud := range []float64{1, 1.05, 1.3, 2, 3} {
		random := rand.New(rand.NewPCG(1, uint64(loud*100)))
		p, average := firstPace, 0.0
		for step := range 400 {
			slowdown := 1 + (loud-1)/(1+float64(p))
			p = p.Step(slowdown * (1 + 0.03*random.NormFloat64()))
			if step >= 100 {
				average += slowdown / 300
			}
		}
		t.Logf("slowed %.2f times by work: rests %.2f times as long, slowed %.3f times", loud, p, average)
		if average > 1+1.5*tolerance {
			t.Errorf("slowed %.2f times by work: on average %.3f", loud, average)
		}
		if loud < 1.1 && p > 1 {
			t.Errorf("slowed %.2f times by work: rests %.2f times as long for nothing", loud, p)
		}
	}
}

func TestPaceIsBounded(t *testing.T) {
	p := firstPace
	for range 100 {
		p = p.Step(1000)
	}
	if p != mostPace {
		t.Errorf("%v under a flood", p)
	}
	steps := 0
	for ; p > leastPace; steps++ {
		p = p.Step(0) // nobody asks any more
	}
	if steps > 30 {
		t.Errorf("%d steps to full speed", steps)
	}
}

// TestAdaptive runs a worker beside requests that it slows down. They are slowed
// by little; when they are gone it works most of the time.
func TestAdaptive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Options{})
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.Worker(WorkerOptions{Name: "mill", Tranquility: "adaptive"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- lifecycle.Run(ctx, func(g *lifecycle.Group) error {
				w.Go(g, func(ctx context.Context) error {
					w.Busy()
					for ctx.Err() == nil {
						time.Sleep(50 * time.Millisecond)
						_ = w.Rest(ctx, 50*time.Millisecond)
					}
					return nil
				})
				return nil
			})
		}()
		const quiet, loud = 10 * time.Millisecond, 40 * time.Millisecond
		requests := func(length time.Duration) (mean float64, share float64) {
			busy, _ := w.times()
			var took time.Duration
			n := 0
			for end := time.Now().Add(length); time.Now().Before(end); n++ {
				d := quiet
				if w.Status().State == "busy" {
					d = loud
				}
				time.Sleep(d)
				s.Foreground().Observe("get", d)
				took += d
				time.Sleep(time.Millisecond)
			}
			after, _ := w.times()
			return float64(took) / float64(n) / float64(quiet), (after - busy).Seconds() / length.Seconds()
		}
		requests(time.Minute) // settles
		slowdown, share := requests(time.Minute)
		t.Logf("requests slowed %.2f times, at work %.0f %% of the time", slowdown, 100*share)
		if slowdown > 1+3*tolerance || share < 0.01 {
			t.Errorf("requests slowed %.2f times, at work %.0f %% of the time", slowdown, 100*share)
		}
		busy, _ := w.times()
		time.Sleep(time.Minute)
		after, _ := w.times()
		if share := (after - busy).Minutes(); share < 0.5 {
			t.Errorf("nobody asks, and it works %.0f %% of the time", 100*share)
		}
		cancel()
		if err := <-done; err != nil || math.IsNaN(w.ratio()) {
			t.Error(err)
		}
	})
}
