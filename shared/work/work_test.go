package work_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"hangar/shared/fault"
	"hangar/shared/lifecycle"
	"hangar/shared/nodeapi"
	"hangar/shared/work"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, o work.Options) *work.Set {
	t.Helper()
	s, err := work.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func add(t *testing.T, s *work.Set, o work.WorkerOptions) *work.Worker {
	t.Helper()
	w, err := s.Worker(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// running runs what setup starts until the test calls stop.
func running(t *testing.T, setup func(g *lifecycle.Group)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- lifecycle.Run(ctx, func(g *lifecycle.Group) error { setup(g); return nil })
	}()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func set(t *testing.T, s *work.Set, name, value string) {
	t.Helper()
	if err := s.SetVariable(t.Context(), name, value); err != nil {
		t.Fatal(err)
	}
}

func TestRest(t *testing.T) {
	for _, c := range []struct {
		tranquility string
		took, want  time.Duration
	}{
		{"0", time.Second, 0},
		{"1", time.Second, time.Second},
		{"3", 200 * time.Millisecond, 600 * time.Millisecond},
		{"99", time.Second, time.Minute}, // bounded
		{"", time.Second, 0},             // never slowed
	} {
		synctest.Test(t, func(t *testing.T) {
			w := add(t, open(t, work.Options{}), work.WorkerOptions{Name: "mill", Tranquility: c.tranquility})
			began := time.Now()
			if err := w.Rest(t.Context(), c.took); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(began); got != c.want {
				t.Errorf("tranquility %q after %v: rested %v, not %v", c.tranquility, c.took, got, c.want)
			}
		})
	}
}

func TestARestHeedsAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, work.Options{})
		w := add(t, s, work.WorkerOptions{Name: "mill", Tranquility: "10"})
		w.Busy()
		began := time.Now()
		time.AfterFunc(2*time.Second, func() { set(t, s, "mill-tranquility", "3") })
		if err := w.Rest(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); got != 3*time.Second {
			t.Errorf("rested %v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Rest(ctx, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// TestWhatOperatorsSee goes through the states of a worker.
func TestWhatOperatorsSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewPedanticRegistry()
		s := open(t, work.Options{Service: "mills", Registry: registry})
		defer s.Close()
		w := add(t, s, work.WorkerOptions{
			Name: "mill", Tranquility: "2", Queue: func() int64 { return 7 }, Failures: func() int64 { return 1 },
			Notes: func() []string { return []string{"grinds"} },
		})
		add(t, s, work.WorkerOptions{Name: "clock"})
		next := make(chan error)
		stop := running(t, func(g *lifecycle.Group) {
			w.Go(g, func(ctx context.Context) error {
				for err := range next {
					w.Busy()
					time.Sleep(time.Second)
					w.Result(err)
					w.Progress("%d %%", 50)
					if err := w.Rest(ctx, time.Second); err != nil {
						return err
					}
					w.Idle()
				}
				return nil
			})
		})
		see := func(want nodeapi.WorkerState) nodeapi.Worker {
			t.Helper()
			synctest.Wait()
			list, err := s.Workers(t.Context())
			if err != nil || len(list) != 2 || list[0].ID != 1 || list[1].Name != "clock" {
				t.Fatalf("%+v, %v", list, err)
			}
			if list[0].State != want {
				t.Errorf("it is %s, not %s", list[0].State, want)
			}
			return list[0]
		}
		see(nodeapi.Idle)
		next <- errors.New("a stone broke")
		see(nodeapi.Busy)
		time.Sleep(1500 * time.Millisecond)
		if got := see(nodeapi.Throttled); got.Rest != 2*time.Second || got.ConsecutiveErrors != 1 || got.LastError != "a stone broke" ||
			got.LastErrorAt.IsZero() || *got.QueueLength != 7 || *got.PersistentErrors != 1 || *got.Tranquility != 2 ||
			got.Progress != "50 %" || len(got.Notes) != 1 {
			t.Errorf("%+v", got)
		}
		time.Sleep(2 * time.Second)
		see(nodeapi.Idle)
		next <- nil
		time.Sleep(4 * time.Second)
		if got := see(nodeapi.Idle); got.Errors != 1 || got.ConsecutiveErrors != 0 || got.LastError == "" {
			t.Errorf("%+v", got)
		}
		close(next)
		see(nodeapi.Done)
		stop()
		for name, want := range map[string]float64{
			"hangar_worker_busy_seconds_total": 2, "hangar_worker_rest_seconds_total": 4, "hangar_worker_errors_total": 1,
			"hangar_worker_consecutive_errors": 0, "hangar_worker_queue_length": 7, "hangar_worker_persistent_errors": 1,
			"hangar_worker_tranquility_ratio": 2,
		} {
			if got := metric(t, registry, name, "mill"); got != want {
				t.Errorf("%s is %v, not %v", name, got, want)
			}
		}
	})
}

func metric(t *testing.T, r prometheus.Gatherer, name, worker string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == "worker" && l.GetValue() == worker {
					return m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	t.Fatalf("no metric %s of %s", name, worker)
	return 0
}

func TestAnErrorOfTheWorkEndsTheGroup(t *testing.T) {
	w := add(t, open(t, work.Options{}), work.WorkerOptions{Name: "mill"})
	err := lifecycle.Run(t.Context(), func(g *lifecycle.Group) error {
		w.Go(g, func(context.Context) error { return errors.New("burnt down") })
		return nil
	})
	if err == nil || err.Error() != "mill: burnt down" || w.Status().State != nodeapi.Done {
		t.Errorf("%v, %+v", err, w.Status())
	}
}

func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := add(t, open(t, work.Options{}), work.WorkerOptions{Name: "mill"})
		var n atomic.Int64
		stop := running(t, func(g *lifecycle.Group) {
			w.Go(g, func(ctx context.Context) error {
				return w.Every(ctx, time.Minute, func(context.Context) error { n.Add(1); return errors.New("dull") })
			})
		})
		time.Sleep(3*time.Minute + time.Second)
		stop()
		if s := w.Status(); n.Load() != 3 || s.ConsecutiveErrors != 3 {
			t.Errorf("%d times, %+v", n.Load(), s)
		}
	})
}

