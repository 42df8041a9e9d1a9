package control

import (
	"context"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// Dangling lists the global names of buckets that are not there: what a
// creation that was cut short left behind. Nobody sees them, and the next
// creator of that name takes it over; a creation under way has one for a moment.
func (v *View) Dangling() map[string]object.BucketID {
	out := map[string]object.BucketID{}
	for name, id := range v.aliases {
		if v.buckets[id] == nil && v.deleted[id] == nil {
			out[name] = id
		}
	}
	return out
}

// DropDangling removes a global name that still belongs to a bucket that is not
// there. It reports whether it did. Should the bucket come to be at that very
// moment, its name is given back.
func (s *Store) DropDangling(ctx context.Context, name string, id object.BucketID) (dropped bool, err error) {
	a, rev, err := load[Alias](ctx, s, keyOfAlias(name))
	if err != nil || a == nil || a.Bucket != id {
		return false, err
	}
	if _, _, err := s.Bucket(ctx, id); !fault.Is(err, fault.NotFound) {
		return false, err
	}
	if _, err := s.remove(ctx, keyOfAlias(name), rev); err != nil {
		if fault.Is(err, fault.Conflict) {
			return false, nil
		}
		return false, err
	}
	switch _, _, err := s.Bucket(ctx, id); {
	case fault.Is(err, fault.NotFound):
		return true, nil
	case err != nil:
		return true, err
	}
	_, err = s.AddAlias(ctx, id, name)
	return false, err
}

// TidyKeys takes away what names nothing: rights of keys that were deleted, and
// keys' own names of buckets that are not there. v must be fresh (Sync). It
// returns how many records it changed.
func (s *Store) TidyKeys(ctx context.Context, v *View) (changed int, err error) {
	orphans := map[string]bool{}
	for _, b := range v.buckets {
		for id := range b.Keys {
			if v.keys[id] == nil {
				orphans[id] = true
			}
		}
	}
	for id := range orphans {
		switch _, err := s.Key(ctx, id); {
		case err == nil:
			continue // made meanwhile
		case !fault.Is(err, fault.NotFound):
			return changed, err
		}
		if err := s.stripKey(ctx, v, id); err != nil {
			return changed, err
		}
		changed++
	}
	for _, k := range v.Keys() {
		n, err := s.tidyAliases(ctx, v, k)
		changed += n
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

func (s *Store) tidyAliases(ctx context.Context, v *View, k *Key) (changed int, err error) {
	for name, id := range k.Aliases {
		if v.buckets[id] != nil {
			continue
		}
		// Ids are never given twice, so a bucket that is gone stays gone.
		if _, _, err := s.Bucket(ctx, id); !fault.Is(err, fault.NotFound) {
			if err != nil {
				return changed, err
			}
			continue
		}
		if _, err := s.RemoveLocalAlias(ctx, id, k.ID, name); err != nil && !fault.Is(err, fault.NotFound) {
			return changed, err
		}
		changed++
	}
	return changed, nil
}
