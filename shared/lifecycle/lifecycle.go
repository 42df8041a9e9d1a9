// Package lifecycle starts the parts of a process in order, stops them in
// reverse and owns their goroutines, so that Run of a service reads as the list
// of its parts.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// stopTimeout bounds each Defer.
const stopTimeout = 30 * time.Second

// Group is the parts of something that runs. Its methods are for the goroutine
// of Run's setup, and for parts that start further parts.
type Group struct {
	ctx    context.Context
	failed chan struct{} // closed with the first error

	mu      sync.Mutex
	err     error          // guarded by mu
	stops   []func() error // guarded by mu
	stopped bool           // guarded by mu
}

// Run calls setup, which starts parts, then waits until ctx ends or a part
// fails, and stops all parts in the reverse order of their start. It returns
// the first error: of setup, of a part, of stopping. An end of ctx is not one.
func Run(ctx context.Context, setup func(g *Group) error) error {
	g := &Group{ctx: ctx, failed: make(chan struct{})}
	if err := setup(g); err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
		g.fail(err)
	}
	select {
	case <-ctx.Done():
	case <-g.failed:
	}
	for {
		stop := g.last()
		if stop == nil {
			break
		}
		if err := stop(); err != nil {
			g.fail(err)
		}
	}
	return g.err
}

// Context is Run's. It does not end when a part fails: each part ends in turn.
func (g *Group) Context() context.Context { return g.ctx }

// Go runs a part on a goroutine of its own. Its ctx ends, and it is awaited,
// when everything started after it has stopped. Returning nil early is fine;
// returning an error stops the group.
func (g *Group) Go(name string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(g.ctx))
	done := make(chan struct{})
	// Registered first: should the group have stopped, run finds its ctx over.
	late := !g.push(func() error {
		cancel()
		<-done
		return nil
	})
	if late {
		cancel()
		return
	}
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
			g.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
}

// Defer calls stop when everything started after this point has stopped. Its
// ctx allows 30 seconds.
func (g *Group) Defer(name string, stop func(ctx context.Context) error) {
	call := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(g.ctx), stopTimeout)
		defer cancel()
		if err := stop(ctx); err != nil {
			return fmt.Errorf("stopping %s: %w", name, err)
		}
		return nil
	}
	if g.push(call) {
		return
	}
	if err := call(); err != nil {
		g.fail(err)
	}
}

func (g *Group) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
		close(g.failed)
	}
}

// push reports false when the group has already stopped.
func (g *Group) push(stop func() error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.stopped {
		g.stops = append(g.stops, stop)
	}
	return !g.stopped
}

func (g *Group) last() (stop func() error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.stops)
	if n == 0 {
		g.stopped = true
		return nil
	}
	stop, g.stops = g.stops[n-1], g.stops[:n-1]
	return stop
}
