package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"hangar/tests/harness"
	"hangar/tests/harness/netns"
)

// The ports, the same on every host.
const (
	natsPort    = 4222
	clusterPort = 6222
	s3Port      = 3900
	k2vPort     = 3904
	adminPort   = 3903
	opsPort     = 9100
)

// Brokers starts so many NATS servers, one in each zone, before anything else.
func (f *Fleet) Brokers(zones ...string) error {
	hosts := make([]*netns.Host, len(zones))
	for i, zone := range zones {
		var b broker
		var err error
		if hosts[i], err = f.host(brokerName(i), zone); err == nil {
			b.client, err = address(hosts[i], natsPort)
		}
		if err == nil {
			b.routes, err = address(hosts[i], clusterPort)
		}
		if err != nil {
			return err
		}
		f.brokers = append(f.brokers, b)
	}
	for i, zone := range zones {
		m := &member{
			Member: Member{Name: brokerName(i), Service: NATS, Zone: zone, Dir: filepath.Join(f.o.Dir, brokerName(i))},
			bin:    filepath.Join(f.o.Bin, "hangar"), start: starter(hosts[i]),
		}
		m.args = []string{"nats", "--data", m.Dir, "--listen", f.brokers[i].client}
		var others []string
		for j, b := range f.brokers {
			if j != i {
				others = append(others, b.routes)
			}
		}
		if len(others) > 0 {
			m.env = []string{"HANGAR_NATS_NAME=" + m.Name, "HANGAR_NATS_CLUSTER_LISTEN=" + f.brokers[i].routes,
				"HANGAR_NATS_ROUTES=" + strings.Join(others, ","), "HANGAR_NATS_CLUSTER_SECRET=" + harness.AdminToken}
		}
		f.mu.Lock()
		f.members = append(f.members, m)
		f.mu.Unlock()
		if err := f.Start(m.Name); err != nil {
			return err
		}
	}
	return nil
}

func brokerName(i int) string { return fmt.Sprintf("%s-%d", NATS, i+1) }

// host is the machine that a process runs on, nil on the loopback interface.
func (f *Fleet) host(name, zone string) (*netns.Host, error) {
	if f.o.Net == nil {
		return nil, nil
	}
	if _, err := f.client(zone); err != nil {
		return nil, err
	}
	return f.o.Net.AddHost(name, zone)
}

func starter(h *netns.Host) func(*exec.Cmd) error {
	if h == nil {
		return (*exec.Cmd).Start
	}
	return h.Start
}

