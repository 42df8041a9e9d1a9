package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"hangar/bench/load"
)

const (
	// scrubbed objects of 1 MiB are read while all of them are scrubbed again
	// and again.
	scrubbed = 1024
	// pace is how many reads begin per second. It is far from what the server
	// can do, so that what a read takes is not its own queue.
	pace = 40
	// settle is how long a scrub goes on before it is measured, for the
	// adaptive one to find its rests.
	settle = 5 * time.Second
)

// scrubModes are the tranquilities that are compared; none is without a scrub.
var scrubModes = []string{"none", "0", "2", "adaptive"}

// runScrub measures reads beside a scrub: modes take turns, and the median turn
// of each counts.
func runScrub(o options) error {
	ours, admin, done, err := startOurs(&o)
	if err != nil {
		return err
	}
	defer done()
	if err := fill("scrub", scrubbed, mib)(ours.client); err != nil {
		return err
	}
	operator := operator{bin: filepath.Join(o.bin, "hangar"), args: []string{"--endpoint", "http://" + admin, "--data", o.dir}}
	turns := map[string][]load.Result{}
	for range o.rounds {
		for _, mode := range scrubModes {
			fmt.Fprintf(os.Stderr, "reading beside scrub: %s…\n", mode)
			r, err := operator.beside(mode, func() (load.Result, error) {
				return load.RunPaced(ours.cmd.Process.Pid, pace, o.turn, getWork("scrub", scrubbed)(ours.client))
			})
			if err != nil {
				return err
			}
			turns[mode] = append(turns[mode], r)
		}
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "scrub\treads/s\tp50\tp99\tCPU %\terrors\tp99 ratio\t")
	var base time.Duration
	for _, mode := range scrubModes {
		all := turns[mode]
		slices.SortFunc(all, func(a, b load.Result) int { return cmp.Compare(a.P99, b.P99) })
		r := all[len(all)/2]
		if base == 0 {
			base = r.P99
		}
		fmt.Fprintf(out, "%s\t%.0f\t%s\t%s\t%.0f\t%d\t%.2f\t\n", mode, r.PerSecond(), r.P50.Round(10*time.Microsecond), r.P99.Round(10*time.Microsecond),
			100*r.CPU.Seconds()/r.Elapsed.Seconds(), r.Errors, float64(r.P99)/float64(base))
		if r.FirstError != nil {
			fmt.Fprintf(os.Stderr, "%s: first error: %v\n", mode, r.FirstError)
		}
	}
	return out.Flush()
}

// operator runs the command line, as people do.
type operator struct {
	bin  string
	args []string
}

func (p operator) do(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, p.bin, append(args, p.args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("hangar %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// beside runs measure while everything is scrubbed, again and again.
func (p operator) beside(mode string, measure func() (load.Result, error)) (r load.Result, err error) {
	if mode == "none" {
		return measure()
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := p.do(ctx, "worker", "set", "scrub-tranquility", mode); err != nil {
		return r, err
	}
	var again sync.WaitGroup
	var failed error
	again.Go(func() {
		for failed == nil && ctx.Err() == nil {
			if failed = p.do(ctx, "repair", "scrub", "start", "--wait"); ctx.Err() != nil {
				failed = nil
			}
		}
	})
	time.Sleep(settle)
	r, err = measure()
	stop()
	again.Wait()
	end := p.do(context.Background(), "repair", "scrub", "cancel")
	if end != nil && strings.Contains(end.Error(), "not under way") {
		end = nil // it ended by itself
	}
	return r, errors.Join(err, failed, end)
}
