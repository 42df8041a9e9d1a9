package store

import (
	"context"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
)

// Blocks lists up to limit blocks in the order of hashes that come after a hash,
// the zero hash: from the first.
func (s *Store) Blocks(after object.Hash, limit int) (hashes []object.Hash, err error) {
	err = s.index.View(func(r kv.Reader) error {
		hashes, err = index.BlocksAfter(r, after, limit)
		return err
	})
	return hashes, err
}

// Recounted says what a recount of a leaf corrected.
type Recounted struct {
	// Digest says that the digest was wrong; Blocks is how many blocks had a
	// wrong count of references.
	Digest bool
	Blocks int64
	// Placeless counts references to blocks that have no place here; nothing is
	// done about them.
	Placeless int64
}

// NextLeaf is the first leaf from one on of which the index holds anything.
func (s *Store) NextLeaf(from blockapi.Leaf) (next blockapi.Leaf, found bool, err error) {
	err = s.index.View(func(r kv.Reader) error {
		next, found, err = index.NextLeaf(r, from)
		return err
	})
	return next, found, err
}

// recounts is how often a leaf is counted that changes meanwhile.
const recounts = 20

// Recount computes the digest of a leaf and its blocks' counts of references
// from the references, and corrects what differs; that is durable when it
// returns. Errors: Conflict when the leaf changes again and again.
func (s *Store) Recount(ctx context.Context, leaf blockapi.Leaf) (Recounted, error) {
	for range recounts {
		var c index.Recount
		err := s.index.View(func(r kv.Reader) (err error) {
			c, err = index.CountAgain(r, leaf)
			return err
		})
		was := Recounted{Digest: c.Stored != c.Counted, Blocks: int64(len(c.Wrong)), Placeless: c.Placeless}
		if err != nil || c.Right() {
			return was, err
		}
		done := false
		err = s.committer.Update(ctx, func(tx *kv.Tx) (err error) {
			done, err = index.Correct(tx, c)
			return err
		})
		if err != nil || done {
			return was, err
		}
	}
	return Recounted{}, fault.New(fault.Conflict, "leaf %x is changed all the time", uint16(leaf))
}

// Unwant takes up to limit wanted blocks that come after a hash off the queue,
// and returns the last and how many they were.
func (s *Store) Unwant(ctx context.Context, after object.Hash, limit int) (last object.Hash, n int, err error) {
	var list []index.Wanted
	err = s.index.View(func(r kv.Reader) error {
		list, err = index.WantedAfter(r, after, false, limit)
		return err
	})
	for _, w := range list {
		if err == nil {
			err = s.Settle(ctx, w)
		}
		last = w.Hash
	}
	return last, len(list), err
}

// Found is what the index knows of a block.
type Found struct {
	Present     bool
	StoredBytes int64
	References  int64
	// Owners are some of those that refer to it.
	Owners []blockapi.Owner
}

// Describe says what is known of a block, with up to owners of its owners. A
// block that is known to be bad is not present.
func (s *Store) Describe(h object.Hash, owners int) (f Found, err error) {
	err = s.index.View(func(r kv.Reader) error {
		b, found, err := index.FindBlock(r, h)
		if err != nil || !found {
			return err
		}
		f.Present, f.StoredBytes, f.References = !s.bad(h), b.StoredBytes, int64(b.Refs)
		ids, err := index.OwnersOf(r, h, owners)
		if err != nil {
			return err
		}
		for _, id := range ids {
			o, known, err := index.FindOwner(r, id)
			if err != nil {
				return err
			}
			if known {
				f.Owners = append(f.Owners, o.Owner)
			}
		}
		return nil
	})
	return f, err
}
