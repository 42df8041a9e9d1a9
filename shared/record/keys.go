package record

import (
	"crypto/rand"
	"encoding/binary"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// MaxPart is the highest part number of an upload.
const MaxPart = 10000

// manifestPrefixBytes of a version id start the ids of all its manifests.
const manifestPrefixBytes = 8

// NewManifestID returns a fresh id for a list of blocks of a version. All
// manifests of a version share a prefix (see ManifestPrefix), so that those of
// a dead version are found from its id alone, when its row is long gone.
func NewManifestID(v object.VersionID, part int) (m object.ManifestID) {
	copy(m[:], v[:manifestPrefixBytes])
	binary.BigEndian.PutUint16(m[manifestPrefixBytes:], uint16(part))
	// crypto/rand.Read never fails on the platforms Go supports.
	_, _ = rand.Read(m[manifestPrefixBytes+2:])
	return m
}

// ManifestPrefix is what the keys of all manifest rows of a version start with.
func ManifestPrefix(v object.VersionID) string { return string(v[:manifestPrefixBytes]) }

// ObjectKey names the row of an object.
func ObjectKey(b object.BucketID, key string) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Objects, Bucket: b, Key: key}
}

// UploadKey names the row of an unfinished upload.
func UploadKey(b object.BucketID, key string, upload object.VersionID) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Uploads, Bucket: b, Key: key, Sub: string(upload[:])}
}

// ParseUploadSub reads the upload id out of the Sub of an upload row.
func ParseUploadSub(sub string) (v object.VersionID, err error) {
	if len(sub) != len(v) {
		return v, fault.New(fault.Corrupt, "upload row: %d bytes where an id belongs", len(sub))
	}
	copy(v[:], sub)
	return v, nil
}

// PartSub is the Sub of a part's row. Part 0 sorts before all real ones.
func PartSub(upload object.VersionID, part int) string {
	var sub [18]byte
	copy(sub[:], upload[:])
	binary.BigEndian.PutUint16(sub[16:], uint16(part))
	return string(sub[:])
}

// ParsePartSub reads the number out of the Sub of a part row of upload; ok is
// false for rows of other uploads.
func ParsePartSub(upload object.VersionID, sub string) (part int, ok bool) {
	if len(sub) != 18 || sub[:16] != string(upload[:]) {
		return 0, false
	}
	part = int(sub[16])<<8 | int(sub[17])
	return part, part >= 1 && part <= MaxPart
}

// PartKey names the row of a part.
func PartKey(b object.BucketID, key string, upload object.VersionID, part int) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Parts, Bucket: b, Key: key, Sub: PartSub(upload, part)}
}

// ClaimKey names the row by which a long stream keeps its blocks alive before
// anything else refers to them. It shares the table of parts: its Sub is the
// manifest's id with part number 0, which no part has.
func ClaimKey(b object.BucketID, key string, m object.ManifestID) metaapi.RowKey {
	return PartKey(b, key, object.VersionID(m), 0)
}

// ManifestKey names the row of one page of a manifest.
func ManifestKey(b object.BucketID, m object.ManifestID, page int) metaapi.RowKey {
	var key [20]byte
	copy(key[:], m[:])
	binary.BigEndian.PutUint32(key[16:], uint32(page))
	return metaapi.RowKey{Table: metaapi.Manifests, Bucket: b, Key: string(key[:])}
}

// ParseManifestKey reads the Key of a manifest row.
func ParseManifestKey(key string) (m object.ManifestID, page int, err error) {
	if len(key) != 20 {
		return m, 0, fault.New(fault.Corrupt, "manifest row: key of %d bytes", len(key))
	}
	copy(m[:], key)
	return m, int(binary.BigEndian.Uint32([]byte(key[16:]))), nil
}
