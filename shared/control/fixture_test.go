package control

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"hangar/shared/natsd"
)

// broker is a real NATS server that a test may restart on its directory.
type broker struct {
	t   testing.TB
	dir string
	srv *natsd.Server
	url string
	// stores that together made, one for each of its processes.
	stores []*Store
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func startBroker(t testing.TB) *broker {
	b := &broker{t: t, dir: t.TempDir()}
	b.start("127.0.0.1:0")
	b.url = b.srv.ClientURL()
	t.Cleanup(func() { b.srv.Shutdown() })
	return b
}

func (b *broker) start(listen string) {
	b.t.Helper()
	srv, err := natsd.Start(natsd.Options{Dir: b.dir, Listen: listen, Logger: quiet})
	if err != nil {
		b.t.Fatal(err)
	}
	b.srv = srv
}

func (b *broker) restart() {
	b.srv.Shutdown()
	b.start(b.url[len("nats://"):])
}

func (b *broker) connect() *nats.Conn {
	b.t.Helper()
	nc, err := nats.Connect(b.url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	return nc
}

func (b *broker) store() *Store {
	b.t.Helper()
	s, err := OpenStore(ctx(b.t), b.connect(), StoreOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// mirror runs a mirror until the test ends.
func (b *broker) mirror(o MirrorOptions) *Mirror {
	b.t.Helper()
	o.Log = quiet
	m, err := NewMirror(b.connect(), o)
	if err != nil {
		b.t.Fatal(err)
	}
	run, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(run) }()
	b.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
	return m
}

func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return c
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (b *broker) sync(s *Store, m *Mirror) *View {
	b.t.Helper()
	return must[*View](b.t)(s.Sync(ctx(b.t), m))
}
