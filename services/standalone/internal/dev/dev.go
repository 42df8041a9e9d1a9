// Package dev runs a whole cluster as real processes on this machine, for
// trying things out and for tests that kill them.
package dev

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"hangar/services/standalone/internal/adminclient"
	"hangar/services/standalone/internal/birth"
	"hangar/services/standalone/internal/datadir"
	"hangar/shared/config"
	"hangar/shared/process"
)

// Options shape the cluster.
type Options struct {
	Dir                    string
	BinDir                 string
	Meta, Blocks, Gateways int
	Zones                  int
	ReplicationFactor      int
	// Restart is how long after its end a process is started again; zero
	// leaves it dead.
	Restart time.Duration
	// AccessKey, SecretKey and Bucket to make; a key is made up when empty.
	AccessKey, SecretKey, Bucket string
	AdminToken                   string
	Region                       string
	// Settings holds what each service reads: those variables are handed on
	// from this process's environment, others with their prefix are not.
	Settings map[string]any
	Out      io.Writer
}

// ClusterFile is the file in Dir that describes the running cluster.
const ClusterFile = "cluster.json"

// Cluster is what ClusterFile holds.
type Cluster struct {
	S3         []string   `json:"s3"` // endpoints of the gateways
	K2V        []string   `json:"k2v"`
	Admin      string     `json:"admin"`
	AdminToken string     `json:"adminToken"`
	NATS       string     `json:"nats"`
	Region     string     `json:"region"`
	AccessKey  string     `json:"accessKey"`
	SecretKey  string     `json:"secretKey"`
	Bucket     string     `json:"bucket,omitempty"`
	Processes  []*Process `json:"processes"`
}

// Process is one process of the cluster.
type Process struct {
	Name    string `json:"name"`
	Service string `json:"service"`
	Zone    string `json:"zone,omitempty"`
	Ops     string `json:"ops,omitempty"` // address of /health and /metrics
	PID     int    `json:"pid"`

	bin  string
	args []string
	env  []string
}

const readyTimeout = 60 * time.Second

// Run starts the cluster, says how to reach it, and keeps it until ctx ends.
func Run(ctx context.Context, o Options) error {
	if err := o.validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return err
	}
	c, err := o.plan(ctx)
	if err != nil {
		return err
	}
	s := &supervisor{dir: o.Dir, restart: o.Restart, out: o.Out, cluster: c}
	defer s.stop()
	for _, p := range c.Processes {
		fmt.Fprintf(o.Out, "starting %s\n", p.Name)
		if err := s.start(ctx, p); err != nil {
			return err
		}
		if p.Service == "nats" {
			if err := awaitListening(ctx, c.NATS[len("nats://"):]); err != nil {
				return fmt.Errorf("%s: %w (see %s)", p.Name, err, filepath.Join(o.Dir, p.Name+".log"))
			}
		}
	}
	if err := o.bringUp(ctx, c); err != nil {
		return err
	}
	if err := s.save(); err != nil {
		return err
	}
	// The command line looks here: hangar --data DIR status.
	if err := datadir.WriteAccess(o.Dir, datadir.Access{
		S3Endpoint: c.S3[0], K2VEndpoint: c.K2V[0], Region: c.Region, AccessKey: c.AccessKey, SecretKey: c.SecretKey, Bucket: c.Bucket,
		AdminEndpoint: c.Admin, AdminToken: c.AdminToken,
	}); err != nil {
		return err
	}
	announce(o.Out, o.Dir, c)
	<-ctx.Done()
	return nil
}

func (o *Options) validate() error {
	if o.Zones == 0 {
		o.Zones = min(3, max(o.Meta, o.Blocks))
	}
	if o.Region == "" {
		o.Region = "hangar"
	}
	least := min(o.Meta, o.Blocks)
	switch {
	case least < 1 || o.Gateways < 1:
		return fmt.Errorf("a cluster needs at least one metadata, one block and one gateway process")
	case o.ReplicationFactor < 1 || o.ReplicationFactor > least:
		return fmt.Errorf("replication factor %d needs as many metadata and block processes; there are %d", o.ReplicationFactor, least)
	}
	return nil
}

