package blocks_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"hangar/services/blocks"
	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/blockapi/blockrpc"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/config"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
	"hangar/shared/telemetry"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Badger's cache and counters have no way to be stopped for good.
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2.(*defaultPolicy[...]).processItems"))
}

// fixed is a control state that the test sets.
type fixed struct {
	// buffers are shared by all ends, as in a process that holds both.
	buffers blockcodec.Buffers

	mu      sync.Mutex
	view    control.View
	changed chan struct{}
}

func newControl() *fixed { return &fixed{changed: make(chan struct{})} }

func (f *fixed) View() *control.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.view
	return &v
}

func (f *fixed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fixed) set(r layout.Ring) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view.Layout = &control.Layout{Version: r.Epoch, Blocks: r}
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fixed) ring() *layout.Ring {
	if l := f.View().Layout; l != nil {
		return &l.Blocks
	}
	return nil
}

func newTelemetry() *telemetry.Instance {
	return &telemetry.Instance{
		Logger: slog.New(slog.DiscardHandler), Tracers: noop.NewTracerProvider(),
		Registry: prometheus.NewRegistry(), Health: telemetry.NewHealth(),
	}
}

// verifier is a metadata service, as the block service needs it.
type verifier interface {
	blockapi.Verifier
	blockapi.Purger
}

// node is a running service.
type node struct {
	*blocks.Service
	telemetry *telemetry.Instance
	stop      func() error
}

func config1(t testing.TB, dir string) blocks.Config {
	t.Helper()
	var c blocks.Config
	if err := config.Parse(&c, nil); err != nil {
		t.Fatal(err)
	}
	c.Dir, c.ReserveMiB = dir, 64
	return c
}

func start(t testing.TB, nats *natsd.Server, lane *rpc.Lane, ctl *fixed, dir string) *node {
	t.Helper()
	return startWith(t, nats, lane, ctl, dir, nil, func(*blocks.Config) {})
}

