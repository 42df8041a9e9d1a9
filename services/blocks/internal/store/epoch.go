package store

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"hangar/services/blocks/internal/index"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// commit makes a change durable.
type commit func(ctx context.Context, change func(*kv.Tx) error) error

// epochs is the newest epoch that is durably adopted.
type epochs struct{ newest atomic.Uint64 }

// check refuses what is certainly too old. What it lets pass is decided by
// index.Admit in the change itself.
func (e *epochs) check(epoch uint64) error {
	if now := e.newest.Load(); epoch < now {
		return fault.New(fault.OldEpoch, "epoch %d is older than %d", epoch, now)
	}
	return nil
}

func (e *epochs) raise(to uint64) {
	for now := e.newest.Load(); now < to && !e.newest.CompareAndSwap(now, to); now = e.newest.Load() {
	}
}

// fenced commits changes that were asked for by the ring of epoch: the check
// and the change are one, so nothing of an older epoch becomes durable after a
// newer one was adopted.
func (s *Store) fenced(epoch uint64) commit {
	return func(ctx context.Context, change func(*kv.Tx) error) error {
		err := s.committer.Update(ctx, func(tx *kv.Tx) error {
			if _, err := index.Admit(tx, epoch); err != nil {
				return err
			}
			return change(tx)
		})
		switch {
		case err == nil:
			s.epoch.raise(epoch)
		case fault.Is(err, fault.OldEpoch):
			s.counters.OldEpochs.Add(1)
		}
		return err
	}
}

// Epoch implements blockapi.Node.
func (s *Store) Epoch() uint64 { return s.epoch.newest.Load() }

// Adopt returns the newest epoch adopted once epoch, or a newer one, is so
// durably.
func (s *Store) Adopt(ctx context.Context, epoch uint64) (uint64, error) {
	if s.Epoch() < epoch {
		err := s.fenced(epoch)(ctx, func(*kv.Tx) error { return nil })
		if err != nil && !fault.Is(err, fault.OldEpoch) {
			return 0, err
		}
	}
	return s.Epoch(), nil
}

// members is how the node holds partitions, by the ring that it follows.
type members struct {
	mu   sync.Mutex
	self object.NodeID                         // guarded by mu
	ring *layout.Ring                          // guarded by mu; nil before the first
	held map[layout.Partition]index.Membership // guarded by mu; as the index
}

// load reads what is kept in memory besides the index.
func (s *Store) load(r kv.Reader) error {
	epoch, err := index.Epoch(r)
	if err != nil {
		return err
	}
	s.epoch.raise(epoch)
	if s.members.held, err = index.Memberships(r); err != nil {
		return err
	}
	s.wanted.wake = make(chan struct{}, 1)
	all, failed, err := index.CountWanted(r)
	s.wanted.count.Store(all)
	s.wanted.failed.Store(failed)
	return err
}

// Follow makes ring the one that the node, self, answers by. Partitions that it
// came to hold in another epoch than it remembers are incomplete from then on,
// durably: whatever it holds of them is of use, but it is not all.
func (s *Store) Follow(ctx context.Context, ring *layout.Ring, self object.NodeID) error {
	s.members.mu.Lock()
	defer s.members.mu.Unlock()
	changed := make(map[layout.Partition]index.Membership)
	for i := range len(ring.Assign) {
		p := layout.Partition(i)
		since, member := ring.JoinedAt(p, self)
		was, known := s.members.held[p]
		if !member || known && was.Since == since {
			continue
		}
		// Who is there since the first ring has missed nothing.
		changed[p] = index.Membership{Since: since, Complete: !known && since <= 1}
	}
	if len(changed) > 0 {
		err := s.committer.Update(ctx, func(tx *kv.Tx) error {
			for p, m := range changed {
				index.SetMembership(tx, p, m)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	maps.Copy(s.members.held, changed)
	s.members.ring, s.members.self = ring, self
	return nil
}

// SetComplete remembers that a partition held since an epoch lacks nothing that
// was acknowledged before. It says no when that is not how it is held now.
func (s *Store) SetComplete(ctx context.Context, p layout.Partition, since uint64) (bool, error) {
	s.members.mu.Lock()
	defer s.members.mu.Unlock()
	m := s.members.held[p]
	if m.Since != since {
		return false, nil
	}
	m.Complete = true
	err := s.committer.Update(ctx, func(tx *kv.Tx) error {
		index.SetMembership(tx, p, m)
		return nil
	})
	if err == nil {
		s.members.held[p] = m
	}
	return err == nil, err
}

// Held says since which epoch the node holds a partition by the ring that it
// follows, and whether it is complete; false when it does not.
func (s *Store) Held(p layout.Partition) (index.Membership, bool) {
	s.members.mu.Lock()
	defer s.members.mu.Unlock()
	return s.members.at(p)
}

// at is Held; the caller holds mu.
func (m *members) at(p layout.Partition) (index.Membership, bool) {
	since, member := m.ring.JoinedAt(p, m.self)
	held := m.held[p]
	return held, member && held.Since == since
}

// followed is the epoch of the ring followed, and whether it is at rest.
func (m *members) followed() (epoch uint64, rest bool) {
	if m.ring == nil {
		return 0, false
	}
	return m.ring.Epoch, !m.ring.Joint()
}
