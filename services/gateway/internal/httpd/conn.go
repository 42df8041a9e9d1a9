package httpd

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// lingerTime bounds the reading away of one client's unwanted bytes.
	lingerTime = 10 * time.Second
	// lingerBytes bounds them.
	lingerBytes = 64 << 20
)

// conn can be closed gently. A client that is still sending when its connection
// is closed gets a reset, which destroys the answer on its way; so after an
// early answer the sending half is closed and what still arrives is read away
// for a while.
type conn struct {
	net.Conn
	gentle atomic.Bool
}

// Close implements net.Conn. Closing a second time ends the reading away.
func (c *conn) Close() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.gentle.CompareAndSwap(true, false) {
		if half.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
			// However it ends, the connection is closed next.
			_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
		}
	}
	return c.Conn.Close()
}

// closeGently says whether the connection under c shall be closed so.
func closeGently(c net.Conn, gently bool) {
	if r, ok := c.(*resumed); ok {
		c = r.Conn
	}
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if base, ok := c.(*conn); ok {
		base.gentle.Store(gently)
	}
}

// connTable knows the open connections, so that a stopping server can close
// those that fasthttp would wait for or leave open.
type connTable struct {
	mu sync.Mutex
	// used says whether a connection has sent a request. Guarded by mu.
	used map[net.Conn]bool
}

func (t *connTable) note(c net.Conn, state fasthttp.ConnState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch state {
	case fasthttp.StateNew:
		if t.used == nil {
			t.used = make(map[net.Conn]bool)
		}
		t.used[c] = false
	case fasthttp.StateClosed, fasthttp.StateHijacked:
		delete(t.used, c)
	case fasthttp.StateActive:
		t.used[c] = true
	}
}

func (t *connTable) closeUnused() { t.close(func(used bool) bool { return !used }) }

func (t *connTable) closeAll() { t.close(func(bool) bool { return true }) }

func (t *connTable) close(which func(used bool) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c, used := range t.used {
		if which(used) {
			closeGently(c, false)
			c.Close()
		}
	}
}
