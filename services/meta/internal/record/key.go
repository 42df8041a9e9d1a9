// Package record is the stored format of the metadata service: the keys of its
// ordered store and what is under them. docs/format/meta.md describes it. The
// package does no I/O, and its decoders take any bytes.
package record

import (
	"bytes"
	"encoding/binary"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/segment"
)

// The first byte of a key says what is under it. Stored format: append only.
const (
	tagBits    = 'B' // partition bits of the cluster
	tagEpoch   = 'E' // adopted layout epoch
	tagLow     = 'L' // partition → low mark
	tagRow     = 'r' // row → its record
	tagUsage   = 'u' // segment of the log of bodies → what lives in it
	tagCounter = 'c' // table, bucket, partition → counters
	tagDigest  = 'd' // slice → digest
	tagVacant  = 'v' // time, row → nothing: rows without a value, oldest first
	tagRepair  = 'A' // how far the comparing with another node has come
	tagMembers = 'M' // what the node remembers of its membership
	tagCopy    = 'T' // how far the copying of a layout change has come
	tagApplied = 'J' // last record of the journal that the store holds
	tagDurable = 'K' // last record of the journal that the store holds durably
	tagItems   = 'i' // table, bucket, key → what its live items add up to
	tagChange  = 's' // table, bucket, key, number of a change → sub of the row
	tagNumber  = 'S' // number of the last change
)

// A key within a row key ends with two bytes that order below everything that
// may follow in a longer key: 0x00 is escaped as 0x00 0xff inside.
const (
	escape     = 0x00
	escaped    = 0xff
	terminator = 0x01
)

// rowPrefixBytes is the length of what a row key begins with: kind, table, bucket.
const rowPrefixBytes = 1 + 1 + len(object.BucketID{})

// BitsKey is where the cluster's partition bits are kept.
func BitsKey() []byte { return []byte{tagBits} }

// EpochKey is where the adopted epoch is kept.
func EpochKey() []byte { return []byte{tagEpoch} }

// RepairKey is where the RepairMark is kept.
func RepairKey() []byte { return []byte{tagRepair} }

// MembersKey is where it is kept which partitions the node holds, and since when.
func MembersKey() []byte { return []byte{tagMembers} }

// CopyKey is where it is kept how far the copying of a layout change has come.
func CopyKey() []byte { return []byte{tagCopy} }

// AppliedKey is where the position of the last record of the journal is kept
// that the store holds, in the commit that applied it.
func AppliedKey() []byte { return []byte{tagApplied} }

// DurableKey is where the position of a record of the journal is kept that the
// store holds durably, with all before it: the checkpoint.
func DurableKey() []byte { return []byte{tagDurable} }

// LowKey is where a partition's low mark is kept. The partition is that of the
// cluster's bits.
func LowKey(partition uint16) []byte { return binary.BigEndian.AppendUint16([]byte{tagLow}, partition) }

// LowPrefix begins every LowKey.
func LowPrefix() []byte { return []byte{tagLow} }

// ParseLowKey returns the partition of a LowKey.
func ParseLowKey(key []byte) (uint16, error) {
	if len(key) != 3 || key[0] != tagLow {
		return 0, corrupt("low mark's key of %d bytes", len(key))
	}
	return binary.BigEndian.Uint16(key[1:]), nil
}

// DigestKey is where the digest of a slice is kept.
func DigestKey(slice uint16) []byte { return binary.BigEndian.AppendUint16([]byte{tagDigest}, slice) }

// DigestPrefix begins every DigestKey.
func DigestPrefix() []byte { return []byte{tagDigest} }

// CounterKey is where the counters of a table and bucket in one partition are kept.
func CounterKey(t metaapi.Table, b object.BucketID, partition uint16) []byte {
	key := append([]byte{tagCounter, byte(t)}, b[:]...)
	return binary.BigEndian.AppendUint16(key, partition)
}

// ParseCounterKey returns the table of a CounterKey.
func ParseCounterKey(key []byte) (metaapi.Table, error) {
	if len(key) != rowPrefixBytes+2 || key[0] != tagCounter {
		return 0, corrupt("counter's key of %d bytes", len(key))
	}
	return metaapi.Table(key[1]), nil
}

// CounterPrefix begins every CounterKey.
func CounterPrefix() []byte { return []byte{tagCounter} }

