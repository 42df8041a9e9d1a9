package index

import (
	"encoding/binary"
	"time"

	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
)

// maxErrorBytes bounds the text kept of an error.
const maxErrorBytes = 200

// Wanted is a block to be resynchronised: fetched, or referred to, or
// replaced.
type Wanted struct {
	Hash object.Hash
	// Due is when it is tried next, in running time.
	Due time.Duration
	// Suspect says that the copy here is to be read and checked.
	Suspect bool
	// From is a node to ask besides the replicas; zero is none.
	From object.NodeID
	// Tries that failed; FirstFailed and LastFailed by the wall clock, and why
	// the last.
	Tries                   uint32
	FirstFailed, LastFailed time.Time
	Error                   string
}

const wantedValueBytes = 1 + 8 + 1 + 16 + 4 + 8 + 8

func wantedKey(h object.Hash) []byte { return key(keyWanted, h[:]) }
func turnKey(due time.Duration, h object.Hash) []byte {
	return key(keyTurn, be64(uint64(due)), h[:])
}

func (w Wanted) encode() []byte {
	v := append(make([]byte, 0, wantedValueBytes+len(w.Error)), formatVersion)
	v = binary.BigEndian.AppendUint64(v, uint64(w.Due))
	suspect := byte(0)
	if w.Suspect {
		suspect = 1
	}
	v = append(append(v, suspect), w.From[:]...)
	v = binary.BigEndian.AppendUint32(v, w.Tries)
	v = binary.BigEndian.AppendUint64(v, unixNano(w.FirstFailed))
	v = binary.BigEndian.AppendUint64(v, unixNano(w.LastFailed))
	return append(v, w.Error[:min(len(w.Error), maxErrorBytes)]...)
}

func decodeWanted(h object.Hash, v []byte) (w Wanted, err error) {
	if err := checkValue("wanted block", v, wantedValueBytes); err != nil {
		return w, err
	}
	w.Hash = h
	w.Due = time.Duration(binary.BigEndian.Uint64(v[1:]))
	w.Suspect = v[9] != 0
	copy(w.From[:], v[10:])
	w.Tries = binary.BigEndian.Uint32(v[26:])
	w.FirstFailed = fromUnixNano(binary.BigEndian.Uint64(v[30:]))
	w.LastFailed = fromUnixNano(binary.BigEndian.Uint64(v[38:]))
	w.Error = string(v[wantedValueBytes:])
	return w, nil
}

func unixNano(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func fromUnixNano(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(n))
}

// Want asks for a block to be resynchronised. An entry that is there keeps what
// it remembers and, when a try has failed, its time: wishes must not undo the
// waiting.
func Want(tx *kv.Tx, w Wanted) (added bool, err error) {
	known, found, err := getWanted(tx, w.Hash)
	if err != nil {
		return false, err
	}
	if found {
		tx.Delete(turnKey(known.Due, w.Hash))
		if known.Tries == 0 {
			known.Due = min(known.Due, w.Due)
		}
		known.Suspect = known.Suspect || w.Suspect
		if w.From != (object.NodeID{}) {
			known.From = w.From
		}
		w = known
	}
	setWanted(tx, w)
	return !found, nil
}

// Postpone replaces an entry, unless it was changed since was was read: then it
// has become wanted anew, and stays as it is.
func Postpone(tx *kv.Tx, was, to Wanted) (replaced bool, err error) {
	known, found, err := getWanted(tx, was.Hash)
	if err != nil || !found || known != was {
		return false, err
	}
	tx.Delete(turnKey(known.Due, was.Hash))
	setWanted(tx, to)
	return true, nil
}

// Settle drops an entry, unless it was changed since it was read.
func Settle(tx *kv.Tx, was Wanted) (dropped bool, err error) {
	known, found, err := getWanted(tx, was.Hash)
	if err != nil || !found || known != was {
		return false, err
	}
	tx.Delete(turnKey(known.Due, was.Hash))
	tx.Delete(wantedKey(was.Hash))
	return true, nil
}

func setWanted(tx *kv.Tx, w Wanted) {
	tx.Set(wantedKey(w.Hash), w.encode())
	tx.Set(turnKey(w.Due, w.Hash), nil)
}

func getWanted(g getter, h object.Hash) (w Wanted, found bool, err error) {
	v, found, err := g.Get(wantedKey(h))
	if err == nil && found {
		w, err = decodeWanted(h, v)
	}
	return w, found, err
}

// FindWanted looks an entry up.
func FindWanted(r kv.Reader, h object.Hash) (Wanted, bool, error) { return getWanted(r, h) }

// WantedDue lists up to limit entries that are due at now, in order, and when
// the first of the others is due: never is zero.
func WantedDue(r kv.Reader, now time.Duration, limit int) (due []Wanted, next time.Duration, err error) {
	it := r.Iterate([]byte{keyTurn})
	defer it.Close()
	for it.Next() {
		k := it.Key()
		if len(k) != 1+8+hashBytes {
			return nil, 0, fault.New(fault.Corrupt, "index: turn key of %d bytes", len(k))
		}
		if at := time.Duration(binary.BigEndian.Uint64(k[1:])); at > now || len(due) == limit {
			return due, at, nil
		}
		w, found, err := getWanted(r, object.Hash(k[9:]))
		if err != nil {
			return nil, 0, err
		}
		if found {
			due = append(due, w)
		}
	}
	return due, 0, it.Err()
}

// WantedAfter lists up to limit entries in the order of hashes that come after
// a hash and, with failed, whose last try failed.
func WantedAfter(r kv.Reader, after object.Hash, failed bool, limit int) ([]Wanted, error) {
	it := r.Iterate([]byte{keyWanted})
	defer it.Close()
	var all []Wanted
	for ok := it.Seek(wantedKey(after)); ok && len(all) < limit; ok = it.Next() {
		k := it.Key()
		if len(k) != 1+hashBytes {
			return nil, fault.New(fault.Corrupt, "index: key of a wanted block of %d bytes", len(k))
		}
		v, err := it.Value()
		if err != nil {
			return nil, err
		}
		w, err := decodeWanted(object.Hash(k[1:]), v)
		if err != nil {
			return nil, err
		}
		if w.Hash != after && (w.Tries > 0 || !failed) {
			all = append(all, w)
		}
	}
	return all, it.Err()
}

// CountWanted counts the entries, and those whose last try failed.
func CountWanted(r kv.Reader) (all, failed int64, err error) {
	it := r.Iterate([]byte{keyWanted})
	defer it.Close()
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			return 0, 0, err
		}
		w, err := decodeWanted(object.Hash{}, v)
		if err != nil {
			return 0, 0, err
		}
		all++
		if w.Tries > 0 {
			failed++
		}
	}
	return all, failed, it.Err()
}

// DropRef takes one reference away as DropRefs does, in a change that demands
// that epoch is still the newest adopted: the caller decided by its ring.
func DropRef(tx *kv.Tx, epoch uint64, o OwnerID, h object.Hash) error {
	now, err := Epoch(tx)
	if err != nil {
		return err
	}
	if now > epoch {
		return fault.New(fault.OldEpoch, "epoch %d is older than %d", epoch, now)
	}
	return dropRef(tx, o, h)
}
