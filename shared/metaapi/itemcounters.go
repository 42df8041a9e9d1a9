package metaapi

import (
	"encoding/binary"
	"math"

	"hangar/shared/fault"
)

// itemFormat is the version of what an item's head begins with.
const itemFormat = 1

// AppendItemCounters begins the head of a row of the table Items with what the
// row adds to the Index: the metadata nodes, which know nothing else of items,
// keep that from it.
func AppendItemCounters(head []byte, c ItemCounters) []byte {
	head = append(head, itemFormat)
	for _, n := range [...]int64{c.Entries, c.Conflicts, c.Values, c.Bytes} {
		head = binary.AppendUvarint(head, uint64(n))
	}
	return head
}

// ParseItemCounters takes what AppendItemCounters wrote from the front of a
// head; rest aliases it. Errors: Corrupt.
func ParseItemCounters(head []byte) (c ItemCounters, rest []byte, err error) {
	if len(head) == 0 || head[0] != itemFormat {
		return c, nil, fault.New(fault.Corrupt, "an item's head of %d bytes does not begin with its counters", len(head))
	}
	rest = head[1:]
	for _, into := range [...]*int64{&c.Entries, &c.Conflicts, &c.Values, &c.Bytes} {
		v, n := binary.Uvarint(rest)
		if n <= 0 || n > 1 && rest[n-1] == 0 || v > math.MaxInt64 {
			return ItemCounters{}, nil, fault.New(fault.Corrupt, "an item's head has a bad number")
		}
		*into, rest = int64(v), rest[n:]
	}
	return c, rest, nil
}

// Plus is the sum of two counters.
func (c ItemCounters) Plus(d ItemCounters) ItemCounters {
	return ItemCounters{c.Entries + d.Entries, c.Conflicts + d.Conflicts, c.Values + d.Values, c.Bytes + d.Bytes}
}

// Minus is the difference of two counters.
func (c ItemCounters) Minus(d ItemCounters) ItemCounters {
	return ItemCounters{c.Entries - d.Entries, c.Conflicts - d.Conflicts, c.Values - d.Values, c.Bytes - d.Bytes}
}
