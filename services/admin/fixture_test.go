package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"hangar/services/admin"
	"hangar/shared/control"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/natsd"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/process"
	"hangar/shared/rpc"
)

const token = "the-admin-token"

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// site is an admin service on a real NATS server, reached over real HTTP.
type site struct {
	t     *testing.T
	srv   *natsd.Server
	svc   *admin.Service
	store *control.Store
	rows  *metatest.Rows
	url   string
	token string
	stop  func() // ends svc
	// mirrors are those of the processes, svc's first.
	mirrors []*control.Mirror
	// replica is the node that holds all rows, as far as barriers go.
	replica *replica
}

// metaNode is the metadata node of every layout that boot makes.
var metaNode = object.NewNodeID()

// replica answers barriers, unless it is held back.
type replica struct {
	mu   sync.Mutex
	held bool // guarded by mu
}

func (r *replica) hold(held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = held
}

func (r *replica) await(m *control.Mirror) func(context.Context, uint64) error {
	return func(ctx context.Context, rev uint64) error {
		r.mu.Lock()
		held := r.held
		r.mu.Unlock()
		if held {
			return errors.New("held back")
		}
		return m.WaitRevision(ctx, rev)
	}
}

func start(t *testing.T) *site {
	t.Helper()
	srv, err := natsd.Start(natsd.Options{Dir: t.TempDir(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	s := &site{t: t, srv: srv, rows: metatest.NewRows(), token: token}
	conn, mirror := s.join("admin", nil)
	s.svc, err = admin.New(s.ctx(), admin.Config{Addr: "127.0.0.1:0", Token: token, MetricsToken: "metrics-token"},
		admin.Deps{Conn: conn, Mirror: mirror, Rows: s.rows, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if s.store, err = control.OpenStore(s.ctx(), conn.NATS(), control.StoreOptions{}); err != nil {
		t.Fatal(err)
	}
	s.guard()
	s.stop = s.run(s.svc.Run)
	select {
	case <-s.svc.Ready():
	case <-s.ctx().Done():
		t.Fatal("not ready")
	}
	s.url = "http://" + s.svc.Addr().String()
	return s
}

func (s *site) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	s.t.Cleanup(cancel)
	return ctx
}

// run runs part until the test ends, or until it is stopped.
func (s *site) run(part func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- part(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

// another starts a second admin process and returns where it answers.
func (s *site) another() (url string) {
	s.t.Helper()
	conn, mirror := s.join("admin", nil)
	svc, err := admin.New(s.ctx(), admin.Config{Addr: "127.0.0.1:0", Token: token}, admin.Deps{Conn: conn, Mirror: mirror, Rows: s.rows, Log: quiet})
	if err != nil {
		s.t.Fatal(err)
	}
	s.run(svc.Run)
	select {
	case <-svc.Ready():
	case <-s.ctx().Done():
		s.t.Fatal("not ready")
	}
	return "http://" + svc.Addr().String()
}

// join adds a process to the cluster. await, unless nil, answers barriers in
// place of the process's mirror.
func (s *site) join(service string, await func(context.Context, uint64) error) (*rpc.Conn, *control.Mirror) {
	s.t.Helper()
	id := process.Identity{Node: process.Describe(service, "test", "zone-1", object.NewNodeID())}
	conn, mirror := s.connect(id.Node.ID)
	s.mirrors = append(s.mirrors, mirror)
	if await == nil {
		await = mirror.WaitRevision
	}
	if _, err := nodeapi.ServeBarrier(conn, await); err != nil {
		s.t.Fatal(err)
	}
	leave, err := nodeapi.Register(conn.NATS(), id.Node, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := leave(); err != nil {
			s.t.Error(err)
		}
	})
	return conn, mirror
}

// connect connects a node to the broker, and has it follow the control state.
func (s *site) connect(id object.NodeID) (*rpc.Conn, *control.Mirror) {
	s.t.Helper()
	conn, err := rpc.Connect(s.ctx(), rpc.Options{InProcess: s.srv.InProcess(), Node: id, Logger: quiet})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(conn.Close)
	mirror, err := control.NewMirror(conn.NATS(), control.MirrorOptions{Log: quiet})
	if err != nil {
		s.t.Fatal(err)
	}
	s.run(mirror.Run)
	return conn, mirror
}

// guard lets metaNode answer barriers. It does not announce itself: replicas are
// asked whether they were heard of or not.
func (s *site) guard() {
	s.t.Helper()
	s.replica = new(replica)
	conn, mirror := s.connect(metaNode)
	if _, err := nodeapi.ServeBarrier(conn, s.replica.await(mirror)); err != nil {
		s.t.Fatal(err)
	}
}

// boot gives the cluster a layout of one node per service.
func (s *site) boot() admin.Bootstrapped {
	s.t.Helper()
	out, err := s.svc.Bootstrap(s.ctx(), bootInput())
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func bootInput() admin.BootstrapInput {
	role := func(service string) control.Role {
		node := object.NewNodeID()
		if service == control.ServiceMeta {
			node = metaNode
		}
		return control.Role{Node: node, Service: service, Zone: "a", CapacityBytes: 1 << 30}
	}
	return admin.BootstrapInput{
		Region: "hangar", ReplicationFactor: 1, Bucket: "first", Roles: []control.Role{role("meta"), role("blocks")},
	}
}

type answer struct {
	status int
	header http.Header
	body   []byte
	json   map[string]any
}

// call makes a request with the site's token.
func (s *site) call(method, path string, in any) answer {
	s.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			s.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(s.ctx(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		s.t.Fatal(err)
	}
	_ = json.Unmarshal(a.body, &a.json) // lists and texts are no objects
	return a
}

// want is call with an expected status.
func (s *site) want(status int, method, path string, in any) answer {
	s.t.Helper()
	a := s.call(method, path, in)
	if a.status != status {
		s.t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.body, status)
	}
	return a
}

type m = map[string]any
