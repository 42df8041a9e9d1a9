package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"hangar/shared/fault"
)

// queueGroup is the NATS queue group of all servers of an AnySubject.
const queueGroup = "hangar"

// inboxes is how all subjects begin that answers may be sent to: see
// Options.InboxPrefix. Permissions on NATS say the same; this holds without them.
const inboxes = "_INBOX"

// endpoint is a subject that a connection serves.
type endpoint struct {
	conn    *Conn
	subject string
	name    string // of its spans
	observe func(took time.Duration, err error)
	handler Handler
	sub     *nats.Subscription // guarded by conn.mu
}

// Handle implements Server.
func (c *Conn) Handle(subject string, h Handler) (stop func(), err error) {
	return c.handle(subject, "", h)
}

// HandleQueue implements Server.
func (c *Conn) HandleQueue(subject string, h Handler) (stop func(), err error) {
	return c.handle(subject, queueGroup, h)
}

func (c *Conn) handle(subject, group string, h Handler) (stop func(), err error) {
	if subject == "" || strings.ContainsAny(subject, "*> \t\r\n") {
		return nil, fault.New(fault.Invalid, "cannot serve subject %q", subject)
	}
	e := &endpoint{conn: c, subject: subject, name: spanName(subject), observe: c.observe(spanName(subject)), handler: h}
	if err := c.register(e, group); err != nil {
		return nil, err
	}
	stop = func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.endpoints[subject] != e {
			return
		}
		c.lane.remove(e)
		delete(c.endpoints, subject)
		// Fails only when the connection has gone, and then so has the subscription.
		_ = e.sub.Unsubscribe()
	}
	// The server must know of the subscription before anyone relies on it.
	if err := c.nc.FlushTimeout(c.timeout); err != nil {
		stop()
		return nil, fault.Wrap(fault.Unavailable, err, "serving %s", subject)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.lane.add(e)
	}
	return stop, nil
}

func (c *Conn) register(e *endpoint, group string) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return errClosing
	}
	if c.endpoints[e.subject] != nil {
		return fault.New(fault.Invalid, "subject %s is served already", e.subject)
	}
	// One channel and one goroutine for all subjects: there may be thousands.
	if group == "" {
		e.sub, err = c.nc.ChanSubscribe(e.subject, c.requests)
	} else {
		e.sub, err = c.nc.ChanQueueSubscribe(e.subject, group, c.requests)
	}
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "subscribing to %s", e.subject)
	}
	c.endpoints[e.subject] = e
	return nil
}

// dispatch gives each request a goroutine, or refuses it. It never waits, so
// that NATS does not take us for a slow consumer.
func (c *Conn) dispatch() {
	for {
		select {
		case msg := <-c.requests:
			if msg == nil {
				close(c.drained)
				continue
			}
			c.accept(msg)
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Conn) accept(msg *nats.Msg) {
	received := time.Now()
	c.mu.RLock()
	e := c.endpoints[msg.Subject]
	c.mu.RUnlock()
	if e == nil {
		return // stopped while it was on its way
	}
	if msg.Reply != "" && !strings.HasPrefix(msg.Reply, inboxes) {
		return // an answer sent there would be an order to others, in our name
	}
	budget, m, err := parseRequest(msg.Data)
	if err != nil {
		c.reply(msg.Reply, Answer{Err: fault.Wrap(fault.Invalid, err, "request")})
		return
	}
	size := int64(len(msg.Data))
	if err := c.work.admit(size); err != nil {
		c.reply(msg.Reply, Answer{Err: err})
		return
	}
	go func() {
		defer c.work.done(size)
		ctx := c.ctx
		if msg.Header != nil {
			ctx = traceContext.Extract(ctx, header(msg.Header))
		}
		ctx, cancel := context.WithDeadline(ctx, received.Add(budget-margin(budget)))
		defer cancel()
		answer, began := e.serve(ctx, m)
		if began {
			c.reply(msg.Reply, Answer{Message: answer.Message, Err: answer.Err})
		}
	}()
}

// serve waits for a worker and runs the handler. It reports false when the
// deadline passed before there was one.
func (e *endpoint) serve(ctx context.Context, m Message) (a Answer, began bool) {
	a.From = e.conn.node
	received := time.Now()
	if e.conn.work.enter(ctx) != nil {
		return a, false
	}
	defer e.conn.work.leave()
	if ctx.Err() != nil {
		return a, false
	}
	a.Err = traced(ctx, e.conn.tracer, e.name, func(ctx context.Context) (err error) {
		a.Message, err = e.protected(ctx, m)
		return err
	})
	e.observe(time.Since(received), a.Err)
	if a.Err != nil {
		a.Message = Message{}
	}
	return a, true
}

// protected keeps a panic of one handler from ending the process.
func (e *endpoint) protected(ctx context.Context, m Message) (answer Message, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.conn.log.ErrorContext(ctx, "a handler panicked", "subject", e.subject,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fault.New(fault.Internal, "the handler of %s panicked", e.name)
		}
	}()
	return e.handler(ctx, m)
}

// reply sends an answer if anyone waits for it.
func (c *Conn) reply(to string, a Answer) {
	if to == "" {
		return
	}
	a.From = c.node
	n := answerPrefix + len(a.Head) + len(a.Payload)
	err := withBuffer(n, func(b []byte) error {
		return c.nc.PublishMsg(&nats.Msg{Subject: to, Data: appendAnswer(b, a)})
	})
	if errors.Is(err, nats.ErrMaxPayload) && a.Err == nil {
		c.reply(to, Answer{Err: fault.Wrap(fault.Internal, err, "an answer of %d bytes is too large", n)})
		return
	}
	if err != nil {
		// The caller learns of it by its deadline or its own disconnection.
		c.log.Debug("an answer was not sent", "err", err)
	}
}
