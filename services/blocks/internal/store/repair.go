package store

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
	"hangar/shared/segment"
)

// wanted is the queue of blocks to be resynchronised, which the index keeps.
type wanted struct {
	// count of all entries, and of those whose last try failed.
	count, failed atomic.Int64
	// wake has a token when something may have become due.
	wake chan struct{}
}

// bad reports whether the copy of a block is known to be no good.
func (s *Store) bad(h object.Hash) bool { return s.unreadable.at(h) != (segment.Location{}) }

// suspect remembers that a copy cannot be read, and has it replaced.
func (s *Store) suspect(ctx context.Context, h object.Hash, at segment.Location) {
	s.unreadable.note(h, at)
	var queued bool
	err := s.index.View(func(r kv.Reader) error {
		w, found, err := index.FindWanted(r, h)
		queued = found && w.Suspect
		return err
	})
	if err == nil && !queued {
		err = s.Want(context.WithoutCancel(ctx), []index.Wanted{{Hash: h, Suspect: true}})
	}
	if err != nil {
		s.opts.Log.LogAttrs(ctx, slog.LevelWarn, "a corrupt block is not queued: the next read tries again", slog.Any("error", err))
	}
}

// Want queues blocks to be resynchronised at once; Due of the entries is
// ignored. Overloaded: the queue is full, and the rest was not queued.
func (s *Store) Want(ctx context.Context, blocks []index.Wanted) error {
	for len(blocks) > 0 {
		n := min(len(blocks), index.MaxChange)
		if s.wanted.count.Load()+int64(n) > s.opts.WantedLimit {
			return fault.New(fault.Overloaded, "%d blocks wait to be resynchronised", s.wanted.count.Load())
		}
		added := 0
		err := s.committer.Update(ctx, func(tx *kv.Tx) error {
			added = 0
			for _, w := range blocks[:n] {
				w.Due = s.now()
				is, err := index.Want(tx, w)
				if err != nil {
					return err
				}
				if is {
					added++
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		s.wanted.count.Add(int64(added))
		s.wakeUp()
		blocks = blocks[n:]
	}
	return nil
}

func (s *Store) wakeUp() {
	select {
	case s.wanted.wake <- struct{}{}:
	default:
	}
}

// Wake has a token when a block may have become wanted.
func (s *Store) Wake() <-chan struct{} { return s.wanted.wake }

// Wanted is how many blocks wait to be resynchronised.
func (s *Store) Wanted() int64 { return s.wanted.count.Load() }

// Failed is how many of them could not be at the last try.
func (s *Store) Failed() int64 { return s.wanted.failed.Load() }

// Due lists up to limit wanted blocks whose time has come, and how long it is
// until that of the next one: zero when there is none.
func (s *Store) Due(limit int) (due []index.Wanted, wait time.Duration, err error) {
	now := s.now()
	err = s.index.View(func(r kv.Reader) error {
		due, wait, err = index.WantedDue(r, now, limit)
		return err
	})
	if wait > 0 {
		wait = max(wait-now, time.Millisecond)
	}
	return due, wait, err
}

// Settle takes a wanted block off the queue.
func (s *Store) Settle(ctx context.Context, w index.Wanted) error {
	dropped := false
	err := s.committer.Update(ctx, func(tx *kv.Tx) (err error) {
		dropped, err = index.Settle(tx, w)
		return err
	})
	if err == nil && dropped {
		s.wanted.count.Add(-1)
		if w.Tries > 0 {
			s.wanted.failed.Add(-1)
		}
	}
	return err
}

// Postpone notes that a try failed, to be repeated after a wait.
func (s *Store) Postpone(ctx context.Context, w index.Wanted, wait time.Duration, why error) error {
	to, now := w, time.Now()
	to.Due, to.LastFailed, to.Error = s.now()+wait, now, why.Error()
	if to.Tries++; to.Tries == 1 {
		to.FirstFailed = now
	}
	replaced := false
	err := s.committer.Update(ctx, func(tx *kv.Tx) (err error) {
		replaced, err = index.Postpone(tx, w, to)
		return err
	})
	if err == nil && replaced && to.Tries == 1 {
		s.wanted.failed.Add(1)
	}
	return err
}

// Failing lists up to limit wanted blocks whose last try failed, after a hash.
func (s *Store) Failing(after object.Hash, limit int) (list []index.Wanted, err error) {
	err = s.index.View(func(r kv.Reader) error {
		list, err = index.WantedAfter(r, after, true, limit)
		return err
	})
	return list, err
}

// Until is how long it is until w is tried again.
func (s *Store) Until(w index.Wanted) time.Duration { return max(w.Due-s.now(), 0) }

// Retry makes wanted blocks due at once.
func (s *Store) Retry(ctx context.Context, blocks []index.Wanted) error {
	for _, w := range blocks {
		to := w
		to.Due = s.now()
		err := s.committer.Update(ctx, func(tx *kv.Tx) error {
			_, err := index.Postpone(tx, w, to)
			return err
		})
		if err != nil {
			return err
		}
	}
	s.wakeUp()
	return nil
}

// Lacking returns those of owners that do not refer to a block here, and
// whether there is a copy that is not known to be bad.
func (s *Store) Lacking(h object.Hash, owners []blockapi.Owner) (lacking []blockapi.Owner, held bool, err error) {
	err = s.index.View(func(r kv.Reader) error {
		if _, held, err = index.FindBlock(r, h); err != nil {
			return err
		}
		for _, o := range owners {
			is, err := index.Refers(r, h, index.IDOf(o))
			if err != nil {
				return err
			}
			if !is {
				lacking = append(lacking, o)
			}
		}
		return nil
	})
	return lacking, held && !s.bad(h), err
}

// Owner reads one owner of a block here, if there is one.
func (s *Store) Owner(h object.Hash) (o blockapi.Owner, found bool, err error) {
	var p blockapi.Page
	err = s.index.View(func(r kv.Reader) error {
		p, err = index.List(r, blockapi.One(h), nil, 0)
		return err
	})
	if err != nil || len(p.Entries) == 0 {
		return o, false, err
	}
	return p.Entries[0].Owners[0], true, nil
}

// Refer makes owners refer to a block that is here: what other nodes have. No
// epoch fences it. It says no when there is no such block.
func (s *Store) Refer(ctx context.Context, h object.Hash, owners []blockapi.Owner) (bool, error) {
	for _, o := range owners {
		missing, err := s.refer(ctx, s.committer.Update, o, []object.Hash{h}, true)
		if err != nil || len(missing) > 0 {
			return false, err
		}
		s.counters.RepairedRefs.Add(1)
	}
	return true, nil
}

// Take stores a block that other nodes have, for an owner, and in place of a
// copy that cannot be read. No epoch fences it. The block was verified.
func (s *Store) Take(ctx context.Context, owner blockapi.Owner, b blockapi.Block) error {
	if err := s.Writable(); err != nil {
		return err
	}
	err := s.write(ctx, s.committer.Update, owner, b, s.unreadable.at(b.Hash))
	if err == nil {
		s.counters.Repaired.Add(1)
	}
	return err
}

// Check reads the copy of a block and holds it against its hash, and notes when
// it is not good: found is false when there is none, or no good one.
func (s *Store) Check(ctx context.Context, h object.Hash) (found bool, err error) {
	_, err = s.Verify(ctx, h)
	switch {
	case fault.Is(err, fault.NotFound), fault.Is(err, fault.Corrupt):
		return false, nil
	}
	return err == nil, err
}

// Mark reads a named value of background work; nil when there is none.
func (s *Store) Mark(name string) (value []byte, err error) {
	err = s.index.View(func(r kv.Reader) error {
		value, _, err = index.Mark(r, name)
		return err
	})
	return value, err
}

// SetMark stores one.
func (s *Store) SetMark(ctx context.Context, name string, value []byte) error {
	return s.committer.Update(ctx, func(tx *kv.Tx) error {
		index.SetMark(tx, name, value)
		return nil
	})
}
