package work

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"hangar/shared/fault"
	"hangar/shared/lifecycle"
)

const (
	// keepEvery is how often it is saved how far a run has come.
	keepEvery = 10 * time.Second
	// pauseFor ends a pause that nobody ends.
	pauseFor = 24 * time.Hour
	// look bounds a wait by the wall clock, which may be set meanwhile.
	look = time.Hour
	// The wait after a step that failed: doubled each time, up to a bound.
	minRetry, maxRetry = time.Second, time.Minute
)

// TaskOptions say what a task is.
type TaskOptions struct {
	WorkerOptions
	// Step does a piece of a run: best one of less than a second, after which
	// the task rests. cursor is that of the step before, nil at the beginning. A
	// step that fails, or whose end was not saved before a crash, is done again.
	// Its ctx ends when the run is cancelled.
	Step func(ctx context.Context, cursor []byte) (Step, error)
	// Least and Most bound the time from the end of a run to the begin of the
	// next, which is chosen at random; the first is so long after the task was
	// first there. Zero: runs begin by order only.
	Least, Most time.Duration
}

// Step is how far a run has come.
type Step struct {
	// Cursor is whatever the next step needs to go on. That of the last step is
	// kept as well.
	Cursor []byte
	// Progress is for people: "12.3 %".
	Progress string
	// Done says that nothing is left.
	Done bool
}

// Task is work with a beginning and an end. A run goes on after a restart, paused
// or not. Safe for concurrent use.
type Task struct {
	*Worker
	opts TaskOptions

	mu    sync.Mutex
	kept  keptTask           // guarded by mu
	saved time.Time          // guarded by mu: when the file last had all of kept
	run   uint64             // guarded by mu: counts runs begun and cancelled
	stop  context.CancelFunc // guarded by mu: ends the step under way; nil without
	wake  chan struct{}      // guarded by mu: closed by the next order
}

