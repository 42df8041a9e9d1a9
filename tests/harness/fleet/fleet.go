// Package fleet runs a cluster of real processes that may be killed, stopped,
// started, added and removed one by one while a test goes on, on the loopback
// interface or on test hosts of their own (see package netns). It is for those
// who act beside a test: nothing here fails one, everything returns errors, and
// everything is safe for concurrent use.
//
// A cluster that stays as it is and whose troubles a test steers itself is
// easier with package geo.
package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hangar/tests/harness"
	"hangar/tests/harness/netns"
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
	// API is the URL of a gateway's S3 API or an admin's Admin API.
	API string
	// K2V is the URL of a gateway's K2V API.
	K2V string
	// Ops is the URL of health; NATS has none.
	Ops string
}

// Options shape a fleet.
type Options struct {
	// Bin is the folder of the binaries, Dir where everything is kept.
	Bin, Dir string
	// Net puts each process on a host of its own; nil is the loopback interface.
	Net *netns.Network
	// Env is added to the environment of the processes of a service ("meta")
	// or of one process ("meta-2").
	Env map[string][]string
	// Small gives nodes disks of their own of so many MiB, which needs root.
	Small map[string]int
}

// Fleet is a cluster.
type Fleet struct {
	o       Options
	brokers []broker // fixed before the first process starts
	clients map[string]*http.Client

	mu      sync.Mutex
	members []*member
	died    []string // processes that ended by themselves
}

// broker is where a NATS server listens.
type broker struct{ client, routes string }

type member struct {
	Member
	bin   string
	args  []string
	env   []string
	start func(*exec.Cmd) error
	clock string
	disk  string // its own file system, if any
	p     *harness.Process
}

// stopTimeout is how long a process may take to end.
const stopTimeout = 30 * time.Second

// New returns a fleet without processes. All end with the test.
func New(t testing.TB, o Options) *Fleet {
	t.Helper()
	f := &Fleet{o: o, clients: map[string]*http.Client{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(f.Logs())
		}
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// Members of the fleet in the order in which they were added, the running and
// the ended ones.
func (f *Fleet) Members() []Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Member, len(f.members))
	for i, m := range f.members {
		all[i] = m.Member
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

// Add makes a process of a service in a zone and starts it. name is unique for
// ever, and names its data directory.
func (f *Fleet) Add(name, service, zone string) error {
	m, err := f.plan(name, service, zone)
	if err != nil {
		return err
	}
	if size, ok := f.o.Small[name]; ok {
		if err := m.mount(size); err != nil {
			return err
		}
	}
	f.mu.Lock()
	f.members = append(f.members, m)
	f.mu.Unlock()
	return f.Start(name)
}

// Start runs an ended process again, on the data it had. It does not wait until
// it serves.
func (f *Fleet) Start(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, err := f.find(name)
	if err != nil {
		return err
	}
	if m.p != nil {
		select {
		case <-m.p.Done():
			text := m.p.Output()
			f.died = append(f.died, fmt.Sprintf("%s ended by itself: %s", name, text[max(0, len(text)-4096):]))
			if err := f.ended(m); err != nil {
				return err
			}
		default:
			return nil // it runs
		}
	}
	cmd := exec.Command(m.bin, m.args...)
	cmd.Env = append(slices.Clone(m.env), "PATH="+os.Getenv("PATH"))
	if m.p, err = harness.Launch(cmd, m.start); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

// Deaths tells of processes that ended although nobody asked them to.
func (f *Fleet) Deaths() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.died)
}

// Signal sends sig to a process; one that has ended gets none.
func (f *Fleet) Signal(name string, sig syscall.Signal) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, err := f.find(name)
	if err != nil || m.p == nil {
		return err
	}
	select {
	case <-m.p.Done():
		return nil
	default:
	}
	if err := syscall.Kill(m.p.PID(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s: %w", name, err)
	}
	return nil
}

// Kill ends a process as kill -9 does and waits for its end.
func (f *Fleet) Kill(name string) error {
	if err := f.Signal(name, syscall.SIGKILL); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m, err := f.find(name)
	if err != nil || m.p == nil {
		return err
	}
	select {
	case <-m.p.Done():
	case <-time.After(stopTimeout):
		return fmt.Errorf("%s does not end", name)
	}
	return f.ended(m)
}

// ended moves what an ended process printed to its log.
func (f *Fleet) ended(m *member) error {
	w, err := os.OpenFile(f.logOf(m.Name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = w.WriteString(m.p.Output())
	m.p = nil
	return errors.Join(err, w.Close())
}

func (f *Fleet) logOf(name string) string { return filepath.Join(f.o.Dir, name+".log") }

// Remove ends a process for good and deletes its data.
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
	if err := m.unmount(); err != nil || m.Dir == "" {
		return err
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

// AwaitHealthy waits until a process says that it serves, or ctx ends.
func (f *Fleet) AwaitHealthy(ctx context.Context, name string) error {
	f.mu.Lock()
	m, err := f.find(name)
	f.mu.Unlock()
	if err != nil || m.Ops == "" {
		return err // whoever needs NATS waits for it
	}
	tick := time.NewTicker(30 * time.Millisecond) // polls another process
	defer tick.Stop()
	said := errors.New("nobody had time to ask")
	for {
		err := f.healthy(ctx, m)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			said = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w", name, said)
		}
	}
}

func (f *Fleet) healthy(ctx context.Context, m *member) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.Ops+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := f.Client(m.Zone).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 512)) // its status says enough
		return fmt.Errorf("its health is %s: %s", resp.Status, bytes.TrimSpace(why))
	}
	return nil
}

// Logs is the end of what every process printed.
func (f *Fleet) Logs() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var s strings.Builder
	for _, m := range f.members {
		b, err := os.ReadFile(f.logOf(m.Name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			b = []byte(err.Error())
		}
		text := string(b)
		if m.p != nil {
			text += m.p.Output()
		}
		fmt.Fprintf(&s, "== %s\n%s", m.Name, text[max(0, len(text)-2048):])
	}
	return s.String()
}

// Stop ends every process, the last added first, and deletes what they kept.
// The end of the test does so by itself. Whatever was stopped by a
// signal goes on first, or it could not end.
func (f *Fleet) Stop() error {
	all := f.Members()
	slices.Reverse(all)
	var errs []error
	for _, m := range all {
		errs = append(errs, f.Signal(m.Name, syscall.SIGCONT), f.Remove(m.Name))
	}
	for _, c := range f.clients {
		c.CloseIdleConnections()
	}
	return errors.Join(errs...)
}
