package record

import (
	"crypto/sha256"
	"encoding/binary"

	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/segment"
)

// EncodeTag is the value of a LowKey.
func EncodeTag(t register.Tag) []byte { return AppendTag(nil, t) }

// DecodeTag reads the value of a LowKey.
func DecodeTag(b []byte) (register.Tag, error) {
	if len(b) != TagBytes {
		return register.Tag{}, corrupt("tag of %d bytes", len(b))
	}
	d := decoder{rest: b}
	return d.tag(), nil
}

// EncodeEpoch is the value of an EpochKey.
func EncodeEpoch(e uint64) []byte { return binary.BigEndian.AppendUint64(nil, e) }

// DecodeEpoch reads the value of an EpochKey.
func DecodeEpoch(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, corrupt("epoch of %d bytes", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// EncodeCounters is the value of a CounterKey.
func EncodeCounters(c metaapi.Counters) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.Count))
	return binary.BigEndian.AppendUint64(b, uint64(c.Bytes))
}

// DecodeCounters reads the value of a CounterKey.
func DecodeCounters(b []byte) (c metaapi.Counters, err error) {
	if len(b) != 16 {
		return c, corrupt("counters of %d bytes", len(b))
	}
	c.Count = int64(binary.BigEndian.Uint64(b))
	c.Bytes = int64(binary.BigEndian.Uint64(b[8:]))
	return c, nil
}

// Usage is what the rows of a store have in one segment of the log of bodies.
type Usage struct {
	// LiveBytes are those of the records that rows point to, headers included.
	LiveBytes, LiveBodies int64
	// End of the last record that a row ever pointed to: that far the file was
	// on stable storage.
	End int64
}

// EncodeUsage is the value of a UsageKey.
func EncodeUsage(u Usage) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 24), uint64(u.LiveBytes))
	b = binary.BigEndian.AppendUint64(b, uint64(u.LiveBodies))
	return binary.BigEndian.AppendUint64(b, uint64(u.End))
}

// DecodeUsage reads the value of a UsageKey.
func DecodeUsage(b []byte) (u Usage, err error) {
	if len(b) != 24 {
		return u, corrupt("usage of %d bytes", len(b))
	}
	u.LiveBytes = int64(binary.BigEndian.Uint64(b))
	u.LiveBodies = int64(binary.BigEndian.Uint64(b[8:]))
	u.End = int64(binary.BigEndian.Uint64(b[16:]))
	return u, nil
}

// Position is a place in the journal: the end of one of its records. The zero
// Position is before the first.
type Position struct {
	// Seq numbers the records, without a gap, from 1.
	Seq uint64
	// Segment and End say where the record lies.
	Segment segment.ID
	End     int64
}

// EncodePosition is the value of an AppliedKey and a DurableKey.
func EncodePosition(p Position) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 24), p.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Segment))
	return binary.BigEndian.AppendUint64(b, uint64(p.End))
}

// DecodePosition reads the value of an AppliedKey or a DurableKey.
func DecodePosition(b []byte) (p Position, err error) {
	if len(b) != 24 {
		return p, corrupt("position of %d bytes", len(b))
	}
	p.Seq, p.Segment = binary.BigEndian.Uint64(b), segment.ID(binary.BigEndian.Uint64(b[8:]))
	p.End = int64(binary.BigEndian.Uint64(b[16:]))
	return p, nil
}

// SliceBits is how finely rows are divided for digests.
const SliceBits = metaapi.SliceBits

// Slice is the digest slice of all rows with this bucket and key.
func Slice(b object.BucketID, key string) uint16 { return uint16(layout.OfRow(b, key, SliceBits)) }

// Digest is an order-independent sum over the states of rows: replicas that
// hold the same rows under the same tags have the same digest.
type Digest = metaapi.Digest

// DigestOf is what one row adds. A row that was never written adds nothing.
func DigestOf(row []byte, tag register.Tag) Digest {
	if tag.IsZero() {
		return Digest{}
	}
	var scratch [256]byte
	h := sha256.Sum256(append(AppendTag(scratch[:0], tag), row...))
	return Digest{
		Sum:  [2]uint64{binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint64(h[8:])},
		Rows: 1,
	}
}

// EncodeDigest is the value of a DigestKey.
func EncodeDigest(d Digest) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 24), d.Sum[0])
	b = binary.BigEndian.AppendUint64(b, d.Sum[1])
	return binary.BigEndian.AppendUint64(b, d.Rows)
}

// DecodeDigest reads the value of a DigestKey.
func DecodeDigest(b []byte) (d Digest, err error) {
	if len(b) != 24 {
		return d, corrupt("digest of %d bytes", len(b))
	}
	d.Sum[0], d.Sum[1] = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	d.Rows = binary.BigEndian.Uint64(b[16:])
	return d, nil
}
