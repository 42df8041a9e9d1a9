package index

import (
	"crypto/sha256"
	"encoding/binary"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
)

// markDigests says that the digests are those of the references: they are kept
// in the same changes from then on.
const markDigests = "digests"

const digestValueBytes = 1 + 8 + 8 + 8 + 8 + 8

func digestKey(l blockapi.Leaf) []byte {
	return key(keyDigest, binary.BigEndian.AppendUint16(nil, uint16(l)))
}

func encodeDigest(d blockapi.Digest) []byte {
	v := append(make([]byte, 0, digestValueBytes), formatVersion)
	v = binary.BigEndian.AppendUint64(v, d.Sum[0])
	v = binary.BigEndian.AppendUint64(v, d.Sum[1])
	v = binary.BigEndian.AppendUint64(v, uint64(d.Refs))
	v = binary.BigEndian.AppendUint64(v, uint64(d.Blocks))
	return binary.BigEndian.AppendUint64(v, uint64(d.Bytes))
}

func decodeDigest(v []byte) (d blockapi.Digest, err error) {
	if err := checkValue("digest", v, digestValueBytes); err != nil {
		return d, err
	}
	d.Sum = [2]uint64{binary.BigEndian.Uint64(v[1:]), binary.BigEndian.Uint64(v[9:])}
	d.Refs = int64(binary.BigEndian.Uint64(v[17:]))
	d.Blocks = int64(binary.BigEndian.Uint64(v[25:]))
	d.Bytes = int64(binary.BigEndian.Uint64(v[33:]))
	return d, nil
}

// sumOf is what one reference adds to a digest: sums of it do not depend on the
// order, and are equal by accident only once in 2^128.
func sumOf(h object.Hash, o OwnerID) [2]uint64 {
	var both [hashBytes + ownerBytes]byte
	copy(both[:], h[:])
	copy(both[hashBytes:], o[:])
	sum := sha256.Sum256(both[:])
	return [2]uint64{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}
}

// summarise counts a reference to b in (sign 1) or out (-1) of the digest of its
// leaf, and with only the block as well: it is the only reference.
func summarise(tx *kv.Tx, h object.Hash, o OwnerID, b Block, only bool, sign int64) error {
	d, err := getDigest(tx, blockapi.LeafOf(h))
	if err != nil {
		return err
	}
	sum := sumOf(h, o)
	d.Sum[0] += uint64(sign) * sum[0]
	d.Sum[1] += uint64(sign) * sum[1]
	d.Refs += sign
	if only {
		d.Blocks += sign
		d.Bytes += sign * b.StoredBytes
	}
	setDigest(tx, blockapi.LeafOf(h), d)
	return nil
}

// resize notes that the copy of a block takes by bytes more.
func resize(tx *kv.Tx, h object.Hash, by int64) error {
	d, err := getDigest(tx, blockapi.LeafOf(h))
	if err != nil {
		return err
	}
	d.Bytes += by
	setDigest(tx, blockapi.LeafOf(h), d)
	return nil
}

func setDigest(tx *kv.Tx, l blockapi.Leaf, d blockapi.Digest) {
	if d == (blockapi.Digest{}) {
		tx.Delete(digestKey(l))
		return
	}
	tx.Set(digestKey(l), encodeDigest(d))
}

func getDigest(g getter, l blockapi.Leaf) (d blockapi.Digest, err error) {
	v, found, err := g.Get(digestKey(l))
	if err == nil && found {
		d, err = decodeDigest(v)
	}
	return d, err
}

// Digests reads the digests of the leaves of a span, and their sum. Leaves
// without references are left out.
func Digests(r kv.Reader, s blockapi.Span) (all blockapi.Digest, leaves map[blockapi.Leaf]blockapi.Digest, err error) {
	first, last := s.Leaves()
	it := r.Iterate([]byte{keyDigest})
	defer it.Close()
	leaves = make(map[blockapi.Leaf]blockapi.Digest)
	for ok := it.Seek(digestKey(first)); ok; ok = it.Next() {
		k := it.Key()
		if len(k) != 3 {
			return all, nil, fault.New(fault.Corrupt, "index: digest key of %d bytes", len(k))
		}
		leaf := blockapi.Leaf(binary.BigEndian.Uint16(k[1:]))
		if leaf > last {
			break
		}
		v, err := it.Value()
		if err != nil {
			return all, nil, err
		}
		d, err := decodeDigest(v)
		if err != nil {
			return all, nil, err
		}
		all.Add(d)
		leaves[leaf] = d
	}
	return all, leaves, it.Err()
}

// Summed computes the digests from the references themselves.
func Summed(r kv.Reader) (map[blockapi.Leaf]blockapi.Digest, error) {
	it := r.Iterate([]byte{keyRef})
	defer it.Close()
	leaves := make(map[blockapi.Leaf]blockapi.Digest)
	var last object.Hash
	for it.Next() {
		h, o, err := parseRefKey(it.Key())
		if err != nil {
			return nil, err
		}
		sum := sumOf(h, o)
		one := blockapi.Digest{Sum: sum, Refs: 1}
		if h != last {
			b, found, err := getBlock(r, h)
			if err != nil {
				return nil, err
			}
			if found {
				one.Blocks, one.Bytes = 1, b.StoredBytes
			}
			last = h
		}
		d := leaves[blockapi.LeafOf(h)]
		d.Add(one)
		leaves[blockapi.LeafOf(h)] = d
	}
	return leaves, it.Err()
}

func parseRefKey(k []byte) (h object.Hash, o OwnerID, err error) {
	if len(k) != 1+hashBytes+ownerBytes {
		return h, o, fault.New(fault.Corrupt, "index: reference key of %d bytes", len(k))
	}
	return object.Hash(k[1:]), OwnerID(k[1+hashBytes:]), nil
}

// Migrate gives an index of an earlier version what it lacks. It runs before
// anything else changes the index, and from the start again after a crash.
func Migrate(s kv.Store) error {
	var done bool
	var leaves map[blockapi.Leaf]blockapi.Digest
	var b kv.Batch
	err := s.View(func(r kv.Reader) (err error) {
		if _, done, err = Mark(r, markDigests); err != nil || done {
			return err
		}
		_, before, err := Digests(r, blockapi.PartitionSpan(0, 0))
		if err != nil {
			return err
		}
		for leaf := range before {
			b.Delete(digestKey(leaf))
		}
		leaves, err = Summed(r)
		return err
	})
	if err != nil || done {
		return err
	}
	for leaf, d := range leaves {
		if b.Bytes() > s.MaxBatchBytes()/2 {
			if err := s.Commit(&b); err != nil {
				return err
			}
			b.Reset()
		}
		b.Set(digestKey(leaf), encodeDigest(d))
	}
	SetMark(&b, markDigests, nil)
	return s.Commit(&b)
}
