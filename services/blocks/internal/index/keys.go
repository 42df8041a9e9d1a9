// Package index is what the block service remembers about its blocks: where
// each lies, who refers to it, and which owners are to be checked. It is a set
// of changes and questions over an ordered store; whoever runs them decides
// about durability. Every change must run on the one committer of that store.
//
// docs/format/blocks.md describes the records.
package index

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/segment"
)

// The first byte of every key.
const (
	keyBlock   = 'b' // hash → block
	keyRef     = 'r' // hash, owner → nothing
	keyList    = 'l' // owner, hash → nothing
	keyOwner   = 'o' // owner → owner record
	keySegment = 's' // segment → what lives in it
	keyQueue   = 'q' // due time, owner → tries
	keyMark    = 'm' // name → a time or cursor
	keyDigest  = 'd' // leaf → digest of its references
	keyWanted  = 'w' // hash → block to be resynchronised
	keyTurn    = 't' // due time, hash → nothing: the order of those
	keyMember  = 'p' // partition → since when this node holds it
	// slot → where a further data directory is
	keyDirectory = 'v'
)

// formatVersion stands first in each value that is not empty.
const formatVersion = 1

const hashBytes = len(object.Hash{})

// OwnerID is an owner in short: eight bytes of the SHA-256 of bucket and key,
// then version, manifest and part. So the owners of one version, and those of
// one manifest, stand together.
type OwnerID [ownerBytes]byte

const (
	ownerBytes    = 8 + 16 + 16 + 4
	versionPrefix = 8 + 16
)

// IDOf returns the id of an owner.
func IDOf(o blockapi.Owner) (id OwnerID) {
	copy(id[:], objectSum(o.Bucket, o.Key))
	copy(id[8:], o.Version[:])
	copy(id[24:], o.Manifest[:])
	binary.BigEndian.PutUint32(id[40:], uint32(o.Part))
	return id
}

func objectSum(b object.BucketID, key string) []byte {
	h := sha256.New()
	h.Write(b[:])
	_, _ = io.WriteString(h, key) // a hash takes everything
	return h.Sum(nil)[:8]
}

// releasedPrefix is what the ids of all owners that a hint means begin with.
func releasedPrefix(r blockapi.Released) []byte {
	id := IDOf(blockapi.Owner{Bucket: r.Bucket, Key: r.Key, Version: r.Version, Manifest: r.Manifest})
	if r.Manifest.IsZero() {
		return id[:versionPrefix]
	}
	return id[:ownerBytes-4]
}

