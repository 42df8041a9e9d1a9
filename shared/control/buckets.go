package control

import (
	"context"
	"errors"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// NoSuchBucket is the error for a bucket, by id or name, that does not exist.
func NoSuchBucket(name string) error { return fault.Wrap(fault.NotFound, ErrNoSuchBucket, "%s", name) }

func noSuchBucket(id object.BucketID) error { return NoSuchBucket(id.String()) }

// NewBucket is a bucket to create.
type NewBucket struct {
	// Name is its global alias; empty makes a bucket without one.
	Name string
	// Keys and what each may do.
	Keys map[string]Permission
}

// CreateBucket makes a bucket, visible under its name from its first moment.
//
// Order: the name is reserved by an alias record, then the bucket's record
// makes both visible. A crash between leaves an alias of nothing, which nobody
// sees and which the next creator of that name completes under the same id, so
// that of several creators exactly one succeeds. An id that any bucket ever had
// is never given again: rows may be left under it. AlreadyExists: the name is
// taken.
func (s *Store) CreateBucket(ctx context.Context, in NewBucket) (*Bucket, Revision, error) {
	b := &Bucket{ID: object.NewBucketID(), Created: time.Now().UTC(), Keys: in.Keys}
	if in.Name != "" {
		if err := ValidBucketName(in.Name); err != nil {
			return nil, 0, err
		}
		id, err := s.reserve(ctx, in.Name, b.ID)
		if err != nil {
			return nil, 0, err
		}
		b.ID = id
	}
	rev, err := s.put(ctx, keyOfBucket(b.ID), b, 0)
	if fault.Is(err, fault.Conflict) {
		return nil, 0, nameTaken(in.Name)
	}
	if err != nil || in.Name == "" {
		return b, rev, err
	}
	// AddAlias may have taken a reservation for an alias of nothing.
	if a, _, err := load[Alias](ctx, s, keyOfAlias(in.Name)); err != nil {
		return nil, 0, fault.Wrap(fault.Indeterminate, err, "create bucket %q", in.Name)
	} else if a == nil || a.Bucket != b.ID {
		if _, err := s.remove(ctx, keyOfBucket(b.ID), rev); err != nil {
			return nil, 0, fault.Wrap(fault.Indeterminate, err, "create bucket %q", in.Name)
		}
		return nil, 0, nameTaken(in.Name)
	}
	return b, rev, nil
}

func nameTaken(name string) error {
	return fault.Wrap(fault.AlreadyExists, ErrNameTaken, "%q", name)
}

// reserve makes name an alias of id, or returns the id that it is already
// reserved for.
func (s *Store) reserve(ctx context.Context, name string, id object.BucketID) (object.BucketID, error) {
	for try := 0; ; try++ {
		a, rev, err := load[Alias](ctx, s, keyOfAlias(name))
		if err != nil {
			return id, err
		}
		if a != nil {
			b, was, err := load[Bucket](ctx, s, keyOfBucket(a.Bucket))
			switch {
			case err != nil:
				return id, err
			case b == nil && was == 0:
				return a.Bucket, nil
			case b != nil && b.State != BucketDeleted:
				return id, nameTaken(name)
			}
		}
		_, err = s.put(ctx, keyOfAlias(name), Alias{Bucket: id}, rev)
		if !fault.Is(err, fault.Conflict) || try == casAttempts {
			return id, err
		}
	}
}

// Bucket reads a bucket's record for a decision. NotFound also when it is
// deleted.
func (s *Store) Bucket(ctx context.Context, id object.BucketID) (*Bucket, Revision, error) {
	b, rev, err := load[Bucket](ctx, s, keyOfBucket(id))
	if err == nil && (b == nil || b.State == BucketDeleted) {
		return nil, 0, noSuchBucket(id)
	}
	return b, rev, err
}

// UpdateBucket applies change to a bucket that is not deleted.
func (s *Store) UpdateBucket(ctx context.Context, id object.BucketID, change func(*Bucket) error) (*Bucket, Revision, error) {
	return modify(ctx, s, keyOfBucket(id), noSuchBucket(id), func(b *Bucket) error {
		if b.State == BucketDeleted {
			return noSuchBucket(id)
		}
		return change(b)
	})
}

// Allow gives a key rights on a bucket, in addition to those it has.
func (s *Store) Allow(ctx context.Context, id object.BucketID, keyID string, p Permission) (Revision, error) {
	if _, err := s.Key(ctx, keyID); err != nil {
		return 0, err
	}
	rev, err := s.permit(ctx, id, keyID, func(have Permission) Permission { return have.With(p) })
	if err != nil {
		return 0, err
	}
	// A deletion of the key that ran meanwhile may have missed this bucket.
	switch _, err := s.Key(ctx, keyID); {
	case errors.Is(err, ErrNoSuchKey):
		if _, e := s.permit(ctx, id, keyID, func(Permission) Permission { return Permission{} }); e != nil {
			return 0, e
		}
		return 0, err
	case err != nil:
		return 0, fault.Wrap(fault.Indeterminate, err, "allow %s on %s", keyID, id)
	}
	return rev, nil
}

// Deny takes rights on a bucket from a key.
func (s *Store) Deny(ctx context.Context, id object.BucketID, keyID string, p Permission) (Revision, error) {
	return s.permit(ctx, id, keyID, func(have Permission) Permission { return have.Without(p) })
}

func (s *Store) permit(ctx context.Context, id object.BucketID, keyID string, change func(Permission) Permission) (Revision, error) {
	_, rev, err := s.UpdateBucket(ctx, id, func(b *Bucket) error {
		was, had := b.Keys[keyID]
		next := change(was)
		switch {
		case next == Permission{} && !had, had && next == was:
			return errUnchanged
		case next == Permission{}:
			delete(b.Keys, keyID)
			return nil
		case b.Keys == nil:
			b.Keys = map[string]Permission{}
		}
		b.Keys[keyID] = next
		return nil
	})
	return rev, err
}

// AddAlias gives a bucket one more global name. AlreadyExists: another bucket
// has it.
func (s *Store) AddAlias(ctx context.Context, id object.BucketID, name string) (Revision, error) {
	if err := ValidBucketName(name); err != nil {
		return 0, err
	}
	for try := 0; ; try++ {
		if _, _, err := s.Bucket(ctx, id); err != nil {
			return 0, err
		}
		a, rev, err := load[Alias](ctx, s, keyOfAlias(name))
		if err != nil {
			return 0, err
		}
		if a != nil && a.Bucket == id {
			return rev, nil
		}
		if a != nil {
			if _, _, err := s.Bucket(ctx, a.Bucket); err == nil {
				return 0, nameTaken(name)
			} else if !fault.Is(err, fault.NotFound) {
				return 0, err
			}
		}
		rev, err = s.put(ctx, keyOfAlias(name), Alias{Bucket: id}, rev)
		if err == nil {
			return rev, s.keepAlias(ctx, id, name, rev)
		}
		if !fault.Is(err, fault.Conflict) || try == casAttempts {
			return 0, err
		}
	}
}

// keepAlias takes a new alias back if the bucket was deleted meanwhile: the
// deletion may have missed it.
func (s *Store) keepAlias(ctx context.Context, id object.BucketID, name string, rev Revision) error {
	_, _, gone := s.Bucket(ctx, id)
	if !fault.Is(gone, fault.NotFound) {
		return gone
	}
	if _, err := s.remove(ctx, keyOfAlias(name), rev); err != nil && !fault.Is(err, fault.Conflict) {
		return err
	}
	return gone
}

// RemoveAlias takes a global name from a bucket. NotFound: it has no such name.
func (s *Store) RemoveAlias(ctx context.Context, id object.BucketID, name string) (Revision, error) {
	if err := ValidBucketName(name); err != nil {
		return 0, err
	}
	for try := 0; ; try++ {
		a, rev, err := load[Alias](ctx, s, keyOfAlias(name))
		if err != nil {
			return 0, err
		}
		if a == nil || a.Bucket != id {
			return 0, fault.New(fault.NotFound, "bucket %s has no global alias %q", id, name)
		}
		rev, err = s.remove(ctx, keyOfAlias(name), rev)
		if !fault.Is(err, fault.Conflict) || try == casAttempts {
			return rev, err
		}
	}
}

// AddLocalAlias gives a bucket a name that only one key knows.
func (s *Store) AddLocalAlias(ctx context.Context, id object.BucketID, keyID, name string) (Revision, error) {
	if err := ValidBucketName(name); err != nil {
		return 0, err
	}
	if _, _, err := s.Bucket(ctx, id); err != nil {
		return 0, err
	}
	_, rev, err := s.UpdateKey(ctx, keyID, func(k *Key) error {
		have, ok := k.Aliases[name]
		if ok && have == id {
			return errUnchanged
		}
		if ok {
			if _, _, err := s.Bucket(ctx, have); err == nil {
				return nameTaken(name)
			} else if !fault.Is(err, fault.NotFound) {
				return err
			}
		}
		if k.Aliases == nil {
			k.Aliases = map[string]object.BucketID{}
		}
		k.Aliases[name] = id
		return nil
	})
	return rev, err
}

// RemoveLocalAlias takes a key's own name for a bucket away.
func (s *Store) RemoveLocalAlias(ctx context.Context, id object.BucketID, keyID, name string) (Revision, error) {
	_, rev, err := s.UpdateKey(ctx, keyID, func(k *Key) error {
		if have, ok := k.Aliases[name]; !ok || have != id {
			return fault.New(fault.NotFound, "key %s has no alias %q of bucket %s", keyID, name, id)
		}
		delete(k.Aliases, name)
		return nil
	})
	return rev, err
}
