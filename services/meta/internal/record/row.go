package record

import (
	"encoding/binary"
	"math"

	"hangar/shared/register"
	"hangar/shared/segment"
)

// Version is that of the row format. A decoder refuses any other.
const Version = 2

// MaxInlineBody is the largest body kept in the row's own record. A listing
// reads every record it passes, and the store copies every record several
// times, so that a larger one is kept apart, in the log of bodies.
const MaxInlineBody = 512

// Row is a row as stored: the state of the protocol, except that the body may
// be kept apart.
type Row struct {
	register.State
	// BodyBytes is the length of the body of a live row.
	BodyBytes int
	// Place is where the log of bodies has the body when that is apart.
	Place segment.Location
	// Change is the number of the commit that gave the row its tag, in tables
	// whose changes are numbered; 0 in others.
	Change uint64
}

// BodyApart reports whether the row's body is at its Place. Value.Body is then
// nil in a decoded Row.
func (r *Row) BodyApart() bool { return r.Value != nil && r.BodyBytes > MaxInlineBody }

// IsZero reports whether the row is as good as not there.
func (r *Row) IsZero() bool {
	return r.Tag.IsZero() && r.Promised.IsZero() && r.Value == nil && len(r.Ring) == 0 && r.Floor.IsZero()
}

// The flags of a record: what follows its fixed part.
const (
	flagLive     = 1 << iota // counters, head and body
	flagOp                   // an Op that differs from the Tag
	flagPromised             // a promise
	flagHistory              // floor and ring
	flagChange               // the number of a change
	flagsKnown   = flagLive | flagOp | flagPromised | flagHistory | flagChange
)

// TagBytes is the length of an encoded tag.
const TagBytes = 8 + 8 + 1

// AppendTag encodes t.
func AppendTag(b []byte, t register.Tag) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.Time))
	b = binary.BigEndian.AppendUint64(b, t.Node)
	return append(b, t.Seq)
}

// Encode returns the record of r. Of a body of more than MaxInlineBody bytes
// it has the Place.
func Encode(r *Row) []byte {
	flags := byte(0)
	size := 2 + TagBytes
	if r.Op != r.Tag {
		flags |= flagOp
		size += TagBytes
	}
	if !r.Promised.IsZero() {
		flags |= flagPromised
		size += TagBytes
	}
	if len(r.Ring) > 0 || !r.Floor.IsZero() {
		flags |= flagHistory
		size += TagBytes + 1 + 2*TagBytes*len(r.Ring)
	}
	if r.Change != 0 {
		flags |= flagChange
		size += binary.MaxVarintLen64
	}
	if r.Value != nil {
		flags |= flagLive
		size += 4*binary.MaxVarintLen64 + len(r.Value.Head) + max(placeBytes, min(len(r.Value.Body), MaxInlineBody))
	}
	b := append(make([]byte, 0, size), Version, flags)
	b = AppendTag(b, r.Tag)
	if flags&flagOp != 0 {
		b = AppendTag(b, r.Op)
	}
	if flags&flagPromised != 0 {
		b = AppendTag(b, r.Promised)
	}
	if flags&flagHistory != 0 {
		b = AppendTag(b, r.Floor)
		b = append(b, byte(len(r.Ring)))
		for _, a := range r.Ring {
			b = AppendTag(AppendTag(b, a.Op), a.Tag)
		}
	}
	if r.Change != 0 {
		b = binary.AppendUvarint(b, r.Change)
	}
	if v := r.Value; v != nil {
		b = binary.AppendVarint(b, v.Count)
		b = binary.AppendVarint(b, v.Bytes)
		b = binary.AppendUvarint(b, uint64(len(v.Head)))
		b = append(b, v.Head...)
		b = binary.AppendUvarint(b, uint64(r.BodyBytes))
		if r.BodyApart() {
			b = appendPlace(b, r.Place)
		} else {
			b = append(b, v.Body...)
		}
	}
	return b
}

// placeBytes is the most that appendPlace adds.
const placeBytes = 3*binary.MaxVarintLen64 + 8

func appendPlace(b []byte, l segment.Location) []byte {
	b = binary.AppendUvarint(b, uint64(l.Segment))
	b = binary.AppendUvarint(b, uint64(l.Offset))
	b = binary.AppendUvarint(b, uint64(l.StoredBytes))
	return binary.BigEndian.AppendUint64(b, l.Checksum)
}

