package work_test

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hangar/shared/fault"
	"hangar/shared/lifecycle"
	"hangar/shared/nodeapi"
	"hangar/shared/work"
)

// counting is a task of so many steps, each of a second.
type counting struct {
	*work.Task
	steps atomic.Int64 // done
	fail  atomic.Bool
}

func newCounting(t *testing.T, file string, length int, o work.TaskOptions) *counting {
	t.Helper()
	c := &counting{}
	o.Name = "count"
	o.Step = func(ctx context.Context, cursor []byte) (work.Step, error) {
		if c.fail.Load() {
			return work.Step{}, errors.New("lost count")
		}
		at := 0
		if cursor != nil {
			var err error
			if at, err = strconv.Atoi(string(cursor)); err != nil {
				return work.Step{}, err
			}
		}
		if err := lifecycle.Sleep(ctx, time.Second); err != nil {
			return work.Step{}, err
		}
		c.steps.Add(1)
		at++
		return work.Step{Cursor: []byte(strconv.Itoa(at)), Progress: strconv.Itoa(at), Done: at == length}, nil
	}
	var err error
	c.Task, err = open(t, work.Options{File: file}).Task(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *counting) run(t *testing.T) (stop func()) { return running(t, c.Go) }

func do(t *testing.T, order func() error) {
	t.Helper()
	if err := order(); err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, orders ...func() error) {
	t.Helper()
	for i, order := range orders {
		if err := order(); !fault.Is(err, fault.Conflict) {
			t.Errorf("order %d: %v", i, err)
		}
	}
}

func TestARunByOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounting(t, "", 10, work.TaskOptions{WorkerOptions: work.WorkerOptions{Tranquility: "1"}})
		stop := c.run(t)
		defer stop()
		time.Sleep(48 * time.Hour)
		if c.steps.Load() != 0 || c.Running() {
			t.Error("it began by itself")
		}
		refused(t, c.Pause, c.Resume, c.Cancel)
		do(t, c.Start)
		refused(t, c.Start, c.Resume)
		time.Sleep(7500 * time.Millisecond) // the fourth rest
		if s := c.Status(); s.Progress != "4" || s.State != nodeapi.Throttled {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute)
		if s := c.Status(); s.Progress != "10" || s.State != nodeapi.Idle || c.Running() || string(c.Cursor()) != "10" {
			t.Errorf("%+v", s)
		}
		do(t, c.Start)
		time.Sleep(time.Minute)
		if c.steps.Load() != 20 {
			t.Errorf("%d steps in two runs", c.steps.Load())
		}
	})
}

func TestPauseAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounting(t, "", 10, work.TaskOptions{})
		stop := c.run(t)
		defer stop()
		do(t, c.Start)
		time.Sleep(2500 * time.Millisecond)
		do(t, c.Pause)
		refused(t, c.Start)
		time.Sleep(time.Hour) // the step under way still counts
		if got := c.Status(); got.Progress != "3" || got.State != nodeapi.Idle || !c.Running() {
			t.Errorf("%+v", got)
		}
		do(t, c.Resume)
		time.Sleep(2500 * time.Millisecond)
		do(t, c.Cancel) // in the middle of a step, which ends at once and counts for nothing
		synctest.Wait()
		if got := c.Status(); got.Progress != "5" || got.State != nodeapi.Idle || c.Running() || got.Errors != 0 {
			t.Errorf("%+v", got)
		}
		do(t, c.Start)
		do(t, c.Pause)
		time.Sleep(24*time.Hour + time.Minute) // nobody resumes
		if got := c.Status(); got.Progress != "10" || c.Running() {
			t.Errorf("%+v", got)
		}
	})
}

func TestAFailedStepIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounting(t, "", 3, work.TaskOptions{})
		stop := c.run(t)
		defer stop()
		c.fail.Store(true)
		do(t, c.Start)
		time.Sleep(10 * time.Minute)
		got := c.Status() // after 1, 2, 4 … 32 seconds, then each minute
		if got.ConsecutiveErrors < 10 || got.ConsecutiveErrors > 20 || got.LastError != "lost count" || !c.Running() {
			t.Errorf("%+v", got)
		}
		c.fail.Store(false)
		time.Sleep(2 * time.Minute)
		if got := c.Status(); c.Running() || got.ConsecutiveErrors != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// TestARunGoesOnAfterARestart: from the step before the stop, and after a crash
// from one not long before.
func TestARunGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "work.json")
		c := newCounting(t, file, 100, work.TaskOptions{})
		stop := c.run(t)
		do(t, c.Start)
		time.Sleep(5500 * time.Millisecond)
		stop()
		c = newCounting(t, file, 100, work.TaskOptions{})
		if got := c.Status(); got.Progress != "5" || !c.Running() {
			t.Errorf("%+v", got)
		}
		stop = c.run(t)
		time.Sleep(30500 * time.Millisecond)
		crashed := newCounting(t, file, 100, work.TaskOptions{}) // what the file holds now
		if at, err := strconv.Atoi(crashed.Status().Progress); err != nil || at < 25 || at > 35 {
			t.Errorf("kept %d of 35, %v", at, err)
		}
		do(t, c.Pause)
		stop()
		c = newCounting(t, file, 100, work.TaskOptions{})
		stop = c.run(t)
		time.Sleep(time.Hour)
		if c.steps.Load() != 0 {
			t.Error("the pause did not survive")
		}
		do(t, c.Resume)
		time.Sleep(time.Hour)
		stop()
		if c.steps.Load() != 65 {
			t.Errorf("%d steps after the restart", c.steps.Load())
		}
	})
}

func TestSchedule(t *testing.T) {
	const day = 24 * time.Hour
	o := work.TaskOptions{Least: 25 * day, Most: 35 * day}
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "work.json")
		c := newCounting(t, file, 10, o)
		stop := c.run(t)
		time.Sleep(24 * day)
		if c.steps.Load() != 0 {
			t.Error("a run before its time")
		}
		stop()
		c = newCounting(t, file, 10, o) // the time does not begin anew
		stop = c.run(t)
		time.Sleep(12 * day)
		if c.steps.Load() != 10 {
			t.Errorf("%d steps after 36 days", c.steps.Load())
		}
		time.Sleep(360 * day)
		stop()
		if runs := c.steps.Load() / 10; runs < 11 || runs > 15 {
			t.Errorf("%d runs in 396 days", runs)
		}
	})
}
