package store

import (
	"context"
	"slices"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// maxPageBytes bounds a page of a listing.
const maxPageBytes = 256 << 10

var _ blockapi.Peer = (*Store)(nil)

// List implements blockapi.Peer.
func (s *Store) List(ctx context.Context, l blockapi.Listing) (p blockapi.Page, err error) {
	if _, err := s.Adopt(ctx, l.Epoch); err != nil {
		return p, err
	}
	if l.Complete && !s.complete(l.Partition, l.Epoch) {
		return p, fault.New(fault.Unavailable, "partition %d is not complete here in epoch %d", l.Partition, l.Epoch)
	}
	err = s.index.View(func(r kv.Reader) error {
		p, err = index.List(r, l.Span, l.After, min(l.Bytes, maxPageBytes))
		return err
	})
	return p, err
}

// complete reports whether the node holds all of a partition, by a ring of at
// least epoch: by an older one it may not know yet that it was away.
func (s *Store) complete(p layout.Partition, epoch uint64) bool {
	s.members.mu.Lock()
	defer s.members.mu.Unlock()
	followed, _ := s.members.followed()
	held, member := s.members.at(p)
	return member && held.Complete && followed >= epoch
}

// Digests implements blockapi.Peer.
func (s *Store) Digests(_ context.Context, p layout.Partition, span blockapi.Span, known blockapi.Digest) (d blockapi.Digests, err error) {
	err = s.index.View(func(r kv.Reader) error {
		d.All, d.Leaves, err = index.Digests(r, span)
		return err
	})
	if d.All.Same(known) {
		d.Leaves = nil
	}
	d.Complete = s.complete(p, 0)
	return d, err
}

// Confirm implements blockapi.Peer.
func (s *Store) Confirm(ctx context.Context, epoch uint64, from object.NodeID, entries []blockapi.Entry) (lacking []int, err error) {
	var want []index.Wanted
	n := 0
	err = s.index.View(func(r kv.Reader) error {
		for _, e := range entries {
			if !s.holdsFor(e.Hash, epoch) {
				return fault.New(fault.Unavailable, "block %s is not at home here in epoch %d", e.Hash, epoch)
			}
			before := len(lacking)
			bad := s.bad(e.Hash)
			for _, o := range e.Owners {
				held, err := index.Refers(r, e.Hash, index.IDOf(o))
				if err != nil {
					return err
				}
				if bad || !held {
					lacking = append(lacking, n)
				}
				n++
			}
			if len(lacking) > before {
				want = append(want, index.Wanted{Hash: e.Hash, From: from, Suspect: bad})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lacking, s.Want(ctx, want)
}

// holdsFor reports whether the node is a member of a block's partition in the
// ring of epoch, at rest.
func (s *Store) holdsFor(h object.Hash, epoch uint64) bool {
	s.members.mu.Lock()
	defer s.members.mu.Unlock()
	followed, rest := s.members.followed()
	if !rest || followed != epoch {
		return false
	}
	_, member := s.members.at(layout.OfHash(h, s.members.ring.Bits))
	return member
}

// giveChange is the most references that are given up in one commit.
const giveChange = 200

// Give drops references that all nodes of the ring of epoch have confirmed, and
// blocks with their last one. It stops (OldEpoch) once a newer epoch was
// adopted: the block may have come home again.
func (s *Store) Give(ctx context.Context, epoch uint64, entries []blockapi.Entry) error {
	type ref struct {
		h hash
		o index.OwnerID
	}
	var refs []ref
	for _, e := range entries {
		for _, o := range e.Owners {
			refs = append(refs, ref{e.Hash, index.IDOf(o)})
		}
	}
	for part := range slices.Chunk(refs, giveChange) {
		err := s.committer.Update(ctx, func(tx *kv.Tx) error {
			for _, r := range part {
				if err := index.DropRef(tx, epoch, r.o, r.h); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ForgetOwners drops the records of owners that refer to nothing here any
// more. One that may be touched without a new time is left to the sweep.
func (s *Store) ForgetOwners(ctx context.Context, owners []blockapi.Owner) error {
	for _, o := range owners {
		id := index.IDOf(o)
		known, found, err := s.gc.owner(id)
		if err != nil {
			return err
		}
		left, err := s.gc.blocks(id)
		if err != nil {
			return err
		}
		if !found || len(left) > 0 || s.now()-known.Touched < s.opts.Grace/10 {
			continue
		}
		err = s.committer.Update(ctx, func(tx *kv.Tx) error {
			_, err := index.ForgetOwner(tx, id, known.Touched)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