func TestVariables(t *testing.T) {
	file := filepath.Join(t.TempDir(), "work.json")
	var n atomic.Int64
	fresh := func() *work.Set {
		n.Store(4)
		s := open(t, work.Options{File: file})
		add(t, s, work.WorkerOptions{Name: "mill", Tranquility: "1"})
		for _, v := range []work.Variable{
			work.Number("mill-stones", &n, 1, 8),
			{Name: "mill-age", Get: func() string { return "old" }},
		} {
			if err := s.Variable(v); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	s := fresh()
	set(t, s, "mill-stones", "8")
	set(t, s, "mill-tranquility", "adaptive")
	for _, c := range []struct {
		name, value string
		kind        fault.Kind
	}{
		{"mill-stones", "9", fault.Invalid}, {"mill-stones", "", fault.Invalid}, {"mill-stones", "1e0", fault.Invalid},
		{"mill-tranquility", "100", fault.Invalid}, {"mill-tranquility", "-1", fault.Invalid},
		{"mill-age", "new", fault.Invalid}, {"mill-wheel", "1", fault.NotFound},
	} {
		if err := s.SetVariable(t.Context(), c.name, c.value); !fault.Is(err, c.kind) {
			t.Errorf("%s = %q: %v", c.name, c.value, err)
		}
	}
	if err := s.Variable(work.Number("mill-stones", &n, 0, 1)); !fault.Is(err, fault.AlreadyExists) {
		t.Errorf("the same name again: %v", err)
	}
	check := func(s *work.Set, stones, tranquility string) {
		t.Helper()
		v, err := s.Variables(t.Context())
		if err != nil || v["mill-stones"] != stones || v["mill-tranquility"] != tranquility || v["mill-age"] != "old" || len(v) != 3 {
			t.Errorf("%v, %v", v, err)
		}
	}
	check(s, "8", "adaptive")
	check(fresh(), "8", "adaptive") // after a restart

	// What another version knows is kept; what this one cannot take is not taken.
	edit := func(from, to string) {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(b), from) {
			t.Fatalf("%s: %v", b, err)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(b), from, to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit(`"mill-stones": "8"`, `"mill-stones": "80", "mill-wheels": "2"`)
	s = fresh()
	check(s, "4", "adaptive")
	set(t, s, "mill-tranquility", "0")
	edit(`"mill-wheels": "2"`, `"mill-wheels": "2"`)

	edit(`{`, `[`) // damaged: begun anew
	check(fresh(), "4", "1")
}

func TestAVariableThatCannotBeKeptIsAsBefore(t *testing.T) {
	s := open(t, work.Options{File: filepath.Join(t.TempDir(), "gone", "work.json")})
	w := add(t, s, work.WorkerOptions{Name: "mill", Tranquility: "1"})
	if err := s.SetVariable(t.Context(), "mill-tranquility", "5"); !fault.Is(err, fault.StorageFull) {
		t.Errorf("got %v", err)
	}
	if got := *w.Status().Tranquility; got != 1 {
		t.Errorf("tranquility %d", got)
	}
}
