package record

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/object"
)

// Algorithm numbers an additional checksum.
type Algorithm uint8

// The algorithms. Numbers are stored: append only.
const (
	NoChecksum Algorithm = 0
	CRC32      Algorithm = 1
	CRC32C     Algorithm = 2
	CRC64NVME  Algorithm = 3
	SHA1       Algorithm = 4
	SHA256     Algorithm = 5
)

var digestBytes = [...]int{0, 4, 4, 8, 20, 32}

// Bytes is the length of a digest.
func (a Algorithm) Bytes() int {
	if int(a) < len(digestBytes) {
		return digestBytes[a]
	}
	return 0
}

// Limits of what is stored; a decoder refuses more.
const (
	maxStorageClassBytes = 64
	maxFieldBytes        = 16 << 10
	maxUserEntries       = 4096
	// MaxObjectBytes is S3's limit, 5 TiB.
	MaxObjectBytes = 5 << 40
)

// Flags. Their bits are stored: append only.
const (
	flagBlocks     = 1 << 0
	flagManifests  = 1 << 1
	flagComposite  = 1 << 2
	flagFull       = 1 << 3 // of an upload
	flagPartSummed = 1 << 4 // of a list of parts
)

// ObjectHead is what a listing shows of an object, and what whoever replaces
// the object must know to clean up after it.
type ObjectHead struct {
	Version  object.VersionID
	Size     int64
	Modified time.Time // kept in milliseconds
	// MD5 of the content or, when Parts is not 0, of the parts' MD5s.
	MD5   [16]byte
	Parts int
	// Checksum is the algorithm of the additional checksum; Composite says
	// that it was made of the parts' checksums.
	Checksum     Algorithm
	Composite    bool
	StorageClass string
	// Blocks: the content is in the block store. Manifests: rows of the
	// Manifests table belong to this version.
	Blocks, Manifests bool
}

// Append encodes h.
func (h ObjectHead) Append(b []byte) []byte {
	var flags byte
	for _, f := range [...]struct {
		on  bool
		bit byte
	}{{h.Blocks, flagBlocks}, {h.Manifests, flagManifests}, {h.Composite, flagComposite}} {
		if f.on {
			flags |= f.bit
		}
	}
	b = append(b, format, flags, byte(h.Checksum))
	b = append(b, h.Version[:]...)
	b = append(b, h.MD5[:]...)
	b = binary.AppendUvarint(b, uint64(h.Parts))
	b = binary.AppendUvarint(b, uint64(h.Size))
	b = binary.AppendUvarint(b, uint64(h.Modified.UnixMilli()))
	return appendString(b, h.StorageClass)
}

// DecodeObjectHead reads what Append wrote.
func DecodeObjectHead(b []byte) (ObjectHead, error) {
	d := decode("object head", b)
	flags := d.byte()
	if flags&^(flagBlocks|flagManifests|flagComposite) != 0 {
		d.fail("unknown flags %#x", flags)
	}
	h := ObjectHead{
		Checksum:  d.algorithm(),
		Blocks:    flags&flagBlocks != 0,
		Manifests: flags&flagManifests != 0,
		Composite: flags&flagComposite != 0,
		Version:   object.VersionID(d.id()),
		MD5:       d.id(),
		Parts:     int(d.uint(MaxPart)),
		Size:      int64(d.uint(MaxObjectBytes)),
		Modified:  d.time(),
	}
	h.StorageClass = d.string(maxStorageClassBytes)
	return h, d.finish()
}

func (d *decoder) algorithm() Algorithm {
	a := Algorithm(d.byte())
	if int(a) >= len(digestBytes) {
		d.fail("unknown checksum algorithm %d", a)
		return NoChecksum
	}
	return a
}

func (d *decoder) time() time.Time { return time.UnixMilli(int64(d.uint(maxUnixMilli))).UTC() }

// maxUnixMilli is the end of the year 9999, the last that S3's dates can show.
const maxUnixMilli = 253402300799999

// Metadata is what the client said about an object.
type Metadata struct {
	ContentType        string
	CacheControl       string
	ContentDisposition string
	ContentEncoding    string
	ContentLanguage    string
	Expires            string
	WebsiteRedirect    string
	StorageClass       string
	User               map[string]string
}

// fields are the system fields with their stored numbers, which are their
// places plus one: append only. StorageClass lives in the head.
func (m *Metadata) fields() [7]*string {
	return [...]*string{
		&m.ContentType, &m.CacheControl, &m.ContentDisposition,
		&m.ContentEncoding, &m.ContentLanguage, &m.Expires, &m.WebsiteRedirect,
	}
}

// Check refuses metadata that a decoder would refuse: before it is written.
func (m Metadata) Check() error {
	over := len(m.User) > maxUserEntries || len(m.StorageClass) > maxStorageClassBytes
	for _, f := range m.fields() {
		over = over || len(*f) > maxFieldBytes
	}
	for name, value := range m.User {
		over = over || len(name) > maxFieldBytes || len(value) > maxFieldBytes
	}
	if over {
		return fault.New(fault.Invalid, "metadata too large")
	}
	return nil
}

