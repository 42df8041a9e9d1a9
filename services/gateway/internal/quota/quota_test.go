package quota

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// bucket is one that several ledgers write to.
type bucket struct {
	mu     sync.Mutex
	holds  Amount // guarded by mu
	counts int    // guarded by mu
	broken error  // guarded by mu: why it cannot be counted
}

func (b *bucket) count(context.Context, object.BucketID) (Amount, error) {
	b.mu.Lock()
	b.counts++
	holds, err := b.holds, b.broken
	b.mu.Unlock()
	time.Sleep(time.Millisecond)
	return holds, err
}

func (b *bucket) add(a Amount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holds = b.holds.plus(a)
}

func (b *bucket) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = err
}

func (b *bucket) counted() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts
}

func limits(objects, bytes int64) Limits { return Limits{Objects: &objects, Bytes: &bytes} }

func adding(l Limits, a Amount) Write {
	return Write{Limits: l, Most: a.grows(), Exact: func(context.Context) (Amount, error) { return a, nil }}
}

// TestNearAndFar: a far limit costs a count a second, a near one is exact.
func TestNearAndFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bucket
		l := NewLedger(b.count, time.Now)
		write := func(lim Limits, a Amount) error {
			done, err := l.Reserve(t.Context(), adding(lim, a))
			if err == nil {
				b.add(a)
				done()
			}
			return err
		}
		far := limits(1<<20, 1<<40)
		for range 1000 {
			if err := write(far, Amount{1, 1000}); err != nil {
				t.Fatal(err)
			}
		}
		if b.counts != 1 {
			t.Errorf("%d counts for writes far from the limit", b.counts)
		}
		time.Sleep(2 * maxAge)
		if err := write(far, Amount{1, 1}); err != nil || b.counts != 2 {
			t.Errorf("%d counts after a while, %v", b.counts, err)
		}
		near := limits(1003, 2_000_000)
		for i := range 2 { // 1003 objects then
			if err := write(near, Amount{1, 1}); err != nil {
				t.Fatal(i, err)
			}
		}
		for _, c := range []struct {
			what string
			add  Amount
			ok   bool
		}{
			{"one object more", Amount{1, 0}, false},
			{"all bytes that are left", Amount{0, 2_000_000 - 1_000_003}, true},
			{"one byte more", Amount{0, 1}, false},
			{"an overwrite by less", Amount{0, -2}, true},
			{"what that left", Amount{0, 2}, true},
		} {
			err := write(near, c.add)
			if c.ok && err != nil || !c.ok && !fault.Is(err, fault.QuotaExceeded) {
				t.Errorf("%s: %v", c.what, err)
			}
		}
		b.add(Amount{-1, 0}) // a delete, by anybody
		if err := write(near, Amount{1, 0}); err != nil {
			t.Errorf("after a delete: %v", err)
		}
	})
}

// TestWithoutCounts: writes go on for a while when the limit is far, and are not
// let in when it is near or was never known to be far.
func TestWithoutCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bucket
		l := NewLedger(b.count, time.Now)
		try := func(lim Limits) error {
			done, err := l.Reserve(t.Context(), adding(lim, Amount{1, 1}))
			if err == nil {
				done()
			}
			return err
		}
		broken := fault.New(fault.Unavailable, "no quorum")
		far, near := limits(1<<20, 1<<40), limits(10, 10)
		b.fail(broken)
		if err := try(far); !errors.Is(err, broken) {
			t.Errorf("never counted: %v", err)
		}
		b.fail(nil)
		if err := try(far); err != nil {
			t.Fatal(err)
		}
		b.fail(broken)
		time.Sleep(maxStale / 2)
		if err := try(far); err != nil {
			t.Errorf("far: %v", err)
		}
		if err := try(near); !errors.Is(err, broken) {
			t.Errorf("near: %v", err)
		}
		time.Sleep(maxStale)
		if err := try(far); !errors.Is(err, broken) {
			t.Errorf("not counted for long: %v", err)
		}
	})
}

// TestOverlap: a write that fits only if another one fails waits for its end.
func TestOverlap(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var b bucket
			l := NewLedger(b.count, time.Now)
			w := adding(limits(1, 1<<40), Amount{1, 1})
			first, err := l.Reserve(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			var second error
			over := make(chan struct{})
			go func() {
				defer close(over)
				_, second = l.Reserve(t.Context(), w)
			}()
			synctest.Wait()
			select {
			case <-over:
				t.Errorf("the second did not wait: %v", second)
			default:
			}
			if !fails {
				b.add(Amount{1, 1})
			}
			first()
			<-over
			if fails && second != nil || !fails && !fault.Is(second, fault.QuotaExceeded) {
				t.Errorf("the first failed: %v; the second: %v", fails, second)
			}
		})
	}
}

// TestUndecided: nobody waits for ever for the end of another write.
func TestUndecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bucket
		l := NewLedger(b.count, time.Now)
		w := adding(limits(1, 1<<40), Amount{1, 1})
		if _, err := l.Reserve(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := l.Reserve(t.Context(), w); !fault.Is(err, fault.Overloaded) || time.Since(began) > patience+time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// TestBound: one gateway alone never passes a limit, and several pass it by no
// more than what the others have under way.
func TestBound(t *testing.T) {
	const writers, limit = 8, 100
	for _, gateways := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			var b bucket
			var all sync.WaitGroup
			for range gateways {
				l := NewLedger(b.count, time.Now)
				for range writers {
					all.Go(func() {
						for {
							done, err := l.Reserve(t.Context(), adding(limits(limit, 1<<40), Amount{1, 1}))
							if fault.Is(err, fault.QuotaExceeded) {
								return
							}
							if err != nil {
								t.Error(err)
								return
							}
							time.Sleep(rand.N(10 * time.Millisecond)) // its way to the replicas
							if rand.N(4) > 0 {
								b.add(Amount{1, 1})
							}
							time.Sleep(rand.N(10 * time.Millisecond))
							done()
						}
					})
				}
			}
			all.Wait()
			over := b.holds.Objects - limit
			if over < 0 || over > int64(writers*(gateways-1)) {
				t.Errorf("%d gateways end with %d objects", gateways, b.holds.Objects)
			}
			t.Logf("%d gateways: %d objects, %d counts", gateways, b.holds.Objects, b.counted())
		})
	}
}
