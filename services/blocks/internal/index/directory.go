package index

import (
	"encoding/binary"
	"maps"
	"slices"

	"hangar/services/blocks/internal/volume"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
	"hangar/shared/segment"
)

// markHighest is the highest number that was ever given to a data directory.
const markHighest = "directories"

func directoryKey(s volume.Slot) []byte {
	return key(keyDirectory, binary.BigEndian.AppendUint16(nil, uint16(s)))
}

// setter is a kv.Tx or kv.Batch.
type setter interface {
	Set(key, value []byte)
	Delete(key []byte)
}

// SetDirectory remembers a further data directory and where it is.
func SetDirectory(tx setter, s volume.Slot, path string) {
	tx.Set(directoryKey(s), append([]byte{formatVersion}, path...))
}

// SetHighest remembers the highest number that was given to a directory.
func SetHighest(tx setter, s volume.Slot) {
	SetMark(tx, markHighest, binary.BigEndian.AppendUint16(nil, uint16(s)))
}

// Directories reads the further data directories, with what lives in them, and
// the highest number that was ever given.
func Directories(r kv.Reader) (known []volume.Known, highest volume.Slot, err error) {
	v, found, err := Mark(r, markHighest)
	if err != nil {
		return nil, 0, err
	}
	if found {
		if len(v) != 2 {
			return nil, 0, fault.New(fault.Corrupt, "index: mark %s of %d bytes", markHighest, len(v))
		}
		highest = volume.Slot(binary.BigEndian.Uint16(v))
	}
	usage, err := Segments(r)
	if err != nil {
		return nil, 0, err
	}
	live := make(map[volume.Slot]int64)
	for id, u := range usage {
		live[volume.SlotOf(id)] += u.LiveBlocks
	}
	it := r.Iterate([]byte{keyDirectory})
	defer it.Close()
	for it.Next() {
		k := it.Key()
		v, err := it.Value()
		if err == nil {
			err = checkValue("data directory", v, 1)
		}
		if err != nil {
			return nil, 0, err
		}
		if len(k) != 3 {
			return nil, 0, fault.New(fault.Corrupt, "index: key of a data directory of %d bytes", len(k))
		}
		slot := volume.Slot(binary.BigEndian.Uint16(k[1:]))
		known = append(known, volume.Known{Slot: slot, Path: string(v[1:]), LiveBlocks: live[slot]})
	}
	return known, highest, it.Err()
}

// Loss is a page of what a lost directory takes with it: blocks in it and their
// references, and blocks that have none, which there should not be.
type Loss struct {
	Refs []Reference
	Bare []object.Hash
	// Blocks is how many blocks there are on the page.
	Blocks int64
	// Next is where to go on; None: there are no more.
	Next object.Hash
	None bool
}

// Reference is that of an owner to a block.
type Reference struct {
	Hash  object.Hash
	Owner OwnerID
}

// LossAfter reads a page of about limit references, from a block on. A block that
// is cut off by the end of the page comes again on the next one, without the
// references that were dropped meanwhile.
func LossAfter(r kv.Reader, s volume.Slot, from object.Hash, limit int) (l Loss, err error) {
	it := r.Iterate([]byte{keyBlock})
	defer it.Close()
	for ok := it.Seek(blockKey(from)); ok; ok = it.Next() {
		if len(l.Refs)+len(l.Bare) >= limit {
			return l, nil
		}
		k := it.Key()
		if len(k) != 1+hashBytes {
			return l, fault.New(fault.Corrupt, "index: block key of %d bytes", len(k))
		}
		v, err := it.Value()
		if err != nil {
			return l, err
		}
		b, err := decodeBlock(v)
		if err != nil {
			return l, err
		}
		if volume.SlotOf(b.Segment) != s {
			continue
		}
		l.Next = object.Hash(k[1:])
		owners, err := OwnersOf(r, l.Next, limit)
		if err != nil {
			return l, err
		}
		for _, o := range owners {
			l.Refs = append(l.Refs, Reference{l.Next, o})
		}
		if len(owners) == 0 {
			l.Bare = append(l.Bare, l.Next)
		}
		l.Blocks++
	}
	l.None = l.Blocks == 0
	return l, it.Err()
}

// Lose drops a page of what is lost: the digests then show that it is lacking,
// and it is brought again from other nodes.
func Lose(tx *kv.Tx, l Loss) error {
	for _, ref := range l.Refs {
		if err := dropRef(tx, ref.Owner, ref.Hash); err != nil {
			return err
		}
	}
	for _, h := range l.Bare {
		b, found, err := getBlock(tx, h)
		if err != nil {
			return err
		}
		if found {
			tx.Delete(blockKey(h))
			if err := account(tx, b.Location, -1); err != nil {
				return err
			}
		}
	}
	return nil
}

// DropDirectory forgets a directory in which nothing lives, with its segments.
// most bounds the change: done is false when it has to be called again.
func DropDirectory(tx *kv.Tx, s volume.Slot, usage map[segment.ID]Usage, most int) (done bool) {
	n := 0
	for _, id := range slices.Sorted(maps.Keys(usage)) {
		if volume.SlotOf(id) != s {
			continue
		}
		if n++; n > most {
			return false
		}
		tx.Delete(segmentKey(id))
	}
	tx.Delete(directoryKey(s))
	return true
}
