// Package segment keeps records of bytes (blocks, the bodies of rows) in
// append-only files. It knows nothing of who refers to a record: an index elsewhere remembers the Location of each record
// and tells, when the log is opened, how far each file is known to be durable.
//
// Write order: a record is written whole at the end of the active file; Sync
// returns once the file is on stable storage up to there, and its directory
// entry was made durable before its first record. Concurrent Syncs share one
// fsync. Only then may a caller remember the Location. So a crash can tear
// only records nobody remembers, at the end of the last file; Open cuts them.
// In an Ordered log a record may also be known by its place alone, as those of
// a journal are: everything before a record that was synced is whole.
//
// docs/format/blocks.md describes the files.
package segment

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/zeebo/xxh3"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/object"
)

const (
	fileMagic   = "HANGARSG"
	recordMagic = 0x48424c4b // "HBLK"
	// formatVersion of files and records.
	formatVersion = 1
	fileHeader    = 32
	recordHeader  = 60
)

// MaxDataBytes bounds the data of a record.
const MaxDataBytes = blockapi.MaxBlockBytes

// castagnoli is the CRC of headers.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the XXH3-64 of stored data: 64 bits that cost next to nothing
// tell on every read whether the disk still has what was written.
func Checksum(data []byte) uint64 { return xxh3.Hash(data) }

// ID numbers the files of a log, oldest first. No number is used again
// while an index remembers anything of it.
type ID uint64

// Location is where the data of a record lies and how to check it.
type Location struct {
	Segment ID
	// Offset of the record's data in the file, in bytes.
	Offset int64
	// StoredBytes is the length of the data.
	StoredBytes int64
	// Checksum of the data.
	Checksum uint64
}

// End is the offset of the first byte after the record.
func (l Location) End() int64 { return l.Offset + l.StoredBytes }

// RecordBytes is what the record takes in the file, header included.
func (l Location) RecordBytes() int64 { return recordHeader + l.StoredBytes }

// Entry is a record as a scan finds it, without its data.
type Entry struct {
	Location
	Hash       object.Hash
	Encoding   blockapi.Encoding
	PlainBytes int64
}

// header encodes the header of a record that begins at start. Its checksum
// covers the segment and the position too: a record found anywhere else than
// where it was written is not one.
func (e Entry) header() (h [recordHeader]byte) {
	binary.BigEndian.PutUint32(h[0:], recordMagic)
	h[4] = formatVersion
	h[5] = byte(e.Encoding)
	copy(h[8:40], e.Hash[:])
	binary.BigEndian.PutUint32(h[40:], uint32(e.PlainBytes))
	binary.BigEndian.PutUint32(h[44:], uint32(e.StoredBytes))
	binary.BigEndian.PutUint64(h[48:], e.Checksum)
	binary.BigEndian.PutUint32(h[56:], headerSum(e.Segment, e.Offset-recordHeader, h[:56]))
	return h
}

// parseHeader decodes the header of the record that begins at start: Corrupt
// when there is none.
func parseHeader(id ID, start int64, h []byte) (e Entry, err error) {
	switch {
	case len(h) < recordHeader:
		return e, fault.New(fault.Corrupt, "record header of %d bytes", len(h))
	case binary.BigEndian.Uint32(h) != recordMagic:
		return e, fault.New(fault.Corrupt, "no record")
	case binary.BigEndian.Uint32(h[56:]) != headerSum(id, start, h[:56]):
		return e, fault.New(fault.Corrupt, "record header does not match its checksum")
	case h[4] != formatVersion:
		return e, fault.New(fault.Corrupt, "record of unknown format %d", h[4])
	}
	e = Entry{
		Location: Location{
			Segment:     id,
			Offset:      start + recordHeader,
			StoredBytes: int64(binary.BigEndian.Uint32(h[44:])),
			Checksum:    binary.BigEndian.Uint64(h[48:]),
		},
		Hash:       object.Hash(h[8:40]),
		Encoding:   blockapi.Encoding(h[5]),
		PlainBytes: int64(binary.BigEndian.Uint32(h[40:])),
	}
	if e.StoredBytes == 0 || e.StoredBytes > MaxDataBytes || e.PlainBytes > blockapi.MaxBlockBytes {
		return Entry{}, fault.New(fault.Corrupt, "record of impossible size")
	}
	return e, nil
}

func headerSum(id ID, start int64, h []byte) uint32 {
	var place [16]byte
	binary.BigEndian.PutUint64(place[0:], uint64(id))
	binary.BigEndian.PutUint64(place[8:], uint64(start))
	return crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, h)
}

// encodeFileHeader makes the first bytes of file id.
func encodeFileHeader(id ID) (h [fileHeader]byte) {
	copy(h[:], fileMagic)
	binary.BigEndian.PutUint16(h[8:], formatVersion)
	binary.BigEndian.PutUint64(h[16:], uint64(id))
	binary.BigEndian.PutUint32(h[28:], crc32.Checksum(h[:28], castagnoli))
	return h
}

// parseFileHeader checks the first bytes of file id. Errors: Corrupt, and
// Invalid for a format newer than this program.
func parseFileHeader(id ID, h []byte) error {
	switch {
	case len(h) < fileHeader || string(h[:8]) != fileMagic:
		return fault.New(fault.Corrupt, "not a segment file")
	case binary.BigEndian.Uint32(h[28:]) != crc32.Checksum(h[:28], castagnoli):
		return fault.New(fault.Corrupt, "file header does not match its checksum")
	case binary.BigEndian.Uint16(h[8:]) != formatVersion:
		return fault.New(fault.Invalid, "segment format %d is not known to this version", binary.BigEndian.Uint16(h[8:]))
	case binary.BigEndian.Uint64(h[16:]) != uint64(id):
		return fault.New(fault.Corrupt, "file of segment %x under the name of segment %x", binary.BigEndian.Uint64(h[16:]), uint64(id))
	}
	return nil
}
