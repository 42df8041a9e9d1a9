package rpc

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"

	"hangar/shared/object"
)

// Options say how to connect and how much work to accept.
type Options struct {
	// URL of the NATS servers, comma separated. Unused with InProcess.
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
	// InboxPrefix of the subject that answers arrive on; "_INBOX" by default.
	// Give each NATS user its own so that permissions can keep them apart.
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
	// Logger gets panics of handlers and changes of the connection;
	// slog.Default() when nil.
	Logger *slog.Logger
}

// Conn is a process's connection to NATS. It implements Caller and Server.
type Conn struct {
	nc *nats.Conn
}

var (
	_ Caller = (*Conn)(nil)
	_ Server = (*Conn)(nil)
)

// Connect dials NATS and waits until the connection stands or ctx ends.
func Connect(ctx context.Context, o Options) (*Conn, error) { return nil, nil }

// NATS is the underlying connection, for JetStream and micro.
func (c *Conn) NATS() *nats.Conn { return c.nc }

// Node is the id this connection answers with.
func (c *Conn) Node() object.NodeID { return object.NodeID{} }

// Drain stops taking requests, lets those in progress finish until ctx ends,
// sends their answers and closes.
func (c *Conn) Drain(ctx context.Context) error { return nil }

// Close ends the connection at once and waits for running handlers, whose ctx
// it ends. Pending calls of this process fail as Indeterminate. Idempotent.
func (c *Conn) Close() {}

// Gather implements Caller.
func (c *Conn) Gather(ctx context.Context, t Target, m Message, each func(Answer) (done bool)) error {
	return nil
}

// Call implements Caller.
func (c *Conn) Call(ctx context.Context, t Target, m Message) (Message, error) {
	return Message{}, nil
}

// Publish implements Caller.
func (c *Conn) Publish(ctx context.Context, subject string, m Message) {}

// Handle implements Server.
func (c *Conn) Handle(subject string, h Handler) (stop func(), err error) { return nil, nil }

// HandleQueue implements Server.
func (c *Conn) HandleQueue(subject string, h Handler) (stop func(), err error) { return nil, nil }

// Lane joins the connections of one process.
type Lane struct{}

// NewLane returns an empty lane.
func NewLane() *Lane { return &Lane{} }
