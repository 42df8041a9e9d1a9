package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The services of a cluster, as Member names them.
const (
	NATS    = "nats"
	Admin   = "admin"
	Meta    = "meta"
	Blocks  = "blocks"
	Gateway = "gateway"
)

// Member is one process of a Fleet.
type Member struct {
	Name, Service, Zone string
	// Dir is its data directory; gateways have none.
	Dir string
	// S3 is a gateway's endpoint.
	S3 string
	// Ops is the address of /health, empty for NATS.
	Ops string
}

// Fleet is a cluster of real processes on the loopback interface that may be
// ended, started, stopped and added to one by one. Unlike `hangar dev` nobody
// else starts them again. Its methods are safe for concurrent use and return
// errors, so that they can be called beside a test.
type Fleet struct {
	Dir   string
	Admin string // endpoint of the Admin API
	// Env is added to the environment of every process of a service.
	Env map[string][]string

	bin, nats string
	mu        sync.Mutex
	members   []*member
}

type member struct {
	Member
	bin  string
	args []string
	env  []string
	p    *Process // nil when it does not run
}

// NewFleet returns a fleet without processes that keeps its data in dir and
// uses the binaries in bin. All processes end with the test.
func NewFleet(t testing.TB, bin, dir string) *Fleet {
	t.Helper()
	f := &Fleet{Dir: dir, bin: bin, nats: FreeAddr(t), Env: map[string][]string{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(f.Logs())
		}
		f.stop()
	})
	return f
}

// Add makes a process of a service in a zone and starts it. name is unique and
// names its data directory.
func (f *Fleet) Add(name, service, zone string) error {
	m := &member{Member: Member{Name: name, Service: service, Zone: zone}, bin: filepath.Join(f.bin, service)}
	if service != Gateway {
		m.Dir = filepath.Join(f.Dir, name)
	}
	if service == NATS {
		m.bin, m.args = filepath.Join(f.bin, "hangar"), []string{"nats", "--data", m.Dir, "--listen", f.nats}
	} else if err := f.configure(m); err != nil {
		return err
	}
	f.mu.Lock()
	m.env = append(m.env, f.Env[service]...)
	f.members = append(f.members, m)
	f.mu.Unlock()
	return f.Start(name)
}

func (f *Fleet) configure(m *member) (err error) {
	if m.Ops, err = freeAddr(); err != nil {
		return err
	}
	m.env = []string{"HANGAR_NATS_URL=nats://" + f.nats, "HANGAR_OPS_ADDR=" + m.Ops, "HANGAR_ZONE=" + m.Zone, "HANGAR_LOG_LEVEL=WARN"}
	if m.Dir != "" {
		m.env = append(m.env, "HANGAR_DATA_DIR="+m.Dir)
	}
	if m.Service != Gateway && m.Service != Admin {
		return nil
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	if m.Service == Gateway {
		m.S3 = "http://" + addr
		m.env = append(m.env, "HANGAR_S3_ADDR="+addr)
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Admin = "http://" + addr
	m.env = append(m.env, "HANGAR_ADMIN_ADDR="+addr, "HANGAR_ADMIN_TOKEN="+AdminToken, "HANGAR_REGION="+Region)
	return nil
}

func freeAddr() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Members of the fleet in the order in which they were added, the running and
// the ended ones.
func (f *Fleet) Members() []Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Member
	for _, m := range f.members {
		all = append(all, m.Member)
	}
	return all
}

func (f *Fleet) find(name string) (*member, error) {
	i := slices.IndexFunc(f.members, func(m *member) bool { return m.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no process %q", name)
	}
	return f.members[i], nil
}

// Start runs an ended process again. It does not wait until it serves.
func (f *Fleet) Start(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, err := f.find(name)
	if err != nil || m.p != nil {
		return err
	}
	m.p, err = Launch(append(m.env, "PATH="+os.Getenv("PATH")), m.bin, m.args...)
	if err != nil {
		return fmt.Errorf("start %s: %w: run `make build` first", name, err)
	}
	return nil
}

// Signal sends sig to a process; one that has ended gets none.
func (f *Fleet) Signal(name string, sig syscall.Signal) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, err := f.find(name)
	if err != nil || m.p == nil {
		return err
	}
	if err := syscall.Kill(m.p.PID(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s: %w", name, err)
	}
	return nil
}

// Kill ends a process as kill -9 does and waits for its end.
func (f *Fleet) Kill(name string) error { return f.end(name, syscall.SIGKILL) }

// Stop ends a process by SIGTERM, or SIGKILL if it takes too long.
func (f *Fleet) Stop(name string) error { return f.end(name, syscall.SIGTERM) }

func (f *Fleet) end(name string, sig syscall.Signal) error {
	if err := f.Signal(name, sig); err != nil {
		return err
	}
	f.mu.Lock()
	m, err := f.find(name)
	if err != nil || m.p == nil {
		f.mu.Unlock()
		return err
	}
	p := m.p
	f.mu.Unlock()
	select {
	case <-p.Done():
	case <-time.After(stopTimeout):
		_ = syscall.Kill(p.PID(), syscall.SIGKILL) // it may just have ended
		<-p.Done()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m.p = nil
	return errors.Join(f.log(m.Name, p))
}

// log appends what an ended process printed to its log file.
func (f *Fleet) log(name string, p *Process) error {
	w, err := os.OpenFile(filepath.Join(f.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = w.WriteString(p.Output())
	return errors.Join(err, w.Close())
}

// Remove forgets an ended process and deletes its data.
func (f *Fleet) Remove(name string) error {
	if err := f.Kill(name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m, err := f.find(name)
	if err != nil {
		return err
	}
	f.members = slices.DeleteFunc(f.members, func(o *member) bool { return o == m })
	if m.Dir == "" {
		return nil
	}
	return os.RemoveAll(m.Dir)
}

// NodeID is the identity in a member's data directory.
func (m Member) NodeID() (string, error) {
	b, err := os.ReadFile(filepath.Join(m.Dir, "node-id"))
	if err != nil {
		return "", err
	}
	_, id, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return id, nil
}

// AwaitHealthy waits until a process answers /health with 200, or ctx ends.
func (f *Fleet) AwaitHealthy(ctx context.Context, name string) error {
	f.mu.Lock()
	m, err := f.find(name)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if m.Ops == "" {
		return f.await(ctx, func() error { return dial(ctx, f.nats) })
	}
	err = f.await(ctx, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Ops+"/health", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("answers %s", resp.Status)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func dial(ctx context.Context, addr string) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err == nil {
		c.Close()
	}
	return err
}

// await tries until try succeeds; the error is its last.
func (f *Fleet) await(ctx context.Context, try func() error) error {
	tick := time.NewTicker(30 * time.Millisecond) // polls another process
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Logs is the end of what every process printed.
func (f *Fleet) Logs() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var s strings.Builder
	for _, m := range f.members {
		old, err := os.ReadFile(filepath.Join(f.Dir, m.Name+".log"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			old = []byte(err.Error())
		}
		text := string(old)
		if m.p != nil {
			text += m.p.Output()
		}
		fmt.Fprintf(&s, "== %s\n%s", m.Name, text[max(0, len(text)-2048):])
	}
	return s.String()
}

// stop ends every process, the last added first. Whatever was stopped by a
// signal goes on first, or it could not end.
func (f *Fleet) stop() {
	all := f.Members()
	slices.Reverse(all)
	for _, m := range all {
		_ = f.Signal(m.Name, syscall.SIGCONT) // it may have ended
		_ = f.Kill(m.Name)                    // likewise; its data is gone with the test
	}
}
