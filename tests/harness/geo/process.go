package geo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"hangar/tests/harness"
	"hangar/tests/harness/netns"
)

// Process is one process of a cluster. Its methods are not safe for concurrent
// use on the same process.
type Process struct {
	Name    string
	Service string
	Zone    int // counted from 1
	Host    *netns.Host

	c     *Cluster
	bin   string
	args  []string
	env   []string
	clock string
	run   *harness.Process // nil before the first start
}

// Start starts the process, on the data it had, with env added to its
// environment from now on. It does not wait until it serves: see AwaitHealthy.
func (p *Process) Start(env ...string) {
	p.c.t.Helper()
	if p.Running() {
		p.c.t.Fatalf("%s runs already", p.Name)
	}
	p.env = append(p.env, env...)
	cmd := exec.Command(harness.Bin(p.c.t, p.bin), p.args...)
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "HANGAR_") {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, p.env...)
	p.run = harness.RunWith(p.c.t, p.Name, cmd, p.Host.Start)
}

// Running reports whether the process was started and has not ended; a paused
// one is running.
func (p *Process) Running() bool {
	if p.run == nil {
		return false
	}
	select {
	case <-p.run.Done():
		return false
	default:
		return true
	}
}

// PID of the newest start.
func (p *Process) PID() int { return p.run.PID() }

// Kill ends the process as kill -9 does, and waits for its end.
func (p *Process) Kill() {
	if p.run != nil {
		p.run.Kill()
	}
}

// Stop asks the process to end and waits for it.
func (p *Process) Stop() { p.run.Stop() }

// Restart is Kill, Start and AwaitHealthy.
func (p *Process) Restart(env ...string) {
	p.c.t.Helper()
	p.Kill()
	p.Start(env...)
	p.AwaitHealthy()
}

// Pause stops the process in its tracks, as a long collection of garbage or a
// suspended virtual machine does; its connections stay open.
func (p *Process) Pause() { p.run.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() { p.run.Signal(syscall.SIGCONT) }

// Output is what the process has printed since its newest start.
func (p *Process) Output() string { return p.run.Output() }

// Endpoint is the URL of the S3 API of a gateway, of the Admin API of an
// admin, and of health and metrics of the others.
func (p *Process) Endpoint() string {
	switch p.Service {
	case "gateway":
		return "http://" + p.Host.AddrPort(s3Port)
	case "admin":
		return "http://" + p.Host.AddrPort(adminPort)
	default:
		return p.Ops()
	}
}

// K2V is the URL of the K2V API of a gateway.
func (p *Process) K2V() string { return "http://" + p.Host.AddrPort(k2vPort) }

// Ops is the URL of /health and /metrics; NATS has none.
func (p *Process) Ops() string { return "http://" + p.Host.AddrPort(opsPort) }

// AwaitHealthy waits until the process says that it serves. It asks from zone
// 1, so what lies between must not be cut.
func (p *Process) AwaitHealthy() {
	p.c.t.Helper()
	p.c.await(p.Name+" does not serve", func(ctx context.Context) error {
		if !p.Running() {
			p.c.t.Fatalf("%s ended before it served:\n%s", p.Name, p.Output())
		}
		return p.healthy(ctx)
	})
}

// healthy asks once; of NATS, whether it takes connections.
func (p *Process) healthy(ctx context.Context) error {
	if p.Service == "nats" {
		conn, err := p.c.Client(1).DialContext(ctx, "tcp4", p.Host.AddrPort(natsPort))
		if err == nil {
			conn.Close()
		}
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Ops()+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := p.c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(fmt.Errorf("%s: %s", resp.Status, b), err)
	}
	return err
}
