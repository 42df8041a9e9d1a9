package httpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// keepBytes is how much of an unread body fasthttp reads away to keep the
// connection.
const keepBytes = 256 << 10

// aheadBytes is how much of a body fasthttp may read before the handler runs.
// What stalls or ends within it would be no request at all instead of an
// operation that failed, so it is the least that fasthttp takes.
const aheadBytes = 1

// Server serves one API on one listener.
type Server struct {
	cfg     Config
	handler Handler
	log     *slog.Logger

	app *fiber.App
	// slots holds one token for each request under way.
	slots  chan struct{}
	copies sync.Pool
	conns  connTable
	// base is the parent of every request's context; Serve sets it before it
	// accepts.
	base context.Context
	// active counts requests whose response is not finished.
	active atomic.Int64
	parked parking
}

// writeBytes holds the head of a response together with a small object, so that
// both leave in one system call.
const writeBytes = 16 << 10

// New makes a server for h.
func New(cfg Config, h Handler, log *slog.Logger) *Server {
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, handler: h, log: log, slots: make(chan struct{}, cfg.MaxRequests)}
	s.copies.New = func() any { return new([copyBytes]byte) }
	s.app = fiber.New(fiber.Config{
		ServerHeader:                 "Hangar",
		StrictRouting:                true,
		CaseSensitive:                true,
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		DisableDefaultContentType:    true,
		DisableStartupMessage:        true,
		EnableTrustedProxyCheck:      true,
		BodyLimit:                    aheadBytes,
		ReadBufferSize:               cfg.HeaderBytes,
		WriteBufferSize:              writeBytes,
		ReadTimeout:                  cfg.HeaderTimeout,
		WriteTimeout:                 cfg.StallTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		RequestMethods:               s.methods(),
	})
	s.app.Use(func(c *fiber.Ctx) error {
		s.serve(c.Context())
		return nil
	})
	routed := s.app.Handler()
	srv := s.app.Server()
	srv.Handler = func(c *fasthttp.RequestCtx) {
		defer s.survive(c)
		switch {
		case continued(c.Request.Header.RawHeaders()):
			s.reject(c, Malformed)
		case !s.known(c.Method()): // Fiber answers those itself, in plain text
			s.reject(c, MethodUnknown)
		default:
			routed(c)
		}
	}
	srv.ErrorHandler = s.refuse
	srv.ExpectHandler = s.expect
	srv.ConnState = s.conns.note
	srv.KeepHijackedConns = true // those of parked requests: see park
	return s
}

// reject answers what is not let through to the handler.
func (s *Server) reject(c *fasthttp.RequestCtx, p Problem) {
	r := newRequest(c)
	closeGently(c.Conn(), true)
	s.write(c, r, s.handler.Fail(r, p))
	c.SetConnectionClose()
}

// continued reports whether a header line goes on in the next one. That form is
// obsolete, and what stands before this server may not know it: the two would
// see other headers.
func continued(raw []byte) bool {
	return bytes.Contains(raw, []byte("\n ")) || bytes.Contains(raw, []byte("\n\t"))
}

func (s *Server) methods() []string { return slices.Concat(fiber.DefaultMethods, s.cfg.Methods) }

func (s *Server) known(method []byte) bool {
	for _, m := range s.app.Config().RequestMethods {
		if string(method) == m {
			return true
		}
	}
	return false
}

// Serve accepts connections from ln until ctx ends. It then lets requests under
// way finish for the configured grace, closes what is left, and returns.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.base = base
	ln = newListener(ln, s.log)
	if s.cfg.TLS != nil {
		ln = tls.NewListener(ln, s.cfg.TLS)
	}
	failed := make(chan error, 1)
	go func() { failed <- s.app.Listener(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	// Shutdown would wait for connections that never sent a request, and for
	// those that wait.
	s.parked.stop()
	s.conns.closeUnused()
	grace := time.Now().Add(s.cfg.Grace)
	err := s.app.ShutdownWithTimeout(s.cfg.Grace)
	// Those that waited hold no connection of fasthttp's.
	if !s.parked.wait(time.Until(grace)) {
		err = errors.Join(err, context.DeadlineExceeded)
	}
	cancel()
	s.conns.closeAll()
	s.parked.running.Wait()
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("closed connections whose requests had not finished", "after", s.cfg.Grace)
		err = nil
	}
	return errors.Join(err, <-failed)
}

// Active is the number of requests under way.
func (s *Server) Active() int64 { return s.active.Load() }

