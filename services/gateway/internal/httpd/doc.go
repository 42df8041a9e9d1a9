// Package httpd is the HTTP server under the gateway's APIs. It is the only
// package that knows Fiber and fasthttp, and it exists to keep their traps in
// one place: request lines reach handlers unmodified, every body is counted
// against its declared length, every read and write has a rolling deadline,
// every string handed out is a copy, and a response that fails half-way looks
// like a failure to the client.
package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"time"
)

// Errors of a request body.
var (
	// ErrTruncated: the client closed before it sent what it had declared.
	ErrTruncated = errors.New("body ended before its declared length")
	// ErrBodyTimeout: the client stopped sending.
	ErrBodyTimeout = errors.New("body stalled")
)

// Problem is a failure of the transport itself, which the API in front words
// in its own format.
type Problem int

// The problems.
const (
	// Malformed: the bytes are no HTTP request.
	Malformed Problem = iota
	// HeadersTooLarge: the header section exceeds the read buffer.
	HeadersTooLarge
	// Stalled: the request did not arrive in time.
	Stalled
	// Truncated: nothing came of an announced body.
	Truncated
	// MethodUnknown: a method that HTTP does not define.
	MethodUnknown
	// Overloaded: as many requests are under way as the server allows.
	Overloaded
	// Panicked: the handler panicked; this was logged.
	Panicked
)

// Handler is an API served over HTTP. Its methods are called concurrently.
type Handler interface {
	// Serve answers a request. ctx ends when the response has been sent or
	// given up, or when the server stops without waiting any longer. r must
	// not be used after Serve returned.
	Serve(ctx context.Context, r *Request) *Response
	// Expect is asked, before the client is told to go on, about a request
	// whose client waits for "100 Continue". Nil lets it send its body; a
	// response is sent instead and the connection closed. r has no Body.
	Expect(ctx context.Context, r *Request) *Response
	// Fail words a problem. r.Method and r.RawPath may be empty.
	Fail(r *Request, p Problem) *Response
}

// Field is one header field of a response, name in the case it is sent in.
type Field struct{ Name, Value string }

// Park is a request that is to wait for something before there is an answer. It
// holds no slot and next to no memory meanwhile. Its body must have been read.
type Park struct {
	// Until is when the wait ends at the latest.
	Until time.Time
	// Start is called once with what wakes the request; wake never blocks and may
	// be called at any time, by any goroutine.
	Start func(wake func())
	// Resume, called after each wake and within a slot, looks whether there is an
	// answer; nil waits on. With over it must answer: the time is up, or the
	// server stops. It may not park again.
	Resume func(ctx context.Context, over bool) *Response
	// End is called once, at last. gone says that the client went away before
	// there was an answer.
	End func(gone bool)
}

// Response is what a handler answers. At most one of Body and Stream is set, and
// nothing but Park with it.
type Response struct {
	Status int
	Header []Field
	// Body is sent as it is; it must not be changed once returned.
	Body []byte
	// Stream is read to exactly Length bytes and closed. One that ends early or
	// fails makes the connection close, so that the client sees a truncated
	// body. If it implements io.WriterTo, that is used.
	Stream io.ReadCloser
	// Length is Stream's length, and the Content-Length told for a HEAD request.
	Length int64
	// Done, when set, is called once after the response was sent or given up.
	// sent counts body bytes; err says why a stream failed.
	Done func(sent int64, err error)
	// Park, when set, makes the request wait.
	Park *Park
}

// Set appends a header field unless value is empty.
func (r *Response) Set(name, value string) {
	if value != "" {
		r.Header = append(r.Header, Field{name, value})
	}
}

// Config bounds what one server spends on its clients.
type Config struct {
	// MaxRequests is how many requests are served at once, the sending of
	// their responses included; more get the Overloaded answer.
	MaxRequests int
	// MaxParked is how many requests may wait at once; more get the Overloaded
	// answer.
	MaxParked int
	// Methods are those let through beside HTTP's own.
	Methods []string
	// HeaderBytes bounds request line and headers together.
	HeaderBytes int
	// HeaderTimeout is how long a request's headers may take.
	HeaderTimeout time.Duration
	// StallTimeout is how long a client may neither send nor take a byte.
	StallTimeout time.Duration
	// IdleTimeout closes kept-alive connections.
	IdleTimeout time.Duration
	// TLS, when set, is what connections speak.
	TLS *tls.Config
	// Grace is how long a stopping server waits for requests under way.
	Grace time.Duration
}

// withDefaults fills unset limits.
func (c Config) withDefaults() Config {
	def(&c.MaxRequests, 512)
	def(&c.MaxParked, 16<<10)
	def(&c.HeaderBytes, 16<<10)
	def(&c.HeaderTimeout, 30*time.Second)
	def(&c.StallTimeout, 60*time.Second)
	def(&c.IdleTimeout, 3*time.Minute)
	def(&c.Grace, 20*time.Second)
	return c
}

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
