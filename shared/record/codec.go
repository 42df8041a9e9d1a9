package record

import (
	"encoding/binary"

	"hangar/shared/fault"
)

// format is the version of every record written today. A reader refuses what
// it does not know instead of guessing.
const format = 1

// appendString writes a length and the bytes.
func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decoder reads a record front to back. After the first mistake every read
// answers zero, and finish reports it: callers check once.
type decoder struct {
	rest []byte
	what string
	err  error
}

func decode(what string, b []byte) decoder {
	d := decoder{rest: b, what: what}
	if v := d.byte(); d.err == nil && v != format {
		d.fail("format %d is not known", v)
	}
	return d
}

func (d *decoder) fail(msg string, args ...any) {
	if d.err == nil {
		d.err = fault.New(fault.Corrupt, "stored "+d.what+": "+msg, args...)
		d.rest = nil
	}
}

// take returns the next n bytes without copying them.
func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.fail("cut short")
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uint reads a shortest-form number no greater than limit.
func (d *decoder) uint(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.rest)
	switch {
	case n <= 0:
		d.fail("bad number")
	case n > 1 && d.rest[n-1] == 0:
		d.fail("number not in its shortest form")
	case v > limit:
		d.fail("%d is above the limit of %d", v, limit)
	default:
		d.rest = d.rest[n:]
		return v
	}
	return 0
}

// string reads a length of at most limit and that many bytes.
func (d *decoder) string(limit int) string { return string(d.take(int(d.uint(uint64(limit))))) }

// id reads the 16 bytes that all ids have.
func (d *decoder) id() (v [16]byte) {
	copy(v[:], d.take(len(v)))
	return v
}

// finish demands that nothing is left.
func (d *decoder) finish() error {
	if d.err == nil && len(d.rest) != 0 {
		d.fail("%d bytes too many", len(d.rest))
	}
	return d.err
}