func key(kind byte, parts ...[]byte) []byte {
	k := make([]byte, 1, 1+hashBytes+ownerBytes)
	k[0] = kind
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

func blockKey(h object.Hash) []byte                { return key(keyBlock, h[:]) }
func refKey(h object.Hash, o OwnerID) []byte       { return key(keyRef, h[:], o[:]) }
func listKey(o OwnerID, h object.Hash) []byte      { return key(keyList, o[:], h[:]) }
func ownerKey(o OwnerID) []byte                    { return key(keyOwner, o[:]) }
func segmentKey(id segment.ID) []byte              { return key(keySegment, be64(uint64(id))) }
func queueKey(due time.Duration, o OwnerID) []byte { return key(keyQueue, be64(uint64(due)), o[:]) }
func markKey(name string) []byte                   { return key(keyMark, []byte(name)) }

func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// Block is what is known of a stored block.
type Block struct {
	segment.Location
	Encoding   blockapi.Encoding
	PlainBytes int64
	// Refs is how many owners refer to it; a block without any is dropped in
	// the change that takes the last.
	Refs uint32
}

const blockValueBytes = 1 + 8 + 8 + 4 + 8 + 1 + 4 + 4

func (b Block) encode() []byte {
	v := make([]byte, 0, blockValueBytes)
	v = append(v, formatVersion)
	v = binary.BigEndian.AppendUint64(v, uint64(b.Segment))
	v = binary.BigEndian.AppendUint64(v, uint64(b.Offset))
	v = binary.BigEndian.AppendUint32(v, uint32(b.StoredBytes))
	v = binary.BigEndian.AppendUint64(v, b.Checksum)
	v = append(v, byte(b.Encoding))
	v = binary.BigEndian.AppendUint32(v, uint32(b.PlainBytes))
	return binary.BigEndian.AppendUint32(v, b.Refs)
}

func decodeBlock(v []byte) (b Block, err error) {
	if err := checkValue("block", v, blockValueBytes); err != nil {
		return b, err
	}
	b.Segment = segment.ID(binary.BigEndian.Uint64(v[1:]))
	b.Offset = int64(binary.BigEndian.Uint64(v[9:]))
	b.StoredBytes = int64(binary.BigEndian.Uint32(v[17:]))
	b.Checksum = binary.BigEndian.Uint64(v[21:])
	b.Encoding = blockapi.Encoding(v[29])
	b.PlainBytes = int64(binary.BigEndian.Uint32(v[30:]))
	b.Refs = binary.BigEndian.Uint32(v[34:])
	if b.StoredBytes > blockapi.MaxBlockBytes || b.Offset < 0 {
		return Block{}, fault.New(fault.Corrupt, "index: block of impossible size or place")
	}
	return b, nil
}

func checkValue(what string, v []byte, atLeast int) error {
	switch {
	case len(v) < atLeast:
		return fault.New(fault.Corrupt, "index: %s record of %d bytes", what, len(v))
	case v[0] != formatVersion:
		return fault.New(fault.Corrupt, "index: %s record of unknown format %d", what, v[0])
	}
	return nil
}

// Owner is what is known of an owner.
type Owner struct {
	blockapi.Owner
	// Touched is when it last came to refer to a block, to within the
	// coarseness that Touch was given.
	Touched time.Duration
}

const ownerValueBytes = 1 + 8 + 16

func (o Owner) encode() []byte {
	v := make([]byte, 0, ownerValueBytes+len(o.Key))
	v = append(v, formatVersion)
	v = binary.BigEndian.AppendUint64(v, uint64(o.Touched))
	v = append(v, o.Bucket[:]...)
	return append(v, o.Key...)
}

func decodeOwner(id OwnerID, v []byte) (o Owner, err error) {
	if err := checkValue("owner", v, ownerValueBytes); err != nil {
		return o, err
	}
	o.Touched = time.Duration(binary.BigEndian.Uint64(v[1:]))
	copy(o.Bucket[:], v[9:])
	o.Key = string(v[ownerValueBytes:])
	copy(o.Version[:], id[8:])
	copy(o.Manifest[:], id[24:])
	o.Part = int32(binary.BigEndian.Uint32(id[40:]))
	return o, nil
}

// Usage is what lives in a segment.
type Usage struct {
	// LiveBytes are those of records that the index remembers, headers included.
	LiveBytes, LiveBlocks int64
	// End of the last record that the index ever remembered.
	End int64
}

const usageValueBytes = 1 + 8 + 8 + 8

func (u Usage) encode() []byte {
	v := append(make([]byte, 0, usageValueBytes), formatVersion)
	v = binary.BigEndian.AppendUint64(v, uint64(u.LiveBytes))
	v = binary.BigEndian.AppendUint64(v, uint64(u.LiveBlocks))
	return binary.BigEndian.AppendUint64(v, uint64(u.End))
}

func decodeUsage(v []byte) (u Usage, err error) {
	if err := checkValue("segment", v, usageValueBytes); err != nil {
		return u, err
	}
	return Usage{
		LiveBytes:  int64(binary.BigEndian.Uint64(v[1:])),
		LiveBlocks: int64(binary.BigEndian.Uint64(v[9:])),
		End:        int64(binary.BigEndian.Uint64(v[17:])),
	}, nil
}
