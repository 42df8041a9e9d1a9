package index

import (
	"encoding/binary"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
)

// BlocksAfter lists up to limit blocks in the order of hashes that come after a
// hash, the zero hash: from the first.
func BlocksAfter(r kv.Reader, after object.Hash, limit int) ([]object.Hash, error) {
	it := r.Iterate([]byte{keyBlock})
	defer it.Close()
	var hashes []object.Hash
	for ok := it.Seek(blockKey(after)); ok && len(hashes) < limit; ok = it.Next() {
		k := it.Key()
		if len(k) != 1+hashBytes {
			return nil, fault.New(fault.Corrupt, "index: block key of %d bytes", len(k))
		}
		if h := object.Hash(k[1:]); h != after {
			hashes = append(hashes, h)
		}
	}
	return hashes, it.Err()
}

// Recount is what the rows of a leaf say of its digest and of its blocks' counts
// of references, all read from one snapshot.
type Recount struct {
	Leaf blockapi.Leaf
	// Stored is the digest that is there, Counted what it should be.
	Stored, Counted blockapi.Digest
	// Wrong are the blocks whose count is not that of their references.
	Wrong []Miscount
	// Placeless counts references to blocks that have no place here.
	Placeless int64
}

// Miscount is a block, as it is, and how many references it has.
type Miscount struct {
	Hash object.Hash
	Is   Block
	Refs uint32
}

// Right reports whether nothing is to be corrected.
func (c *Recount) Right() bool { return c.Stored == c.Counted && len(c.Wrong) == 0 }

// NextLeaf is the first leaf from one on of which there is anything: a digest, a
// reference or a block.
func NextLeaf(r kv.Reader, from blockapi.Leaf) (next blockapi.Leaf, found bool, err error) {
	for _, kind := range []byte{keyDigest, keyRef, keyBlock} {
		leaf, ok, err := firstLeaf(r, kind, from)
		if err != nil {
			return 0, false, err
		}
		if ok && (!found || leaf < next) {
			next, found = leaf, true
		}
	}
	return next, found, nil
}

func firstLeaf(r kv.Reader, kind byte, from blockapi.Leaf) (leaf blockapi.Leaf, found bool, err error) {
	it := r.Iterate([]byte{kind})
	defer it.Close()
	if !it.Seek(key(kind, digestKey(from)[1:])) {
		return 0, false, it.Err()
	}
	k := it.Key()
	if len(k) < 3 {
		return 0, false, fault.New(fault.Corrupt, "index: key of %d bytes", len(k))
	}
	return blockapi.Leaf(binary.BigEndian.Uint16(k[1:])), true, nil
}

// CountAgain recounts a leaf.
func CountAgain(r kv.Reader, leaf blockapi.Leaf) (c Recount, err error) {
	c.Leaf = leaf
	if c.Stored, err = getDigest(r, leaf); err != nil {
		return c, err
	}
	refs, err := c.references(r)
	if err != nil {
		return c, err
	}
	top := digestKey(leaf)[1:]
	it := r.Iterate(key(keyBlock, top))
	defer it.Close()
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			return c, err
		}
		b, err := decodeBlock(v)
		if err != nil {
			return c, err
		}
		h := object.Hash(it.Key()[1:])
		n := refs[h]
		delete(refs, h)
		if n > 0 {
			c.Counted.Blocks++
			c.Counted.Bytes += b.StoredBytes
		}
		if n != b.Refs {
			c.Wrong = append(c.Wrong, Miscount{h, b, n})
		}
	}
	for _, n := range refs {
		c.Placeless += int64(n)
	}
	return c, it.Err()
}

// references sums up the references of the leaf, and counts those of each block.
func (c *Recount) references(r kv.Reader) (map[object.Hash]uint32, error) {
	it := r.Iterate(key(keyRef, digestKey(c.Leaf)[1:]))
	defer it.Close()
	refs := make(map[object.Hash]uint32)
	for it.Next() {
		h, o, err := parseRefKey(it.Key())
		if err != nil {
			return nil, err
		}
		c.Counted.Add(blockapi.Digest{Sum: sumOf(h, o), Refs: 1})
		refs[h]++
	}
	return refs, it.Err()
}

// Correct makes digest and counts what was counted, unless any reference of the
// leaf, or any of the blocks, has changed since: every change of a reference
// changes the digest. It reports whether it did.
func Correct(tx *kv.Tx, c Recount) (bool, error) {
	now, err := getDigest(tx, c.Leaf)
	if err != nil || now != c.Stored {
		return false, err
	}
	for _, w := range c.Wrong {
		b, found, err := getBlock(tx, w.Hash)
		if err != nil || !found || b != w.Is {
			return false, err
		}
	}
	for _, w := range c.Wrong {
		b := w.Is
		b.Refs = w.Refs
		tx.Set(blockKey(w.Hash), b.encode())
	}
	setDigest(tx, c.Leaf, c.Counted)
	return true, nil
}
