package meta_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/services/meta"
	"hangar/shared/config"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
	"hangar/shared/telemetry"
)

// settings are the defaults, but small.
func settings(t testing.TB, dir string) meta.Config {
	t.Helper()
	var c meta.Config
	if err := config.Parse(&c, []string{"HANGAR_META_MEMTABLE_MIB=8", "HANGAR_META_CACHE_MIB=8", "HANGAR_META_RESERVE_MIB=64"}); err != nil {
		t.Fatal(err)
	}
	c.Dir = dir
	return c
}

// fixedControl is a control state whose layout a test sets.
type fixedControl struct {
	mu      sync.Mutex
	view    *control.View // guarded by mu
	changed chan struct{} // guarded by mu
}

func newControl() *fixedControl {
	return &fixedControl{
		view:    &control.View{Cluster: control.Cluster{ID: "test", PartitionBits: 4, ReplicationFactor: 1}},
		changed: make(chan struct{}),
	}
}

func (f *fixedControl) View() *control.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view
}

func (f *fixedControl) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fixedControl) set(ring *layout.Ring) {
	f.mu.Lock()
	defer f.mu.Unlock()
	view := *f.view
	view.Layout = &control.Layout{Meta: *ring}
	f.view = &view
	close(f.changed)
	f.changed = make(chan struct{})
}

// ringOf gives every partition to all nodes.
func ringOf(epoch uint64, nodes ...object.NodeID) *layout.Ring {
	r := &layout.Ring{Epoch: epoch, Bits: 4, Nodes: nodes}
	for range r.Partitions() {
		var all []uint16
		for i := range nodes {
			all = append(all, uint16(i))
		}
		r.Assign = append(r.Assign, all)
	}
	return r
}

// running is a service that runs until stop.
type running struct {
	node      object.NodeID
	telemetry *telemetry.Instance
	stop      func() error
}

func run(t testing.TB, nats *natsd.Server, c meta.Control, cfg meta.Config) *running {
	t.Helper()
	node, err := meta.Identify(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	conn := rpctest.Connect(t, nats, rpc.Options{Node: node})
	tel, err := telemetry.New(context.Background(), telemetry.Config{LogLevel: 8}, "meta", "test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := meta.New(cfg, meta.Deps{Server: conn, Caller: conn, Control: c, Telemetry: tel})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatalf("ended early: %v", err)
	}
	r := &running{node: node, telemetry: tel}
	r.stop = sync.OnceValue(func() error {
		cancel()
		err := <-done
		conn.Close()
		return err
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// cluster starts n nodes that hold every partition together and returns the
// table they make.
func cluster(t testing.TB, n int) *metaapi.Client {
	t.Helper()
	nats := rpctest.NATS(t)
	var nodes []object.NodeID
	dirs := make([]string, n)
	for i := range dirs {
		dirs[i] = t.TempDir()
		node, err := meta.Identify(dirs[i])
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, node)
	}
	c := newControl()
	c.set(ringOf(1, nodes...))
	for _, dir := range dirs {
		run(t, nats, c, settings(t, dir))
	}
	return client(t, nats, c)
}

func client(t testing.TB, nats *natsd.Server, c *fixedControl) *metaapi.Client {
	t.Helper()
	clock := register.NewClock(register.NewNode(), time.Now)
	ring := c.View().Layout.Meta
	return metaapi.NewClient(rpctest.Connect(t, nats, rpc.Options{}), metatest.NewRings(&ring), clock, metaapi.Options{})
}

func TestRowsOverNATS(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d nodes", n), func(t *testing.T) {
			metatest.RunRows(t, func(t *testing.T) metaapi.Rows { return cluster(t, n) })
		})
	}
}

func key(name string) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Objects, Bucket: object.BucketID{1}, Key: name}
}

// TestLayoutComesLater: a node starts without a layout, is given one, and keeps
// its rows over a restart.
func TestLayoutComesLater(t *testing.T) {
	nats := rpctest.NATS(t)
	cfg := settings(t, filepath.Join(t.TempDir(), "node"))
	c := newControl()
	r := run(t, nats, c, cfg)
	c.set(ringOf(1, r.node))
	awaitHealthy(t, r)
	ctx := context.Background()
	if _, err := client(t, nats, c).Put(ctx, key("a"), &metaapi.Value{Head: []byte("kept"), Count: 1}); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r2 := run(t, nats, c, cfg)
	if r2.node != r.node {
		t.Errorf("node %v came back as %v", r.node, r2.node)
	}
	row, err := client(t, nats, c).Get(ctx, key("a"))
	if err != nil || row.Value == nil || string(row.Value.Head) != "kept" {
		t.Errorf("after the restart: %+v, %v", row, err)
	}
}

