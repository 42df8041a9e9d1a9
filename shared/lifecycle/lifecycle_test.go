package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is a list of events that parts append to.
type journal struct {
	mu     sync.Mutex
	events []string
}

func (j *journal) add(e string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
}

// part runs until its ctx ends.
func (j *journal) part(name string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		j.add(name)
		return ctx.Err()
	}
}

func TestStopsInReverse(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	err := Run(ctx, func(g *Group) error {
		g.Go("a", j.part("a"))
		g.Defer("b", func(ctx context.Context) error {
			if _, ok := ctx.Deadline(); !ok || ctx.Err() != nil {
				t.Error("stopping needs time, and a bound")
			}
			j.add("b")
			return nil
		})
		g.Go("c", j.part("c"))
		g.Go("ends early", func(context.Context) error { return nil })
		cancel()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if want := []string{"c", "b", "a"}; !slices.Equal(j.events, want) {
		t.Errorf("stopped %v, want %v", j.events, want)
	}
}

func TestFirstErrorStopsAll(t *testing.T) {
	bad := errors.New("bad")
	for _, c := range []struct {
		name  string
		setup func(g *Group) error
		want  string
	}{
		{"setup", func(*Group) error { return bad }, "bad"},
		{"part", func(g *Group) error {
			g.Go("disk", func(context.Context) error { return bad })
			return nil
		}, "disk: bad"},
		{"part canceled by itself", func(g *Group) error {
			g.Go("disk", func(context.Context) error { return context.Canceled })
			return nil
		}, "disk: context canceled"},
		{"part and stop", func(g *Group) error {
			g.Defer("index", func(context.Context) error { return errors.New("second") })
			g.Go("disk", func(context.Context) error { return bad })
			return nil
		}, "disk: bad"},
		{"part of a part", func(g *Group) error {
			g.Go("outer", func(ctx context.Context) error {
				g.Go("inner", func(context.Context) error { return bad })
				<-ctx.Done()
				return nil
			})
			return nil
		}, "inner: bad"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var j journal
			err := Run(t.Context(), func(g *Group) error {
				g.Go("first", j.part("first"))
				return c.setup(g)
			})
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if !slices.Equal(j.events, []string{"first"}) {
				t.Errorf("stopped %v", j.events)
			}
		})
	}
}

func TestErrorWhileStopping(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := Run(ctx, func(g *Group) error {
		g.Defer("index", func(context.Context) error { return errors.New("not flushed") })
		cancel()
		return nil
	})
	if err == nil || err.Error() != "stopping index: not flushed" {
		t.Error(err)
	}
}

func TestInterruptedWhileStarting(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	err := Run(ctx, func(g *Group) error {
		g.Go("a", j.part("a"))
		cancel()
		return fmt.Errorf("connecting: %w", g.Context().Err())
	})
	if err != nil || len(j.events) != 1 {
		t.Error(err, j.events)
	}
}

func TestLatePartsDoNotOutliveTheGroup(t *testing.T) {
	var group *Group
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, func(g *Group) error { group = g; return nil }); err != nil {
		t.Fatal(err)
	}
	group.Go("late", func(context.Context) error { t.Error("ran"); return nil })
	stopped := false
	group.Defer("late", func(context.Context) error { stopped = true; return nil })
	if !stopped {
		t.Error("what started late was not stopped")
	}
}

func TestStatus(t *testing.T) {
	interrupts := func(n int) <-chan os.Signal {
		c := make(chan os.Signal, 2)
		for range n {
			c <- os.Interrupt
		}
		return c
	}
	release := make(chan struct{})
	defer close(release)
	for _, c := range []struct {
		name    string
		run     func(ctx context.Context) error
		signals int
		status  int
		stderr  string
	}{
		{"fine", func(context.Context) error { return nil }, 0, 0, ""},
		{"error", func(context.Context) error { return errors.New("port 3900 is taken") }, 0, 1, "hangar: port 3900 is taken\n"},
		{"many lines", func(context.Context) error { return errors.Join(errors.New("a"), errors.New("b")) }, 0, 1, "hangar: a; b\n"},
		{"own code", func(context.Context) error { return fmt.Errorf("call: %w", refused{}) }, 0, 4, "hangar: call: refused\n"},
		{"interrupted", func(ctx context.Context) error { <-ctx.Done(); return nil }, 1, 0, ""},
		{"interrupted twice", func(context.Context) error { <-release; return nil }, 2, 1, "hangar: interrupted twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stderr bytes.Buffer
			got := status(c.run, interrupts(c.signals), &stderr)
			if got != c.status || !strings.HasPrefix(stderr.String(), c.stderr) || (c.stderr == "") != (stderr.Len() == 0) {
				t.Errorf("status %d, stderr %q", got, stderr.String())
			}
		})
	}
}

// refused is an error with an exit code of its own.
type refused struct{}

func (refused) Error() string { return "refused" }
func (refused) ExitCode() int { return 4 }
