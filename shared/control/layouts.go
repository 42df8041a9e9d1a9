package control

import (
	"context"

	"hangar/shared/fault"
)

// Layout reads the layout for a decision; nil when none was ever applied.
func (s *Store) Layout(ctx context.Context) (*Layout, Revision, error) {
	return load[Layout](ctx, s, keyLayout)
}

// Staged reads the staged changes; nil when there are none.
func (s *Store) Staged(ctx context.Context) (*StagedLayout, Revision, error) {
	return load[StagedLayout](ctx, s, keyStaged)
}

// StageLayout applies change to the staged changes, which may be empty.
func (s *Store) StageLayout(ctx context.Context, change func(*StagedLayout) error) (Revision, error) {
	for try := 0; ; try++ {
		staged, rev, err := s.Staged(ctx)
		if err != nil {
			return 0, err
		}
		if staged == nil {
			staged = &StagedLayout{}
		}
		if err := change(staged); err != nil {
			return 0, err
		}
		next, err := s.put(ctx, keyStaged, staged, rev)
		if !fault.Is(err, fault.Conflict) || try == casAttempts {
			return next, err
		}
	}
}

// RevertLayout drops the staged changes.
func (s *Store) RevertLayout(ctx context.Context) (Revision, error) {
	return s.StageLayout(ctx, func(l *StagedLayout) error {
		*l = StagedLayout{}
		return nil
	})
}

// ApplyLayout makes next the layout, if the current one is at revision expect
// (0: there is none), then drops the staged changes if they are those of
// revision staged. A crash between leaves changes staged that are applied
// already: applying them again changes nothing.
func (s *Store) ApplyLayout(ctx context.Context, next Layout, expect, staged Revision) (Revision, error) {
	rev, err := s.put(ctx, keyLayout, next, expect)
	if err != nil {
		return 0, err
	}
	cleared, err := s.put(ctx, keyStaged, StagedLayout{}, staged)
	switch {
	case err == nil:
		return cleared, nil
	case fault.Is(err, fault.Conflict): // staged again meanwhile: keep that
		return rev, nil
	default:
		return rev, err
	}
}