// serve runs the handler for one request, within a slot.
func (s *Server) serve(c *fasthttp.RequestCtx) {
	r := newRequest(c)
	s.attachBody(c, r)
	select {
	case s.slots <- struct{}{}:
	default:
		s.finish(c, r, s.handler.Fail(r, Overloaded))
		return
	}
	s.active.Add(1)
	ctx, cancel := context.WithCancel(s.base)
	release := sync.OnceFunc(func() {
		cancel()
		s.active.Add(-1)
		<-s.slots
	})
	resp := s.call(r, func() *Response { return s.handler.Serve(ctx, r) })
	if resp.Park != nil {
		release()
		s.park(c, r, resp.Park)
		return
	}
	if resp.Stream == nil || r.Method == fasthttp.MethodHead {
		release()
	} else {
		done := resp.Done
		resp.Done = func(sent int64, err error) {
			if done != nil {
				done(sent, err)
			}
			release()
		}
	}
	s.finish(c, r, resp)
}

// call runs the handler and turns a panic into an answer.
func (s *Server) call(r *Request, serve func() *Response) (resp *Response) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("request panicked", "request", r.ID, "panic", p, "stack", string(debug.Stack()))
			resp = s.handler.Fail(r, Panicked)
		}
	}()
	return serve()
}

// survive makes a panic outside the handler the end of one connection, not of
// the process.
func (s *Server) survive(c *fasthttp.RequestCtx) {
	p := recover()
	if p == nil {
		return
	}
	s.log.Error("connection panicked", "remote", c.RemoteAddr(), "panic", p, "stack", string(debug.Stack()))
	c.Response.Reset()
	c.SetConnectionClose()
	r := &Request{Method: fasthttp.MethodGet, RawPath: "/"}
	s.write(c, r, s.handler.Fail(r, Panicked))
}

func (s *Server) attachBody(c *fasthttp.RequestCtx, r *Request) {
	src := c.RequestBodyStream()
	if src == nil {
		return
	}
	r.Body = &Body{src: src, want: r.ContentLength, deadline: deadline{conn: c.Conn(), stall: s.cfg.StallTimeout}}
	if r.Body.want == 0 {
		r.Body.err = io.EOF
	}
}

// finish sees to what is left of the request's body, then writes the response.
// Bytes left unread must not be taken for the next request, and a client that
// is still sending must get to see the answer.
func (s *Server) finish(c *fasthttp.RequestCtx, r *Request, resp *Response) {
	if left := r.Body.left(); left < 0 || left > keepBytes {
		closeGently(c.Conn(), true)
		c.SetConnectionClose()
	}
	s.write(c, r, resp)
}

// write hands resp to fasthttp, which sends it after the handler returned.
func (s *Server) write(c *fasthttp.RequestCtx, r *Request, resp *Response) {
	out := &c.Response
	out.SetStatusCode(resp.Status)
	for _, f := range resp.Header {
		out.Header.SetCanonical([]byte(f.Name), []byte(f.Value))
	}
	switch {
	case r.Method == fasthttp.MethodHead:
		out.SkipBody = true
		out.Header.SetContentLength(int(max(resp.Length, int64(len(resp.Body)))))
		resp.close()
	case resp.Stream != nil:
		st := &stream{src: resp.Stream, left: resp.Length, copies: &s.copies, done: resp.Done,
			deadline: deadline{conn: c.Conn(), stall: s.cfg.StallTimeout}}
		if st.done == nil {
			st.done = func(int64, error) {}
		}
		out.SetBodyStream(st, int(resp.Length))
	default:
		out.SetBodyRaw(resp.Body)
		resp.close()
	}
}

// close ends a response that is not streamed.
func (r *Response) close() {
	if r.Stream != nil {
		r.Stream.Close()
	}
	if r.Done != nil {
		r.Done(int64(len(r.Body)), nil)
	}
}

// expect answers for fasthttp whether a client that waits may send its body.
func (s *Server) expect(c *fasthttp.RequestCtx) (status int) {
	status = fasthttp.StatusInternalServerError //nolint:wastedassign // a panic leaves it so
	defer s.survive(c)
	if continued(c.Request.Header.RawHeaders()) {
		s.reject(c, Malformed)
		return fasthttp.StatusBadRequest
	}
	r := newRequest(c)
	if resp := s.handler.Expect(s.base, r); resp != nil {
		// Some clients ask and do not wait.
		closeGently(c.Conn(), true)
		s.write(c, r, resp)
		return resp.Status
	}
	return fasthttp.StatusContinue
}

// refuse answers for fasthttp what it could not parse. The connection closes.
func (s *Server) refuse(c *fasthttp.RequestCtx, err error) {
	p := Malformed
	var tooLarge *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &tooLarge):
		p = HeadersTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		p = Stalled
	case err == io.ErrUnexpectedEOF: //nolint:errorlint // bare only where the first byte of a body is read
		p = Truncated
	}
	c.Request.Reset()
	r := newRequest(c)
	s.write(c, r, s.handler.Fail(r, p))
}