func startWith(t testing.TB, nats *natsd.Server, lane *rpc.Lane, ctl *fixed, dir string, v verifier, tune func(*blocks.Config)) *node {
	t.Helper()
	cfg := config1(t, dir)
	tune(&cfg)
	id, err := blocks.Identify(dir)
	if err != nil {
		t.Fatal(err)
	}
	conn := rpctest.Connect(t, nats, rpc.Options{Node: id, Lane: lane})
	n := &node{telemetry: newTelemetry()}
	n.Service, err = blocks.New(cfg, blocks.Deps{
		Server: conn, Caller: conn, Control: ctl, Verifier: v, Purger: v, Telemetry: n.telemetry, Buffers: &ctl.buffers,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-n.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	return n
}

func client(t testing.TB, nats *natsd.Server, lane *rpc.Lane, ctl *fixed) *blockrpc.Client {
	t.Helper()
	c, err := blockrpc.NewClient(rpctest.Connect(t, nats, rpc.Options{Lane: lane}), ctl.ring, blockrpc.Options{Buffers: &ctl.buffers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func ringOf(epoch uint64, nodes ...object.NodeID) layout.Ring {
	r := layout.Ring{Epoch: epoch, Bits: layout.DefaultBits, Nodes: nodes}
	for range r.Partitions() {
		var all []uint16
		for i := range nodes {
			all = append(all, uint16(i))
		}
		r.Assign = append(r.Assign, all)
	}
	return r
}

// open starts size nodes that all hold everything, and a client.
func open(t testing.TB, size int, lane *rpc.Lane) *blockrpc.Client {
	nats, ctl := rpctest.NATS(t), newControl()
	var ids []object.NodeID
	var dirs []string
	for range size {
		dir := t.TempDir()
		id, err := blocks.Identify(dir)
		if err != nil {
			t.Fatal(err)
		}
		ids, dirs = append(ids, id), append(dirs, dir)
	}
	ctl.set(ringOf(1, ids...))
	for _, dir := range dirs {
		start(t, nats, lane, ctl, dir)
	}
	return client(t, nats, lane, ctl)
}

func TestConformance(t *testing.T) {
	for name, c := range map[string]struct {
		nodes int
		lane  func() *rpc.Lane
	}{
		"one node in process": {1, rpc.NewLane},
		"one node over NATS":  {1, func() *rpc.Lane { return nil }},
		"three over NATS":     {3, func() *rpc.Lane { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			blocktest.RunStore(t, func(t *testing.T) blockapi.Store { return open(t, c.nodes, c.lane()) })
		})
	}
}

func TestRestartAndLayout(t *testing.T) {
	nats, ctl, dir := rpctest.NATS(t), newControl(), t.TempDir()
	n := start(t, nats, nil, ctl, dir) // before there is a layout
	c := client(t, nats, nil, ctl)
	if _, err := c.Put(t.Context(), blocktest.Owner(), []byte("x")); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("without a layout: %v", err)
	}
	id, err := blocks.Identify(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctl.set(ringOf(1, id))
	plain := blocktest.Text(100_000)
	h, err := c.Put(t.Context(), blocktest.Owner(), plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.stop(); err != nil {
		t.Fatal(err)
	}
	start(t, nats, nil, ctl, dir)
	if got, err := c.Get(t.Context(), h); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("after a restart: %d bytes, %v", len(got), err)
	}
}

func TestSecondStartIsRefused(t *testing.T) {
	nats, ctl, dir := rpctest.NATS(t), newControl(), t.TempDir()
	start(t, nats, nil, ctl, dir)
	s, err := blocks.New(config1(t, dir), blocks.Deps{Server: rpctest.Connect(t, nats, rpc.Options{}), Control: ctl, Telemetry: newTelemetry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !fault.Is(err, fault.Conflict) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v", err)
	}
}

func TestHealthAndMetrics(t *testing.T) {
	nats, ctl, dir := rpctest.NATS(t), newControl(), t.TempDir()
	id, err := blocks.Identify(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctl.set(ringOf(1, id))
	n := start(t, nats, nil, ctl, dir)
	if r := n.telemetry.Health.Check(t.Context()); !r.OK() {
		t.Fatalf("%+v", r)
	}
	if _, err := client(t, nats, nil, ctl).Put(t.Context(), blocktest.Owner(), blocktest.Random(1000)); err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	n.telemetry.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text, err := io.ReadAll(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hangar_blocks_stored_blocks 1\n", "hangar_blocks_puts_total 1\n", "hangar_blocks_writable 1\n", "hangar_blocks_sync_duration_seconds_count"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, env := range []string{
		"HANGAR_BLOCKS_SEGMENT_MIB=1", "HANGAR_BLOCKS_RESERVE_MIB=0", "HANGAR_BLOCKS_GC_GRACE=5m",
		"HANGAR_BLOCKS_GC_SWEEP=1m", "HANGAR_BLOCKS_COMPACT_SHARE=1", "HANGAR_BLOCKS_CACHE_MIB=x",
	} {
		var c blocks.Config
		name, _, _ := strings.Cut(env, "=")
		if err := config.Parse(&c, []string{env}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", env, err)
		}
	}
}

// BenchmarkStore measures the way of a block from the client to the disk of one
// node and back.
func BenchmarkStore(b *testing.B) {
	for name, lane := range map[string]*rpc.Lane{"in process": rpc.NewLane(), "NATS": nil} {
		c := open(b, 1, lane)
		plain := blocktest.Random(1 << 20)
		var h object.Hash
		b.Run("put/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				plain[0]++
				plain[1] += plain[0] & 1
				var err error
				if h, err = c.Put(b.Context(), blocktest.Owner(), plain); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("get/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				got, err := c.Get(b.Context(), h)
				if err != nil {
					b.Fatal(err)
				}
				c.Recycle(got)
			}
		})
	}
}