// awaitHealthy returns once the node serves the layout in force.
func awaitHealthy(t *testing.T, r *running) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		report := r.telemetry.Health.Check(context.Background())
		if report.OK() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", report)
		}
	}
}

// TestRestartBelowTheReserve: a node whose disk has filled up starts, serves
// what it has, bodies of any size included, takes nothing new and says so.
func TestRestartBelowTheReserve(t *testing.T) {
	nats := rpctest.NATS(t)
	cfg := settings(t, t.TempDir())
	node, err := meta.Identify(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	c := newControl()
	c.set(ringOf(1, node))
	r := run(t, nats, c, cfg)
	ctx := context.Background()
	body := strings.Repeat("body", 1000)
	if _, err := client(t, nats, c).Put(ctx, key("a"), &metaapi.Value{Body: []byte(body), Count: 1}); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	cfg.ReserveMiB = 1 << 40
	r = run(t, nats, c, cfg)
	row, err := client(t, nats, c).Get(ctx, key("a"))
	if err != nil || row.Value == nil || string(row.Value.Body) != body {
		t.Errorf("%+v, %v", row, err)
	}
	for _, body := range []string{"", body} {
		_, err = client(t, nats, c).Put(ctx, key("b"), &metaapi.Value{Body: []byte(body), Count: 1})
		if !fault.Is(err, fault.StorageFull) {
			t.Errorf("a write of %d bytes below the reserve: %v", len(body), err)
		}
	}
	if report := r.telemetry.Health.Check(ctx); report.OK() {
		t.Errorf("health: %+v", report)
	}
}

// TestOldMarkersAreForgotten: a single node drops delete markers after their
// grace, and says so.
func TestOldMarkersAreForgotten(t *testing.T) {
	nats := rpctest.NATS(t)
	cfg := settings(t, t.TempDir())
	cfg.Grace = time.Second
	node, err := meta.Identify(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	c := newControl()
	c.set(ringOf(1, node))
	r := run(t, nats, c, cfg)
	rows := client(t, nats, c)
	ctx := context.Background()
	for i := range 20 {
		if _, err := rows.Put(ctx, key(fmt.Sprint(i)), &metaapi.Value{Count: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := rows.Put(ctx, key(fmt.Sprint(i)), nil); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); metric(t, r, "hangar_meta_forgotten_rows_total") != 20; {
		if time.Now().After(deadline) {
			t.Fatal("the markers stay")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := rows.Put(ctx, key("0"), &metaapi.Value{Head: []byte("new"), Count: 1}); err != nil {
		t.Errorf("a write after the row was forgotten: %v", err)
	}
	if row, err := rows.Get(ctx, key("0")); err != nil || row.Value == nil {
		t.Errorf("%+v, %v", row, err)
	}
}

func metric(t *testing.T, r *running, name string) float64 {
	t.Helper()
	families, err := r.telemetry.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestRefusesToStart(t *testing.T) {
	nats := rpctest.NATS(t)
	tel, err := telemetry.New(context.Background(), telemetry.Config{LogLevel: 8}, "meta", "test")
	if err != nil {
		t.Fatal(err)
	}
	start := func(cfg meta.Config, c meta.Control) error {
		conn := rpctest.Connect(t, nats, rpc.Options{})
		s, err := meta.New(cfg, meta.Deps{Server: conn, Caller: conn, Control: c, Telemetry: tel})
		if err != nil {
			return err
		}
		return s.Run(t.Context())
	}
	c := newControl()
	t.Run("directory in use", func(t *testing.T) {
		cfg := settings(t, t.TempDir())
		run(t, nats, c, cfg)
		if err := start(cfg, c); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), cfg.Dir) {
			t.Errorf("%v", err)
		}
	})
	t.Run("another cluster's partitions", func(t *testing.T) {
		cfg := settings(t, t.TempDir())
		if err := run(t, nats, c, cfg).stop(); err != nil {
			t.Fatal(err)
		}
		other := newControl()
		other.view.Cluster.PartitionBits = 6
		if err := start(cfg, other); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v", err)
		}
	})
	t.Run("another service's directory", func(t *testing.T) {
		cfg := settings(t, t.TempDir())
		if err := os.WriteFile(filepath.Join(cfg.Dir, "node-id"), []byte("hangar blocks 1\n00112233445566778899aabbccddeeff\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := start(cfg, c); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v", err)
		}
	})
	t.Run("settings out of bounds", func(t *testing.T) {
		for _, env := range []string{"HANGAR_META_MEMTABLE_MIB=1", "HANGAR_META_CACHE_MIB=0", "HANGAR_META_RESERVE_MIB=0", "HANGAR_META_TOMBSTONE_GRACE=0s"} {
			var cfg meta.Config
			name, _, _ := strings.Cut(env, "=")
			if err := config.Parse(&cfg, []string{env}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", env, err)
			}
		}
	})
}