// address is where a process listens: a port of its host, or any free one of
// the loopback interface.
func address(h *netns.Host, port uint16) (string, error) {
	if h != nil {
		return h.AddrPort(port), nil
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Client makes HTTP requests from a zone, from a host that is in no process's
// way. Requests end with their context.
func (f *Fleet) Client(zone string) *http.Client {
	c, err := f.client(zone)
	if err != nil {
		// The hosts of all zones were made with the first process in them.
		panic(err)
	}
	return c
}

func (f *Fleet) client(zone string) (*http.Client, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.clients[zone]; c != nil {
		return c, nil
	}
	t := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	if f.o.Net != nil {
		h, err := f.o.Net.AddHost("client-"+zone, zone)
		if err != nil {
			return nil, err
		}
		t = h.Transport()
	}
	f.clients[zone] = &http.Client{Transport: t}
	return f.clients[zone], nil
}

// plan is a process that is not started yet.
func (f *Fleet) plan(name, service, zone string) (*member, error) {
	h, err := f.host(name, zone)
	if err != nil {
		return nil, err
	}
	m := &member{Member: Member{Name: name, Service: service, Zone: zone}, bin: filepath.Join(f.o.Bin, service), start: starter(h)}
	ops, err := address(h, opsPort)
	if err != nil {
		return nil, err
	}
	m.Ops, m.clock = "http://"+ops, filepath.Join(f.o.Dir, name+".clock")
	m.env = []string{"HANGAR_NATS_URL=" + f.servers(zone), "HANGAR_OPS_ADDR=" + ops, "HANGAR_ZONE=" + zone,
		"HANGAR_LOG_LEVEL=WARN", "HANGAR_TEST_CLOCK_FILE=" + m.clock}
	if service != Gateway {
		m.Dir = filepath.Join(f.o.Dir, name)
		if f.o.Small[name] > 0 {
			m.disk, m.Dir = m.Dir, filepath.Join(m.Dir, "data")
		}
		m.env = append(m.env, "HANGAR_DATA_DIR="+m.Dir)
	}
	switch service {
	case Gateway:
		s3, err := address(h, s3Port)
		if err != nil {
			return nil, err
		}
		k2v, err := address(h, k2vPort)
		if err != nil {
			return nil, err
		}
		m.API, m.K2V = "http://"+s3, "http://"+k2v
		m.env = append(m.env, "HANGAR_S3_ADDR="+s3, "HANGAR_K2V_ADDR="+k2v)
	case Admin:
		api, err := address(h, adminPort)
		if err != nil {
			return nil, err
		}
		m.API = "http://" + api
		m.env = append(m.env, "HANGAR_ADMIN_ADDR="+api, "HANGAR_ADMIN_TOKEN="+harness.AdminToken, "HANGAR_REGION="+harness.Region,
			fmt.Sprintf("HANGAR_CONTROL_REPLICAS=%d", len(f.brokers)))
	}
	m.env = append(append(m.env, f.o.Env[service]...), f.o.Env[name]...)
	return m, nil
}

// servers are the NATS servers, the one of the zone first.
func (f *Fleet) servers(zone string) string {
	var first, rest []string
	for i, b := range f.brokers {
		if f.members[i].Zone == zone {
			first = append(first, "nats://"+b.client)
		} else {
			rest = append(rest, "nats://"+b.client)
		}
	}
	return strings.Join(append(first, rest...), ",")
}

// Network is what lies between the processes; nil on the loopback interface.
func (f *Fleet) Network() *netns.Network { return f.o.Net }

// SetClock puts a process's clock off by so much, from now on and after each
// start.
func (f *Fleet) SetClock(name string, offset time.Duration) error {
	f.mu.Lock()
	m, err := f.find(name)
	f.mu.Unlock()
	if err != nil || m.clock == "" {
		return err
	}
	// Replaced at once, so that nobody reads half of it.
	if err := os.WriteFile(m.clock+".new", []byte(offset.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(m.clock+".new", m.clock)
}

// mount gives a node a file system of its own.
func (m *member) mount(mib int) error {
	if err := os.MkdirAll(m.disk, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", m.disk, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		disk := m.disk
		m.disk = ""
		return fmt.Errorf("a small disk at %s needs root: %w", disk, err)
	}
	return nil
}

func (m *member) unmount() error {
	if m.disk == "" {
		return nil
	}
	return syscall.Unmount(m.disk, syscall.MNT_DETACH)
}

// Small names the nodes with small disks.
func (f *Fleet) Small() (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		if m.disk != "" {
			names = append(names, m.Name)
		}
	}
	return names
}

// Fill takes all free space of a small disk.
func (f *Fleet) Fill(name string) error {
	path, err := f.filler(name)
	if err != nil {
		return err
	}
	w, err := os.Create(path)
	if err != nil {
		return err
	}
	defer w.Close()
	b := make([]byte, 256<<10)
	for err == nil {
		_, err = w.Write(b)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return nil
}

// Free gives back what Fill took.
func (f *Fleet) Free(name string) error {
	path, err := f.filler(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (f *Fleet) filler(name string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, err := f.find(name)
	if err == nil && m.disk == "" {
		err = fmt.Errorf("%s has no small disk", name)
	}
	if err != nil {
		return "", err
	}
	return filepath.Join(m.disk, "filler"), nil
}
