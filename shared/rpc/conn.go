package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"

	"hangar/shared/object"
)

// Options say how to connect and how much work to accept.
type Options struct {
	// URL of the NATS servers, comma separated, the one to prefer first: the
	// others are used while it is away. Unused with InProcess.
	URL string
	// InProcess, when set, is an embedded server to talk to without a socket.
	InProcess nats.InProcessConnProvider
	// Name is shown in the NATS server's list of connections.
	Name string
	// User and Password, or Token, when the NATS server asks for them.
	User, Password, Token string
	// TLSCA is a file of root certificates to trust; TLSCert and TLSKey are
	// the files of a client certificate. Empty means none.
	TLSCA, TLSCert, TLSKey string
	// InboxPrefix of the subject that answers arrive on; "_INBOX" by default, and
	// that is how it must begin. Give each NATS user its own so that permissions can keep them apart.
	InboxPrefix string

	// Node is who answers: the id of the node this connection serves.
	Node object.NodeID
	// Lane, when set, connects this Conn with the others of the process that
	// have the same Lane, past the broker.
	Lane *Lane

	// Workers is how many requests are handled at once; 256 by default.
	Workers int
	// Queue is how many more may wait for a worker; 1024 by default.
	Queue int
	// QueueBytes bounds the memory of requests received and not yet answered;
	// 256 MiB by default.
	QueueBytes int64
	// Timeout is the deadline of requests whose ctx has none; 10 s by default.
	Timeout time.Duration

	// Tracer makes spans for handled requests; nil makes none.
	Tracer trace.TracerProvider
	// Observe, unless nil, is asked once for each operation that is served, such
	// as "meta.row", and what it returns is told of each request: how long it
	// took with its wait for a worker, and how it failed.
	Observe func(operation string) func(took time.Duration, err error)
	// Logger gets panics of handlers and changes of the connection;
	// slog.Default() when nil.
	Logger *slog.Logger
}

func (o *Options) setDefaults() {
	if o.Workers == 0 {
		o.Workers = 256
	}
	if o.Queue == 0 {
		o.Queue = 1024
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 256 << 20
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Observe == nil {
		o.Observe = func(string) func(time.Duration, error) { return func(time.Duration, error) {} }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Conn is a process's connection to NATS. It implements Caller and Server.
//
// While disconnected it reconnects for ever; requests made meanwhile fail at
// once as Unavailable, and those that were waiting for answers as
// Indeterminate. Subscriptions come back with the connection. It goes back to
// the first server of Options.URL some time after that one came back, between
// requests.
type Conn struct {
	nc      *nats.Conn
	node    object.NodeID
	lane    *Lane
	timeout time.Duration
	tracer  trace.Tracer // nil when not tracing
	observe func(operation string) func(time.Duration, error)
	log     *slog.Logger

	mux  mux
	work *limiter

	// requests carries what arrived from NATS to the dispatcher; a nil asks it
	// to say on drained that all before it are with their handlers.
	requests  chan *nats.Msg
	drained   chan struct{}
	mu        sync.RWMutex
	endpoints map[string]*endpoint // guarded by mu
	closing   bool                 // guarded by mu

	reconnectMu sync.Mutex
	reconnected map[*func()]struct{} // guarded by reconnectMu

	ctx     context.Context // of all handlers; ends with Close
	cancel  context.CancelFunc
	closed  sync.Once
	running sync.WaitGroup // the dispatcher, and goHome
}

var (
	_ Caller = (*Conn)(nil)
	_ Server = (*Conn)(nil)
)

// Connect dials NATS and keeps trying until the connection stands or ctx ends;
// without a deadline in ctx it gives up after 15 seconds. Credentials that are
// refused fail at once.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	o.setDefaults()
	c := &Conn{
		node: o.Node, lane: o.Lane, timeout: o.Timeout, log: o.Logger, observe: o.Observe,
		work:      newLimiter(o.Workers, o.Queue, o.QueueBytes),
		requests:  make(chan *nats.Msg, o.Queue+o.Workers),
		drained:   make(chan struct{}),
		endpoints: make(map[string]*endpoint),
	}
	if o.Tracer != nil {
		c.tracer = o.Tracer.Tracer("hangar/shared/rpc")
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
	}
	if o.InboxPrefix != "" && !strings.HasPrefix(o.InboxPrefix, inboxes) {
		return nil, fmt.Errorf("the prefix of answers %q does not begin with %s", o.InboxPrefix, inboxes)
	}
	h := newHome(o.URL)
	if o.InProcess != nil {
		h = newHome("")
	}
	nc, err := dial(ctx, o.URL, c.natsOptions(o, h))
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS at %s: %w", place(o), err)
	}
	c.nc = nc
	if err := c.mux.listen(nc); err != nil {
		nc.Close()
		return nil, fmt.Errorf("listening for answers: %w", err)
	}
	if nc.MaxPayload() < MaxMessageBytes+answerPrefix {
		c.log.Warn("NATS max_payload is smaller than the largest message of Hangar: large blocks will fail",
			"max_payload", nc.MaxPayload(), "needed", MaxMessageBytes+answerPrefix)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.running.Go(c.dispatch)
	c.running.Go(func() { h.goHome(c.ctx, nc, &c.mux) })
	return c, nil
}

func place(o Options) string {
	if o.InProcess != nil {
		return "this process"
	}
	return o.URL
}

// dial retries what may pass: a server that is not there yet.
func dial(ctx context.Context, url string, opts []nats.Option) (*nats.Conn, error) {
	for {
		nc, err := nats.Connect(url, opts...)
		if err == nil {
			return nc, nil
		}
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (c *Conn) natsOptions(o Options, h *home) []nats.Option {
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		// Fail at once while disconnected: what is buffered is lost anyway.
		nats.ReconnectBufSize(-1),
		nats.IgnoreAuthErrorAbort(),
		// Notice a dead server within 15 s, not 4 min.
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.mux.failAll(errLost)
			if err != nil {
				c.log.Warn("lost the connection to NATS", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			h.connected()
			c.log.Info("connected to NATS again", "url", nc.ConnectedUrlRedacted())
			c.tellReconnected()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			c.log.Error("NATS reports an error", "err", err, "subject", subject)
		}),
	}
	opts = append(opts, h.options()...)
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	}
	if o.User != "" {
		opts = append(opts, nats.UserInfo(o.User, o.Password))
	}
	if o.Token != "" {
		opts = append(opts, nats.Token(o.Token))
	}
	if o.TLSCA != "" {
		opts = append(opts, nats.RootCAs(o.TLSCA))
	}
	if o.TLSCert != "" {
		opts = append(opts, nats.ClientCert(o.TLSCert, o.TLSKey))
	}
	if o.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(o.InboxPrefix))
	}
	return opts
}

