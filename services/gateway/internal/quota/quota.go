// Package quota holds a gateway to the limits of buckets. Nobody leads: each
// gateway judges by what the metadata service counts, which it asks for about
// once a second while a limit is far and at each write while it is near, and by
// what its own writes add that this count may not have.
//
// One gateway alone never lets a limit be passed. Several may, by what the
// others have under way at the moment of a count; docs/consistency.md states
// the bound.
package quota

import (
	"context"
	"sync"
	"time"

	"hangar/shared/fault"
	"hangar/shared/lifecycle"
	"hangar/shared/object"
)

const (
	// maxAge is how old a count may be that a write is judged by while the limit
	// is far.
	maxAge = time.Second
	// maxStale is the same while no newer count can be had.
	maxStale = time.Minute
	// patience bounds how long a write waits for counts, and for other writes
	// that may leave it room.
	patience = 5 * time.Second
	// lag is how long a refusal waits for a second count: a replica may be that
	// late with what others had already acknowledged, deletes above all.
	lag = 100 * time.Millisecond
)

// A limit is near when what is left of it is no more than an eighth of it, or
// than this. Until then the other gateways may use up what is left only by
// taking in more than that between two counts.
const (
	nearObjects = 1 << 14
	nearBytes   = 1 << 30
)

// Amount is what a bucket holds, or what a write adds to it.
type Amount struct{ Objects, Bytes int64 }

func (a Amount) plus(b Amount) Amount  { return Amount{a.Objects + b.Objects, a.Bytes + b.Bytes} }
func (a Amount) minus(b Amount) Amount { return Amount{a.Objects - b.Objects, a.Bytes - b.Bytes} }

// grows is a without what is taken away: that is counted once it is gone.
func (a Amount) grows() Amount { return Amount{max(a.Objects, 0), max(a.Bytes, 0)} }

// Limits of a bucket; nil means none.
type Limits struct{ Objects, Bytes *int64 }

// None reports whether nothing is limited.
func (l Limits) None() bool { return l.Objects == nil && l.Bytes == nil }

// check refuses what would pass a limit, on top of what is there. Who adds
// nothing to what is limited may go ahead whatever is there.
func (l Limits) check(there, add Amount) error {
	if l.Objects != nil && add.Objects > 0 && there.Objects+add.Objects > *l.Objects {
		return fault.New(fault.QuotaExceeded, "The bucket's quota of %d objects is reached.", *l.Objects)
	}
	if l.Bytes != nil && add.Bytes > 0 && there.Bytes+add.Bytes > *l.Bytes {
		return fault.New(fault.QuotaExceeded, "The bucket's quota of %d bytes is reached.", *l.Bytes)
	}
	return nil
}

// far reports whether no limit is near even with add on top of what is there.
func (l Limits) far(there, add Amount) bool {
	left := func(limit *int64, used, near int64) bool {
		return limit == nil || *limit-used > max(*limit/8, near)
	}
	sum := there.plus(add)
	return left(l.Objects, sum.Objects, nearObjects) && left(l.Bytes, sum.Bytes, nearBytes)
}

// Count returns what a bucket holds: all writes that had been acknowledged when
// it was called.
type Count func(ctx context.Context, b object.BucketID) (Amount, error)

// Write is a write to be let in.
type Write struct {
	Bucket object.BucketID
	Limits Limits
	// Most is the most that it may add.
	Most Amount
	// Exact returns what it adds, in view of what it replaces. It is only called
	// when a limit is near.
	Exact func(context.Context) (Amount, error)
}

// Ledger keeps account of the buckets that a gateway writes to and that have
// limits. Safe for concurrent use.
type Ledger struct {
	count Count
	now   func() time.Time

	mu       sync.Mutex
	accounts map[object.BucketID]*account // guarded by mu; one for each such bucket
}

// NewLedger returns a Ledger that has nothing counted yet.
func NewLedger(count Count, now func() time.Time) *Ledger {
	return &Ledger{count: count, now: now, accounts: map[object.BucketID]*account{}}
}

// Reserve lets a write in, which must call done when it has ended, however it
// did. Errors: QuotaExceeded; Overloaded when other writes under way left it
// undecided for too long; Unavailable and those of Write.Exact. Nothing is
// reserved then.
func (l *Ledger) Reserve(ctx context.Context, w Write) (done func(), err error) {
	a := l.account(w.Bucket)
	add, err := l.reserve(ctx, a, w)
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { a.end(add, add) }), nil
}

// Foresee refuses a write that Reserve would refuse now. It reserves nothing.
func (l *Ledger) Foresee(ctx context.Context, w Write) error {
	a := l.account(w.Bucket)
	add, err := l.reserve(ctx, a, w)
	if err == nil {
		a.end(add, Amount{})
	}
	return err
}

func (l *Ledger) account(b object.BucketID) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[b]
	if a == nil {
		a = &account{turn: make(chan struct{}, 1), ended: make(chan struct{})}
		l.accounts[b] = a
	}
	return a
}

// reserve returns what it reserved.
func (l *Ledger) reserve(ctx context.Context, a *account, w Write) (Amount, error) {
	if a.take(w.Limits, w.Most, l.now().Add(-maxAge)) {
		return w.Most, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := a.refresh(ctx, l, w.Bucket)
	since := l.now().Add(-maxAge)
	if err != nil {
		since = l.now().Add(-maxStale)
	}
	if a.take(w.Limits, w.Most, since) {
		return w.Most, nil
	}
	if err != nil {
		return Amount{}, err
	}
	for counts := 1; ; counts++ {
		add, err := w.Exact(ctx)
		if err != nil {
			return Amount{}, err
		}
		ended, refused := a.takeNear(w.Limits, add)
		if refused == nil && ended == nil {
			return add.grows(), nil
		}
		if refused != nil && counts > 1 {
			return Amount{}, refused
		}
		if err := pause(ctx, ended); err != nil {
			return Amount{}, err
		}
		if err := a.refresh(ctx, l, w.Bucket); err != nil {
			return Amount{}, err
		}
	}
}

// pause waits for the end of another write or, without one, for replicas that
// may lag.
func pause(ctx context.Context, ended <-chan struct{}) error {
	if ended == nil {
		return lifecycle.Sleep(ctx, lag)
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fault.Wrap(fault.Overloaded, ctx.Err(), "whether the quota has room depends on other writes")
	}
}
