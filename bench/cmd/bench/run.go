package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"hangar/bench/load"
)

const (
	region = "hangar"
	keyID  = "GKbench0000000000000000001"
	secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	bucket = "bench"
)

type options struct {
	bin, dir string
	turn     time.Duration
	rounds   int
	only     string
	ops      string
}

// side is one of the two servers.
type side struct {
	name   string
	cmd    *exec.Cmd
	client *load.Client
	k2v    *load.Client
	// items per second of the median turn, by workload.
	items map[string]float64
}

func run(o options) error {
	ours, _, done, err := startOurs(&o)
	if err != nil {
		return err
	}
	defer done()
	floorAddr, floorK2V := freeAddr(), freeAddr()
	floor, err := start("floor", floorAddr, "http://"+floorAddr+"/", nil, filepath.Join(o.bin, "floor"),
		"--addr", floorAddr, "--k2v-addr", floorK2V, "--access-key", keyID, "--secret-key", secret, "--bucket", bucket)
	if err != nil {
		return err
	}
	defer floor.stop()
	floor.k2v = load.NewK2VClient(floorK2V, region, keyID, secret, bucket)
	out := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "workload\tside\top/s\tMiB/s\titems/s\tp50\tp99\tCPU µs/op\tCPU ms/MiB\tpeak MiB\terrors\tratio\t")
	for _, w := range append(workloads(), itemWorkloads()...) {
		if !strings.Contains(w.name, o.only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "running %s…\n", w.name)
		if err := w.measure(out, o, floor, ours); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	compareInserts(os.Stdout, ours)
	return nil
}

// startOurs starts Hangar on o.dir, which it makes if there is none. admin is
// where its Admin API is.
func startOurs(o *options) (ours *side, admin string, done func(), err error) {
	clean := func() {}
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "hangar-bench-")
		if err != nil {
			return nil, "", nil, err
		}
		o.dir, clean = dir, func() { _ = os.RemoveAll(dir) } // a temporary directory left behind harms nobody
	}
	s3, k2v, admin := freeAddr(), freeAddr(), freeAddr()
	env := []string{
		"HANGAR_S3_ADDR=" + s3, "HANGAR_K2V_ADDR=" + k2v, "HANGAR_ADMIN_ADDR=" + admin, "HANGAR_DEFAULT_ACCESS_KEY=" + keyID,
		"HANGAR_DEFAULT_SECRET_KEY=" + secret, "HANGAR_DEFAULT_BUCKET=" + bucket,
	}
	if o.ops != "" {
		env = append(env, "HANGAR_OPS_ADDR="+o.ops, "HANGAR_PPROF=true")
	}
	ours, err = start("hangar", s3, "http://"+admin+"/health", env, filepath.Join(o.bin, "hangar"), "server", "--data", o.dir)
	if err != nil {
		clean()
		return nil, "", nil, err
	}
	ours.k2v = load.NewK2VClient(k2v, region, keyID, secret, bucket)
	return ours, admin, func() { ours.stop(); clean() }, nil
}

// measure lets the sides take turns and prints the median turn of each.
func (w workload) measure(out *tabwriter.Writer, o options, sides ...*side) error {
	turns := make([][]load.Result, len(sides))
	for i, s := range sides {
		if w.prepare != nil {
			if err := w.prepare(w.of(s)); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		turns[i] = make([]load.Result, 0, o.rounds)
	}
	for range o.rounds {
		for i, s := range sides {
			r, err := load.Run(s.cmd.Process.Pid, w.clients, o.turn, w.limit, w.work(w.of(s)))
			if err != nil {
				return err
			}
			if r.Ops == 0 {
				return fmt.Errorf("%s: nothing succeeded: %w", s.name, r.FirstError)
			}
			turns[i] = append(turns[i], r)
		}
	}
	var base float64
	for i, s := range sides {
		r := median(turns[i])
		s.items[w.name] = float64(r.Items) / r.Elapsed.Seconds()
		ratio := ""
		if i == 0 {
			base = r.PerSecond()
		} else {
			ratio = fmt.Sprintf("%.2f", r.PerSecond()/base)
		}
		perMiB := ""
		if r.Bytes > 0 {
			perMiB = fmt.Sprintf("%.2f", r.CPU.Seconds()*1e3/(float64(r.Bytes)/(1<<20)))
		}
		fmt.Fprintf(out, "%s\t%s\t%.0f\t%.0f\t%.0f\t%s\t%s\t%.0f\t%s\t%d\t%d\t%s\t\n", w.name, s.name, r.PerSecond(),
			float64(r.Bytes)/(1<<20)/r.Elapsed.Seconds(), s.items[w.name],
			r.P50.Round(10*time.Microsecond), r.P99.Round(10*time.Microsecond),
			float64(r.CPU.Microseconds())/float64(r.Ops), perMiB, r.Peak>>20, r.Errors, ratio)
		if r.FirstError != nil {
			fmt.Fprintf(os.Stderr, "%s on %s: first error: %v\n", w.name, s.name, r.FirstError)
		}
	}
	return nil
}

// of is the client of a side that the workload takes.
func (w workload) of(s *side) *load.Client {
	if w.k2v {
		return s.k2v
	}
	return s.client
}

// median is the turn with the median throughput, with the worst peak and all
// errors of any turn.
func median(turns []load.Result) load.Result {
	slices.SortFunc(turns, func(a, b load.Result) int { return cmp.Compare(a.PerSecond(), b.PerSecond()) })
	m := turns[len(turns)/2]
	m.Errors = 0
	for _, t := range turns {
		m.Peak = max(m.Peak, t.Peak)
		m.Errors += t.Errors
		if m.FirstError == nil {
			m.FirstError = t.FirstError
		}
	}
	return m
}

func freeAddr() string {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // no loopback
	}
	defer l.Close()
	return l.Addr().String()
}

func start(name, addr, ready string, env []string, bin string, args ...string) (*side, error) {
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: run `make build` first", err)
	}
	s := &side{name: name, cmd: cmd, client: load.NewClient(addr, region, keyID, secret, bucket), items: map[string]float64{}}
	for deadline := time.Now().Add(30 * time.Second); ; {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, ready, nil)
		if err != nil {
			return nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode < http.StatusInternalServerError {
				return s, nil
			}
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("%s does not serve after 30 s: %w", name, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *side) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = s.cmd.Wait()                          // its exit code is of no interest
}
