package rpc

import (
	"context"
	"net/url"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"hangar/shared/natsd"
	"hangar/shared/object"
)

func TestHomeTriesServersInOrder(t *testing.T) {
	h := newHome("nats://b:1, a:2,nats://c")
	server := func(s string) nats.Server {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return nats.Server{URL: u}
	}
	pool := []nats.Server{server("nats://told:9"), server("nats://c:4222"), server("nats://a:2"), server("nats://b:1")}
	for round := range 2 {
		for i, want := range []string{"b:1", "a:2", "c:4222", "told:9"} {
			s, wait := h.next(pool, nats.ServerInfo{})
			if s.URL.Host != want {
				t.Errorf("round %d, attempt %d goes to %s, want %s", round, i, s.URL.Host, want)
			}
			if pause := round > 0 && i == 0; pause != (wait > 0) {
				t.Errorf("round %d, attempt %d waits %v", round, i, wait)
			}
		}
	}
	h.connected()
	if s, wait := h.next(pool, nats.ServerInfo{}); s.URL.Host != "b:1" || wait != 0 {
		t.Errorf("after a connection it begins with %s after %v", s.URL.Host, wait)
	}
}

// TestHome: a connection uses its first server, another while that is away,
// and comes back.
func TestHome(t *testing.T) {
	run := func(dir, listen string) *natsd.Server {
		s, err := natsd.Start(natsd.Options{Dir: dir, Listen: listen})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	dir := t.TempDir()
	first, second := run(dir, "127.0.0.1:0"), run(t.TempDir(), "127.0.0.1:0")
	defer second.Shutdown()
	at := first.ClientURL()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := Connect(ctx, Options{URL: at + "," + second.ClientURL(), Node: object.NewNodeID()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// A second one beside it that does not wait as long.
	h := newHome(at + "," + second.ClientURL())
	h.every = 20 * time.Millisecond
	back, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { h.goHome(back, c.nc, &c.mux); close(ended) }()
	defer func() { stop(); <-ended }()

	changes := c.nc.StatusChanged(nats.CONNECTED)
	await := func(want string) {
		t.Helper()
		for c.nc.ConnectedUrl() != want {
			select {
			case <-changes:
			case <-ctx.Done():
				t.Fatalf("connected to %q, want %q", c.nc.ConnectedUrl(), want)
			}
		}
	}
	await(at)
	first.Shutdown()
	await(second.ClientURL())
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	// A request under way is not lost to the change; one made meanwhile waits.
	p, _, err := c.mux.open(ctx, []object.NodeID{c.Node()})
	if err != nil {
		t.Fatal(err)
	}
	first = run(dir, u.Host)
	defer first.Shutdown()
	for held := false; !held && ctx.Err() == nil; {
		c.mux.mu.Lock()
		held = c.mux.held != nil
		c.mux.mu.Unlock()
		runtime.Gosched()
	}
	if got := c.nc.ConnectedUrl(); got != second.ClientURL() {
		t.Errorf("with a request under way it went to %s", got)
	}
	made := make(chan error, 1)
	go func() {
		p, _, err := c.mux.open(ctx, nil)
		if err == nil {
			c.mux.close(p)
		}
		made <- err
	}()
	c.mux.close(p)
	await(at)
	if err := <-made; err != nil {
		t.Errorf("the request held back: %v", err)
	}
}