// plan chooses addresses and writes down every process.
func (o *Options) plan(ctx context.Context) (*Cluster, error) {
	// The broker and the admin service; then one for the metrics of each process,
	// and two APIs for each gateway.
	addrs, err := freeAddrs(ctx, 2+1+o.Meta+o.Blocks+3*o.Gateways)
	if err != nil {
		return nil, err
	}
	next := func() string { a := addrs[0]; addrs = addrs[1:]; return a }
	broker, admin := next(), next()
	c := &Cluster{
		Admin: "http://" + admin, AdminToken: o.AdminToken, NATS: "nats://" + broker, Region: o.Region,
		AccessKey: o.AccessKey, SecretKey: o.SecretKey, Bucket: o.Bucket,
	}
	var before Cluster // a cluster started again keeps its secrets
	if b, err := os.ReadFile(filepath.Join(o.Dir, ClusterFile)); err == nil {
		if err := json.Unmarshal(b, &before); err != nil {
			return nil, fmt.Errorf("%s is damaged: %w", filepath.Join(o.Dir, ClusterFile), err)
		}
	}
	if c.AdminToken == "" {
		c.AdminToken = before.AdminToken
	}
	if c.AccessKey == "" {
		c.AccessKey, c.SecretKey = before.AccessKey, before.SecretKey
	}
	if c.AdminToken == "" {
		c.AdminToken = randomHex(32)
	}
	if c.AccessKey == "" {
		c.AccessKey, c.SecretKey = "GK"+randomHex(12), randomHex(32)
	}
	add := func(service string, n int, zone, ops string, env ...string) {
		name := fmt.Sprintf("%s-%d", service, n+1)
		env = append(o.inherited(service), env...)
		env = append(env, "HANGAR_NATS_URL="+c.NATS, "HANGAR_OPS_ADDR="+ops, "HANGAR_ZONE="+zone)
		c.Processes = append(c.Processes, &Process{
			Name: name, Service: service, Zone: zone, Ops: ops, bin: filepath.Join(o.BinDir, service), env: env,
		})
	}
	c.Processes = append(c.Processes, &Process{
		Name: "nats-1", Service: "nats", bin: filepath.Join(o.BinDir, "hangar"),
		env: o.inherited("nats"), args: []string{"nats", "--data", filepath.Join(o.Dir, "nats-1"), "--listen", broker},
	})
	add("admin", 0, "zone-1", next(), "HANGAR_ADMIN_ADDR="+admin, "HANGAR_ADMIN_TOKEN="+c.AdminToken,
		"HANGAR_REGION="+o.Region, fmt.Sprintf("HANGAR_REPLICATION_FACTOR=%d", o.ReplicationFactor),
		"HANGAR_DATA_DIR="+filepath.Join(o.Dir, "admin-1"))
	for _, s := range []struct {
		service string
		n       int
	}{{"meta", o.Meta}, {"blocks", o.Blocks}} {
		for i := range s.n {
			add(s.service, i, fmt.Sprintf("zone-%d", i%o.Zones+1), next(), "HANGAR_DATA_DIR="+filepath.Join(o.Dir, fmt.Sprintf("%s-%d", s.service, i+1)))
		}
	}
	for i := range o.Gateways {
		s3 := next()
		k2v := next()
		c.S3, c.K2V = append(c.S3, "http://"+s3), append(c.K2V, "http://"+k2v)
		add("gateway", i, fmt.Sprintf("zone-%d", i%o.Zones+1), next(), "HANGAR_S3_ADDR="+s3, "HANGAR_K2V_ADDR="+k2v)
	}
	return c, nil
}

// inherited is the part of this process's environment that a service gets.
func (o *Options) inherited(service string) []string {
	settings := o.Settings[service]
	if settings == nil {
		settings = struct{}{}
	}
	return config.Select(os.Environ(), settings)
}

// freeAddrs returns n loopback addresses nobody listens on at the moment.
func freeAddrs(ctx context.Context, n int) ([]string, error) {
	var lc net.ListenConfig
	addrs := make([]string, 0, n)
	for range n {
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all stay taken until all are chosen
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func awaitListening(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return birth.Poll(ctx, func() error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// bringUp lays the cluster out and waits until every process is healthy.
func (o *Options) bringUp(ctx context.Context, c *Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	api, err := adminclient.Access{Endpoint: c.Admin, Token: c.AdminToken}.Client()
	if err != nil {
		return err
	}
	_, err = birth.Make(ctx, birth.Cluster{
		API: api, Meta: o.Meta, Blocks: o.Blocks,
		AccessKey: c.AccessKey, SecretKey: c.SecretKey, Bucket: c.Bucket,
	})
	if err != nil {
		return fmt.Errorf("%w (logs are in %s)", err, o.Dir)
	}
	for _, p := range c.Processes {
		if p.Ops == "" {
			continue
		}
		if err := birth.Poll(ctx, func() error { return process.AskHealth(ctx, "http://"+p.Ops+"/health") }); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

func announce(w io.Writer, dir string, c *Cluster) {
	fmt.Fprintf(w, "\nThe cluster is ready.\n\n")
	for _, e := range c.S3 {
		fmt.Fprintf(w, "  S3 endpoint   %s\n", e)
	}
	for _, e := range c.K2V {
		fmt.Fprintf(w, "  K2V endpoint  %s\n", e)
	}
	fmt.Fprintf(w, "  Admin API     %s\n  Region        %s\n  Access key    %s\n  Secret key    %s\n  Admin token   %s\n  Processes     %s\n\n",
		c.Admin, c.Region, c.AccessKey, c.SecretKey, c.AdminToken, filepath.Join(dir, ClusterFile))
	fmt.Fprintf(w, "  AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s AWS_DEFAULT_REGION=%s \\\n    aws --endpoint-url %s s3 mb s3://first-bucket\n\nCtrl-C stops it.\n",
		c.AccessKey, c.SecretKey, c.Region, c.S3[0])
}

// writeJSON replaces a file atomically; it holds secrets, so mode 0600.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