// RowKey is where a row's record is kept. Keys of rows order like (table,
// bucket, key, sub).
func RowKey(k metaapi.RowKey) []byte {
	key := make([]byte, 0, rowPrefixBytes+len(k.Key)+len(k.Sub)+8)
	key = appendTable(key, k.Table, k.Bucket)
	key = appendEscaped(key, k.Key)
	key = append(key, escape, terminator)
	return append(key, k.Sub...)
}

// RowPrefix begins every RowKey.
func RowPrefix() []byte { return []byte{tagRow} }

// TablePrefix begins every RowKey of a table.
func TablePrefix(t metaapi.Table) []byte { return []byte{tagRow, byte(t)} }

// UsageKey is where it is kept what lives in a segment of the log of bodies.
func UsageKey(id segment.ID) []byte {
	return binary.BigEndian.AppendUint64([]byte{tagUsage}, uint64(id))
}

// UsagePrefix begins every UsageKey.
func UsagePrefix() []byte { return []byte{tagUsage} }

// ParseUsageKey returns the segment of a UsageKey.
func ParseUsageKey(key []byte) (segment.ID, error) {
	if len(key) != 9 || key[0] != tagUsage {
		return 0, corrupt("segment's key of %d bytes", len(key))
	}
	return segment.ID(binary.BigEndian.Uint64(key[1:])), nil
}

// ScanPrefix begins the keys of all rows of a table and bucket whose Key has
// prefix.
func ScanPrefix(t metaapi.Table, b object.BucketID, prefix string) []byte {
	return appendEscaped(appendTable(make([]byte, 0, rowPrefixBytes+len(prefix)+8), t, b), prefix)
}

// KeyPrefix begins the keys of all rows of a table and bucket with this Key.
func KeyPrefix(t metaapi.Table, b object.BucketID, key string) []byte {
	return append(ScanPrefix(t, b, key), escape, terminator)
}

func appendTable(key []byte, t metaapi.Table, b object.BucketID) []byte {
	return append(append(key, tagRow, byte(t)), b[:]...)
}

func appendEscaped(key []byte, s string) []byte {
	for i := range len(s) {
		if key = append(key, s[i]); s[i] == escape {
			key = append(key, escaped)
		}
	}
	return key
}

// ParseRowKey is the inverse of RowKey.
func ParseRowKey(key []byte) (k metaapi.RowKey, err error) {
	if len(key) < rowPrefixBytes || key[0] != tagRow {
		return k, corrupt("row key of %d bytes", len(key))
	}
	k.Table = metaapi.Table(key[1])
	copy(k.Bucket[:], key[2:])
	k.Key, k.Sub, err = ParseNames(key)
	return k, err
}

// ParseNames returns only the Key and Sub of a RowKey.
func ParseNames(key []byte) (name, sub string, err error) {
	rest := key[min(rowPrefixBytes, len(key)):]
	end := bytes.IndexByte(rest, escape)
	if end >= 0 && end+1 < len(rest) && rest[end+1] == terminator { // nothing escaped
		return string(rest[:end]), string(rest[end+2:]), nil
	}
	plain := make([]byte, 0, len(rest))
	for i := 0; i < len(rest); i++ {
		if rest[i] != escape {
			plain = append(plain, rest[i])
			continue
		}
		if i++; i == len(rest) {
			break
		}
		switch rest[i] {
		case escaped:
			plain = append(plain, escape)
		case terminator:
			return string(plain), string(rest[i+1:]), nil
		default:
			return "", "", corrupt("row key escapes %#x", rest[i])
		}
	}
	return "", "", corrupt("row key does not end")
}

// VacantKey lists a row without a value by the time (Unix microseconds) that
// its state is from, so that a collector finds old ones without reading rows.
func VacantKey(micros int64, row []byte) []byte {
	key := make([]byte, 0, 1+8+len(row))
	key = append(key, tagVacant)
	key = binary.BigEndian.AppendUint64(key, uint64(max(micros, 0)))
	return append(key, row...)
}

// VacantPrefix begins every VacantKey.
func VacantPrefix() []byte { return []byte{tagVacant} }

// ParseVacantKey returns the time and the row key within a VacantKey.
func ParseVacantKey(key []byte) (micros int64, row []byte, err error) {
	if len(key) < 1+8+rowPrefixBytes || key[0] != tagVacant {
		return 0, nil, corrupt("vacant row's key of %d bytes", len(key))
	}
	return int64(binary.BigEndian.Uint64(key[1:])), key[9:], nil
}

func corrupt(format string, args ...any) error { return fault.New(fault.Corrupt, format, args...) }
