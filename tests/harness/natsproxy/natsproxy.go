// Package natsproxy stands between one process and its NATS server and can hold
// back what the server delivers on some subjects, as a network does in which one
// stream of messages is behind the others: a process can be kept from hearing of
// changes while all else reaches it.
package natsproxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Subjects of what a process can be kept from hearing.
const (
	// Control is the records of the control state.
	Control = "$KV.hangar_control."
	// Presence is who asks whether it is there: it counts as gone.
	Presence = "$SRV."
)

// Proxy forwards connections. It ends with the test.
type Proxy struct {
	addr  string
	to    string
	ln    net.Listener
	ended sync.WaitGroup

	mu    sync.Mutex
	held  []string       // prefixes of subjects; guarded by mu
	conns map[*conn]bool // guarded by mu
	over  bool           // guarded by mu
}

// conn is a client's connection, and what is held back from it.
type conn struct {
	client, server net.Conn
	held           bytes.Buffer // guarded by Proxy.mu
}

func (c *conn) close() { _, _ = c.client.Close(), c.server.Close() }

// Start forwards to the server at url, "nats://host:port".
func Start(t testing.TB, url string) *Proxy {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		addr: ln.Addr().String(), to: strings.TrimPrefix(url, "nats://"), ln: ln,
		conns: map[*conn]bool{},
	}
	p.ended.Go(func() { p.accept(t.Context()) })
	t.Cleanup(p.stop)
	return p
}

// URL is where a client connects.
func (p *Proxy) URL() string { return "nats://" + p.addr }

// Hold keeps messages back, from now on, whose subject begins with one of some
// prefixes.
func (p *Proxy) Hold(prefixes ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = prefixes
}

// Release delivers what was held back, in order, and holds nothing more.
func (p *Proxy) Release() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = nil
	for c := range p.conns {
		if _, err := c.held.WriteTo(c.client); err != nil {
			return err
		}
	}
	return nil
}

func (p *Proxy) stop() {
	_ = p.ln.Close() // which ends accept
	p.mu.Lock()
	p.over = true
	for c := range p.conns {
		c.close()
	}
	p.mu.Unlock()
	p.ended.Wait()
}

func (p *Proxy) accept(ctx context.Context) {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		server, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.to)
		if err != nil {
			_ = client.Close() // the client tries again
			continue
		}
		p.serve(&conn{client: client, server: server})
	}
}

// serve forwards both ways; the end of either is the end of both.
func (p *Proxy) serve(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		c.close()
		return
	}
	p.conns[c] = true
	p.ended.Go(func() {
		defer c.close()
		_, _ = io.Copy(c.server, c.client)
	})
	p.ended.Go(func() {
		defer c.close()
		_ = p.deliver(c, bufio.NewReader(c.server))
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, c)
	})
}

// deliver passes on what the server says until one of them ends.
func (p *Proxy) deliver(c *conn, from *bufio.Reader) error {
	for {
		line, err := from.ReadBytes('\n')
		if err != nil {
			return err
		}
		subject, size, err := message(line)
		if err != nil {
			return err
		}
		frame := line
		if subject != "" {
			frame = append(line, make([]byte, size+2)...)
			if _, err := io.ReadFull(from, frame[len(line):]); err != nil {
				return err
			}
		}
		if err := p.pass(c, subject, frame); err != nil {
			return err
		}
	}
}

func (p *Proxy) pass(c *conn, subject string, frame []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, prefix := range p.held {
		if strings.HasPrefix(subject, prefix) {
			c.held.Write(frame)
			return nil
		}
	}
	_, err := c.client.Write(frame)
	return err
}

// message reads the first line of a message: "MSG subject sid [reply] bytes" or
// "HMSG subject sid [reply] header-bytes bytes". Other lines have no subject.
func message(line []byte) (subject string, size int, err error) {
	if !bytes.HasPrefix(line, []byte("MSG ")) && !bytes.HasPrefix(line, []byte("HMSG ")) {
		return "", 0, nil
	}
	f := strings.Fields(string(line))
	if len(f) < 4 {
		return "", 0, fmt.Errorf("a message begins %q", line)
	}
	size, err = strconv.Atoi(f[len(f)-1])
	return f[1], size, err
}
