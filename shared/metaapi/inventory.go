package metaapi

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/bits"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

// SliceBits is how finely rows are divided, whatever the number of partitions:
// a partition is a run of slices.
const SliceBits = layout.MaxBits

// Slices is a set of slices. The zero Slices is empty.
type Slices [1 << SliceBits / 64]uint64

// slicesBytes is the length of the wire form of Slices.
const slicesBytes = 1 << SliceBits / 8

// Add puts a slice into the set.
func (s *Slices) Add(slice uint16) { s[slice/64] |= 1 << (slice % 64) }

// Has reports whether a slice is in the set.
func (s *Slices) Has(slice uint16) bool { return s[slice/64]>>(slice%64)&1 == 1 }

// AddPartition puts the slices of a partition into the set, in a cluster with
// so many partition bits.
func (s *Slices) AddPartition(p layout.Partition, partitionBits uint8) {
	run := uint16(1) << (SliceBits - partitionBits)
	for i := range run {
		s.Add(uint16(p)*run + i)
	}
}

// Len is the number of slices in the set.
func (s *Slices) Len() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Each calls f for each slice in the set, in order.
func (s *Slices) Each(f func(slice uint16)) {
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			f(uint16(i*64 + bits.TrailingZeros64(w)))
		}
	}
}

// MaxInventoryBytes bounds InventoryRequest.MaxBytes, as MaxScanBytes does.
const MaxInventoryBytes = 512 << 10

// InventoryRowBytes is what a row counts against InventoryRequest.MaxBytes
// besides the lengths of its Key and Sub.
const InventoryRowBytes = 96

// InventoryRequest asks a node for all rows it holds in some slices, whatever
// their table and bucket, in the order of (Table, Bucket, Key, Sub).
type InventoryRequest struct {
	Epoch  uint64
	Slices Slices
	// After is the Next of an earlier reply, of any node, or nil to begin.
	After []byte
	// Limit bounds the rows of the answer, 1 to MaxScanRows.
	Limit int
	// MaxBytes bounds the answer, 1 to MaxInventoryBytes: see
	// InventoryRowBytes. The first row is returned whatever its size.
	MaxBytes int
}

// InventoryReply is one page.
type InventoryReply struct {
	// Old says that the request's epoch has been left; Epoch is the node's.
	// There is nothing else then.
	Old   bool
	Epoch uint64
	// Rows are all that the node holds between the request's After and Next.
	// Since a node looks only at so many rows for one answer, there may be
	// none although more follow.
	Rows []InventoryRow
	// Next is where to go on: the key that some row is, or would be, stored under
	// (docs/format/meta.md). So positions are the same for all nodes and order
	// bytewise like the rows.
	Next []byte
	// Done says that nothing follows.
	Done bool
	// Total is, for a request without After, how many rows that were ever
	// written the node holds in the slices, forgotten ones left out.
	Total uint64
}

// InventoryRow is a row as one node holds it, committed or not.
type InventoryRow struct {
	Key RowKey
	// Tag is zero for a row that was only promised.
	Tag, Promised register.Tag
	// Live is false for a delete marker and for a row that was never written.
	Live bool
	// Size of head and body.
	Size int64
}

// AskInventory asks node n. Errors: those of Replica.Inventory; Indeterminate
// when no answer came in time; Corrupt when it makes no sense.
func AskInventory(ctx context.Context, c rpc.Caller, n object.NodeID, q *InventoryRequest) (InventoryReply, error) {
	m, err := encodeInventoryRequest(q)
	if err != nil {
		return InventoryReply{}, err
	}
	answer, err := c.Call(ctx, nodeTarget(opInventory, n), m)
	if err != nil {
		return InventoryReply{}, err
	}
	reply, err := decodeInventoryReply(answer)
	if err == nil && !reply.Old {
		err = q.checkReply(&reply)
	}
	if err != nil {
		return InventoryReply{}, fault.Wrap(fault.KindOf(err), err, "an inventory of node %s", n)
	}
	return reply, nil
}

// maxPosition is more than the longest key of a store.
const maxPosition = 8 << 10

// checkReply is Corrupt when no node can have given the reply.
func (q *InventoryRequest) checkReply(r *InventoryReply) error {
	switch {
	case len(r.Rows) > q.Limit:
		return fault.New(fault.Corrupt, "%d rows, not the %d asked for", len(r.Rows), q.Limit)
	case !r.Done && (len(r.Next) > maxPosition || string(r.Next) <= string(q.After)):
		return fault.New(fault.Corrupt, "it does not advance")
	}
	for i := range r.Rows {
		k := &r.Rows[i].Key
		if !q.Slices.Has(k.slice()) || i > 0 && !r.Rows[i-1].Key.before(k) {
			return fault.New(fault.Corrupt, "row %d is not one that was asked for, or out of order", i)
		}
	}
	return nil
}

// slice is that of the row.
func (k *RowKey) slice() uint16 { return uint16(layout.OfRow(k.Bucket, k.Key, SliceBits)) }

// before reports whether k comes before o in an inventory.
func (k *RowKey) before(o *RowKey) bool {
	if k.Table != o.Table {
		return k.Table < o.Table
	}
	if c := bytes.Compare(k.Bucket[:], o.Bucket[:]); c != 0 {
		return c < 0
	}
	return compare(k.Key, k.Sub, o.Key, o.Sub) < 0
}

// CoverAssigned chooses few nodes that together hold a majority of the old
// replica set (Ring.Assign) of each of parts, without those that are down.
// Errors: Unavailable, there are too few.
func CoverAssigned(ring *layout.Ring, parts []layout.Partition, near object.NodeID, down map[object.NodeID]bool) ([]object.NodeID, error) {
	old := *ring
	old.Next = nil
	return cover(&old, parts, map[object.NodeID]bool{near: true}, down)
}

func (s *Server) inventory(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	q, err := decodeInventoryRequest(m)
	if err != nil {
		return rpc.Message{}, err
	}
	reply, err := s.replica.Inventory(ctx, q)
	if err != nil {
		return rpc.Message{}, err
	}
	return encodeInventoryReply(&reply)
}

func slicesToWire(s *Slices) []byte {
	b := make([]byte, 0, slicesBytes)
	for _, w := range s {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func slicesFromWire(b []byte) (s Slices, err error) {
	if len(b) != slicesBytes {
		return s, fault.New(fault.Invalid, "a set of slices of %d bytes", len(b))
	}
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return s, nil
}