func (m Metadata) append(b []byte) []byte {
	fields := m.fields()
	present := 0
	for _, f := range fields {
		if *f != "" {
			present++
		}
	}
	b = append(b, byte(present))
	for i, f := range fields {
		if *f != "" {
			b = appendString(append(b, byte(i+1)), *f)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(m.User)))
	if len(m.User) == 0 {
		return b
	}
	for _, name := range slices.Sorted(maps.Keys(m.User)) {
		b = appendString(appendString(b, name), m.User[name])
	}
	return b
}

// bytes is at least the encoded size of m.
func (m Metadata) bytes() int {
	const lengths = 2 * binary.MaxVarintLen32
	n := lengths
	for _, f := range m.fields() {
		n += lengths + len(*f)
	}
	for name, value := range m.User {
		n += lengths + len(name) + len(value)
	}
	return n
}

func (d *decoder) metadata() (m Metadata) {
	fields := m.fields()
	last := 0
	for range d.uint(uint64(len(fields))) {
		tag := int(d.byte())
		if d.err == nil && (tag <= last || tag > len(fields)) {
			d.fail("metadata field %d after %d", tag, last)
		}
		if d.err != nil {
			return m
		}
		if *fields[tag-1] = d.string(maxFieldBytes); *fields[tag-1] == "" {
			d.fail("empty metadata field %d", tag)
		}
		last = tag
	}
	n := d.uint(maxUserEntries)
	if n == 0 || d.err != nil {
		return m
	}
	m.User = make(map[string]string, min(n, 64))
	var before string
	for i := range n {
		name := d.string(maxFieldBytes)
		if d.err == nil && i > 0 && name <= before {
			d.fail("metadata names out of order")
		}
		if m.User[name] = d.string(maxFieldBytes); d.err != nil {
			return m
		}
		before = name
	}
	return m
}

// Kind says where the content of an object or part is.
type Kind uint8

// The kinds. Numbers are stored: append only.
const (
	// Inline: in the row itself.
	Inline Kind = 1
	// Listed: in blocks listed in the row.
	Listed Kind = 2
	// Paged: in blocks listed in manifest rows.
	Paged Kind = 3
	// InParts: the parts of an upload, each with a manifest of its own.
	InParts Kind = 4
)

// Hashes is a packed list of block hashes.
type Hashes []byte

const hashBytes = len(object.Hash{})

// Len is the number of hashes.
func (h Hashes) Len() int { return len(h) / hashBytes }

// At returns the i-th hash.
func (h Hashes) At(i int) object.Hash { return object.Hash(h[i*hashBytes:]) }

// Manifest describes a list of blocks. All blocks have BlockBytes, the last
// one what is left.
type Manifest struct {
	ID         object.ManifestID
	Size       int64
	BlockBytes int64
	// PageBlocks is the number of hashes on each manifest page but the last.
	PageBlocks int
}

// Blocks is the number of blocks.
func (m Manifest) Blocks() int64 {
	if m.BlockBytes == 0 {
		return 0
	}
	return (m.Size + m.BlockBytes - 1) / m.BlockBytes
}

// Pages is the number of manifest rows; a manifest has at least one.
func (m Manifest) Pages() int {
	if m.PageBlocks == 0 {
		return 1
	}
	return max(1, int((m.Blocks()+int64(m.PageBlocks)-1)/int64(m.PageBlocks)))
}

// MaxPageBlocks is the most hashes on one manifest page, or in an object's row.
const MaxPageBlocks = 4096

func (m Manifest) append(b []byte) []byte {
	b = append(b, m.ID[:]...)
	b = binary.AppendUvarint(b, uint64(m.Size))
	b = binary.AppendUvarint(b, uint64(m.BlockBytes))
	return binary.AppendUvarint(b, uint64(m.PageBlocks))
}

func (d *decoder) manifest() Manifest {
	m := Manifest{
		ID:         object.ManifestID(d.id()),
		Size:       int64(d.uint(MaxObjectBytes)),
		BlockBytes: int64(d.uint(blockapi.MaxBlockBytes)),
		PageBlocks: int(d.uint(MaxPageBlocks)),
	}
	if d.err == nil && (m.BlockBytes == 0 || m.PageBlocks == 0) {
		d.fail("manifest of blocks of %d bytes, %d on a page", m.BlockBytes, m.PageBlocks)
	}
	return m
}

// PartRef is a part of a completed upload.
type PartRef struct {
	Number   int
	MD5      [16]byte
	Manifest Manifest
	// Checksum of the part by the object's algorithm; all parts have one, or
	// none has (nil).
	Checksum []byte
}

// ObjectBody is the rest of an object's row.
type ObjectBody struct {
	Metadata Metadata
	// Checksum is the digest by the head's algorithm; ChecksumParts is of how
	// many parts, for a composite one.
	Checksum []byte
	Kind     Kind
	// Data is the content of an Inline object. It is a piece of the row: not
	// to be changed.
	Data []byte
	// Manifest of a Listed or Paged object; Hashes of a Listed one.
	Manifest Manifest
	Hashes   Hashes
	Parts    []PartRef
}