// Decode reads a record. Head and Body of the result alias b. Errors: Corrupt.
func Decode(b []byte) (*Row, error) {
	d := decoder{rest: b}
	r := new(Row)
	flags := d.header()
	r.Tag = d.tag()
	if r.Op = r.Tag; flags&flagOp != 0 {
		r.Op = d.tag()
		d.require(r.Op != r.Tag, "an operation of its own that is none")
	}
	if flags&flagPromised != 0 {
		r.Promised = d.tag()
		d.require(!r.Promised.IsZero(), "an empty promise")
	}
	if flags&flagHistory != 0 {
		d.history(&r.State)
	}
	if flags&flagChange != 0 {
		r.Change = d.change()
	}
	if flags&flagLive != 0 {
		v := new(register.Value)
		v.Count, v.Bytes = d.varint(), d.varint()
		v.Head = d.bytes(d.length(len(d.rest)))
		r.BodyBytes = d.length(maxBody)
		r.Value = v
		if r.BodyApart() {
			r.Place = d.place()
			d.require(r.Place.StoredBytes > int64(r.BodyBytes), "too small a place")
		} else {
			v.Body = d.bytes(r.BodyBytes)
		}
	}
	d.require(len(d.rest) == 0, "bytes at its end")
	if d.err != nil {
		return nil, d.err
	}
	return r, nil
}

// maxBody bounds the body of a record that is believed.
const maxBody = 64 << 20

// Peek is what a listing needs of a record.
type Peek struct {
	Tag    register.Tag
	Live   bool
	Change uint64
	// Head aliases the record.
	Head []byte
}

// DecodePeek reads the part of a record that a listing needs. Errors: Corrupt.
func DecodePeek(b []byte) (p Peek, err error) {
	d := decoder{rest: b}
	flags := d.header()
	p.Tag = d.tag()
	if flags&flagOp != 0 {
		d.bytes(TagBytes)
	}
	if flags&flagPromised != 0 {
		d.bytes(TagBytes)
	}
	if flags&flagHistory != 0 {
		d.bytes(TagBytes)
		d.bytes(2 * TagBytes * int(d.byte()))
	}
	if flags&flagChange != 0 {
		p.Change = d.change()
	}
	if p.Live = flags&flagLive != 0; p.Live {
		d.varint()
		d.varint()
		p.Head = d.bytes(d.length(len(d.rest)))
	}
	return p, d.err
}

// decoder takes a record apart. After its first error it yields zeroes.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) require(ok bool, what string) {
	if !ok && d.err == nil {
		d.err = corrupt("row record with %s", what)
	}
}

func (d *decoder) header() (flags byte) {
	version := d.byte()
	d.require(version == Version, "an unknown version")
	flags = d.byte()
	d.require(flags&^flagsKnown == 0, "unknown flags")
	return flags
}

func (d *decoder) bytes(n int) []byte {
	if d.require(n <= len(d.rest), "too few bytes"); d.err != nil {
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	if n == 0 {
		return nil
	}
	return b
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) tag() (t register.Tag) {
	if b := d.bytes(TagBytes); b != nil {
		t.Time = int64(binary.BigEndian.Uint64(b))
		t.Node = binary.BigEndian.Uint64(b[8:])
		t.Seq = b[16]
	}
	return t
}

func (d *decoder) history(st *register.State) {
	st.Floor = d.tag()
	n := int(d.byte())
	d.require(n <= register.RingSize, "too large a ring")
	d.require(n > 0 || !st.Floor.IsZero(), "an empty history")
	if n == 0 || d.err != nil {
		return
	}
	st.Ring = make([]register.Accepted, n)
	for i := range st.Ring {
		st.Ring[i] = register.Accepted{Op: d.tag(), Tag: d.tag()}
		d.require(i == 0 || st.Ring[i-1].Op.Less(st.Ring[i].Op), "a ring out of order")
	}
}

// varint reads a number in its shortest form.
func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	d.require(n > 0 && n == len(binary.AppendVarint(nil, v)), "a bad number")
	d.bytes(max(n, 0))
	return v
}

// change reads the number of a change.
func (d *decoder) change() uint64 {
	n := uint64(d.length(math.MaxInt))
	d.require(n > 0, "a change without a number")
	return n
}

// length reads an unsigned number of at most limit, in its shortest form.
func (d *decoder) length(limit int) int {
	v, n := binary.Uvarint(d.rest)
	d.require(n > 0 && n == len(binary.AppendUvarint(nil, v)) && v <= uint64(limit), "a bad length")
	if d.bytes(max(n, 0)); d.err != nil {
		return 0
	}
	return int(v)
}

func (d *decoder) place() (l segment.Location) {
	l.Segment = segment.ID(d.length(math.MaxInt))
	l.Offset = int64(d.length(math.MaxInt))
	l.StoredBytes = int64(d.length(segment.MaxDataBytes))
	if b := d.bytes(8); b != nil {
		l.Checksum = binary.BigEndian.Uint64(b)
	}
	return l
}