// OnReconnect has f called after each reconnection, when messages may have been
// missed and subscriptions stand again, until stop is called. f must not block.
func (c *Conn) OnReconnect(f func()) (stop func()) {
	c.reconnectMu.Lock()
	defer c.reconnectMu.Unlock()
	if c.reconnected == nil {
		c.reconnected = map[*func()]struct{}{}
	}
	c.reconnected[&f] = struct{}{}
	return func() {
		c.reconnectMu.Lock()
		defer c.reconnectMu.Unlock()
		delete(c.reconnected, &f)
	}
}

func (c *Conn) tellReconnected() {
	c.reconnectMu.Lock()
	defer c.reconnectMu.Unlock()
	for f := range c.reconnected {
		(*f)()
	}
}

// NATS is the underlying connection, for JetStream and micro.
func (c *Conn) NATS() *nats.Conn { return c.nc }

// Node is the id this connection answers with.
func (c *Conn) Node() object.NodeID { return c.node }

// Drain stops taking requests, lets those in progress finish until ctx ends,
// sends their answers and closes.
func (c *Conn) Drain(ctx context.Context) error {
	defer c.Close()
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return nil
	}
	c.closing = true
	for _, e := range c.endpoints {
		c.lane.remove(e)
		if e.sub != nil {
			// Fails only when the connection has gone, and then so has the subscription.
			_ = e.sub.Drain()
		}
	}
	c.mu.Unlock()
	if !c.nc.IsConnected() {
		return nil
	}
	// Once the server has answered, no more requests are on the way; once the
	// dispatcher has, each has its handler.
	if err := c.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("draining: %w", err)
	}
	select {
	case c.requests <- nil:
	case <-ctx.Done():
		return fmt.Errorf("draining: %w", ctx.Err())
	}
	select {
	case <-c.drained:
	case <-ctx.Done():
		return fmt.Errorf("draining: %w", ctx.Err())
	}
	select {
	case <-c.work.close():
	case <-ctx.Done():
		return fmt.Errorf("draining: %w", ctx.Err())
	}
	if err := c.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("sending the last answers: %w", err)
	}
	return nil
}

// Close ends the connection at once and waits for running handlers. It ends the
// ctx of those that serve NATS; those that a Lane called end with their
// caller's. Pending calls over NATS fail as Indeterminate. Idempotent.
func (c *Conn) Close() {
	c.closed.Do(func() {
		c.mu.Lock()
		c.closing = true
		for _, e := range c.endpoints {
			c.lane.remove(e)
		}
		c.mu.Unlock()
		c.cancel()
		c.nc.Close()
		c.mux.failAll(errLost)
		c.running.Wait()
		<-c.work.close()
	})
}
