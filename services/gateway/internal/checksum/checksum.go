// Package checksum computes S3's additional checksums: their names, sizes and
// text forms, and the checksum of an object out of those of its parts.
package checksum

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/minio/crc64nvme"
)

// Algorithm is one of the five, by its S3 name.
type Algorithm string

// The algorithms.
const (
	CRC32     Algorithm = "CRC32"
	CRC32C    Algorithm = "CRC32C"
	CRC64NVME Algorithm = "CRC64NVME"
	SHA1      Algorithm = "SHA1"
	SHA256    Algorithm = "SHA256"
)

// Algorithms are all of them.
var Algorithms = [...]Algorithm{CRC32, CRC32C, CRC64NVME, SHA1, SHA256}

// MaxParts is the most parts an upload may have.
const MaxParts = 10_000

// Parse finds the algorithm S3 calls name, in any case.
func Parse(name string) (Algorithm, bool) {
	for _, a := range Algorithms {
		if strings.EqualFold(string(a), name) {
			return a, true
		}
	}
	return "", false
}

// Size of a value in bytes; 0 for an unknown algorithm.
func (a Algorithm) Size() int {
	switch a {
	case CRC32, CRC32C:
		return 4
	case CRC64NVME:
		return 8
	case SHA1:
		return sha1.Size
	case SHA256:
		return sha256.Size
	}
	return 0
}

// Header is the name, in lower case, of the header or trailer that carries a
// value.
func (a Algorithm) Header() string {
	switch a {
	case CRC32:
		return "x-amz-checksum-crc32"
	case CRC32C:
		return "x-amz-checksum-crc32c"
	case CRC64NVME:
		return "x-amz-checksum-crc64nvme"
	case SHA1:
		return "x-amz-checksum-sha1"
	case SHA256:
		return "x-amz-checksum-sha256"
	}
	return ""
}

// FromHeader finds the algorithm whose values the header called name carries.
func FromHeader(name string) (Algorithm, bool) {
	for _, a := range Algorithms {
		if strings.EqualFold(a.Header(), name) {
			return a, true
		}
	}
	return "", false
}

// Combines reports whether a checksum of the whole follows from those of the
// parts and their sizes, as a CRC's does.
func (a Algorithm) Combines() bool {
	return a == CRC32 || a == CRC32C || a == CRC64NVME
}

// New returns a running hash of a, whose Sum is the value as S3 has it: big
// endian. It panics for an unknown algorithm.
func (a Algorithm) New() hash.Hash {
	switch a {
	case CRC32:
		return crc32.NewIEEE()
	case CRC32C:
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case CRC64NVME:
		return crc64nvme.New()
	case SHA1:
		return sha1.New()
	case SHA256:
		return sha256.New()
	}
	panic("checksum: unknown algorithm " + string(a))
}

// Encode is the text form of a value: base64.
func Encode(value []byte) string { return base64.StdEncoding.EncodeToString(value) }

// Decode reads the text form of a value of a, of exactly its size.
func Decode(a Algorithm, text string) ([]byte, error) {
	size := a.Size()
	if size == 0 || len(text) != base64.StdEncoding.EncodedLen(size) {
		return nil, fmt.Errorf("%s value %.64q has the wrong length", a, text)
	}
	value, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%s value %q: %w", a, text, err)
	}
	if len(value) != size {
		return nil, fmt.Errorf("%s value %q has %d bytes, want %d", a, text, len(value), size)
	}
	return value, nil
}

// Part is what is known of one part of an upload.
type Part struct {
	Size  int64 // bytes
	Value []byte
}

// Composite is the checksum of the parts' checksums, one after the other.
func Composite(a Algorithm, parts []Part) ([]byte, error) {
	h := a.New()
	for i, p := range parts {
		if len(p.Value) != a.Size() {
			return nil, fmt.Errorf("part at %d: %s value of %d bytes", i, a, len(p.Value))
		}
		h.Write(p.Value)
	}
	return h.Sum(nil), nil
}

// FormatComposite is the text form of a composite value of n parts:
// "value-n".
func FormatComposite(value []byte, n int) string {
	return Encode(value) + "-" + strconv.Itoa(n)
}

// ParseComposite reads a value with or without the number of parts; n is 0
// when there is none.
func ParseComposite(a Algorithm, text string) (value []byte, n int, err error) {
	base, count, found := strings.Cut(text, "-")
	if found {
		n, err = strconv.Atoi(count)
		if err != nil || n < 1 || n > MaxParts || strconv.Itoa(n) != count {
			return nil, 0, fmt.Errorf("%s value %.64q: bad number of parts", a, text)
		}
	}
	value, err = Decode(a, base)
	if err != nil {
		return nil, 0, err
	}
	return value, n, nil
}