// NewInline starts the body of an inline object: it returns the encoded start
// and room of size bytes behind it, in one piece of memory, for the content to
// be read into. FinishInline completes it.
func NewInline(m Metadata, size int) (row, room []byte) {
	row = make([]byte, 0, 2+m.bytes()+binary.MaxVarintLen32+size+1+maxDigestBytes)
	row = append(row, format, byte(Inline))
	row = m.append(row)
	row = binary.AppendUvarint(row, uint64(size))
	n := len(row)
	row = row[:n+size]
	return row, row[n:]
}

const maxDigestBytes = 32

// FinishInline adds the checksum that is known only after the content.
func FinishInline(row []byte, a Algorithm, checksum []byte) []byte {
	return appendChecksum(row, a, checksum)
}

func appendChecksum(b []byte, a Algorithm, digest []byte) []byte {
	b = append(b, byte(a))
	return append(b, digest...)
}

func (d *decoder) checksum() (Algorithm, []byte) {
	a := d.algorithm()
	if a == NoChecksum {
		return a, nil
	}
	return a, d.take(a.Bytes())
}

// Append encodes the body; a is the head's algorithm.
func (o ObjectBody) Append(b []byte, a Algorithm) []byte {
	b = append(b, format, byte(o.Kind))
	b = o.Metadata.append(b)
	switch o.Kind {
	case Inline:
		b = binary.AppendUvarint(b, uint64(len(o.Data)))
		b = append(b, o.Data...)
	case Listed:
		b = o.Manifest.append(b)
		b = append(b, o.Hashes...)
	case Paged:
		b = o.Manifest.append(b)
	case InParts:
		b = binary.AppendUvarint(b, uint64(len(o.Parts)))
		if len(o.Parts) > 0 && o.Parts[0].Checksum != nil {
			b = append(b, flagPartSummed)
		} else {
			b = append(b, 0)
		}
		last := 0
		for _, p := range o.Parts {
			b = binary.AppendUvarint(b, uint64(p.Number-last))
			b = append(b, p.MD5[:]...)
			b = p.Manifest.append(b)
			b = append(b, p.Checksum...)
			last = p.Number
		}
	}
	return appendChecksum(b, a, o.Checksum)
}

// DecodeObjectBody reads the body that belongs to head. Data, Hashes and
// checksums are pieces of b.
func DecodeObjectBody(head ObjectHead, b []byte) (ObjectBody, error) {
	d := decode("object body", b)
	o := ObjectBody{Kind: Kind(d.byte()), Metadata: d.metadata()}
	o.Metadata.StorageClass = head.StorageClass
	size := int64(0)
	switch o.Kind {
	case Inline:
		o.Data = d.take(int(d.uint(MaxObjectBytes)))
		size = int64(len(o.Data))
	case Listed:
		o.Manifest = d.manifest()
		size = o.Manifest.Size
		if n := o.Manifest.Blocks(); n <= MaxPageBlocks {
			o.Hashes = d.take(int(n) * hashBytes)
		} else {
			d.fail("%d blocks listed in a row", n)
		}
	case Paged:
		o.Manifest = d.manifest()
		size = o.Manifest.Size
	case InParts:
		o.Parts, size = d.parts(head.Checksum)
	default:
		d.fail("unknown kind of content %d", o.Kind)
	}
	var a Algorithm
	a, o.Checksum = d.checksum()
	if d.err == nil && (a != head.Checksum || size != head.Size) {
		d.fail("checksum %d and size %d do not match the head's %d and %d", a, size, head.Checksum, head.Size)
	}
	return o, d.finish()
}

func (d *decoder) parts(a Algorithm) (parts []PartRef, size int64) {
	n := int(d.uint(MaxPart))
	summed := d.byte()
	if summed&^flagPartSummed != 0 || summed != 0 && (a == NoChecksum || n == 0) {
		d.fail("parts with checksums %#x of algorithm %d", summed, a)
	}
	parts = make([]PartRef, 0, min(n, 1+len(d.rest)/minPartBytes))
	last := 0
	for range n {
		p := PartRef{Number: last + int(d.uint(MaxPart)), MD5: d.id(), Manifest: d.manifest()}
		if summed != 0 {
			p.Checksum = d.take(a.Bytes())
		}
		if d.err == nil && (p.Number <= last || p.Number > MaxPart) {
			d.fail("part %d after %d", p.Number, last)
		}
		if d.err != nil {
			return nil, 0
		}
		last = p.Number
		size += p.Manifest.Size
		parts = append(parts, p)
	}
	return parts, size
}

// minPartBytes is the least an encoded part takes.
const minPartBytes = 1 + 16 + 16 + 3

// RefersTo reports whether the object's content is in manifest m as that part
// (0 for an object that is not in parts).
func (o ObjectBody) RefersTo(m object.ManifestID, part int) bool {
	if part == 0 {
		return (o.Kind == Listed || o.Kind == Paged) && o.Manifest.ID == m
	}
	i, found := slices.BinarySearchFunc(o.Parts, part, func(p PartRef, n int) int { return p.Number - n })
	return found && o.Parts[i].Manifest.ID == m
}
