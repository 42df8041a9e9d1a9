package control

import (
	"context"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// Deleting a bucket takes three steps, each of which leaves something that
// anybody can carry on from after a crash:
//
//  1. MarkDeleting: the bucket refuses writes. Once every gateway knows, look
//     whether it is empty. Unmark takes the mark back.
//  2. Condemn, at the revision of the mark: final. No View shows the bucket.
//     It fails with Conflict when the mark was taken back meanwhile.
//  3. Clear: names first, the record last, so that a name never points to a
//     bucket that is gone.

// MarkDeleting begins a deletion. Conflict: one is under way.
func (s *Store) MarkDeleting(ctx context.Context, id object.BucketID, now time.Time) (Revision, error) {
	_, rev, err := s.UpdateBucket(ctx, id, func(b *Bucket) error {
		if b.State == BucketDeleting {
			return fault.New(fault.Conflict, "bucket %s is being deleted", id)
		}
		b.State, b.StateSince = BucketDeleting, now.UTC()
		return nil
	})
	return rev, err
}

// Unmark ends a deletion with nothing deleted, if the bucket's record is still
// at mark. Conflict: it is not.
func (s *Store) Unmark(ctx context.Context, id object.BucketID, mark Revision, now time.Time) (Revision, error) {
	return s.leaveDeleting(ctx, id, mark, BucketActive, now)
}

// Condemn makes a deletion final, if the bucket's record is still at mark.
func (s *Store) Condemn(ctx context.Context, id object.BucketID, mark Revision, now time.Time) (Revision, error) {
	return s.leaveDeleting(ctx, id, mark, BucketDeleted, now)
}

func (s *Store) leaveDeleting(ctx context.Context, id object.BucketID, mark Revision, to BucketState, now time.Time) (Revision, error) {
	b, rev, err := s.Bucket(ctx, id)
	if err != nil {
		return 0, err
	}
	if b.State != BucketDeleting || rev != mark {
		return 0, fault.New(fault.Conflict, "bucket %s was changed while it was being deleted", id)
	}
	b.State, b.StateSince = to, now.UTC()
	return s.put(ctx, keyOfBucket(id), b, mark)
}

// Clear removes what is left of a condemned bucket; v must show it as deleted.
func (s *Store) Clear(ctx context.Context, v *View, id object.BucketID) (Revision, error) {
	if v.deleted[id] == nil {
		return 0, fault.New(fault.Invalid, "bucket %s is not condemned", id)
	}
	for name, of := range v.aliases {
		if of != id {
			continue
		}
		if _, err := s.RemoveAlias(ctx, id, name); err != nil && !fault.Is(err, fault.NotFound) {
			return 0, err
		}
	}
	for _, k := range v.keys {
		for name, of := range k.Aliases {
			if of != id {
				continue
			}
			if _, err := s.RemoveLocalAlias(ctx, id, k.ID, name); err != nil && !fault.Is(err, fault.NotFound) {
				return 0, err
			}
		}
	}
	b, rev, err := load[Bucket](ctx, s, keyOfBucket(id))
	if err != nil || b == nil {
		return rev, err
	}
	next, err := s.remove(ctx, keyOfBucket(id), rev)
	if fault.Is(err, fault.Conflict) {
		return rev, nil // somebody else clears it: a condemned record changes no more
	}
	return next, err
}
