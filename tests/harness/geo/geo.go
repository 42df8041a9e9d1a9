// Package geo runs a cluster of real processes in several zones, each process
// on a test host of its own (see package netns): what lies between the hosts
// can be slow, lossy or cut, and each process can be killed, stopped for a
// while, started again, and given a wrong clock.
//
//	c := geo.Start(t, geo.Options{Link: netns.Link{Delay: 50 * time.Millisecond}})
//	s3 := c.S3(1)                       // a client in zone 1, at the gateway there
//	c.Net.Cut("zone-3", netns.Everyone) // the zone is alone
//	c.Process("meta-2").Kill()          // as kill -9
//	c.Net.Heal()
//	c.Process("meta-2").Start()
//
// Zones are named zone-1 to zone-N, processes and their hosts SERVICE-1 to
// SERVICE-M; process i stands in zone (i-1) mod N + 1, so with one of each per
// zone the numbers agree. Zone i also has a host client-i without a process.
package geo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"hangar/tests/harness"
	"hangar/tests/harness/netns"
)

// Options shape a cluster. The zero value is three zones with one process of
// each service in each and no delay between them.
type Options struct {
	// Zones with a NATS server each; 3 by default. There are as many copies
	// of everything, but no more than 3.
	Zones int
	// Meta, Blocks and Gateways are processes per zone; 1 by default.
	Meta, Blocks, Gateways int
	// Admins is the number of admin processes; 1 by default, in zone 1.
	Admins int
	// Link between different zones, from when the cluster serves: it starts
	// without delay, to be quick.
	Link netns.Link
	// Env adds variables to the environment of all processes of a service
	// ("meta") or of one process ("meta-2"), "NAME=value".
	Env map[string][]string
	// Clocks lets Process.SetClock work.
	Clocks bool
}

// Cluster is a running cluster. It ends with the test; the log of every
// process is printed when the test fails.
type Cluster struct {
	Net   *netns.Network
	Zones int
	// Processes in the order in which they were started.
	Processes []*Process

	t       testing.TB
	dir     string
	clients []*netns.Host // by zone
	http    *http.Client  // from zone 1, for the admin API and for health
}

// The ports, the same on every host.
const (
	natsPort    = 4222
	clusterPort = 6222
	s3Port      = 3900
	k2vPort     = 3904
	adminPort   = 3903
	opsPort     = 9100
)

// startTimeout bounds the start of a cluster and of a process.
const startTimeout = 60 * time.Second

// Start builds the network and the cluster, with key and bucket of package
// harness, and returns once every process serves.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	o.setDefaults()
	c := &Cluster{Net: netns.New(t), Zones: o.Zones, t: t, dir: t.TempDir()}
	c.http = &http.Client{Timeout: 20 * time.Second}
	t.Cleanup(func() {
		c.http.CloseIdleConnections()
		for _, p := range c.Processes {
			p.Kill()
		}
		if t.Failed() {
			t.Log(c.Net)
		}
	})
	c.plan(&o)
	c.http.Transport = c.Client(1).Transport()
	for _, p := range c.Processes {
		if p.Service == "nats" {
			p.Start()
		}
	}
	for _, p := range c.Of("nats") { // or who finds it away goes elsewhere for a while
		p.AwaitHealthy()
	}
	for _, p := range c.Processes {
		if p.Service != "nats" {
			p.Start()
		}
	}
	c.layOut(&o)
	for _, p := range c.Processes {
		p.AwaitHealthy()
	}
	c.Net.LinkZones(o.Link)
	return c
}

func (o *Options) setDefaults() {
	for _, n := range []struct {
		field *int
		value int
	}{{&o.Zones, 3}, {&o.Meta, 1}, {&o.Blocks, 1}, {&o.Gateways, 1}, {&o.Admins, 1}} {
		if *n.field == 0 {
			*n.field = n.value
		}
	}
}

func zoneName(i int) string { return fmt.Sprintf("zone-%d", i) }

// plan makes hosts, and processes that are not started yet.
func (c *Cluster) plan(o *Options) {
	for z := range o.Zones {
		c.clients = append(c.clients, c.Net.Host(c.t, fmt.Sprintf("client-%d", z+1), zoneName(z+1)))
	}
	for _, s := range []struct {
		service string
		count   int
	}{{"nats", o.Zones}, {"admin", o.Admins}, {"meta", o.Meta * o.Zones}, {"blocks", o.Blocks * o.Zones}, {"gateway", o.Gateways * o.Zones}} {
		for i := range s.count {
			c.addProcess(o, s.service, i)
		}
	}
	for _, p := range c.Processes {
		p.settings(o)
	}
}

func (c *Cluster) addProcess(o *Options, service string, i int) {
	name, zone := fmt.Sprintf("%s-%d", service, i+1), i%o.Zones+1
	p := &Process{Name: name, Service: service, Zone: zone, Host: c.Net.Host(c.t, name, zoneName(zone)), c: c}
	if o.Clocks {
		p.clock = filepath.Join(c.dir, name+".clock")
	}
	c.Processes = append(c.Processes, p)
}

