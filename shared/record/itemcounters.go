package record

import "hangar/shared/metaapi"

// AppendItemCounters begins the head of a K2V item with what the item adds to
// the index of its partition key: see metaapi.AppendItemCounters.
func AppendItemCounters(head []byte, c metaapi.ItemCounters) []byte {
	return metaapi.AppendItemCounters(head, c)
}

// ParseItemCounters takes what AppendItemCounters wrote from the front of an
// item's head; rest aliases it. Errors: Corrupt.
func ParseItemCounters(head []byte) (c metaapi.ItemCounters, rest []byte, err error) {
	return metaapi.ParseItemCounters(head)
}
