package index

import (
	"encoding/binary"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
	"hangar/shared/segment"
)

// FindBlock looks a block up.
func FindBlock(r kv.Reader, h object.Hash) (Block, bool, error) { return getBlock(r, h) }

// FindOwner looks an owner up.
func FindOwner(r kv.Reader, id OwnerID) (Owner, bool, error) { return getOwner(r, id) }

// BlocksOf lists up to limit blocks that an owner refers to.
func BlocksOf(r kv.Reader, id OwnerID, limit int) ([]object.Hash, error) {
	it := r.Iterate(key(keyList, id[:]))
	defer it.Close()
	var hashes []object.Hash
	for len(hashes) < limit && it.Next() {
		k := it.Key()
		if len(k) != 1+ownerBytes+hashBytes {
			return nil, fault.New(fault.Corrupt, "index: reference key of %d bytes", len(k))
		}
		hashes = append(hashes, object.Hash(k[1+ownerBytes:]))
	}
	return hashes, it.Err()
}

// OwnersOf lists up to limit owners of a block.
func OwnersOf(r kv.Reader, h object.Hash, limit int) ([]OwnerID, error) {
	it := r.Iterate(key(keyRef, h[:]))
	defer it.Close()
	var owners []OwnerID
	for len(owners) < limit && it.Next() {
		k := it.Key()
		if len(k) != 1+hashBytes+ownerBytes {
			return nil, fault.New(fault.Corrupt, "index: reference key of %d bytes", len(k))
		}
		owners = append(owners, OwnerID(k[1+hashBytes:]))
	}
	return owners, it.Err()
}

// OwnersReleased lists up to limit owners that a hint means, beginning after
// the id after (the zero id: from the first).
func OwnersReleased(r kv.Reader, hint blockapi.Released, after OwnerID, limit int) ([]OwnerID, error) {
	return owners(r, releasedPrefix(hint), after, limit)
}

// Owners lists up to limit owners that come after the id after.
func Owners(r kv.Reader, after OwnerID, limit int) ([]OwnerID, error) {
	return owners(r, nil, after, limit)
}

func owners(r kv.Reader, prefix []byte, after OwnerID, limit int) ([]OwnerID, error) {
	it := r.Iterate(key(keyOwner, prefix))
	defer it.Close()
	var ids []OwnerID
	for ok := it.Seek(ownerKey(after)); ok && len(ids) < limit; ok = it.Next() {
		k := it.Key()
		if len(k) != 1+ownerBytes {
			return nil, fault.New(fault.Corrupt, "index: owner key of %d bytes", len(k))
		}
		if id := OwnerID(k[1:]); id != after {
			ids = append(ids, id)
		}
	}
	return ids, it.Err()
}

// Segments reads what lives in each segment.
func Segments(r kv.Reader) (map[segment.ID]Usage, error) {
	it := r.Iterate([]byte{keySegment})
	defer it.Close()
	all := make(map[segment.ID]Usage)
	for it.Next() {
		k := it.Key()
		if len(k) != 9 {
			return nil, fault.New(fault.Corrupt, "index: segment key of %d bytes", len(k))
		}
		v, err := it.Value()
		if err != nil {
			return nil, err
		}
		u, err := decodeUsage(v)
		if err != nil {
			return nil, err
		}
		all[segment.ID(binary.BigEndian.Uint64(k[1:]))] = u
	}
	return all, it.Err()
}

// Queued is an owner to be verified.
type Queued struct {
	Due   time.Duration
	Owner OwnerID
	Tries uint32
}

// Due lists up to limit entries of the queue that are due from from up to now,
// in order.
func Due(r kv.Reader, from, now time.Duration, limit int) ([]Queued, error) {
	it := r.Iterate([]byte{keyQueue})
	defer it.Close()
	var queue []Queued
	for ok := it.Seek(key(keyQueue, be64(uint64(from)))); ok && len(queue) < limit; ok = it.Next() {
		k := it.Key()
		if len(k) != 1+8+ownerBytes {
			return nil, fault.New(fault.Corrupt, "index: queue key of %d bytes", len(k))
		}
		e := Queued{Due: time.Duration(binary.BigEndian.Uint64(k[1:])), Owner: OwnerID(k[9:])}
		if e.Due > now {
			break
		}
		v, err := it.Value()
		if err != nil {
			return nil, err
		}
		if err := checkValue("queue", v, 9); err != nil {
			return nil, err
		}
		e.Tries = uint32(binary.BigEndian.Uint64(v[1:]))
		queue = append(queue, e)
	}
	return queue, it.Err()
}

// QueueLen counts the entries of the queue.
func QueueLen(r kv.Reader) (n int64, err error) {
	it := r.Iterate([]byte{keyQueue})
	defer it.Close()
	for it.Next() {
		n++
	}
	return n, it.Err()
}

// Mark reads a named value.
func Mark(r kv.Reader, name string) (value []byte, found bool, err error) {
	v, found, err := r.Get(markKey(name))
	if err != nil || !found {
		return nil, false, err
	}
	if err := checkValue(name, v, 1); err != nil {
		return nil, false, err
	}
	return append([]byte(nil), v[1:]...), true, nil
}
