package objects

import (
	"context"

	"hangar/shared/object"
)

// admit asks, right before rows are written that make content visible, whether
// the bucket still takes any; leave must follow the write. A bucket is shut
// without losing a write: see Quiesce.
func (s *Service) admit(b object.BucketID) (leave func(), err error) {
	inside := s.writes.Enter()
	if s.cfg.MayWrite != nil {
		if err := s.cfg.MayWrite(b); err != nil {
			inside.Leave()
			return nil, err
		}
	}
	return inside.Leave, nil
}

// Quiesce returns once every write has ended that was admitted before: what
// MayWrite says from now on holds for all writes still to come.
func (s *Service) Quiesce(ctx context.Context) error { return s.writes.Quiesce(ctx) }
