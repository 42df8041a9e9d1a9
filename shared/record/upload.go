package record

import (
	"encoding/binary"
	"time"

	"hangar/shared/object"
)

// UploadHead is what a listing shows of an unfinished upload.
type UploadHead struct {
	Started   time.Time
	Initiator string
	Checksum  Algorithm
	// FullObject: the whole's checksum is over the content, not over the
	// parts' checksums.
	FullObject bool
	// CompletingUntil is set while somebody makes the object out of the parts:
	// until then nobody else may, and the upload may not be aborted.
	CompletingUntil time.Time
}

// Completing reports whether a completion was ever begun and not given up.
func (h UploadHead) Completing() bool { return !h.CompletingUntil.IsZero() }

// Append encodes h.
func (h UploadHead) Append(b []byte) []byte {
	var flags byte
	if h.FullObject {
		flags = flagFull
	}
	b = append(b, format, flags, byte(h.Checksum))
	b = binary.AppendUvarint(b, uint64(h.Started.UnixMilli()))
	until := uint64(0)
	if h.Completing() {
		until = uint64(h.CompletingUntil.UnixMilli())
	}
	b = binary.AppendUvarint(b, until)
	return appendString(b, h.Initiator)
}

// DecodeUploadHead reads what Append wrote.
func DecodeUploadHead(b []byte) (UploadHead, error) {
	d := decode("upload head", b)
	flags := d.byte()
	if flags&^flagFull != 0 {
		d.fail("unknown flags %#x", flags)
	}
	h := UploadHead{FullObject: flags&flagFull != 0, Checksum: d.algorithm(), Started: d.time()}
	if until := d.uint(maxUnixMilli); until != 0 {
		h.CompletingUntil = time.UnixMilli(int64(until)).UTC()
	}
	h.Initiator = d.string(maxFieldBytes)
	return h, d.finish()
}

// AppendUploadBody encodes the metadata the object will get.
func AppendUploadBody(b []byte, m Metadata) []byte {
	return appendString(m.append(append(b, format)), m.StorageClass)
}

// DecodeUploadBody reads what AppendUploadBody wrote.
func DecodeUploadBody(b []byte) (Metadata, error) {
	d := decode("upload body", b)
	m := d.metadata()
	m.StorageClass = d.string(maxStorageClassBytes)
	return m, d.finish()
}

// PartHead is all there is to a part of an unfinished upload.
type PartHead struct {
	MD5      [16]byte
	Manifest Manifest
	Modified time.Time
	// Blocks: the content is in the block store, not in the manifest row.
	Blocks   bool
	Checksum Algorithm
	Digest   []byte
}

// Append encodes h.
func (h PartHead) Append(b []byte) []byte {
	var flags byte
	if h.Blocks {
		flags = flagBlocks
	}
	b = append(b, format, flags)
	b = append(b, h.MD5[:]...)
	b = h.Manifest.append(b)
	b = binary.AppendUvarint(b, uint64(h.Modified.UnixMilli()))
	return appendChecksum(b, h.Checksum, h.Digest)
}

// DecodePartHead reads what Append wrote. Digest is a piece of b.
func DecodePartHead(b []byte) (PartHead, error) {
	d := decode("part", b)
	flags := d.byte()
	if flags&^flagBlocks != 0 {
		d.fail("unknown flags %#x", flags)
	}
	h := PartHead{Blocks: flags&flagBlocks != 0, MD5: d.id(), Manifest: d.manifest(), Modified: d.time()}
	h.Checksum, h.Digest = d.checksum()
	return h, d.finish()
}

// ManifestHead says to whom a manifest row belongs, for whoever looks for rows
// that nobody needs.
type ManifestHead struct {
	Key     string
	Version object.VersionID
	Part    int
	Written time.Time
}

// Append encodes h.
func (h ManifestHead) Append(b []byte) []byte {
	b = append(b, format)
	b = append(b, h.Version[:]...)
	b = binary.AppendUvarint(b, uint64(h.Part))
	b = binary.AppendUvarint(b, uint64(h.Written.UnixMilli()))
	return appendString(b, h.Key)
}

// DecodeManifestHead reads what Append wrote.
func DecodeManifestHead(b []byte) (ManifestHead, error) {
	d := decode("manifest head", b)
	h := ManifestHead{Version: object.VersionID(d.id()), Part: int(d.uint(MaxPart)), Written: d.time()}
	h.Key = d.string(object.MaxKeyBytes)
	return h, d.finish()
}

// Page is the body of a manifest row: hashes of blocks or, for a small part,
// the content itself.
type Page struct {
	Hashes Hashes
	Data   []byte
}

// Append encodes p.
func (p Page) Append(b []byte) []byte {
	if p.Data != nil {
		return append(append(b, format, byte(Inline)), p.Data...)
	}
	return append(append(b, format, byte(Listed)), p.Hashes...)
}

// DecodePage reads what Append wrote. Its parts are pieces of b.
func DecodePage(b []byte) (p Page, err error) {
	d := decode("manifest page", b)
	switch kind := Kind(d.byte()); kind {
	case Inline:
		p.Data = d.take(len(d.rest))
	case Listed:
		if len(d.rest)%hashBytes != 0 || len(d.rest) > MaxPageBlocks*hashBytes {
			d.fail("%d bytes of hashes", len(d.rest))
		}
		p.Hashes = d.take(len(d.rest))
	default:
		d.fail("unknown kind %d", kind)
	}
	return p, d.finish()
}

// Claim keeps the blocks of a stream alive that runs for so long that nothing
// else refers to them yet.
type Claim struct{ Until time.Time }

// Append encodes c.
func (c Claim) Append(b []byte) []byte {
	return binary.AppendUvarint(append(b, format), uint64(c.Until.UnixMilli()))
}

// DecodeClaim reads what Append wrote.
func DecodeClaim(b []byte) (Claim, error) {
	d := decode("claim", b)
	c := Claim{Until: d.time()}
	return c, d.finish()
}
