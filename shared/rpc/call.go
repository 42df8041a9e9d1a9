package rpc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/span"
)

var (
	errLost   = fault.New(fault.Indeterminate, "the connection to NATS was lost before an answer came")
	errNobody = fault.New(fault.Unavailable, "no node listens")
)

// Gather implements Caller.
func (c *Conn) Gather(ctx context.Context, t Target, m Message, each func(Answer) (done bool)) error {
	if len(t.Nodes) == 0 {
		return fault.New(fault.Unavailable, "no node to ask")
	}
	return c.gather(ctx, t, m, each)
}

// Call implements Caller.
func (c *Conn) Call(ctx context.Context, t Target, m Message) (Message, error) {
	if err := ctx.Err(); err != nil {
		return Message{}, fault.Wrap(fault.KindOf(err), err, "nothing was sent")
	}
	var a Answer
	err := c.gather(ctx, t, m, func(got Answer) bool {
		a = got
		return true
	})
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Message{}, fault.Wrap(fault.Indeterminate, err, "no answer came in time")
	}
	if err != nil {
		return Message{}, err
	}
	return a.Message, a.Err
}

// Publish implements Caller.
func (c *Conn) Publish(ctx context.Context, subject string, m Message) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if err := c.send(ctx, subject, "", m); err != nil {
		c.log.DebugContext(ctx, "a hint was not sent", "subject", subject, "err", err)
	}
}

// gather is Gather for any number of nodes; with none, the first answer of
// anyone counts.
func (c *Conn) gather(ctx context.Context, t Target, m Message, each func(Answer) bool) error {
	if !recording(ctx) {
		return c.ask(ctx, t, m, each)
	}
	ctx, s := span.StartCall(ctx, "ask "+spanName(t.Subject))
	span.Asked(ctx, max(len(t.Nodes), 1))
	s.Int("hangar.asked", int64(max(len(t.Nodes), 1)))
	answers := int64(0)
	err := c.ask(ctx, t, m, func(a Answer) bool {
		answers++
		s.Event("answer", a.From.String(), a.Err)
		return each(a)
	})
	// Fewer than asked need not be a fault: a quorum ends the wait.
	s.Int("hangar.answered", answers)
	s.End(err)
	return err
}

