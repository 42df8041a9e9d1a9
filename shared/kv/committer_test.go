package kv_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/kv/memkv"
)

// run starts a committer on s and stops it when the test ends.
func run(t *testing.T, s kv.Store) *kv.Committer {
	t.Helper()
	c := kv.NewCommitter(s)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
	return c
}

// gated is a store whose commits wait for permission and may fail.
type gated struct {
	kv.Store
	entered chan struct{}
	let     chan error
}

func (g *gated) Commit(b *kv.Batch) error {
	g.entered <- struct{}{}
	if err := <-g.let; err != nil {
		return err
	}
	return g.Store.Commit(b)
}

func newGated() *gated {
	return &gated{Store: new(memkv.Store), entered: make(chan struct{}), let: make(chan error)}
}

// increment adds one to the number under key.
func increment(key string) func(*kv.Tx) error {
	return func(tx *kv.Tx) error {
		v, found, err := tx.Get([]byte(key))
		if err != nil {
			return err
		}
		n := uint64(0)
		if found {
			n = binary.BigEndian.Uint64(v)
		}
		tx.Set([]byte(key), binary.BigEndian.AppendUint64(nil, n+1))
		return nil
	}
}

func number(t *testing.T, s kv.Store, key string) (n uint64) {
	t.Helper()
	err := s.View(func(r kv.Reader) error {
		v, found, err := r.Get([]byte(key))
		if found {
			n = binary.BigEndian.Uint64(v)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUpdatesAreSerial(t *testing.T) {
	s := new(memkv.Store)
	c := run(t, s)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 100 {
				if err := c.Update(t.Context(), increment("shared")); err != nil {
					t.Error(err)
				}
				if err := c.Update(t.Context(), increment(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
				if got := number(t, s, fmt.Sprint(i)); got != uint64(j+1) {
					t.Errorf("an acknowledged update is not there: %d of %d", got, j+1)
				}
			}
		})
	}
	wg.Wait()
	if n := number(t, s, "shared"); n != 1600 {
		t.Errorf("%d of 1600 updates are there", n)
	}
}

// TestGroup holds one commit back while others queue, and expects them to share
// the next one, each seeing those before it.
func TestGroup(t *testing.T) {
	g := newGated()
	c := run(t, g)
	var wg sync.WaitGroup
	update := func(apply func(*kv.Tx) error, want error) {
		queued := make(chan struct{})
		wg.Go(func() {
			close(queued)
			if err := c.Update(t.Context(), apply); !errors.Is(err, want) {
				t.Errorf("update: %v, want %v", err, want)
			}
		})
		<-queued
	}
	update(increment("n"), nil)
	<-g.entered
	bad := errors.New("bad")
	for range 10 {
		update(increment("n"), nil)
	}
	update(func(tx *kv.Tx) error {
		tx.Set([]byte("n"), nil)
		tx.Set([]byte("half"), nil)
		return bad
	}, bad)
	for c.Queued() < 11 { // the goroutines above only have to be scheduled
		continue
	}
	g.let <- nil
	<-g.entered
	g.let <- nil
	wg.Wait()
	if n := number(t, g, "n"); n != 11 {
		t.Errorf("n = %d, want 11", n)
	}
	if got := c.Stats().Commits.Load(); got != 2 {
		t.Errorf("%d commits, want 2", got)
	}
	_ = g.View(func(r kv.Reader) error {
		if _, found, _ := r.Get([]byte("half")); found {
			t.Error("a failed update left half of itself")
		}
		return nil
	})
}

func TestFailedCommitFailsItsGroup(t *testing.T) {
	g := newGated()
	c := run(t, g)
	result := make(chan error)
	try := func(reply error) error {
		go func() { result <- c.Update(t.Context(), increment("n")) }()
		<-g.entered
		g.let <- reply
		return <-result
	}
	if err := try(fault.New(fault.StorageFull, "full")); !fault.Is(err, fault.StorageFull) {
		t.Errorf("%v", err)
	}
	if n := number(t, g, "n"); n != 0 {
		t.Errorf("n = %d after a failed commit", n)
	}
	if err := try(nil); err != nil || number(t, g, "n") != 1 {
		t.Errorf("after space returned: %v, n = %d", err, number(t, g, "n"))
	}
}

func TestLeavingTheQueue(t *testing.T) {
	g := newGated()
	c := run(t, g)
	first := make(chan error)
	go func() { first <- c.Update(t.Context(), increment("n")) }()
	<-g.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var ran atomic.Bool
	if err := c.Update(ctx, func(*kv.Tx) error { ran.Store(true); return nil }); !fault.Is(err, fault.Canceled) {
		t.Errorf("a canceled update: %v", err)
	}
	g.let <- nil
	if err := <-first; err != nil {
		t.Error(err)
	}
	if err := c.Update(t.Context(), func(*kv.Tx) error { return nil }); err != nil {
		t.Error(err)
	}
	if ran.Load() {
		t.Error("the canceled update ran")
	}
}

func TestBounds(t *testing.T) {
	t.Run("queue", func(t *testing.T) {
		c := kv.NewCommitter(new(memkv.Store)) // nobody runs it
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range kv.DefaultQueue {
			if err := c.Update(ctx, increment("n")); !fault.Is(err, fault.Canceled) {
				t.Fatal(err)
			}
		}
		if err := c.Update(ctx, increment("n")); !fault.Is(err, fault.Overloaded) {
			t.Errorf("one more than the queue holds: %v", err)
		}
	})
	t.Run("size of one update", func(t *testing.T) {
		s := new(memkv.Store)
		c := run(t, s)
		err := c.Update(t.Context(), func(tx *kv.Tx) error {
			for i := range 1 + s.MaxBatchBytes()/2/kv.MaxValueBytes {
				tx.Set(fmt.Append(nil, i), make([]byte, kv.MaxValueBytes))
			}
			return nil
		})
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%v", err)
		}
	})
	t.Run("size of a group", func(t *testing.T) {
		s := new(memkv.Store)
		c := run(t, s)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if err := c.Update(t.Context(), func(tx *kv.Tx) error {
					tx.Set(fmt.Append(nil, i), make([]byte, kv.MaxValueBytes))
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("after the end", func(t *testing.T) {
		c := kv.NewCommitter(new(memkv.Store))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if err := c.Update(t.Context(), increment("n")); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%v", err)
		}
	})
}

// blind is a store that cannot be read.
type blind struct{ kv.Store }

func (blind) View(func(kv.Reader) error) error { return fault.New(fault.Corrupt, "unreadable") }

func TestAnUnreadableStoreFailsTheUpdateAtOnce(t *testing.T) {
	c := run(t, blind{new(memkv.Store)})
	if err := c.Update(t.Context(), increment("k")); !fault.Is(err, fault.Corrupt) {
		t.Errorf("got %v", err)
	}
}

// small is a store whose commits hold little.
type small struct{ kv.Store }

func (small) MaxBatchBytes() int { return 2000 }

// TestManyUpdates: each has its own outcome, sees those before it, and they
// share a commit.
func TestManyUpdates(t *testing.T) {
	s := newGated()
	c := run(t, s)
	bad := errors.New("bad")
	outcome := make(chan []error)
	go func() {
		outcome <- c.UpdateMany(t.Context(), 5, func(i int, tx *kv.Tx) error {
			if err := increment("n")(tx); err != nil || i != 3 {
				return err
			}
			return bad // undoes its own write only
		})
	}()
	<-s.entered
	s.let <- nil
	for i, err := range <-outcome {
		if want := map[int]error{3: bad}[i]; !errors.Is(err, want) {
			t.Errorf("update %d: %v, want %v", i, err, want)
		}
	}
	if n := number(t, s, "n"); n != 4 {
		t.Errorf("n is %d", n)
	}
	if got := c.Stats().Updates.Load(); got != 5 {
		t.Errorf("%d updates are counted", got)
	}
	if got := c.UpdateMany(t.Context(), 0, nil); len(got) != 0 {
		t.Errorf("of none: %v", got)
	}
}

// TestManyUpdatesOverSeveralCommits: those that do not fit go into the next
// commit, and a commit that fails is the failure of its own updates alone.
func TestManyUpdatesOverSeveralCommits(t *testing.T) {
	s := newGated()
	c := run(t, small{s})
	outcome := make(chan []error)
	const n = 20
	go func() {
		outcome <- c.UpdateMany(t.Context(), n, func(i int, tx *kv.Tx) error {
			tx.Set([]byte("pad"), make([]byte, 300))
			tx.Set(fmt.Append(nil, "key", i), []byte("v"))
			return increment("n")(tx)
		})
	}()
	broken := errors.New("broken")
	commits := 0
	var got []error
	for got == nil {
		select {
		case <-s.entered:
			if commits++; commits == 2 {
				s.let <- broken
			} else {
				s.let <- nil
			}
		case got = <-outcome:
		}
	}
	failed := 0
	for i, err := range got {
		if err != nil && !errors.Is(err, broken) {
			t.Errorf("update %d: %v", i, err)
		}
		there := false
		if err := s.View(func(r kv.Reader) (err error) {
			_, there, err = r.Get(fmt.Append(nil, "key", i))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if there != (err == nil) {
			t.Errorf("update %d: %v, and there: %v", i, err, there)
		}
		if err != nil {
			failed++
		}
	}
	if commits < 3 || failed == 0 || failed == n {
		t.Errorf("%d commits, %d of %d updates failed", commits, failed, n)
	}
	if got := number(t, s, "n"); got != uint64(n-failed) {
		t.Errorf("n is %d after %d failures", got, failed)
	}
}

// TestManyUpdatesThatNobodyWaitsFor: those not begun when the caller goes are
// not run.
func TestManyUpdatesThatNobodyWaitsFor(t *testing.T) {
	s := newGated()
	c := run(t, small{s})
	ctx, cancel := context.WithCancel(t.Context())
	outcome := make(chan []error)
	var ran atomic.Int32
	go func() {
		outcome <- c.UpdateMany(ctx, 20, func(_ int, tx *kv.Tx) error {
			ran.Add(1)
			tx.Set([]byte("pad"), make([]byte, 300))
			return increment("n")(tx)
		})
	}()
	<-s.entered
	blocked := make(chan error)
	go func() { blocked <- c.Update(t.Context(), increment("other")) }()
	for c.Queued() == 0 { // its goroutine is on its way
	}
	cancel()
	s.let <- nil // the first part is done: it had begun
	<-s.entered  // of the other, ahead of the second part
	s.let <- nil
	if err := <-blocked; err != nil {
		t.Error(err)
	}
	begun := int(ran.Load())
	for i, err := range <-outcome {
		if i < begun && err != nil || i >= begun && !fault.Is(err, fault.Canceled) {
			t.Errorf("update %d of %d begun: %v", i, begun, err)
		}
	}
	if n := number(t, s, "n"); begun == 20 || n != uint64(begun) || n != uint64(ran.Load()) {
		t.Errorf("n is %d, %d were begun", n, begun)
	}
}
