package record

import (
	"encoding/binary"

	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// ItemsKey is where it is kept what the live items of a Key add up to; there is
// nothing when there are none. These keys order like (table, bucket, key).
func ItemsKey(t metaapi.Table, b object.BucketID, key string) []byte {
	return append(itemsPrefix(t, b), key...)
}

// ItemsPrefix begins every ItemsKey of a table and bucket whose Key begins with
// prefix.
func ItemsPrefix(t metaapi.Table, b object.BucketID, prefix string) []byte {
	return ItemsKey(t, b, prefix)
}

// AllItems begins every ItemsKey.
func AllItems() []byte { return []byte{tagItems} }

func itemsPrefix(t metaapi.Table, b object.BucketID) []byte {
	return append([]byte{tagItems, byte(t)}, b[:]...)
}

// ParseItemsKey returns what an ItemsKey is of.
func ParseItemsKey(key []byte) (t metaapi.Table, b object.BucketID, name string, err error) {
	if len(key) < rowPrefixBytes || key[0] != tagItems {
		return t, b, "", corrupt("index key of %d bytes", len(key))
	}
	return metaapi.Table(key[1]), object.BucketID(key[2:rowPrefixBytes]), string(key[rowPrefixBytes:]), nil
}

// EncodeItems is the value of an ItemsKey.
func EncodeItems(c metaapi.ItemCounters) []byte {
	b := make([]byte, 0, 32)
	for _, n := range [...]int64{c.Entries, c.Conflicts, c.Values, c.Bytes} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return b
}

// DecodeItems reads the value of an ItemsKey.
func DecodeItems(b []byte) (c metaapi.ItemCounters, err error) {
	if len(b) != 32 {
		return c, corrupt("index of %d bytes", len(b))
	}
	for i, into := range [...]*int64{&c.Entries, &c.Conflicts, &c.Values, &c.Bytes} {
		*into = int64(binary.BigEndian.Uint64(b[8*i:]))
	}
	return c, nil
}

// NumberKey is where the number of the last change is kept.
func NumberKey() []byte { return []byte{tagNumber} }

// EncodeNumber is the value of a NumberKey.
func EncodeNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// DecodeNumber reads the value of a NumberKey.
func DecodeNumber(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, corrupt("number of a change of %d bytes", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// ChangeKey lists a row under the number of its last change, with its Sub as the
// value. These keys order like (table, bucket, key, number).
func ChangeKey(t metaapi.Table, b object.BucketID, key string, change uint64) []byte {
	return binary.BigEndian.AppendUint64(ChangePrefix(t, b, key), change)
}

// ChangePrefix begins every ChangeKey of rows with this Key.
func ChangePrefix(t metaapi.Table, b object.BucketID, key string) []byte {
	name := KeyPrefix(t, b, key)
	name[0] = tagChange
	return name
}

// AllChanges begins every ChangeKey.
func AllChanges() []byte { return []byte{tagChange} }

// ParseChange returns the number at the end of a ChangeKey.
func ParseChange(key []byte) (uint64, error) {
	if len(key) < rowPrefixBytes+8 || key[0] != tagChange {
		return 0, corrupt("change's key of %d bytes", len(key))
	}
	return binary.BigEndian.Uint64(key[len(key)-8:]), nil
}
