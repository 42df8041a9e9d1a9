package record

import (
	"encoding/binary"

	"hangar/shared/causal"
	"hangar/shared/metaapi"
)

// ItemInlineBytes is the most that the values of a K2V item may have together to
// be kept in the head of its row: they then come with listings, and a listing's
// page, bounded in bytes, still holds hundreds of them.
const ItemInlineBytes = 2 << 10

// Bounds of one stored item, above what the gateway lets in.
const (
	maxItemNodes = 256
	maxItemDots  = 1024
	maxItemBytes = 8 << 20
)

// How the values of an item lie: in the head, after the vector, or in the body.
const (
	valuesInHead = 0
	valuesInBody = 1
)

// tombstone is the stored length of a deletion; values have theirs plus one.
const tombstone = 0

// CountItem says what an item adds to the index of its partition key.
func CountItem(s causal.Set) (c metaapi.ItemCounters) {
	values := s.Values()
	for _, v := range values {
		if !v.Deleted {
			c.Entries = 1
			c.Values++
			c.Bytes += int64(len(v.Data))
		}
	}
	if len(values) > 1 {
		c.Conflicts = 1
	}
	return c
}

// EncodeItem makes the row of a K2V item.
func EncodeItem(s causal.Set) *metaapi.Value {
	c := CountItem(s)
	v := &metaapi.Value{Count: c.Entries, Bytes: c.Bytes}
	total := 0
	for i := range s {
		for _, d := range s[i].Dots {
			total += len(d.Data)
		}
	}
	v.Head = AppendItemCounters(make([]byte, 0, 64+min(total, ItemInlineBytes)), c)
	inline := total <= ItemInlineBytes
	if inline {
		v.Head = append(v.Head, valuesInHead)
	} else {
		v.Head = append(v.Head, valuesInBody)
		v.Body = make([]byte, 0, total)
	}
	v.Head = binary.AppendUvarint(v.Head, uint64(len(s)))
	for i := range s {
		v.Head = appendItemEntry(v.Head, &s[i])
	}
	for i := range s {
		for _, d := range s[i].Dots {
			if inline {
				v.Head = append(v.Head, d.Data...)
			} else {
				v.Body = append(v.Body, d.Data...)
			}
		}
	}
	return v
}

func appendItemEntry(b []byte, e *causal.Entry) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.Node))
	b = binary.AppendUvarint(b, e.Discard)
	b = binary.AppendUvarint(b, uint64(len(e.Dots)))
	last := e.Discard
	for _, d := range e.Dots {
		b = binary.AppendUvarint(b, d.Time-last)
		last = d.Time
		if d.Deleted {
			b = append(b, tombstone)
		} else {
			b = binary.AppendUvarint(b, uint64(len(d.Data))+1)
		}
	}
	return b
}

// ItemHead is what the head of an item says.
type ItemHead struct {
	Counters metaapi.ItemCounters
	// Whole: Set holds the values. Otherwise they lie in the body, and Set says
	// only when they were written and which are deletions.
	Whole bool
	Set   causal.Set

	lengths []int // of the values that are none deletions, in order
	total   int
}

// DecodeItemHead reads the head of an item's row. Values are pieces of it.
func DecodeItemHead(head []byte) (h ItemHead, err error) {
	var rest []byte
	if h.Counters, rest, err = ParseItemCounters(head); err != nil {
		return ItemHead{}, err
	}
	d := decoder{rest: rest, what: "item"}
	switch form := d.byte(); form {
	case valuesInHead:
		h.Whole = true
	case valuesInBody:
	default:
		d.fail("unknown form %d", form)
	}
	h.vector(&d)
	if h.Whole && d.err == nil {
		if len(d.rest) != h.total {
			d.fail("%d bytes of values instead of %d", len(d.rest), h.total)
		} else {
			h.fill(d.take(h.total))
		}
	}
	if err := d.finish(); err != nil {
		return ItemHead{}, err
	}
	return h, nil
}

func (h *ItemHead) vector(d *decoder) {
	n := d.uint(maxItemNodes)
	dots := 0
	for range n {
		e := causal.Entry{}
		if b := d.take(8); b != nil {
			e.Node = causal.Node(binary.BigEndian.Uint64(b))
		}
		e.Discard = d.uint(causal.MaxTime)
		count := int(d.uint(maxItemDots))
		if dots += count; dots > maxItemDots {
			d.fail("more than %d writes", maxItemDots)
		}
		if last := len(h.Set) - 1; last >= 0 && h.Set[last].Node >= e.Node {
			d.fail("nodes out of order")
		}
		time := e.Discard
		for range count {
			step := d.uint(causal.MaxTime - time)
			if step == 0 {
				d.fail("times out of order")
			}
			time += step
			size := int(d.uint(maxItemBytes + 1))
			if d.err != nil {
				return
			}
			dot := causal.Dot{Time: time, Value: causal.Value{Deleted: size == tombstone}}
			if size != tombstone {
				h.lengths = append(h.lengths, size-1)
				h.total += size - 1
			}
			e.Dots = append(e.Dots, dot)
		}
		if d.err != nil {
			return
		}
		h.Set = append(h.Set, e)
	}
}

// fill cuts the values out of b, whose length fits.
func (h *ItemHead) fill(b []byte) {
	next := 0
	for i := range h.Set {
		for j := range h.Set[i].Dots {
			if d := &h.Set[i].Dots[j]; !d.Deleted {
				n := h.lengths[next]
				d.Data, b = b[:n:n], b[n:]
				next++
			}
		}
	}
}

// DecodeItem reads the row of an item; nil is one that nobody wrote. Values are
// pieces of the row.
func DecodeItem(v *metaapi.Value) (causal.Set, error) {
	if v == nil {
		return nil, nil
	}
	h, err := DecodeItemHead(v.Head)
	if err != nil {
		return nil, err
	}
	d := decoder{rest: v.Body, what: "item's values"}
	if !h.Whole && h.total <= len(v.Body) {
		h.fill(d.take(h.total))
	} else if !h.Whole {
		d.fail("cut short")
	}
	return h.Set, d.finish()
}
