package work

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"time"

	"hangar/shared/lifecycle"
	"hangar/shared/nodeapi"
)

// maxRest bounds one rest.
const maxRest = time.Minute

// WorkerOptions say what a worker is.
type WorkerOptions struct {
	// Name is lower case with hyphens, unique in the Set: "resync".
	Name string
	// Tranquility is how much it rests at first, see ParseTranquility. With one
	// the Set has a variable NAME-tranquility; empty: it is not slowed.
	Tranquility string
	// Queue counts what waits for it; nil for a worker without a queue.
	Queue func() int64
	// Failures counts what is kept in a queue of failures; nil without one.
	Failures func() int64
	// Notes are lines for people; nil is none.
	Notes func() []string
}

// Worker is one piece of background work. The work itself reports through it:
//
//	w.Go(g, func(ctx context.Context) error {
//		for ctx.Err() == nil {
//			w.Busy()
//			began := time.Now()
//			more, err := step(ctx)
//			w.Result(err)
//			if more {
//				w.Rest(ctx, time.Since(began))
//				continue
//			}
//			w.Idle()
//			… wait …
//		}
//		return nil
//	})
//
// Safe for concurrent use, also by several goroutines of the same work.
type Worker struct {
	opts    WorkerOptions
	set     *Set
	id      uint64
	results Results

	mu          sync.Mutex
	state       nodeapi.WorkerState // guarded by mu: Busy, Idle or Done
	resting     int                 // guarded by mu: goroutines that rest
	rest        time.Duration       // guarded by mu: the last of them
	since       time.Time           // guarded by mu: when the worker began or ceased to work
	busy, quiet time.Duration       // guarded by mu: worked and rested until since
	progress    string              // guarded by mu
	tranquility Tranquility         // guarded by mu
	changed     chan struct{}       // guarded by mu; closed when tranquility changes
}

// Go runs the work as a part of g. Returning nil is the end of the work, and
// returning an error that of the group.
func (w *Worker) Go(g *lifecycle.Group, run func(ctx context.Context) error) {
	g.Go(w.opts.Name, func(ctx context.Context) error {
		defer w.become(nodeapi.Done)
		return run(ctx)
	})
}

// Every runs do once each period, first after one, until ctx ends. Its errors
// are noted: the next time tries again.
func (w *Worker) Every(ctx context.Context, period time.Duration, do func(ctx context.Context) error) error {
	t := time.NewTicker(max(period, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		w.Busy()
		if err := do(ctx); ctx.Err() == nil {
			w.Result(err)
		}
		w.Idle()
	}
}

// Busy says that there is work at hand.
func (w *Worker) Busy() { w.become(nodeapi.Busy) }

// Idle says that there is none.
func (w *Worker) Idle() { w.become(nodeapi.Idle) }

// Result notes how a piece of work ended. An error is counted and logged; nil
// ends a row of errors.
func (w *Worker) Result(err error) {
	w.results.Note(time.Now(), err)
	if err != nil {
		w.set.log.Warn("background work failed", slog.String("work", w.opts.Name), slog.Any("error", err))
	}
}

// Progress says how far the work has come, for people: "12.3 %".
func (w *Worker) Progress(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress = fmt.Sprintf(format, args...)
}

// Rest waits for as long as the worker's tranquility wants after work that
// took so long, a minute at most. It heeds a change of the tranquility. The
// error is that of ctx, when it ended.
func (w *Worker) Rest(ctx context.Context, took time.Duration) error {
	began := time.Now()
	for {
		w.mu.Lock()
		t, changed := w.tranquility, w.changed
		w.mu.Unlock()
		rest := min(time.Duration(w.set.foreground.ratio(t)*float64(took)), maxRest)
		left := rest - time.Since(began)
		if left <= 0 || ctx.Err() != nil {
			return ctx.Err()
		}
		w.rested(rest, 1)
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
		w.rested(rest, -1)
	}
}

// rested counts a goroutine that rests in or out.
func (w *Worker) rested(rest time.Duration, by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.account(func() { w.resting += by })
	w.rest = rest
}

func (w *Worker) become(s nodeapi.WorkerState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.account(func() { w.state = s })
}

// account changes the state, and adds the time since the last change to what the
// worker did meanwhile. The caller holds mu.
func (w *Worker) account(change func()) {
	before, now := w.now(), time.Now()
	switch before {
	case nodeapi.Busy:
		w.busy += now.Sub(w.since)
	case nodeapi.Throttled:
		w.quiet += now.Sub(w.since)
	}
	change()
	w.since = now
	if after := w.now(); w.opts.Tranquility != "" && (before == nodeapi.Busy) != (after == nodeapi.Busy) {
		w.set.foreground.working(after == nodeapi.Busy)
	}
}

// now is the state that operators see. The caller holds mu.
func (w *Worker) now() nodeapi.WorkerState {
	if w.state == nodeapi.Busy && w.resting > 0 {
		return nodeapi.Throttled
	}
	return w.state
}

// Status describes the worker at present.
func (w *Worker) Status() nodeapi.Worker {
	s := nodeapi.Worker{ID: w.id, Name: w.opts.Name}
	if w.opts.Queue != nil {
		n := w.opts.Queue()
		s.QueueLength = &n
	}
	if w.opts.Failures != nil {
		n := w.opts.Failures()
		s.PersistentErrors = &n
	}
	if w.opts.Notes != nil {
		s.Notes = w.opts.Notes()
	}
	w.results.Describe(&s)
	w.mu.Lock()
	defer w.mu.Unlock()
	s.State, s.Progress = w.now(), w.progress
	if s.State == nodeapi.Throttled {
		s.Rest = w.rest
	}
	if w.opts.Tranquility != "" {
		ratio := w.set.foreground.ratio(w.tranquility)
		n := int(math.Round(ratio))
		s.Tranquility = &n
		if w.tranquility == Adaptive {
			s.Notes = append(s.Notes, "tranquility adaptive, at present "+strconv.FormatFloat(ratio, 'f', 1, 64))
		}
	}
	return s
}

// ratio is how many times as long as it works the worker rests at present.
func (w *Worker) ratio() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.set.foreground.ratio(w.tranquility)
}

// times are how long the worker has worked and rested so far.
func (w *Worker) times() (busy, rested time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.account(func() {})
	return w.busy, w.quiet
}

func (w *Worker) tranquilityText() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tranquility.String()
}

func (w *Worker) setTranquility(value string) error {
	t, err := ParseTranquility(value)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tranquility = t
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}
