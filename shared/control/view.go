package control

import (
	"cmp"
	"slices"
	"sync"

	"hangar/shared/object"
)

// View is an immutable picture of the control state at one revision. All its
// methods are safe for concurrent use and never wait for the network. The
// records it returns are shared: callers must not change them.
type View struct {
	Revision Revision
	// Access is the revision of the last change of what decides who may do what:
	// keys, buckets, aliases. A deletion is one. Never above Revision.
	Access Revision
	// Cluster is zero before the cluster was created.
	Cluster Cluster
	// Layout, Staged, History and Lease are nil when there is none.
	Layout  *Layout
	Staged  *StagedLayout
	History *History
	Lease   *Lease

	keys    map[string]*Key
	buckets map[object.BucketID]*Bucket // without deleted ones
	aliases map[string]object.BucketID  // may name a bucket that is not there
	tokens  map[string]*Token
	deleted map[object.BucketID]*Bucket // decided, not yet cleared away

	// index is built by the first caller that needs it: listings are rare and
	// changes must stay cheap.
	index func() *index
}

// index answers the questions that the maps do not.
type index struct {
	names map[object.BucketID][]string // global aliases, sorted
	local map[object.BucketID][]LocalAlias
	owned map[string][]Named // key id → what it may touch, sorted by name
}

// LocalAlias is a name that one key gives a bucket.
type LocalAlias struct{ KeyID, Name string }

// Named is a bucket under the name some key knows it by.
type Named struct {
	Name   string
	Bucket *Bucket
}

// emptyView is what a mirror shows before it heard anything.
func emptyView() *View {
	v := &View{}
	v.index = sync.OnceValue(v.buildIndex)
	return v
}

// AsOf returns Revision and Access.
func (v *View) AsOf() (revision, access Revision) { return v.Revision, v.Access }

// Key returns an access key, nil when there is none.
func (v *View) Key(id string) *Key { return v.keys[id] }

// Bucket returns a bucket by id, nil when there is none.
func (v *View) Bucket(id object.BucketID) *Bucket { return v.buckets[id] }

// Alias returns the bucket with a global alias, nil when there is none.
func (v *View) Alias(name string) *Bucket {
	if id, ok := v.aliases[name]; ok {
		return v.buckets[id]
	}
	return nil
}

// Resolve finds a bucket by name as key (which may be nil) sees it: the key's
// own aliases first, then global ones, then the hex id. It returns nil when
// nothing answers to that name.
func (v *View) Resolve(k *Key, name string) *Bucket {
	if k != nil {
		if b := v.buckets[k.Aliases[name]]; b != nil {
			return b
		}
	}
	if b := v.Alias(name); b != nil {
		return b
	}
	if id, err := object.ParseBucketID(name); err == nil {
		return v.buckets[id]
	}
	return nil
}

// Keys lists all access keys, by id.
func (v *View) Keys() []*Key {
	return sorted(v.keys, func(a, b *Key) int { return cmp.Compare(a.ID, b.ID) })
}

// Buckets lists all buckets, by id.
func (v *View) Buckets() []*Bucket {
	return sorted(v.buckets, func(a, b *Bucket) int { return slices.Compare(a.ID[:], b.ID[:]) })
}

// Deleted lists buckets whose deletion is decided and not yet cleared away.
func (v *View) Deleted() []*Bucket {
	return sorted(v.deleted, func(a, b *Bucket) int { return slices.Compare(a.ID[:], b.ID[:]) })
}

// Tokens lists all admin tokens, by id.
func (v *View) Tokens() []*Token {
	return sorted(v.tokens, func(a, b *Token) int { return cmp.Compare(a.ID, b.ID) })
}

// Token returns an admin token, nil when there is none.
func (v *View) Token(id string) *Token { return v.tokens[id] }

// BucketsOf lists the buckets on which a key has any right, each under every
// name the key knows it by: its own aliases and global ones. Sorted by name.
func (v *View) BucketsOf(keyID string) []Named { return v.index().owned[keyID] }

// GlobalAliases lists the global names of a bucket, sorted.
func (v *View) GlobalAliases(id object.BucketID) []string { return v.index().names[id] }

// LocalAliases lists the names that keys give a bucket, by key and name.
func (v *View) LocalAliases(id object.BucketID) []LocalAlias { return v.index().local[id] }

func sorted[K comparable, V any](m map[K]V, less func(a, b V) int) []V {
	out := make([]V, 0, len(m))
	for _, x := range m {
		out = append(out, x)
	}
	slices.SortFunc(out, less)
	return out
}

func (v *View) buildIndex() *index {
	ix := &index{
		names: make(map[object.BucketID][]string, len(v.aliases)),
		local: map[object.BucketID][]LocalAlias{},
		owned: make(map[string][]Named, len(v.keys)),
	}
	for name, id := range v.aliases {
		if b := v.buckets[id]; b != nil {
			ix.names[id] = append(ix.names[id], name)
			for key := range b.Keys {
				if v.shadowed(key, name) {
					continue
				}
				ix.owned[key] = append(ix.owned[key], Named{Name: name, Bucket: b})
			}
		}
	}
	for _, k := range v.keys {
		for name, id := range k.Aliases {
			b := v.buckets[id]
			if b == nil {
				continue
			}
			ix.local[id] = append(ix.local[id], LocalAlias{KeyID: k.ID, Name: name})
			if _, ok := b.Keys[k.ID]; ok {
				ix.owned[k.ID] = append(ix.owned[k.ID], Named{Name: name, Bucket: b})
			}
		}
	}
	for _, names := range ix.names {
		slices.Sort(names)
	}
	for _, local := range ix.local {
		slices.SortFunc(local, func(a, b LocalAlias) int {
			return cmp.Or(cmp.Compare(a.KeyID, b.KeyID), cmp.Compare(a.Name, b.Name))
		})
	}
	for _, owned := range ix.owned {
		slices.SortFunc(owned, func(a, b Named) int { return cmp.Compare(a.Name, b.Name) })
	}
	return ix
}

// shadowed reports whether a key's own alias takes precedence over a global one.
func (v *View) shadowed(keyID, name string) bool {
	k := v.keys[keyID]
	return k != nil && v.buckets[k.Aliases[name]] != nil
}
