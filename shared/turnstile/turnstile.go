// Package turnstile lets a rule change without losing count of those who were
// let in by the old one: whoever comes in after Quiesce was called sees the new
// rule, and those who came in before have left when it returns.
package turnstile

import (
	"context"
	"sync"
)

// Turnstile counts who is inside. Safe for concurrent use.
type Turnstile struct {
	mu     sync.RWMutex
	inside *sync.WaitGroup // guarded by mu; replaced by each Quiesce
	// left is closed when all have left that were inside at the last Quiesce,
	// nil before the first. Guarded by mu.
	left chan struct{}
}

// New returns a turnstile with nobody inside.
func New() *Turnstile { return &Turnstile{inside: new(sync.WaitGroup)} }

// Pass is the stay of one who is inside.
type Pass struct{ inside *sync.WaitGroup }

// Enter goes in. The rule is to be looked at after it; Leave must follow.
func (t *Turnstile) Enter() Pass {
	t.mu.RLock()
	defer t.mu.RUnlock()
	t.inside.Add(1)
	return Pass{t.inside}
}

// Leave ends the stay. It is called once.
func (p Pass) Leave() { p.inside.Done() }

// Quiesce waits for all that are inside now, those included that an earlier
// Quiesce waited for in vain. Their stays must be bounded. It fails with ctx's
// error.
func (t *Turnstile) Quiesce(ctx context.Context) error {
	left := make(chan struct{})
	t.mu.Lock()
	earlier, before := t.left, t.inside
	t.left, t.inside = left, new(sync.WaitGroup)
	t.mu.Unlock()
	go func() { // ends with the stays
		before.Wait()
		if earlier != nil {
			<-earlier
		}
		close(left)
	}()
	select {
	case <-left:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
