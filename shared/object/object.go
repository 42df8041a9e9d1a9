// Package object holds the words every part of Hangar shares: ids of buckets,
// versions, manifests and nodes, object keys, and content hashes. It has no
// behaviour beyond parsing and printing, and imports nothing but the standard
// library, so that any package may speak it.
package object

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"unicode/utf8"
)

// MaxKeyBytes is the longest object key S3 allows, in bytes of UTF-8
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
const MaxKeyBytes = 1024

// id is the shared shape of all 128-bit identifiers.
type id [16]byte

func newID() (v id) {
	// crypto/rand.Read never fails on the platforms Go supports.
	_, _ = rand.Read(v[:])
	return v
}

func parseID(what, s string) (v id, err error) {
	if len(s) != 2*len(v) {
		return v, fmt.Errorf("%s %q: want %d hex digits", what, s, 2*len(v))
	}
	if _, err = hex.Decode(v[:], []byte(s)); err != nil {
		return id{}, fmt.Errorf("%s %q: %w", what, s, err)
	}
	return v, nil
}

// BucketID names a bucket for ever; its aliases may come and go.
type BucketID id

// NewBucketID returns a random id.
func NewBucketID() BucketID { return BucketID(newID()) }

// ParseBucketID reads the hex form printed by String.
func ParseBucketID(s string) (BucketID, error) {
	v, err := parseID("bucket id", s)
	return BucketID(v), err
}

func (b BucketID) String() string { return hex.EncodeToString(b[:]) }

// IsZero reports whether b is unset.
func (b BucketID) IsZero() bool { return b == BucketID{} }

// MarshalText implements encoding.TextMarshaler.
func (b BucketID) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *BucketID) UnmarshalText(t []byte) (err error) {
	*b, err = ParseBucketID(string(t))
	return err
}

// VersionID names one version of one object. For an object made by a
// multipart upload it equals the upload's id.
type VersionID id

// NewVersionID returns a random id.
func NewVersionID() VersionID { return VersionID(newID()) }

// ParseVersionID reads the hex form printed by String.
func ParseVersionID(s string) (VersionID, error) {
	v, err := parseID("version id", s)
	return VersionID(v), err
}

func (v VersionID) String() string { return hex.EncodeToString(v[:]) }

// IsZero reports whether v is unset.
func (v VersionID) IsZero() bool { return v == VersionID{} }

// ManifestID names one immutable list of blocks: the body of a plain upload
// or of one upload of one part.
type ManifestID id

// NewManifestID returns a random id.
func NewManifestID() ManifestID { return ManifestID(newID()) }

func (m ManifestID) String() string { return hex.EncodeToString(m[:]) }

// IsZero reports whether m is unset.
func (m ManifestID) IsZero() bool { return m == ManifestID{} }

// NodeID names one data directory of one service. A node that comes back with
// an empty directory is a new node with a new id.
type NodeID id

// NewNodeID returns a random id.
func NewNodeID() NodeID { return NodeID(newID()) }

// ParseNodeID reads the hex form printed by String.
func ParseNodeID(s string) (NodeID, error) {
	v, err := parseID("node id", s)
	return NodeID(v), err
}

func (n NodeID) String() string { return hex.EncodeToString(n[:]) }

// IsZero reports whether n is unset.
func (n NodeID) IsZero() bool { return n == NodeID{} }

// MarshalText implements encoding.TextMarshaler.
func (n NodeID) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *NodeID) UnmarshalText(t []byte) (err error) {
	*n, err = ParseNodeID(string(t))
	return err
}

// Hash is the BLAKE3-256 of a block's plain content.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads the hex form printed by String.
func ParseHash(s string) (h Hash, err error) {
	if len(s) != 2*len(h) {
		return h, fmt.Errorf("block hash %q: want %d hex digits", s, 2*len(h))
	}
	if _, err = hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("block hash %q: %w", s, err)
	}
	return h, nil
}

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(t []byte) (err error) {
	*h, err = ParseHash(string(t))
	return err
}

// ValidKey reports whether key may name an object: 1 to MaxKeyBytes bytes of
// valid UTF-8.
func ValidKey(key string) bool {
	return key != "" && len(key) <= MaxKeyBytes && utf8.ValidString(key)
}
