package index

import (
	"bytes"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
)

// What an entry and an owner of a page count for, beside the owner's key.
const (
	entryCost = 48
	refCost   = 4
	ownerCost = 64
)

// List reads a page of about limit bytes of the references in a span, after the
// position after (nil: from the first). The page has one reference at least,
// unless there is none.
func List(r kv.Reader, s blockapi.Span, after []byte, limit int64) (p blockapi.Page, err error) {
	if after != nil && (len(after) != hashBytes+ownerBytes || !s.Has(object.Hash(after))) {
		return p, fault.New(fault.Invalid, "a listing cannot go on after %x", after)
	}
	it := r.Iterate([]byte{keyRef})
	defer it.Close()
	owners := make(map[OwnerID]blockapi.Owner)
	from := key(keyRef, s.First[:])
	if after != nil {
		from = key(keyRef, after)
	}
	for ok := it.Seek(from); ok; ok = it.Next() {
		k := it.Key()
		h, id, err := parseRefKey(k)
		if err != nil {
			return blockapi.Page{}, err
		}
		if !s.Has(h) {
			break
		}
		if bytes.Equal(k[1:], after) {
			continue
		}
		if limit <= 0 && len(p.Entries) > 0 {
			p.Next = position(p.Entries)
			return p, nil
		}
		if last := len(p.Entries) - 1; last < 0 || p.Entries[last].Hash != h {
			b, found, err := getBlock(r, h)
			if err != nil {
				return blockapi.Page{}, err
			}
			if !found {
				return blockapi.Page{}, fault.New(fault.Corrupt, "index: block %s has an owner and no place", h)
			}
			p.Entries = append(p.Entries, blockapi.Entry{Hash: h, StoredBytes: b.StoredBytes})
			limit -= entryCost
		}
		owner, known := owners[id]
		if !known {
			o, found, err := getOwner(r, id)
			if err != nil {
				return blockapi.Page{}, err
			}
			if !found {
				return blockapi.Page{}, fault.New(fault.Corrupt, "index: block %s has an unknown owner", h)
			}
			owner, owners[id] = o.Owner, o.Owner
			limit -= ownerCost + int64(len(owner.Key))
		}
		last := &p.Entries[len(p.Entries)-1]
		last.Owners = append(last.Owners, owner)
		limit -= refCost
	}
	return p, it.Err()
}

// position is where a page that ends with entries ends.
func position(entries []blockapi.Entry) []byte {
	last := &entries[len(entries)-1]
	id := IDOf(last.Owners[len(last.Owners)-1])
	return append(append(make([]byte, 0, hashBytes+ownerBytes), last.Hash[:]...), id[:]...)
}

// Refers reports whether an owner refers to a block here.
func Refers(g getter, h object.Hash, id OwnerID) (bool, error) {
	_, found, err := g.Get(refKey(h, id))
	return found, err
}
