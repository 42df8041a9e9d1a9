package httpd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// A parked request keeps its connection and one goroutine with a small stack:
// fasthttp's worker, its buffers and its context are given back. That goroutine
// reads, which shows when the client goes away; a wake moves the read's deadline
// into the past.

// past interrupts a read.
var past = time.Unix(1, 0)

// mostAhead bounds what a client may send while its request waits.
const mostAhead = 4 << 10

// parking knows the parked requests.
type parking struct {
	mu      sync.Mutex
	all     map[*parkedRequest]struct{} // guarded by mu
	stopped bool                        // guarded by mu
	running sync.WaitGroup
}

// parkedRequest is one that waits.
type parkedRequest struct {
	*Park
	s *Server
	// ahead is what the client has sent beyond the request.
	ahead []byte
	// request is what is left of the request: its id and method.
	request *Request
	close   bool // the connection ends with the answer

	mu    sync.Mutex
	conn  net.Conn // set once, under mu
	woken bool     // since the last look; guarded by mu
	stop  bool     // guarded by mu
	over  bool     // the connection is not to be interrupted any more; guarded by mu
}

// Parked is the number of requests that wait.
func (s *Server) Parked() int {
	s.parked.mu.Lock()
	defer s.parked.mu.Unlock()
	return len(s.parked.all)
}

// park makes a request wait, once fasthttp has let go of its connection.
func (s *Server) park(c *fasthttp.RequestCtx, r *Request, p *Park) {
	w := &parkedRequest{Park: p, s: s, request: &Request{ID: r.ID, Method: r.Method, RawPath: r.RawPath, Remote: r.Remote},
		close: c.Request.Header.ConnectionClose() || !c.Request.Header.IsHTTP11()}
	if r.Body.left() != 0 || !s.parked.add(w, s.cfg.MaxParked) {
		p.End(false)
		s.finish(c, r, s.handler.Fail(r, Overloaded))
		return
	}
	c.HijackSetNoResponse(true)
	c.Hijack(func(conn net.Conn) {
		w.adopt(conn)
		go w.run() // on a fresh stack, and without what this one holds
	})
}

func (p *parking) add(w *parkedRequest, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped || len(p.all) >= most {
		return false
	}
	if p.all == nil {
		p.all = map[*parkedRequest]struct{}{}
	}
	p.all[w] = struct{}{}
	p.running.Add(1)
	return true
}

func (p *parking) remove(w *parkedRequest) {
	p.mu.Lock()
	delete(p.all, w)
	p.mu.Unlock()
	p.running.Done()
}

// stop has all that wait answer now.
func (p *parking) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for w := range p.all {
		w.interrupt(true)
	}
}

// wait waits until none is left, but no longer than most; it reports whether
// none is. None may be added any more.
func (p *parking) wait(most time.Duration) bool {
	left := make(chan struct{})
	go func() {
		p.running.Wait()
		close(left)
	}()
	select {
	case <-left:
		return true
	case <-time.After(most):
		return false
	}
}

// adopt takes the connection over, with what fasthttp has read of the next
// request.
func (w *parkedRequest) adopt(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = conn
	if inner, ok := conn.(interface{ UnsafeConn() net.Conn }); ok {
		w.conn = inner.UnsafeConn()
	}
	if w.conn.SetReadDeadline(past) != nil {
		return // the read that follows says so
	}
	buf := make([]byte, mostAhead)
	n, _ := io.ReadFull(conn, buf) // ends with what is buffered
	if n > 0 {
		w.ahead = append([]byte(nil), buf[:n]...)
	}
}

func (w *parkedRequest) wake() { w.interrupt(false) }

func (w *parkedRequest) interrupt(stop bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.woken = true
	w.stop = w.stop || stop
	if w.conn != nil && !w.over {
		// A failure shows in the read.
		_ = w.conn.SetReadDeadline(past)
	}
}

// look reports what woke w, and otherwise sets the deadline of the next read.
func (w *parkedRequest) look() (woken, over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	woken, over = w.woken, w.stop || !time.Now().Before(w.Until)
	w.woken = false
	if !woken && !over {
		_ = w.conn.SetReadDeadline(w.Until)
	}
	return woken, over
}

// run waits, answers, and goes on to serve the connection.
func (w *parkedRequest) run() {
	resp := w.await()
	w.End(resp == nil)
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	if resp == nil || !w.answer(resp) {
		w.conn.Close()
		w.s.parked.remove(w)
		return
	}
	next := &resumed{Conn: w.conn, ahead: w.ahead, idle: w.s.cfg.IdleTimeout, header: w.s.cfg.HeaderTimeout}
	w.s.conns.note(next, fasthttp.StateNew) // before the parking knows it no more
	w.s.parked.remove(w)
	// Its errors are the connection's, which is over then.
	_ = w.s.app.Server().ServeConn(next)
}

// await waits for the answer; nil if the client goes away before.
func (w *parkedRequest) await() *Response {
	w.Start(w.wake)
	for {
		woken, over := w.look()
		if woken || over {
			if resp := w.resume(over); resp != nil || over {
				return resp
			}
			continue
		}
		if len(w.ahead) >= mostAhead {
			return nil // a client that goes on like this does not wait
		}
		var one [1]byte
		n, err := w.conn.Read(one[:])
		w.ahead = append(w.ahead, one[:n]...)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
	}
}

// resume looks for an answer within a slot.
func (w *parkedRequest) resume(over bool) *Response {
	w.s.slots <- struct{}{} // those who have one need no other
	w.s.active.Add(1)
	ctx, cancel := context.WithCancel(w.s.base)
	defer func() {
		cancel()
		w.s.active.Add(-1)
		<-w.s.slots
	}()
	return w.s.call(w.request, func() *Response { return w.Resume(ctx, over) })
}

// answer sends resp, and reports whether the connection goes on.
func (w *parkedRequest) answer(resp *Response) bool {
	var out fasthttp.Response
	out.SetStatusCode(resp.Status)
	out.Header.SetServer(w.s.app.Config().ServerHeader)
	for _, f := range resp.Header {
		out.Header.SetCanonical([]byte(f.Name), []byte(f.Value))
	}
	out.Header.SetNoDefaultContentType(true)
	out.SetBodyRaw(resp.Body)
	w.mu.Lock()
	last := w.close || w.stop
	w.mu.Unlock()
	if last {
		out.SetConnectionClose()
	}
	sent := int64(len(resp.Body))
	err := errors.Join(w.conn.SetReadDeadline(time.Time{}), w.conn.SetWriteDeadline(time.Now().Add(w.s.cfg.StallTimeout)))
	if err == nil {
		buf := bufio.NewWriter(w.conn)
		err = errors.Join(out.Write(buf), buf.Flush())
	}
	if err != nil {
		sent = 0
	}
	if resp.Done != nil {
		resp.Done(sent, err)
	}
	return err == nil && !last
}

// resumed is a connection with what was read ahead of it. fasthttp takes it for
// a new one, whose first request it awaits less patiently than the next request
// of a connection that is kept alive, and it answers one that does not come: a
// client that sends it late might take that answer for its own.
type resumed struct {
	net.Conn
	ahead        []byte
	idle, header time.Duration
	begun        bool // something was read
}

func (c *resumed) Read(p []byte) (int, error) {
	if len(c.ahead) > 0 {
		n := copy(p, c.ahead)
		c.ahead, c.begun = c.ahead[n:], true
		return n, nil
	}
	if c.begun {
		return c.Conn.Read(p)
	}
	if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.begun = true
		return n, errors.Join(err, c.SetReadDeadline(time.Now().Add(c.header)))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF // as if the client had left
	}
	return n, err
}