// Task adds a task. Errors as with Worker.
func (s *Set) Task(o TaskOptions) (*Task, error) {
	t := &Task{opts: o, kept: s.memory.task(o.Name), wake: make(chan struct{})}
	more := o.Notes
	o.Notes = func() []string {
		notes := t.notes()
		if more != nil {
			notes = append(notes, more()...)
		}
		return notes
	}
	var err error
	if t.Worker, err = s.Worker(o.WorkerOptions); err != nil {
		return nil, err
	}
	if t.kept.Progress != "" {
		t.Progress("%s", t.kept.Progress)
	}
	if o.Most == 0 {
		return t, nil
	}
	for name, at := range map[string]func(keptTask) time.Time{
		"-last-completed": func(k keptTask) time.Time { return k.Ended },
		"-next-run":       func(k keptTask) time.Time { return k.Next },
	} {
		err := s.Variable(Variable{Name: o.Name + name, Get: func() string { return clock(at(t.now())) }})
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

// clock is a time for people.
func clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

func (t *Task) now() keptTask {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept
}

// Cursor is how far the run under way has come, or the last one came.
func (t *Task) Cursor() []byte { return t.now().Cursor }

// Running reports whether a run is under way, paused or not.
func (t *Task) Running() bool { return t.now().Running }

func (t *Task) notes() (notes []string) {
	k := t.now()
	if k.Running {
		notes = append(notes, "begun "+clock(k.Begun))
	}
	if !k.PausedUntil.IsZero() {
		notes = append(notes, "paused until "+clock(k.PausedUntil))
	}
	if !k.Ended.IsZero() {
		notes = append(notes, "last completed "+clock(k.Ended))
	}
	if !k.Next.IsZero() && !k.Running {
		notes = append(notes, "next run "+clock(k.Next))
	}
	return notes
}

// Start begins a run; that is durable when it returns nil. Errors: Conflict (one
// is under way or paused), StorageFull.
func (t *Task) Start() error {
	return t.order(func(k *keptTask) error {
		if k.Running {
			return fault.New(fault.Conflict, "%s is under way", t.opts.Name)
		}
		t.begin(k)
		return nil
	})
}

// Pause makes the run under way rest until Resume, or for a day. Errors as with
// Start: Conflict when none is under way.
func (t *Task) Pause() error {
	return t.order(func(k *keptTask) error {
		if !k.Running {
			return fault.New(fault.Conflict, "%s is not under way", t.opts.Name)
		}
		k.PausedUntil = time.Now().Add(pauseFor)
		return nil
	})
}

// Resume goes on with a paused run. Errors as with Start: Conflict when none is
// paused.
func (t *Task) Resume() error {
	return t.order(func(k *keptTask) error {
		if k.PausedUntil.IsZero() {
			return fault.New(fault.Conflict, "%s is not paused", t.opts.Name)
		}
		k.PausedUntil = time.Time{}
		return nil
	})
}

// Cancel ends the run under way, paused or not. Errors as with Start: Conflict
// when none is under way.
func (t *Task) Cancel() error {
	return t.order(func(k *keptTask) error {
		if !k.Running {
			return fault.New(fault.Conflict, "%s is not under way", t.opts.Name)
		}
		k.Running, k.PausedUntil = false, time.Time{}
		t.schedule(k)
		t.abandon()
		return nil
	})
}

// order carries an order out: all of it, durably, or nothing.
func (t *Task) order(change func(*keptTask) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.kept
	if err := change(&k); err != nil {
		return err
	}
	if err := t.set.memory.setTask(t.opts.Name, k); err != nil {
		return err
	}
	t.kept, t.saved = k, time.Now()
	close(t.wake)
	t.wake = make(chan struct{})
	return nil
}

// begin makes k a run that begins now. The caller holds mu.
func (t *Task) begin(k *keptTask) {
	k.Running, k.PausedUntil, k.Cursor, k.Progress, k.Begun = true, time.Time{}, nil, "", time.Now()
	t.Progress("")
	t.abandon()
}

// abandon makes the step under way one of a run that is over. The caller holds mu.
func (t *Task) abandon() {
	t.run++
	if t.stop != nil {
		t.stop()
	}
}

// schedule says when the next run begins by itself. The caller holds mu.
func (t *Task) schedule(k *keptTask) {
	if t.opts.Most > 0 {
		k.Next = time.Now().Add(t.opts.Least + rand.N(t.opts.Most-t.opts.Least+1))
	}
}

// Go runs the task as a part of g.
func (t *Task) Go(g *lifecycle.Group) {
	t.Worker.Go(g, func(ctx context.Context) error {
		for ctx.Err() == nil {
			run, cursor, wait, wake := t.due()
			if wait > 0 {
				t.Idle()
				await(ctx, wait, wake)
				continue
			}
			t.step(ctx, run, cursor)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.save()
		return nil
	})
}

// await waits for d, or until ctx ends or wake is closed.
func await(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C:
	}
}

// due says where a run goes on, or how long there is nothing to do unless an
// order comes. It begins a run whose time has come.
func (t *Task) due() (run uint64, cursor []byte, wait time.Duration, wake <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, k := time.Now(), &t.kept
	if k.PausedUntil.After(now) {
		return 0, nil, min(k.PausedUntil.Sub(now), look), t.wake
	}
	k.PausedUntil = time.Time{}
	if !k.Running {
		if t.opts.Most == 0 {
			return 0, nil, look, t.wake
		}
		// None yet, or the clock was set back since.
		if k.Next.IsZero() || k.Next.After(now.Add(t.opts.Most)) {
			t.schedule(k)
			t.save()
		}
		if k.Next.After(now) {
			return 0, nil, min(k.Next.Sub(now), look), t.wake
		}
		t.begin(k)
		t.save()
	}
	return t.run, k.Cursor, 0, t.wake
}

// step does a piece of a run, then rests.
func (t *Task) step(ctx context.Context, run uint64, cursor []byte) {
	ctx, cancel := context.WithCancel(ctx)
	wake, ok := t.enter(run, cancel)
	defer t.leave(cancel)
	if !ok {
		return
	}
	t.Busy()
	began := time.Now()
	next, err := t.opts.Step(ctx, cursor)
	took := time.Since(began)
	wait := t.advance(ctx, run, next, err)
	switch {
	case wait > 0:
		t.Idle()
		await(ctx, wait, wake)
	case !next.Done:
		// The end of ctx is the end of the run or of the node: the caller sees it.
		_ = t.Rest(ctx, took)
	}
}

// enter makes cancel end the step that begins, unless its run is over.
func (t *Task) enter(run uint64, cancel context.CancelFunc) (wake <-chan struct{}, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop = cancel
	return t.wake, run == t.run
}

func (t *Task) leave(cancel context.CancelFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop = nil
	cancel()
}

// advance notes what a step came to. wait is how long it is until it is tried
// again.
func (t *Task) advance(ctx context.Context, run uint64, next Step, err error) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if run != t.run || err != nil && ctx.Err() != nil {
		return 0
	}
	t.Result(err)
	if err != nil {
		return min(minRetry<<min(t.results.inARow()-1, 10), maxRetry)
	}
	k := &t.kept
	k.Cursor, k.Progress = next.Cursor, next.Progress
	t.Progress("%s", next.Progress)
	if next.Done {
		k.Running, k.PausedUntil, k.Ended = false, time.Time{}, time.Now()
		t.schedule(k)
		t.run++
	}
	if next.Done || time.Since(t.saved) >= keepEvery {
		t.save()
	}
	return 0
}

// save keeps how far the run has come. The caller holds mu.
func (t *Task) save() {
	if err := t.set.memory.setTask(t.opts.Name, t.kept); err != nil {
		t.set.log.Warn("how far a task has come is not kept",
			slog.String("work", t.opts.Name), slog.Any("error", err))
		return
	}
	t.saved = time.Now()
}
