package rpc

import (
	"context"
	"sync"
	"time"

	"hangar/shared/fault"
)

var (
	errBusy    = fault.New(fault.Overloaded, "too many requests in progress")
	errClosing = fault.New(fault.Unavailable, "the node is shutting down")
)

// limiter bounds how many requests a connection handles at once, how many
// wait, and the memory they hold.
type limiter struct {
	workers chan struct{} // one element per request being handled

	mu        sync.Mutex
	requests  int           // handled or waiting; guarded by mu
	bytes     int64         // that they hold; guarded by mu
	closing   bool          // guarded by mu
	idle      chan struct{} // closed when closing and requests is 0
	mostCount int
	mostBytes int64
}

func newLimiter(workers, queue int, bytes int64) *limiter {
	return &limiter{
		workers:   make(chan struct{}, workers),
		idle:      make(chan struct{}),
		mostCount: workers + queue,
		mostBytes: bytes,
	}
}

// admit counts a request of n bytes in; done must follow when it returns nil.
// A lone request is always admitted, however large.
func (l *limiter) admit(n int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closing:
		return errClosing
	case l.requests >= l.mostCount, l.requests > 0 && l.bytes+n > l.mostBytes:
		return errBusy
	}
	l.requests++
	l.bytes += n
	return nil
}

func (l *limiter) done(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests--
	l.bytes -= n
	if l.closing && l.requests == 0 {
		close(l.idle)
	}
}

// enter waits for a worker; leave must follow when it returns nil.
func (l *limiter) enter(ctx context.Context) error {
	select {
	case l.workers <- struct{}{}:
		return nil
	default:
	}
	select {
	case l.workers <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *limiter) leave() { <-l.workers }

// close admits no more requests; the channel it returns is closed when the
// last one is done.
func (l *limiter) close() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closing {
		l.closing = true
		if l.requests == 0 {
			close(l.idle)
		}
	}
	return l.idle
}

// margin is what a server keeps of a caller's time so that its answer still
// arrives: 5 percent, 50 ms at most.
func margin(left time.Duration) time.Duration { return min(left/20, 50*time.Millisecond) }