// ask is gather without its span.
func (c *Conn) ask(ctx context.Context, t Target, m Message, each func(Answer) bool) error {
	if len(m.Head)+len(m.Payload) > MaxMessageBytes {
		return fault.New(fault.Invalid, "a message of %d bytes is too large", len(m.Head)+len(m.Payload))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	var room [4]*endpoint
	if near := c.lane.find(t, room[:0]); len(near) > 0 {
		return gatherNear(ctx, near, m, each)
	}

	p, reply, err := c.mux.open(ctx, t.Nodes)
	if err != nil {
		return err
	}
	defer c.mux.close(p)
	if err := c.send(ctx, t.Subject, reply, m); err != nil {
		return err
	}
	for range max(len(t.Nodes), 1) {
		select {
		case a := <-p.answers:
			if each(a) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// bound gives ctx a deadline if it has none.
func (c *Conn) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.timeout)
}

// send publishes a request. When it fails, the request did not leave.
func (c *Conn) send(ctx context.Context, subject, reply string, m Message) error {
	deadline, _ := ctx.Deadline()
	n := requestPrefix + len(m.Head) + len(m.Payload)
	err := withBuffer(n, func(b []byte) error {
		b = appendRequest(b, time.Until(deadline), m)
		return c.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Header: inject(ctx), Data: b})
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return fault.Wrap(fault.Invalid, err, "a message of %d bytes exceeds the NATS server's max_payload of %d",
			n, c.nc.MaxPayload())
	case errors.Is(err, nats.ErrBadSubject):
		return fault.Wrap(fault.Invalid, err, "subject %q", subject)
	default:
		return fault.Wrap(fault.Unavailable, err, "not connected to NATS")
	}
}

// AnswerInbox returns a subject of its own to which processes may send answers.
// They stand apart from what NATS itself answers, such as JetStream: to that no
// process may add anything.
func AnswerInbox(nc *nats.Conn) string {
	inbox := nc.NewInbox()
	end := strings.LastIndexByte(inbox, '.')
	return AnswersPrefix(inbox[:end]) + inbox[end+1:]
}

// AnswersPrefix is how the subjects of AnswerInbox begin for connections with an
// Options.InboxPrefix.
func AnswersPrefix(inboxPrefix string) string { return inboxPrefix + ".answers." }

// mux hands answers to whoever waits for them. All arrive on one wildcard
// subscription; the last token of their subject says whose they are.
type mux struct {
	prefix string

	mu      sync.Mutex
	waiting map[uint64]*pending // guarded by mu
	held    chan struct{}       // closed when requests may go again; nil: they may; guarded by mu
}

// pending is a request that waits for answers. It is reused.
type pending struct {
	id uint64
	// want holds the nodes that have not answered; guarded by mux.mu.
	want []object.NodeID
	// any takes the answer of whichever node, once; guarded by mux.mu.
	any bool
	// answers has room for every node, so that delivery never blocks.
	answers chan Answer
}

var pendings = sync.Pool{New: func() any { return new(pending) }}

func (x *mux) listen(nc *nats.Conn) error {
	x.waiting = make(map[uint64]*pending)
	x.prefix = AnswerInbox(nc) + "."
	sub, err := nc.Subscribe(x.prefix+"*", x.deliver)
	if err != nil {
		return err
	}
	// Only our own requests make answers: they are the bound.
	return sub.SetPendingLimits(-1, -1)
}

// open registers a request and returns the subject for its answers. It waits
// while requests are held back; an error is that of ctx.
func (x *mux) open(ctx context.Context, nodes []object.NodeID) (p *pending, reply string, err error) {
	x.mu.Lock()
	for x.held != nil {
		held := x.held
		x.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, "", ctx.Err()
		}
		x.mu.Lock()
	}
	defer x.mu.Unlock()
	p = pendings.Get().(*pending)
	if n := max(len(nodes), 1); cap(p.answers) < n {
		p.answers = make(chan Answer, max(n, 3))
	}
	p.want = append(p.want[:0], nodes...)
	p.any = len(nodes) == 0
	for taken := true; taken; _, taken = x.waiting[p.id] {
		p.id = unguessable()
	}
	x.waiting[p.id] = p

	var room [64]byte
	b := append(room[:0], x.prefix...)
	return p, string(strconv.AppendUint(b, p.id, 36)), nil
}

// unguessable names a request: only who was asked may answer it.
func unguessable() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// hold keeps further requests back until release.
func (x *mux) hold() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.held == nil {
		x.held = make(chan struct{})
	}
}

// release ends hold.
func (x *mux) release() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.held != nil {
		close(x.held)
		x.held = nil
	}
}

// idle reports whether no request waits for answers.
func (x *mux) idle() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.waiting) == 0
}

// close forgets p: nothing is delivered to it any more.
func (x *mux) close(p *pending) {
	x.mu.Lock()
	delete(x.waiting, p.id)
	x.mu.Unlock()
	for len(p.answers) > 0 {
		<-p.answers
	}
	pendings.Put(p)
}

// deliver runs on the subscription's goroutine and never blocks.
func (x *mux) deliver(msg *nats.Msg) {
	id, err := strconv.ParseUint(strings.TrimPrefix(msg.Subject, x.prefix), 36, 64)
	if err != nil {
		return
	}
	var a Answer
	nobody := len(msg.Data) == 0 && msg.Header.Get("Status") == "503"
	if !nobody {
		if a, err = parseAnswer(msg.Data); err != nil {
			return
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.waiting[id]
	switch {
	case p == nil: // too late
	case nobody:
		p.fail(errNobody)
	default:
		p.accept(a)
	}
}

// failAll answers every pending request with err.
func (x *mux) failAll(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.waiting {
		p.fail(err)
	}
}

// accept passes on the first answer of each wanted node. Others are dropped.
func (p *pending) accept(a Answer) {
	if p.any {
		p.any = false
		p.answers <- a
		return
	}
	for i, n := range p.want {
		if n == a.From {
			last := len(p.want) - 1
			p.want[i], p.want = p.want[last], p.want[:last]
			p.answers <- a
			return
		}
	}
}

// fail answers for all who have not.
func (p *pending) fail(err error) {
	if p.any {
		p.accept(Answer{Err: err})
	}
	for _, n := range p.want {
		p.answers <- Answer{From: n, Err: err}
	}
	p.want = p.want[:0]
}
