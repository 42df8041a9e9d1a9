package rpc

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// Lane joins the connections of one process: a request whose target is served
// in the process is a call of the handler, by the same rules (deadline, bound
// on workers, spans, errors that have a kind), without encoding or copies.
//
// A handler gets the caller's own bytes. Gather and Call therefore return only
// when every handler they started has: the caller may then reuse its buffers.
// Handlers stop when the caller's ctx ends. A nil Lane is empty.
type Lane struct {
	mu       sync.RWMutex
	subjects map[string][]*endpoint // guarded by mu; slices are replaced, not changed
}

// NewLane returns an empty lane.
func NewLane() *Lane { return &Lane{subjects: make(map[string][]*endpoint)} }

func (l *Lane) add(e *endpoint) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.subjects[e.subject]
	l.subjects[e.subject] = append(old[:len(old):len(old)], e)
}

func (l *Lane) remove(e *endpoint) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var rest []*endpoint
	for _, other := range l.subjects[e.subject] {
		if other != e {
			rest = append(rest, other)
		}
	}
	if rest == nil {
		delete(l.subjects, e.subject)
		return
	}
	l.subjects[e.subject] = rest
}

// find appends to room the endpoints of all nodes of t, or nothing when one of
// them is elsewhere. A target without nodes finds any one.
func (l *Lane) find(t Target, room []*endpoint) []*endpoint {
	if l == nil {
		return nil
	}
	l.mu.RLock()
	here := l.subjects[t.Subject]
	l.mu.RUnlock()
	if len(here) < len(t.Nodes) || len(here) == 0 {
		return nil
	}
	if len(t.Nodes) == 0 {
		return append(room, here[rand.IntN(len(here))])
	}
	for _, n := range t.Nodes {
		e := of(here, n)
		if e == nil {
			return nil
		}
		room = append(room, e)
	}
	return room
}

func of(here []*endpoint, n object.NodeID) *endpoint {
	for _, e := range here {
		if e.conn.node == n {
			return e
		}
	}
	return nil
}

// gatherNear is gather within the process.
func gatherNear(ctx context.Context, near []*endpoint, m Message, each func(Answer) bool) error {
	if len(near) == 1 {
		a, began := near[0].call(ctx, m)
		if !began || ctx.Err() != nil {
			return expired(ctx)
		}
		each(a)
		return nil
	}
	answers := make(chan Answer, len(near))
	var running sync.WaitGroup
	for _, e := range near {
		running.Go(func() {
			if a, began := e.call(ctx, m); began {
				answers <- a
			}
		})
	}
	defer running.Wait()
	for range near {
		select {
		case a := <-answers:
			if each(a) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// expired waits out the margin that a server keeps of its caller's time.
func expired(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// call runs e's handler on the caller's goroutine. It reports false when the
// deadline passed before there was a worker.
func (e *endpoint) call(ctx context.Context, m Message) (a Answer, began bool) {
	if err := e.conn.work.admit(0); err != nil {
		return Answer{From: e.conn.node, Err: err}, true
	}
	defer e.conn.work.done(0)
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(-margin(time.Until(deadline))))
	defer cancel()
	m.Near = true
	a, began = e.serve(ctx, m)
	a.Near = true
	if a.Err != nil {
		a.Err = asFault(a.Err)
	}
	if n := len(a.Head) + len(a.Payload); n > MaxMessageBytes {
		a = Answer{From: a.From, Err: fault.New(fault.Internal, "an answer of %d bytes is too large", n)}
	}
	return a, began
}
