package control

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"
	"unicode/utf8"

	"hangar/shared/fault"
)

// maxLabel bounds names that are for people, in bytes.
const maxLabel = 256

func validLabel(what, name string) error {
	if len(name) > maxLabel || !utf8.ValidString(name) {
		return fault.New(fault.Invalid, "%s has at most %d bytes of UTF-8", what, maxLabel)
	}
	return nil
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails on the platforms Go supports
	return hex.EncodeToString(b)
}

// NewKeyID makes an access key id as Garage does: GK and 24 hex digits.
func NewKeyID() string { return "GK" + randomHex(12) }

// NewSecret makes a secret of 64 hex digits.
func NewSecret() string { return randomHex(32) }

// CreateCluster writes the cluster's record at its birth. When there is one
// already it is returned unchanged: what is fixed stays fixed.
func (s *Store) CreateCluster(ctx context.Context, c Cluster) (Cluster, Revision, error) {
	if c.ID == "" || c.Region == "" || c.ReplicationFactor < 1 || c.PartitionBits < 1 {
		return Cluster{}, 0, fault.New(fault.Invalid, "a cluster needs an id, a region, a replication factor and partition bits")
	}
	if err := c.Consistency.Validate(); err != nil {
		return Cluster{}, 0, err
	}
	for {
		rev, err := create(ctx, s, keyCluster, &c)
		if err == nil || !fault.Is(err, fault.AlreadyExists) {
			return c, rev, err
		}
		have, rev, err := load[Cluster](ctx, s, keyCluster)
		if err != nil || have != nil {
			return valueOf(have), rev, err
		}
	}
}

// SetConsistency changes the cluster's consistency mode. Each process follows
// it from its next operation after its mirror has the revision returned.
func (s *Store) SetConsistency(ctx context.Context, mode Consistency) (Revision, error) {
	if err := mode.Validate(); err != nil {
		return 0, err
	}
	_, rev, err := modify(ctx, s, keyCluster, fault.New(fault.NotFound, "there is no cluster yet"), func(c *Cluster) error {
		c.Consistency = mode
		return nil
	})
	return rev, err
}

func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// CreateKey stores a key that does not exist yet. An empty ID or Secret is
// generated. Use ImportKey for an id that may have existed before.
func (s *Store) CreateKey(ctx context.Context, k Key) (*Key, Revision, error) {
	if k.ID == "" {
		k.ID = NewKeyID()
	}
	if k.Secret == "" {
		k.Secret = NewSecret()
	}
	if k.Created.IsZero() {
		k.Created = time.Now().UTC()
	}
	if err := validKey(&k); err != nil {
		return nil, 0, err
	}
	rev, err := create(ctx, s, keyOfKey(k.ID), &k)
	if fault.Is(err, fault.AlreadyExists) {
		return nil, 0, fault.Wrap(fault.AlreadyExists, ErrKeyExists, "%s", k.ID)
	}
	return &k, rev, err
}

func validKey(k *Key) error {
	if err := ValidKeyID(k.ID); err != nil {
		return err
	}
	if err := validSecret(k.Secret); err != nil {
		return err
	}
	return validLabel("a key's name", k.Name)
}

// ImportKey is CreateKey for an id from elsewhere. If a deleted key had the
// same id, rights it left behind are taken away first; v must be fresh (Sync).
func (s *Store) ImportKey(ctx context.Context, v *View, k Key) (*Key, Revision, error) {
	if err := validKey(&k); err != nil {
		return nil, 0, err
	}
	if v.Key(k.ID) != nil {
		return nil, 0, fault.Wrap(fault.AlreadyExists, ErrKeyExists, "%s", k.ID)
	}
	if err := s.stripKey(ctx, v, k.ID); err != nil {
		return nil, 0, err
	}
	return s.CreateKey(ctx, k)
}

// UpdateKey applies change to a key. The id, secret, creation time and aliases
// are not change's to touch.
func (s *Store) UpdateKey(ctx context.Context, id string, change func(*Key) error) (*Key, Revision, error) {
	if err := ValidKeyID(id); err != nil {
		return nil, 0, NoSuchKey(id)
	}
	return modify(ctx, s, keyOfKey(id), NoSuchKey(id), func(k *Key) error {
		if err := change(k); err != nil {
			return err
		}
		return validKey(k)
	})
}

// NoSuchKey is the error for an access key that does not exist.
func NoSuchKey(id string) error { return fault.Wrap(fault.NotFound, ErrNoSuchKey, "%q", id) }

// Key reads a key's record for a decision.
func (s *Store) Key(ctx context.Context, id string) (*Key, error) {
	if ValidKeyID(id) != nil {
		return nil, NoSuchKey(id)
	}
	k, _, err := load[Key](ctx, s, keyOfKey(id))
	if err == nil && k == nil {
		err = NoSuchKey(id)
	}
	return k, err
}

// DeleteKey removes a key, then its rights on buckets; v must be fresh (Sync).
// From the first write on nobody gets in with it. Should the rest be cut
// short, rights without a key remain, which ImportKey takes away.
func (s *Store) DeleteKey(ctx context.Context, v *View, id string) (Revision, error) {
	if err := ValidKeyID(id); err != nil {
		return 0, NoSuchKey(id)
	}
	k, rev, err := load[Key](ctx, s, keyOfKey(id))
	if err != nil {
		return 0, err
	}
	if k == nil {
		return 0, NoSuchKey(id)
	}
	for k != nil {
		rev, err = s.remove(ctx, keyOfKey(id), rev)
		if err == nil {
			return rev, s.stripKey(ctx, v, id)
		}
		if !fault.Is(err, fault.Conflict) {
			return 0, err
		}
		if k, rev, err = load[Key](ctx, s, keyOfKey(id)); err != nil {
			return 0, err
		}
	}
	return rev, nil
}

// stripKey takes a key's rights on every bucket away.
func (s *Store) stripKey(ctx context.Context, v *View, id string) error {
	for _, b := range v.buckets {
		if _, ok := b.Keys[id]; !ok {
			continue
		}
		_, _, err := modify(ctx, s, keyOfBucket(b.ID), noSuchBucket(b.ID), func(b *Bucket) error {
			if _, ok := b.Keys[id]; !ok {
				return errUnchanged
			}
			delete(b.Keys, id)
			return nil
		})
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}