// settings fills in how p is started; every process has its host.
func (p *Process) settings(o *Options) {
	c, host := p.c, p.Host
	data := filepath.Join(c.dir, p.Name)
	servers := c.Of("nats")
	if p.Service == "nats" {
		p.bin, p.args = "hangar", []string{"nats", "--data", data, "--listen", host.AddrPort(natsPort)}
		var routes []string
		for _, s := range servers {
			if s != p {
				routes = append(routes, s.Host.AddrPort(clusterPort))
			}
		}
		if len(routes) > 0 {
			p.env = []string{"HANGAR_NATS_NAME=" + p.Name, "HANGAR_NATS_CLUSTER_LISTEN=" + host.AddrPort(clusterPort),
				"HANGAR_NATS_ROUTES=" + strings.Join(routes, ","), "HANGAR_NATS_CLUSTER_SECRET=" + harness.AdminToken}
		}
	} else {
		var urls []string
		for i := range servers { // the own zone's first
			urls = append(urls, "nats://"+servers[(p.Zone-1+i)%len(servers)].Host.AddrPort(natsPort))
		}
		p.bin = p.Service
		p.env = []string{"HANGAR_NATS_URL=" + strings.Join(urls, ","), "HANGAR_ZONE=" + zoneName(p.Zone), "HANGAR_OPS_ADDR=" + host.AddrPort(opsPort)}
	}
	switch p.Service {
	case "admin":
		p.env = append(p.env, "HANGAR_ADMIN_ADDR="+host.AddrPort(adminPort), "HANGAR_ADMIN_TOKEN="+harness.AdminToken,
			"HANGAR_REGION="+harness.Region, fmt.Sprintf("HANGAR_REPLICATION_FACTOR=%d", min(3, o.Zones)),
			fmt.Sprintf("HANGAR_CONTROL_REPLICAS=%d", (min(o.Zones, 5)-1)/2*2+1), "HANGAR_DATA_DIR="+data)
	case "meta", "blocks":
		p.env = append(p.env, "HANGAR_DATA_DIR="+data)
	case "gateway":
		p.env = append(p.env, "HANGAR_S3_ADDR="+host.AddrPort(s3Port), "HANGAR_K2V_ADDR="+host.AddrPort(k2vPort))
	}
	p.env = append(append(p.env, o.Env[p.Service]...), o.Env[p.Name]...)
	if p.clock != "" {
		p.env = append(p.env, "HANGAR_TEST_CLOCK_FILE="+p.clock)
	}
}

// Process returns the process of a name; the test fails when there is none.
func (c *Cluster) Process(name string) *Process {
	c.t.Helper()
	for _, p := range c.Processes {
		if p.Name == name {
			return p
		}
	}
	c.t.Fatalf("there is no process %q", name)
	return nil
}

// Of returns the processes of a service: nats, admin, meta, blocks, gateway.
func (c *Cluster) Of(service string) (all []*Process) {
	for _, p := range c.Processes {
		if p.Service == service {
			all = append(all, p)
		}
	}
	return all
}

// Client is the host for clients in a zone, counted from 1.
func (c *Cluster) Client(zone int) *netns.Host { return c.clients[zone-1] }

// S3 returns a client on the client host of a zone that talks to the first
// gateway there. It tries again as the SDK does unless opts say otherwise.
func (c *Cluster) S3(zone int, opts ...func(*s3.Options)) *s3.Client {
	c.t.Helper()
	return c.S3At(c.Client(zone), c.Process(fmt.Sprintf("gateway-%d", zone)), opts...)
}

// Zone is the name of a zone in Net, counted from 1.
func (c *Cluster) Zone(i int) string { return zoneName(i) }

// S3At returns a client on any host that talks to any gateway.
func (c *Cluster) S3At(from *netns.Host, gateway *Process, opts ...func(*s3.Options)) *s3.Client {
	transport := from.Transport()
	c.t.Cleanup(transport.CloseIdleConnections)
	here := func(o *s3.Options) { o.HTTPClient = &http.Client{Transport: transport} }
	return harness.SDK(gateway.Endpoint(), append([]func(*s3.Options){here}, opts...)...)
}

// Admin does one request to the Admin API of admin-1 from zone 1 and decodes
// the answer into out.
func (c *Cluster) Admin(ctx context.Context, method, path string, in, out any) error {
	return c.AdminAt(ctx, c.Process("admin-1"), method, path, in, out)
}

// AdminAt is Admin at another admin process.
func (c *Cluster) AdminAt(ctx context.Context, p *Process, method, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, p.Endpoint()+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+harness.AdminToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// await tries f until it succeeds; the test fails when it takes too long or a
// process ends meanwhile.
func (c *Cluster) await(what string, f func(context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), startTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond) // polls other processes
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

// SetClock makes the wall clock of p wrong by offset from now on, and after
// each start. Options.Clocks must be set.
func (p *Process) SetClock(offset time.Duration) {
	p.c.t.Helper()
	if p.clock == "" {
		p.c.t.Fatal("SetClock needs Options.Clocks")
	}
	// Replaced at once, so that p never reads half of it.
	err := os.WriteFile(p.clock+".new", []byte(offset.String()), 0o600)
	if err == nil {
		err = os.Rename(p.clock+".new", p.clock)
	}
	if err != nil {
		p.c.t.Fatal(err)
	}
}
