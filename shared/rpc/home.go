package rpc

import (
	"context"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// homeEvery is how often a connection to another than the first server
	// looks whether the first is there; it goes back after finding it twice in
	// a row.
	homeEvery = 15 * time.Second
	homeFound = 2
	// homeHold is how long requests are held back at most so that those under
	// way get their answers before the connection changes; then it stays.
	homeHold = 2 * time.Second
	// reconnectWait is the least pause between two rounds of all servers.
	reconnectWait = 100 * time.Millisecond
	dialTimeout   = 2 * time.Second
)

// home keeps a connection at the server named first: the one nearby, where
// there are several.
type home struct {
	order []string // host:port in order of preference
	tries atomic.Int64
	every time.Duration
}

// newHome reads a list of URLs as nats.Connect does.
func newHome(urls string) *home {
	h := &home{every: homeEvery}
	for part := range strings.SplitSeq(urls, ",") {
		part = strings.TrimSpace(part)
		if !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		if u, err := url.Parse(part); err == nil && u.Hostname() != "" { // else nats.Connect says so
			h.order = append(h.order, hostPort(u))
		}
	}
	return h
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "4222"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// options make a connection try its servers in order.
func (h *home) options() []nats.Option {
	return []nats.Option{nats.DontRandomize(), nats.ReconnectToServer(h.next)}
}

// next chooses the server for the next attempt: all in order, again and again,
// those that the servers told of last. The connection calls it under its lock.
func (h *home) next(servers []nats.Server, _ nats.ServerInfo) (*nats.Server, time.Duration) {
	rank := func(s *nats.Server) int {
		if i := slices.Index(h.order, hostPort(s.URL)); i >= 0 {
			return i
		}
		return len(h.order)
	}
	pool := make([]*nats.Server, len(servers))
	for i := range servers {
		pool[i] = &servers[i]
	}
	slices.SortStableFunc(pool, func(a, b *nats.Server) int { return rank(a) - rank(b) })
	n := int(h.tries.Add(1) - 1)
	var wait time.Duration
	if n >= len(pool) && n%len(pool) == 0 {
		wait = reconnectWait + rand.N(reconnectWait)
	}
	return pool[n%len(pool)], wait
}

// connected starts the order from its beginning.
func (h *home) connected() { h.tries.Store(0) }

// away reports whether nc is with another server than the first.
func (h *home) away(nc *nats.Conn) bool {
	if len(h.order) < 2 || !nc.IsConnected() {
		return false
	}
	u, err := url.Parse(nc.ConnectedUrl())
	return err == nil && hostPort(u) != h.order[0]
}

// goHome brings nc back to the first server until ctx ends. It does so when no
// request of x waits for an answer, and lets none go meanwhile. Requests of
// others that arrive in that moment are lost to them, as with any loss of the
// connection.
func (h *home) goHome(ctx context.Context, nc *nats.Conn, x *mux) {
	if len(h.order) < 2 {
		return
	}
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	for found := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !h.away(nc) || !greets(ctx, h.order[0]) {
			found = 0
			continue
		}
		if found++; found >= homeFound {
			found = 0
			h.move(ctx, nc, x)
		}
	}
}

// move changes the connection between requests, if there is such a moment.
func (h *home) move(ctx context.Context, nc *nats.Conn, x *mux) {
	ctx, cancel := context.WithTimeout(ctx, homeHold)
	defer cancel()
	x.hold()
	defer x.release()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !x.idle() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	changes := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(changes)
	if nc.ForceReconnect() != nil {
		return // closed
	}
	select {
	case <-changes:
	case <-ctx.Done():
	}
}

// greets reports whether a NATS server speaks at addr: it does so first.
func greets(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	var b [4]byte
	if conn.SetReadDeadline(deadline) != nil {
		return false
	}
	n, err := conn.Read(b[:])
	return err == nil && string(b[:n]) == "INFO"
}
