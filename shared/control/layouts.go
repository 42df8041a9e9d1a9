package control

import (
	"cmp"
	"context"
	"slices"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/register"
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
	_, rev, err := upsert(ctx, s, keyStaged, change)
	return rev, err
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

// TakeMetaLows writes down the low marks gathered for a joint epoch of the
// rows' ring; one for each partition. Nothing changes when that epoch has
// them, or is over.
func (s *Store) TakeMetaLows(ctx context.Context, epoch uint64, lows map[layout.Partition]register.Tag) (*Layout, Revision, error) {
	return s.modifyLayout(ctx, func(l *Layout) error { return l.TakeLows(epoch, lows) })
}

// EndRing ends the change of a service's ring that is joint in epoch, and with
// the last ring the change. The caller knows that everything is in place.
// Nothing changes when that epoch is over.
func (s *Store) EndRing(ctx context.Context, service string, epoch uint64) (*Layout, Revision, error) {
	return s.modifyLayout(ctx, func(l *Layout) error { return l.EndRing(service, epoch) })
}

// AbortChange takes the layout version back that is under way. Conflict when
// none is, or another.
func (s *Store) AbortChange(ctx context.Context, version uint64) (*Layout, Revision, error) {
	return s.modifyLayout(ctx, func(l *Layout) error { return l.Abort(version) })
}

// SkipNodes declares nodes dead for the change under way, see Change.Skip.
// check, unless nil, may refuse on the layout as it would be. Conflict when
// that version is not under way.
func (s *Store) SkipNodes(ctx context.Context, version uint64, nodes []object.NodeID, check func(*Layout) error) (*Layout, Revision, error) {
	return s.modifyLayout(ctx, func(l *Layout) error {
		if err := l.Skip(version, nodes); err != nil || check == nil {
			return err
		}
		return check(l)
	})
}

func (s *Store) modifyLayout(ctx context.Context, change func(*Layout) error) (*Layout, Revision, error) {
	return modify(ctx, s, keyLayout, fault.New(fault.Conflict, "there is no layout yet"), change)
}

// sortRoles puts roles into their canonical order.
func sortRoles(roles []Role) {
	slices.SortFunc(roles, func(a, b Role) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), slices.Compare(a.Node[:], b.Node[:]))
	})
}
