package control

import (
	"log/slog"
	"maps"
	"sync"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// entry is a record as stored.
type entry struct {
	value  []byte
	rev    Revision
	marker bool // a delete marker
}

// state folds the stream's messages into maps. It is not safe for concurrent
// use; Mirror.mu guards it.
type state struct {
	log      *slog.Logger
	revision Revision
	access   Revision // see View.Access
	raw      map[string]entry

	cluster Cluster
	layout  *Layout
	staged  *StagedLayout
	history *History
	lease   *Lease
	keys    tracked[string, Key]
	buckets tracked[object.BucketID, Bucket] // with deleted ones
	aliases map[string]object.BucketID
	tokens  tracked[string, Token]
	// aliasesDirty as tracked.dirty.
	aliasesDirty bool
}

// tracked is a map that knows whether a View holds an older copy of it.
type tracked[K comparable, V any] struct {
	m     map[K]*V
	dirty bool
}

func (t *tracked[K, V]) set(k K, v *V) {
	t.dirty = true
	if v == nil {
		delete(t.m, k)
	} else {
		t.m[k] = v
	}
}

func newState(log *slog.Logger) *state {
	return &state{
		log:     log,
		raw:     map[string]entry{},
		keys:    tracked[string, Key]{m: map[string]*Key{}},
		buckets: tracked[object.BucketID, Bucket]{m: map[object.BucketID]*Bucket{}},
		aliases: map[string]object.BucketID{},
		tokens:  tracked[string, Token]{m: map[string]*Token{}},
	}
}

func (s *state) touchAll() {
	s.keys.dirty, s.buckets.dirty, s.tokens.dirty, s.aliasesDirty = true, true, true, true
}

// apply folds one message in. Repeated and older messages change nothing.
func (s *state) apply(key string, value []byte, marker bool, rev Revision) {
	if rev <= s.raw[key].rev {
		return
	}
	s.raw[key] = entry{value: value, rev: rev, marker: marker}
	s.revision = max(s.revision, rev)
	if decidesAccess(key) {
		s.access = max(s.access, rev)
	}
	if err := s.fold(key, value, marker); err != nil {
		// The record counts as absent: nobody gets in and nothing is placed by
		// a record that this process cannot read in full.
		s.log.Error("control record refused", "key", key, "revision", rev, "error", err)
	}
}

func (s *state) fold(key string, value []byte, marker bool) (err error) {
	kind, name := kindAndName(key)
	switch kind {
	case keyCluster:
		c, err := decodeUnless[Cluster](marker, value)
		s.cluster = Cluster{}
		if c != nil {
			s.cluster = *c
		}
		return err
	case keyLayout:
		s.layout, err = decodeUnless[Layout](marker, value)
	case keyStaged:
		s.staged, err = decodeUnless[StagedLayout](marker, value)
	case keyHistory:
		s.history, err = decodeUnless[History](marker, value)
	case keyLease:
		s.lease, err = decodeUnless[Lease](marker, value)
	case "key":
		k, err := decodeUnless[Key](marker, value)
		if k != nil && (k.ID != name || k.Secret == "") {
			k, err = nil, fault.New(fault.Corrupt, "key record without its id or secret")
		}
		s.keys.set(name, k)
		return err
	case "bucket":
		id, err := object.ParseBucketID(name)
		if err != nil {
			return fault.Wrap(fault.Corrupt, err, "bucket record")
		}
		b, err := decodeUnless[Bucket](marker, value)
		if b != nil && b.ID != id {
			b, err = nil, fault.New(fault.Corrupt, "bucket record of another id")
		}
		s.buckets.set(id, b)
		return err
	case "alias":
		a, err := decodeUnless[Alias](marker, value)
		s.aliasesDirty = true
		delete(s.aliases, name)
		if a != nil {
			s.aliases[name] = a.Bucket
		}
		return err
	case "token":
		t, err := decodeUnless[Token](marker, value)
		if t != nil && t.ID != name {
			t, err = nil, fault.New(fault.Corrupt, "token record of another id")
		}
		s.tokens.set(name, t)
		return err
	}
	return err // records of kinds yet unknown are kept in raw and not looked at
}

func decodeUnless[T any](marker bool, value []byte) (*T, error) {
	if marker {
		return nil, nil
	}
	return decodeRecord[T](value)
}

// snapshot makes a View, sharing with old whatever did not change since.
func (s *state) snapshot(old *View) *View {
	v := &View{
		Revision: s.revision, Access: s.access, Cluster: s.cluster, Layout: s.layout, Staged: s.staged,
		History: s.history, Lease: s.lease,
		keys: old.keys, tokens: old.tokens, aliases: old.aliases,
		buckets: old.buckets, deleted: old.deleted,
	}
	if s.keys.dirty {
		v.keys = maps.Clone(s.keys.m)
	}
	if s.tokens.dirty {
		v.tokens = maps.Clone(s.tokens.m)
	}
	if s.aliasesDirty {
		v.aliases = maps.Clone(s.aliases)
	}
	if s.buckets.dirty {
		v.buckets, v.deleted = maps.Clone(s.buckets.m), map[object.BucketID]*Bucket{}
		for id, b := range v.buckets {
			if b.State == BucketDeleted {
				v.deleted[id] = b
				delete(v.buckets, id)
			}
		}
	}
	s.keys.dirty, s.tokens.dirty, s.buckets.dirty, s.aliasesDirty = false, false, false, false
	v.index = sync.OnceValue(v.buildIndex)
	return v
}
