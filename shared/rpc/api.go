// Package rpc carries requests between services over NATS: to one node, or to
// all replicas of a partition at once, with a deadline, the caller's trace and
// errors that keep their kind. A process that holds both ends of a request
// skips the broker (the in-process lane); the contract is the same.
package rpc

import (
	"context"

	"hangar/shared/object"
)

// Message is a request or an answer.
type Message struct {
	// Head is an encoded, small message, usually protobuf.
	Head []byte
	// Payload is bulk that is not worth copying through an encoder. The
	// receiver of a request must not keep it after its handler returned; the
	// receiver of an answer owns it.
	Payload []byte
	// Near says of a received message that it never left the process: its
	// bytes are the sender's own. Senders leave it alone.
	Near bool
}

// Handler answers a request. ctx ends when the caller's deadline, less a
// margin, passes. It runs on one of a bounded number of workers.
type Handler func(ctx context.Context, m Message) (Message, error)

// Answer is what one node said.
type Answer struct {
	From object.NodeID
	Message
	// Err is a *fault.Error when the node, or the way to it, failed.
	Err error
}

// Target is where a request goes.
type Target struct {
	// Subject that all Nodes listen on.
	Subject string
	// Nodes expected to answer.
	Nodes []object.NodeID
}

// Caller sends requests. Safe for concurrent use.
type Caller interface {
	// Gather sends m to a target and calls each for every answer, one at a
	// time, on the caller's goroutine, until each returns true, all Nodes have
	// answered, or ctx ends. Answers of nodes not in Nodes are dropped. It
	// returns an error only when nothing was sent (Unavailable: not
	// connected), ctx.Err() when ctx ended first, else nil.
	Gather(ctx context.Context, t Target, m Message, each func(Answer) (done bool)) error
	// Call sends m to one node and returns its answer. Errors: those of the
	// handler; Unavailable when nothing was sent or nobody listens;
	// Indeterminate when no answer came in time.
	Call(ctx context.Context, t Target, m Message) (Message, error)
	// Publish sends m and expects nothing: a hint that may be lost.
	Publish(ctx context.Context, subject string, m Message)
}

// Server receives requests. Safe for concurrent use.
//
// Subjects have no wildcards. A handler may run many times at once, on a
// bounded number of workers; a request that finds neither a worker nor room to
// wait is answered Overloaded, and one whose deadline passed while it waited is
// dropped. A panic in a handler answers Internal.
type Server interface {
	// Handle serves requests sent to subject until stop is called. Every
	// server of the subject gets each request.
	Handle(subject string, h Handler) (stop func(), err error)
	// HandleQueue is Handle for AnySubject: one of the subject's servers gets
	// each request.
	HandleQueue(subject string, h Handler) (stop func(), err error)
}
