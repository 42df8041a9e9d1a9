package blockapi

import (
	"bytes"
	"context"
	"encoding/binary"

	"hangar/shared/layout"
	"hangar/shared/object"
)

// Span is the hashes from First to Last, both included.
type Span struct{ First, Last object.Hash }

// spanOf is the hashes whose top bits are n.
func spanOf(n uint16, bits uint8) Span {
	var s Span
	binary.BigEndian.PutUint16(s.First[:], n<<(16-bits))
	for i := range s.Last {
		s.Last[i] = 0xff
	}
	binary.BigEndian.PutUint16(s.Last[:], n<<(16-bits)|uint16(1<<(16-bits)-1))
	return s
}

// PartitionSpan is the hashes of a partition.
func PartitionSpan(p layout.Partition, bits uint8) Span { return spanOf(uint16(p), bits) }

// Span is the hashes of a leaf.
func (l Leaf) Span() Span { return spanOf(uint16(l), 16) }

// One is the span of h alone.
func One(h object.Hash) Span { return Span{First: h, Last: h} }

// Has reports whether h is in the span.
func (s Span) Has(h object.Hash) bool {
	return bytes.Compare(s.First[:], h[:]) <= 0 && bytes.Compare(h[:], s.Last[:]) <= 0
}

// Leaf is a slice of the hashes as fine as digests are kept for: the top 16
// bits, so that it lies within one partition whatever their number.
type Leaf uint16

// LeafOf is the leaf of a hash.
func LeafOf(h object.Hash) Leaf { return Leaf(binary.BigEndian.Uint16(h[:])) }

// Leaves are the first and last leaf of a span.
func (s Span) Leaves() (first, last Leaf) { return LeafOf(s.First), LeafOf(s.Last) }

// Entry is a block and owners of it: in a listing, all or some of them.
type Entry struct {
	Hash        object.Hash
	StoredBytes int64
	Owners      []Owner
}

// Listing is what List is asked for.
type Listing struct {
	// Epoch is adopted first if it is newer than the node's, so that the
	// listing holds everything that the rings before can ever acknowledge.
	Epoch uint64
	Span  Span
	// Complete demands that the node holds everything of Partition that it
	// missed while it was not a member: Unavailable if not.
	Complete  bool
	Partition layout.Partition
	// After goes on where a page ended; nil begins.
	After []byte
	// Bytes is about how large the page may be.
	Bytes int64
}

// Page is a stretch of a listing, in the order of hashes. A block with many
// owners may go on in the next page.
type Page struct {
	Entries []Entry
	// Next is where the next page begins; nil after the last.
	Next []byte
}

// Digest sums up references of owners to blocks, in any order. Two nodes with
// the same references have the same Sum and Refs.
type Digest struct {
	Sum  [2]uint64
	Refs int64
	// Blocks and Bytes (as stored) are those that the references go to.
	Blocks, Bytes int64
}

// Same reports whether both sum up the same references.
func (d Digest) Same(o Digest) bool { return d.Sum == o.Sum && d.Refs == o.Refs }

// Add counts the references of o in.
func (d *Digest) Add(o Digest) {
	d.Sum[0] += o.Sum[0]
	d.Sum[1] += o.Sum[1]
	d.Refs += o.Refs
	d.Blocks += o.Blocks
	d.Bytes += o.Bytes
}

// Digests is what a node says of a span.
type Digests struct {
	All Digest
	// Complete is as in Listing.
	Complete bool
	// Leaves holds those that are not empty, unless All is what was known.
	Leaves map[Leaf]Digest
}

// Peer is what the nodes of the block service offer each other, to keep
// replicas alike and to move partitions. Safe for concurrent use.
type Peer interface {
	// List lists blocks with their owners from one snapshot per page. Errors:
	// Unavailable, Invalid.
	List(ctx context.Context, l Listing) (Page, error)
	// Digests sums up a span of partition p. Leaves are left out when
	// everything together is the same as known.
	Digests(ctx context.Context, p layout.Partition, s Span, known Digest) (Digests, error)
	// Confirm says which references (counted through the owners of all
	// entries) the node does not hold durably as a member of the ring of epoch:
	// Unavailable when it is not one or does not know that ring. It queues what
	// it lacks, to be fetched from the node that asks, among others.
	Confirm(ctx context.Context, epoch uint64, from object.NodeID, entries []Entry) (lacking []int, err error)
}
