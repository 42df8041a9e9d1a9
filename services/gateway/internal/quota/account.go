package quota

import (
	"context"
	"sync"
	"time"

	"hangar/shared/object"
)

// account is what a gateway knows of one bucket.
type account struct {
	turn chan struct{} // holds a token while a count is under way

	mu sync.Mutex // guards the rest
	// seen is what the last count found and asked when it began, zero before the
	// first. begun and found number the last count that began and the one that
	// found seen.
	seen         Amount
	asked        time.Time
	begun, found uint64
	// under is what writes under way may add, over what those have that ended:
	// since ever, and before the count of seen began. What ended between may be
	// in seen or not.
	under, over, before Amount
	// ended is closed, and replaced, when a write ends.
	ended chan struct{}
}

// most is the most that may be there by now, without the writes of others.
func (a *account) most() Amount { return a.seen.plus(a.over.minus(a.before)).plus(a.under) }

// take reserves add if all limits are far by a count not from before since.
func (a *account) take(l Limits, add Amount, since time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.found == 0 || a.asked.Before(since) || !l.far(a.most(), add) {
		return false
	}
	a.under = a.under.plus(add)
	return true
}

// takeNear reserves what add grows by, if that is within the limits even when
// nothing that this gateway writes is in the last count. It refuses what does
// not fit into what was counted alone. Between the two the end of other writes
// decides, and the next count: the channel is closed when there may be more to
// know.
func (a *account) takeNear(l Limits, add Amount) (wait <-chan struct{}, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := l.check(a.seen, add); err != nil {
		return nil, err
	}
	if l.check(a.most(), add) == nil {
		a.under = a.under.plus(add.grows())
		return nil, nil
	}
	if a.under == (Amount{}) {
		again := make(chan struct{}) // nothing to wait for but a count
		close(again)
		return again, nil
	}
	return a.ended, nil
}

// end says that a write ended which had reserved add. What it may have left
// counts until a count that began later.
func (a *account) end(add, left Amount) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.under, a.over = a.under.minus(add), a.over.plus(left)
	close(a.ended)
	a.ended = make(chan struct{})
}

// refresh returns once a count is known that began after the call. Of those that
// call it meanwhile one counts for all.
func (a *account) refresh(ctx context.Context, l *Ledger, b object.BucketID) error {
	a.mu.Lock()
	before := a.begun
	a.mu.Unlock()
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	a.mu.Lock()
	if a.found > before {
		a.mu.Unlock()
		return nil
	}
	a.begun++
	number, over, asked := a.begun, a.over, l.now()
	a.mu.Unlock()
	seen, err := l.count(ctx, b)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen, a.before, a.asked, a.found = seen, over, asked, number
	return nil
}
