package record

import (
	"encoding/binary"
	"math"

	"hangar/shared/metaapi"
)

// AppendItemCounters begins the head of a K2V item with what the item adds to
// the index of its partition key: the metadata nodes, which know nothing else
// of items, keep the index from it. A row that begins so and adds nothing is
// one that is only there for its causality.
func AppendItemCounters(head []byte, c metaapi.ItemCounters) []byte {
	head = append(head, format)
	for _, n := range [...]int64{c.Entries, c.Conflicts, c.Values, c.Bytes} {
		head = binary.AppendUvarint(head, uint64(n))
	}
	return head
}

// ParseItemCounters takes what AppendItemCounters wrote from the front of an
// item's head; rest aliases it. Errors: Corrupt.
func ParseItemCounters(head []byte) (c metaapi.ItemCounters, rest []byte, err error) {
	d := decode("item", head)
	for _, n := range [...]*int64{&c.Entries, &c.Conflicts, &c.Values, &c.Bytes} {
		*n = int64(d.uint(math.MaxInt64))
	}
	if d.err != nil {
		return metaapi.ItemCounters{}, nil, d.err
	}
	return c, d.rest, nil
}
