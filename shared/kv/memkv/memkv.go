// Package memkv is a kv.Store in memory, for tests and simulations. A copy of
// the ordered keys is made per commit: it is for small stores.
package memkv

import (
	"slices"
	"sort"
	"strings"
	"sync"

	"hangar/shared/fault"
	"hangar/shared/kv"
)

// maxBatchBytes is that of the store on disk with its smallest memory table.
const maxBatchBytes = 2 << 20

// Store is an in-memory kv.Store. The zero Store is empty and ready.
type Store struct {
	writer sync.Mutex // held by the one Commit at work
	mu     sync.Mutex // guards snap
	snap   snapshot
}

var _ kv.Store = (*Store)(nil)

// snapshot is immutable: pairs ascending by key.
type snapshot []pair

type pair struct {
	key   string
	value []byte
}

func (s *Store) snapshot() snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snap
}

// View implements kv.Store.
func (s *Store) View(read func(kv.Reader) error) error { return read(s.snapshot()) }

// Commit implements kv.Store.
func (s *Store) Commit(b *kv.Batch) error {
	if b.Bytes() > maxBatchBytes {
		return fault.New(fault.Invalid, "batch of %d bytes is larger than %d", b.Bytes(), maxBatchBytes)
	}
	changes := make(map[string]kv.Op, len(b.Ops()))
	for _, op := range b.Ops() {
		if err := op.Check(); err != nil {
			return err
		}
		changes[string(op.Key)] = op
	}
	s.writer.Lock()
	defer s.writer.Unlock()
	old := s.snapshot()
	next := make(snapshot, 0, len(old)+len(changes))
	for _, p := range old {
		if _, changed := changes[p.key]; !changed {
			next = append(next, p)
		}
	}
	for key, op := range changes {
		if !op.Delete {
			next = append(next, pair{key, slices.Clone(op.Value)})
		}
	}
	sort.Slice(next, func(i, j int) bool { return next[i].key < next[j].key })
	s.mu.Lock()
	s.snap = next
	s.mu.Unlock()
	return nil
}

// MaxBatchBytes implements kv.Store.
func (s *Store) MaxBatchBytes() int { return maxBatchBytes }

// Writable implements kv.Store.
func (s *Store) Writable() error { return nil }

// DiskBytes implements kv.Store.
func (s *Store) DiskBytes() (n int64) {
	for _, p := range s.snapshot() {
		n += int64(len(p.key) + len(p.value))
	}
	return n
}

// Close implements kv.Store.
func (s *Store) Close() error { return nil }

// search is the position of the first key at or after key.
func (s snapshot) search(key string) int {
	return sort.Search(len(s), func(i int) bool { return s[i].key >= key })
}

func (s snapshot) Get(key []byte) ([]byte, bool, error) {
	if i := s.search(string(key)); i < len(s) && s[i].key == string(key) {
		return s[i].value, true, nil
	}
	return nil, false, nil
}

func (s snapshot) Iterate(prefix []byte) kv.Iterator {
	return &iterator{snap: s, prefix: string(prefix), at: s.search(string(prefix)) - 1}
}

type iterator struct {
	snap   snapshot
	prefix string
	at     int
}

func (i *iterator) valid() bool {
	return i.at < len(i.snap) && strings.HasPrefix(i.snap[i.at].key, i.prefix)
}

func (i *iterator) Next() bool {
	if i.at < len(i.snap) {
		i.at++
	}
	return i.valid()
}

func (i *iterator) Seek(key []byte) bool {
	i.at = i.snap.search(max(string(key), i.prefix))
	return i.valid()
}

func (i *iterator) Key() []byte            { return []byte(i.snap[i.at].key) }
func (i *iterator) Value() ([]byte, error) { return i.snap[i.at].value, nil }
func (i *iterator) Err() error             { return nil }
func (i *iterator) Close()                 {}

// IterateReverse implements kv.Reader.
func (s snapshot) IterateReverse(prefix []byte) kv.Iterator {
	i := &reverse{snap: s, prefix: string(prefix)}
	i.end = i.first() + sort.Search(len(s)-i.first(), func(n int) bool {
		return !strings.HasPrefix(s[i.first()+n].key, i.prefix)
	})
	i.at = i.end
	return i
}

// reverse is a walk from the last key of a prefix to the first. It stands
// behind position at-1 before it has begun.
type reverse struct {
	snap    snapshot
	prefix  string
	at, end int // end is the position behind the last key with the prefix
}

func (i *reverse) first() int  { return i.snap.search(i.prefix) }
func (i *reverse) valid() bool { return i.at >= i.first() && i.at < i.end }

func (i *reverse) Next() bool {
	i.at = max(i.at-1, -1)
	return i.valid()
}

func (i *reverse) Seek(key []byte) bool {
	i.at = min(i.snap.search(string(key)+"\x00"), i.end) - 1
	return i.valid()
}

func (i *reverse) Key() []byte            { return []byte(i.snap[i.at].key) }
func (i *reverse) Value() ([]byte, error) { return i.snap[i.at].value, nil }
func (i *reverse) Err() error             { return nil }
func (i *reverse) Close()                 {}
