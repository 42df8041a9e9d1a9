package natsd_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"hangar/shared/natsd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o natsd.Options) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func connect(t *testing.T, s *natsd.Server, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), append(opts, nats.InProcessServer(s.InProcess()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// put writes a key to a fresh or existing bucket, or returns what it holds.
func bucket(t *testing.T, nc *nats.Conn) jetstream.KeyValue {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.CreateOrUpdateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func TestKeepsStateAcrossRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on", "demand")
	s, err := natsd.Start(natsd.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if url := s.ClientURL(); url != "" {
		t.Errorf("a server without a socket has URL %q", url)
	}
	nc := connect(t, s)
	if got := nc.MaxPayload(); got != natsd.MaxPayloadBytes {
		t.Errorf("max payload %d", got)
	}
	if _, err := bucket(t, nc).PutString(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	s.Shutdown()

	s = start(t, natsd.Options{Dir: dir})
	e, err := bucket(t, connect(t, s)).Get(t.Context(), "k")
	if err != nil || string(e.Value()) != "v" {
		t.Fatalf("after restart: %v, %v", e, err)
	}
}

func TestListens(t *testing.T) {
	s := start(t, natsd.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: "s3cret"})
	if _, err := nats.Connect(s.ClientURL()); err == nil {
		t.Error("connected without the token")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.Token("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestUsersArePermitted(t *testing.T) {
	s := start(t, natsd.Options{Dir: t.TempDir(), Users: []natsd.User{
		{Name: "all", Password: "a"},
		{Name: "few", Password: "f", Publish: []string{"open.>"}, Subscribe: []string{"_INBOX_few.>"}},
	}})
	all := connect(t, s, nats.UserInfo("all", "a"))
	sub, err := all.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := all.Flush(); err != nil {
		t.Fatal(err)
	}
	denied := make(chan error, 1)
	few := connect(t, s, nats.UserInfo("few", "f"), nats.ErrorHandler(
		func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	for _, subject := range []string{"closed.x", "open.x"} {
		if err := few.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-denied; !strings.Contains(err.Error(), "closed.x") {
		t.Errorf("denied: %v", err)
	}
	m, err := sub.NextMsg(5 * time.Second)
	if err != nil || m.Subject != "open.x" {
		t.Fatalf("got %v, %v", m, err)
	}
}

func TestStartErrors(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	held := t.TempDir()
	start(t, natsd.Options{Dir: held})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    natsd.Options
		want string
	}{
		{"no directory", natsd.Options{}, "no directory"},
		{"directory in use", natsd.Options{Dir: held}, "in use by another process"},
		{"directory is a file", natsd.Options{Dir: file}, "not a directory"},
		{"port in use", natsd.Options{Dir: t.TempDir(), Listen: busy.Addr().String()}, "address already in use"},
		{"bad address", natsd.Options{Dir: t.TempDir(), Listen: "localhost"}, "missing port"},
		{"bad port", natsd.Options{Dir: t.TempDir(), Listen: "localhost:http"}, "port must be"},
		{"no certificate", natsd.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", TLSCert: "no", TLSKey: "no"}, "tls"},
		{"cluster without clients", natsd.Options{Dir: t.TempDir(), Cluster: &natsd.Cluster{
			Name: "c", Listen: "127.0.0.1:0"}}, "needs an address"},
		{"bad route", natsd.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Cluster: &natsd.Cluster{
			Name: "c", Listen: "127.0.0.1:0", Routes: []string{":"}}}, "route"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := natsd.Start(c.o)
			if err == nil {
				s.Shutdown()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line with %q", err, c.want)
			}
		})
	}
	// A failed start leaves the directory free.
	dir := t.TempDir()
	if _, err := natsd.Start(natsd.Options{Dir: dir, Listen: busy.Addr().String()}); err == nil {
		t.Fatal("started on a busy port")
	}
	start(t, natsd.Options{Dir: dir})
}

// TestCluster: three servers become one that keeps a key on each.
func TestCluster(t *testing.T) {
	var ports []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, l.Addr().String())
		l.Close()
	}
	var servers []*natsd.Server
	for i, addr := range ports {
		servers = append(servers, start(t, natsd.Options{
			Dir: t.TempDir(), Name: addr, Listen: "127.0.0.1:0",
			Cluster: &natsd.Cluster{Name: "test", Listen: addr, Secret: "between servers", Routes: []string{
				"nats-route://" + ports[(i+1)%3], ports[(i+2)%3],
			}},
		}))
	}
	if info := greeting(t, ports[0]); !strings.Contains(info, `"auth_required":true`) {
		t.Errorf("a server that knows no secret is greeted with %s", info)
	}
	js, err := jetstream.New(connect(t, servers[0]))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	// Calls hang until the cluster has a leader: short attempts.
	for {
		attempt, done := context.WithTimeout(ctx, 2*time.Second)
		_, err = js.CreateOrUpdateKeyValue(attempt, jetstream.KeyValueConfig{Bucket: "test", Replicas: 3})
		done()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	kv, err := js.KeyValue(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
}

// greeting is the first line of a server at addr.
func greeting(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}
