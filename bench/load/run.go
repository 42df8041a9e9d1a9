package load

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Work is one operation of client number c, its i-th. It returns the payload
// bytes moved and the items (keys of a listing) handled.
type Work func(c, i int) (bytes, items int64, err error)

// Result is what one run of a workload did.
type Result struct {
	Ops, Bytes, Items int64
	Errors            int64
	FirstError        error
	Elapsed           time.Duration
	P50, P99          time.Duration
	CPU               time.Duration
	Peak              int64
}

// PerSecond is operations per second.
func (r Result) PerSecond() float64 { return float64(r.Ops) / r.Elapsed.Seconds() }

// Run keeps clients busy with work for about d, at most limit operations, and
// watches process pid.
func Run(pid, clients int, d time.Duration, limit int64, work Work) (Result, error) {
	if err := ResetPeak(pid); err != nil {
		return Result{}, err
	}
	cpu, err := CPU(pid)
	if err != nil {
		return Result{}, err
	}
	var r Result
	var mu sync.Mutex
	var all []time.Duration
	var started atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for c := range clients {
		wg.Go(func() {
			var took []time.Duration
			var mine Result
			for i := 0; time.Since(begin) < d && started.Add(1) <= limit; i++ {
				t := time.Now()
				bytes, items, err := work(c, i)
				if err != nil {
					mine.Errors++
					if mine.FirstError == nil {
						mine.FirstError = err
					}
					continue
				}
				took = append(took, time.Since(t))
				mine.Ops++
				mine.Bytes += bytes
				mine.Items += items
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			r.Ops += mine.Ops
			r.Bytes += mine.Bytes
			r.Items += mine.Items
			r.Errors += mine.Errors
			if r.FirstError == nil {
				r.FirstError = mine.FirstError
			}
		})
	}
	wg.Wait()
	r.Elapsed = time.Since(begin)
	after, err := CPU(pid)
	if err != nil {
		return r, err
	}
	r.CPU = after - cpu
	if r.Peak, err = PeakMemory(pid); err != nil {
		return r, err
	}
	r.percentiles(all)
	return r, nil
}

// RunPaced begins perSecond operations each second for d, each on time whether
// or not earlier ones have ended, and watches process pid. What an operation
// took counts from when it was due, so that a stall is felt by all that it
// held up.
func RunPaced(pid, perSecond int, d time.Duration, work Work) (Result, error) {
	cpu, err := CPU(pid)
	if err != nil {
		return Result{}, err
	}
	var r Result
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	begin := time.Now()
	step := time.Second / time.Duration(perSecond)
	for i := 0; time.Duration(i)*step < d; i++ {
		due := begin.Add(time.Duration(i) * step)
		time.Sleep(time.Until(due))
		wg.Go(func() {
			bytes, items, err := work(0, i)
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				r.Errors++
				if r.FirstError == nil {
					r.FirstError = err
				}
				return
			}
			all = append(all, took)
			r.Ops++
			r.Bytes += bytes
			r.Items += items
		})
	}
	wg.Wait()
	r.Elapsed = time.Since(begin)
	after, err := CPU(pid)
	if err != nil {
		return r, err
	}
	r.CPU = after - cpu
	r.percentiles(all)
	return r, nil
}

// percentiles fills in what operations took.
func (r *Result) percentiles(all []time.Duration) {
	slices.Sort(all)
	if n := len(all); n > 0 {
		r.P50, r.P99 = all[n/2], all[n*99/100]
	}
}
