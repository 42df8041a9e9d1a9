package record

import (
	"encoding/binary"

	"hangar/shared/layout"
)

// Copy is how far a node has come with copying rows to the new members of
// partitions that change hands.
type Copy struct {
	// Epoch of the joint ring.
	Epoch uint64
	// Done are the partitions of which every row is where the ring wants it,
	// Running those that the pass under way is about. Both ascend.
	Done, Running []layout.Partition
	// After is the key of the last row of the pass that is copied; empty at its
	// beginning.
	After []byte
	// Rows and Bytes that were copied in this epoch, and the rows that are
	// expected to be in all.
	Rows, Bytes, Expected int64
}

const copyVersion = 1

// EncodeCopy is the value of a CopyKey.
func EncodeCopy(c *Copy) []byte {
	b := []byte{copyVersion}
	b = binary.BigEndian.AppendUint64(b, c.Epoch)
	for _, n := range [...]int64{c.Rows, c.Bytes, c.Expected} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	for _, parts := range [...][]layout.Partition{c.Done, c.Running} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(parts)))
		for _, p := range parts {
			b = binary.BigEndian.AppendUint16(b, uint16(p))
		}
	}
	return append(b, c.After...)
}

// DecodeCopy reads the value of a CopyKey.
func DecodeCopy(b []byte) (c Copy, err error) {
	d := decoder{rest: b}
	d.require(d.byte() == copyVersion, "an unknown version")
	c.Epoch = d.uint64()
	c.Rows, c.Bytes, c.Expected = int64(d.uint64()), int64(d.uint64()), int64(d.uint64())
	c.Done, c.Running = d.partitions(), d.partitions()
	if d.err != nil {
		return Copy{}, d.err
	}
	c.After = append(c.After, d.rest...)
	return c, nil
}

func (d *decoder) uint64() uint64 {
	if b := d.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if b := d.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) partitions() (parts []layout.Partition) {
	for n := int(d.uint16()); n > 0 && d.err == nil; n-- {
		p := layout.Partition(d.uint16())
		d.require(len(parts) == 0 || parts[len(parts)-1] < p, "partitions out of order")
		parts = append(parts, p)
	}
	return parts
}
