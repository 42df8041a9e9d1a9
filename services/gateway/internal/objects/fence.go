package objects

import (
	"context"
	"sync"

	"hangar/shared/object"
)

// fence lets a bucket be shut without losing a write: a write that was let in
// is finished before Quiesce returns, one that comes later sees the bucket as
// it is by then.
type fence struct {
	mu     sync.RWMutex
	inside *sync.WaitGroup // guarded by mu; replaced by each quiesce
	// left is closed when all have left that were inside at the last quiesce,
	// nil before the first. Guarded by mu.
	left chan struct{}
}

func newFence() *fence { return &fence{inside: new(sync.WaitGroup)} }

func (f *fence) enter() (leave func()) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	inside := f.inside
	inside.Add(1)
	return inside.Done
}

// quiesce waits for all that are inside now, those included that an earlier
// quiesce waited for in vain.
func (f *fence) quiesce(ctx context.Context) error {
	left := make(chan struct{})
	f.mu.Lock()
	earlier, before := f.left, f.inside
	f.left, f.inside = left, new(sync.WaitGroup)
	f.mu.Unlock()
	go func() { // ends with the writes, which have deadlines
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

// admit asks, right before rows are written that make content visible, whether
// the bucket still takes any; leave must follow the write.
func (s *Service) admit(b object.BucketID) (leave func(), err error) {
	leave = s.fence.enter()
	if s.cfg.MayWrite != nil {
		if err := s.cfg.MayWrite(b); err != nil {
			leave()
			return nil, err
		}
	}
	return leave, nil
}

// Quiesce returns once every write has ended that was admitted before: what
// MayWrite says from now on holds for all writes still to come.
func (s *Service) Quiesce(ctx context.Context) error { return s.fence.quiesce(ctx) }
