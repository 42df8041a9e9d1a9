// Package harness runs Hangar's real binaries for tests: it starts them,
// waits until they serve, kills and restarts them, and stops what it started.
package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Credentials every test server is born with.
const (
	AccessKey  = "GKtest00000000000000000001"
	SecretKey  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	Bucket     = "test-bucket"
	AdminToken = "test-admin-token-0123456789"
	Region     = "hangar"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
)

// Bin is the path of a built binary.
func Bin(t testing.TB, name string) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no caller information")
	}
	path := filepath.Join(filepath.Dir(file), "..", "..", "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	return path
}

// Server is one `hangar server` process on one directory.
type Server struct {
	Dir   string
	S3    string // http://127.0.0.1:port
	K2V   string // the same
	Admin string
	// Env is added to the environment of every start.
	Env []string
	t   testing.TB
	p   *Process
}

// FreeAddr returns a loopback address nobody listens on at the moment.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start runs a server on a fresh directory and waits until it serves. It is
// stopped when the test ends.
func Start(t testing.TB, env ...string) *Server {
	t.Helper()
	return StartOn(t, t.TempDir(), env...)
}

// StartOn is Start on a given directory.
func StartOn(t testing.TB, dir string, env ...string) *Server {
	t.Helper()
	s3, k2v, admin := FreeAddr(t), FreeAddr(t), FreeAddr(t)
	s := &Server{Dir: dir, S3: "http://" + s3, K2V: "http://" + k2v, Admin: "http://" + admin, t: t}
	s.Env = append([]string{
		"HANGAR_S3_ADDR=" + s3, "HANGAR_K2V_ADDR=" + k2v, "HANGAR_ADMIN_ADDR=" + admin, "HANGAR_ADMIN_TOKEN=" + AdminToken,
		"HANGAR_DEFAULT_ACCESS_KEY=" + AccessKey, "HANGAR_DEFAULT_SECRET_KEY=" + SecretKey,
		"HANGAR_DEFAULT_BUCKET=" + Bucket,
	}, env...)
	s.Restart()
	t.Cleanup(s.Stop)
	return s
}

// Restart starts the process again after Kill or Stop.
func (s *Server) Restart() {
	s.t.Helper()
	s.p = Run(s.t, s.Env, Bin(s.t, "hangar"), "server", "--data", s.Dir)
	s.p.AwaitHealthy(s.Admin + "/health")
}

// RestartFailing is Restart for a server that is not healthy: it waits until S3
// is served.
func (s *Server) RestartFailing() {
	s.t.Helper()
	s.p = Run(s.t, s.Env, Bin(s.t, "hangar"), "server", "--data", s.Dir)
	s.p.awaitStatus(s.S3+"/", http.StatusForbidden) // nobody signed
}

// PID of the running process.
func (s *Server) PID() int { return s.p.cmd.Process.Pid }

// Kill ends the process as kill -9 does.
func (s *Server) Kill() { s.p.Kill() }

// Stop asks the process to end and waits for it.
func (s *Server) Stop() { s.p.Stop() }

// Output is everything the process has printed so far.
func (s *Server) Output() string { return s.p.Output() }

// AdminCall does one Admin API request with the token and decodes the answer.
func (s *Server) AdminCall(method, path string, in, out any) {
	s.t.Helper()
	if err := AdminCall(s.Admin, method, path, in, out); err != nil {
		s.t.Fatal(err)
	}
}

// AdminCall does one Admin API request with the test token.
func AdminCall(endpoint, method, path string, in, out any) error {
	return AdminCallWith(context.Background(), http.DefaultClient, endpoint, method, path, in, out)
}

// AdminCallWith is AdminCall for as long as ctx lasts, over a client of the
// caller.
func AdminCallWith(ctx context.Context, c *http.Client, endpoint, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, endpoint+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+AdminToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
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

// Process is a started program.
type Process struct {
	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended
	err  error         // valid once done is closed

	mu  sync.Mutex
	out bytes.Buffer
}

// Run starts a program with env added to the environment. Its output is
// logged when the test fails.
func Run(t testing.TB, env []string, name string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	return RunWith(t, filepath.Base(name), cmd, (*exec.Cmd).Start)
}

// RunWith starts cmd with a function of the caller, as inside a test host. What
// it is called stands before its output in the log of a test that fails.
func RunWith(t testing.TB, called string, cmd *exec.Cmd, start func(*exec.Cmd) error) *Process {
	t.Helper()
	p, err := Launch(cmd, start)
	if err != nil {
		t.Fatal(err)
	}
	p.t = t
	t.Cleanup(func() {
		if t.Failed() {
			out := p.Output()
			t.Logf("output of %s (last 8 KiB):\n%s", called, out[max(0, len(out)-8192):])
		}
	})
	return p
}

// Launch is RunWith for those who cannot fail a test. Of the result only those
// methods may be used that need no test: PID, Done and Output.
func Launch(cmd *exec.Cmd, start func(*exec.Cmd) error) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	// Die with the test, also when the test is killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	// Pdeathsig follows the thread that started the child.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		started <- start(p.cmd)
		w.Close()
		if p.cmd.Process != nil {
			p.err = p.cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		r.Close()
		return nil, err
	}
	go func() {
		defer r.Close()
		lines := bufio.NewReader(r)
		for {
			line, err := lines.ReadString('\n')
			p.mu.Lock()
			p.out.WriteString(line)
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p, nil
}

// PID of the program.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends sig; a program that has ended does not mind.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// Output is everything printed so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// AwaitHealthy waits until url answers 200.
func (p *Process) AwaitHealthy(url string) {
	p.t.Helper()
	p.awaitStatus(url, http.StatusOK)
}

// awaitStatus waits until url answers with a status.
func (p *Process) awaitStatus(url string, want int) {
	p.t.Helper()
	deadline := time.Now().Add(startTimeout)
	for {
		select {
		case <-p.done:
			p.t.Fatalf("%s ended before it served: %v\n%s", p.cmd.Path, p.err, p.Output())
		default:
		}
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == want {
				return
			}
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not answer %d after %v\n%s", url, want, startTimeout, p.Output())
		}
		time.Sleep(20 * time.Millisecond) // polls another process: there is no event to await
	}
}

// Kill ends the program as kill -9 does.
func (p *Process) Kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	<-p.done
}

// Stop sends SIGTERM and waits; a program that does not end is killed and
// fails the test.
func (p *Process) Stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.Kill()
		p.t.Errorf("%s did not end within %v of SIGTERM\n%s", p.cmd.Path, stopTimeout, p.Output())
	}
}

// Wait waits for the program to end and returns its exit code.
func (p *Process) Wait(limit time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("%s still runs after %v", p.cmd.Path, limit)
	}
}
