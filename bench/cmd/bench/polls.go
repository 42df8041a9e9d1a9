package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"hangar/bench/load"
)

const (
	// waiting polls are held at once to see what they cost; as many connections
	// are open on both sides.
	waiting = 10_000
	// partitions of the items that they wait for.
	pollPartitions = 100
	// wakeups are measured with one poll waiting, and again beside all of them.
	wakeups = 500
	// pause lets a poll that was sent get to wait: nobody says when it does.
	pause = 5 * time.Millisecond
	// crowdStep polls are sent at once, crowdTries times at most.
	crowdStep  = 100
	crowdTries = 5
	// nothingSeen is the causality token of who has seen nothing.
	nothingSeen = "AAAAAAAAAAA"
)

// runPolls measures how soon a poll is answered after a write was acknowledged,
// and what polls that wait cost.
func runPolls(o options) error {
	ours, _, done, err := startOurs(&o)
	if err != nil {
		return err
	}
	defer done()
	if err := measureWakeups(ours, "one poll waiting"); err != nil {
		return err
	}
	held, err := crowd(ours, o.turn)
	defer func() {
		for _, h := range held {
			_ = h.Close() // the server ends next
		}
	}()
	if err != nil {
		return err
	}
	if err := measureWakeups(ours, fmt.Sprintf("%d polls waiting", waiting+1)); err != nil {
		return err
	}
	return wakeAll(ours.k2v, held)
}

// crowd has polls wait and says what they cost; idle is how long it watches.
func crowd(ours *side, idle time.Duration) (held []*load.Held, err error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	if limit.Cur < waiting+100 {
		return nil, fmt.Errorf("%d polls need more open files than %d: ulimit -n", waiting, limit.Cur)
	}
	pid := ours.cmd.Process.Pid
	before, err := load.Memory(pid)
	if err != nil {
		return nil, err
	}
	if held, err = hold(ours.k2v); err != nil {
		return held, err
	}
	if refused := count(held, func(h *load.Held) bool { return !h.Waiting() }); refused > 0 {
		return held, fmt.Errorf("%d of %d polls do not wait", refused, len(held))
	}
	after, err := load.Memory(pid)
	if err != nil {
		return held, err
	}
	begin, err := load.CPU(pid)
	if err != nil {
		return held, err
	}
	time.Sleep(idle)
	end, err := load.CPU(pid)
	if err != nil {
		return held, err
	}
	fmt.Printf("%d polls waiting: %d MiB resident, %d MiB before: %.1f KiB for each; %.1f %% of a CPU\n",
		waiting, after>>20, before>>20, float64(after-before)/1024/waiting, 100*(end-begin).Seconds()/idle.Seconds())
	return held, nil
}

// hold has polls of items wait that do not exist. One that is refused, because
// more requests come than are served at a time, is sent again.
func hold(cl *load.Client) (held []*load.Held, err error) {
	held = make([]*load.Held, waiting)
	for range crowdTries {
		sent := 0
		for i, h := range held {
			if h != nil && h.Waiting() {
				continue
			}
			if h != nil {
				_ = h.Close() // it was answered
			}
			if sent++; sent%crowdStep == 0 {
				time.Sleep(crowdStep * time.Millisecond)
			}
			if held[i], err = cl.Hold(context.Background(), "GET", pollPartition(i), pollQuery(sortKey(int64(i)), nothingSeen)); err != nil {
				return slices.DeleteFunc(held, func(h *load.Held) bool { return h == nil }), err
			}
		}
		if sent == 0 {
			break
		}
		if sent < waiting {
			fmt.Printf("%d polls were refused and sent again\n", sent)
		}
		time.Sleep(time.Second)
	}
	return held, nil
}

func pollPartition(i int) string { return fmt.Sprintf("poll-%d", i%pollPartitions) }

func pollQuery(sort, token string) string {
	return load.Query("causality_token", token, "sort_key", sort, "timeout", "600")
}

func count(held []*load.Held, is func(*load.Held) bool) (n int) {
	for _, h := range held {
		if is(h) {
			n++
		}
	}
	return n
}

// measureWakeups writes an item again and again while a poll waits for it.
func measureWakeups(ours *side, when string) error {
	const partition, sort = "wake", "item"
	cl := ours.k2v
	query := load.Query("sort_key", sort)
	if _, err := cl.Do("PUT", partition, query, make([]byte, valueBytes), true); err != nil {
		return err
	}
	var reads, writes, wakes []time.Duration
	for range wakeups {
		begun := time.Now()
		r, err := cl.Do("GET", partition, query, nil, true)
		if err != nil {
			return err
		}
		reads = append(reads, time.Since(begun))
		h, err := cl.Hold(context.Background(), "GET", partition, pollQuery(sort, r.Token))
		if err != nil {
			return err
		}
		time.Sleep(pause)
		answered := make(chan time.Time, 1)
		failed := make(chan error, 1)
		go func() {
			status, err := h.Answer(time.Minute)
			answered <- time.Now()
			if err == nil && status != 200 {
				err = fmt.Errorf("a poll is answered %d", status)
			}
			failed <- errors.Join(err, h.Close())
		}()
		begun = time.Now()
		if _, err := cl.DoSeen(r.Token, "PUT", partition, query, make([]byte, valueBytes), true); err != nil {
			return err
		}
		acknowledged := time.Now()
		writes = append(writes, acknowledged.Sub(begun))
		wakes = append(wakes, max(0, (<-answered).Sub(acknowledged)))
		if err := <-failed; err != nil {
			return err
		}
	}
	fmt.Printf("%s: poll answered %s after the write was acknowledged; reads take %s, writes %s\n", when, spread(wakes), spread(reads), spread(writes))
	return nil
}

func spread(all []time.Duration) string {
	slices.Sort(all)
	n := len(all)
	return fmt.Sprintf("p50 %v p99 %v", all[n/2].Round(10*time.Microsecond), all[n*99/100].Round(10*time.Microsecond))
}

// wakeAll writes every item that is waited for and sees that every poll is
// answered.
func wakeAll(cl *load.Client, held []*load.Held) error {
	begun := time.Now()
	for first := 0; first < len(held); first += batchItems {
		batch := make([]item, batchItems)
		for i := range batch {
			batch[i] = item{Partition: pollPartition(first + i), Sort: sortKey(int64(first + i)), Value: "YQ=="}
		}
		if err := writeBatch(cl, batch); err != nil {
			return err
		}
	}
	written := time.Since(begun)
	missed := count(held, func(h *load.Held) bool {
		status, err := h.Answer(time.Until(begun.Add(written + 10*time.Second)))
		return err != nil || status != 200
	})
	fmt.Printf("all %d items written in %v, all polls answered after %v\n", len(held), written.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	if missed > 0 {
		return fmt.Errorf("%d polls were not answered although their items were written", missed)
	}
	return nil
}
