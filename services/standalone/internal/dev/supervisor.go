package dev

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end after SIGTERM.
const stopTimeout = 20 * time.Second

// supervisor starts processes and sees them end.
type supervisor struct {
	dir     string
	restart time.Duration
	out     io.Writer
	cluster *Cluster

	mu       sync.Mutex
	stopping bool // guarded by mu
	running  []*running
}

type running struct {
	p    *Process
	cmd  *exec.Cmd
	done chan struct{}
}

// start runs p with its output in a log file beside its data.
func (s *supervisor) start(ctx context.Context, p *Process) error {
	log, err := os.OpenFile(filepath.Join(s.dir, p.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.bin, p.args...)
	cmd.Env = p.env
	cmd.Stdout, cmd.Stderr = log, log
	// Processes of a supervisor that was killed must not stay behind; a group
	// of their own keeps Ctrl-C from reaching them before stop does.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	r := &running{p: p, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig follows the thread that started the child.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			err = cmd.Wait()
		}
		close(r.done)
		s.ended(ctx, r, err)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w: are the binaries built (make build)?", p.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.PID = cmd.Process.Pid
	s.running = append(s.running, r)
	return nil
}

// ended says that a process is gone and starts it again where asked to.
func (s *supervisor) ended(ctx context.Context, r *running, why error) {
	s.mu.Lock()
	stopping := s.stopping
	s.mu.Unlock()
	if stopping {
		return
	}
	fmt.Fprintf(s.out, "%s (pid %d) ended: %v; its log is %s\n", r.p.Name, r.p.PID, why, filepath.Join(s.dir, r.p.Name+".log"))
	if s.restart == 0 {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(s.restart):
	}
	s.mu.Lock()
	stopping = s.stopping
	s.mu.Unlock()
	if stopping {
		return
	}
	err := s.start(ctx, r.p)
	if err == nil {
		err = s.save()
	}
	if err != nil {
		fmt.Fprintf(s.out, "%s: %v\n", r.p.Name, err)
	}
}

func (s *supervisor) save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return writeJSON(filepath.Join(s.dir, ClusterFile), s.cluster)
}

// stop ends all processes, the last started first, and waits for them.
func (s *supervisor) stop() {
	s.mu.Lock()
	s.stopping = true
	all := s.running
	s.mu.Unlock()
	for i := len(all) - 1; i >= 0; i-- {
		r := all[i]
		_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
		select {
		case <-r.done:
		case <-time.After(stopTimeout):
			fmt.Fprintf(s.out, "%s does not end; killing it\n", r.p.Name)
			_ = r.cmd.Process.Kill() // likewise
			<-r.done
		}
	}
}
