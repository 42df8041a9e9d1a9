// Package blocktest holds what tests of the block service and its users share:
// an in-memory Store and Node, and the conformance suites of both contracts.
package blocktest

import (
	"context"
	"slices"
	"sync"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/fault"
	"hangar/shared/object"
)

// Store is a blockapi.Store in memory. It keeps everything for ever: released
// owners are only recorded. Safe for concurrent use.
type Store struct {
	mu       sync.Mutex
	plain    map[object.Hash][]byte
	owners   map[object.Hash]map[blockapi.Owner]bool
	released []blockapi.Released
	// fail, when set, decides which calls fail.
	fail func(op string) error
}

var _ blockapi.Store = (*Store)(nil)

// NewStore returns an empty Store.
func NewStore() *Store {
	return &Store{
		plain:  make(map[object.Hash][]byte),
		owners: make(map[object.Hash]map[blockapi.Owner]bool),
	}
}

// FailWith makes each later call ask fail whether to go wrong. op is "put",
// "get" or "reference". Nil stops that.
func (s *Store) FailWith(fail func(op string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

func (s *Store) failing(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.fail != nil {
		return s.fail(op)
	}
	return nil
}

// Put implements blockapi.Store.
func (s *Store) Put(ctx context.Context, owner blockapi.Owner, plain []byte) (object.Hash, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(ctx, "put"); err != nil {
		return object.Hash{}, err
	}
	h := blockcodec.Hash(plain)
	b := blockapi.Block{Hash: h, PlainBytes: int64(len(plain)), Data: plain}
	if err := blockcodec.Check(b); err != nil {
		return object.Hash{}, err
	}
	if _, ok := s.plain[h]; !ok {
		s.plain[h] = slices.Clone(plain)
		s.owners[h] = make(map[blockapi.Owner]bool)
	}
	s.owners[h][owner] = true
	return h, nil
}

// Get implements blockapi.Store.
func (s *Store) Get(ctx context.Context, h object.Hash) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(ctx, "get"); err != nil {
		return nil, err
	}
	plain, ok := s.plain[h]
	if !ok {
		return nil, fault.New(fault.NotFound, "no block %s", h)
	}
	return slices.Clone(plain), nil
}

// Recycle implements blockapi.Store. It spoils the slice, so that a test of a
// caller that still uses it fails.
func (s *Store) Recycle(plain []byte) {
	for i := range plain {
		plain[i] = 0xDB
	}
}

// Reference implements blockapi.Store.
func (s *Store) Reference(ctx context.Context, owner blockapi.Owner, hashes []object.Hash) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failing(ctx, "reference"); err != nil {
		return err
	}
	for _, h := range hashes {
		if _, ok := s.plain[h]; !ok {
			return fault.New(fault.NotFound, "no block %s", h)
		}
	}
	for _, h := range hashes {
		s.owners[h][owner] = true
	}
	return nil
}

// Release implements blockapi.Store.
func (s *Store) Release(_ context.Context, r blockapi.Released) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = append(s.released, r)
}

// Released lists the hints received, in order.
func (s *Store) Released() []blockapi.Released {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.released)
}

// Len is the number of distinct blocks held.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.plain)
}

// Owners lists who refers to a block, in no order.
func (s *Store) Owners(h object.Hash) []blockapi.Owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []blockapi.Owner
	for o := range s.owners[h] {
		all = append(all, o)
	}
	return all
}

// Lose removes a block, as if every replica had lost it.
func (s *Store) Lose(h object.Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.plain, h)
	delete(s.owners, h)
}
