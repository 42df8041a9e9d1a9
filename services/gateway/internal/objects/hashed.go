package objects

import (
	"crypto/md5"
	"hash"
	"io"

	"hangar/services/gateway/internal/checksum"
	"hangar/shared/fault"
)

// hashed is a Body over content that Hangar itself holds: it computes what the
// edge computes of a client's.
type hashed struct {
	r         io.Reader
	size      int64
	read      int64
	md5, sum  hash.Hash
	algorithm ChecksumAlgorithm
}

func newHashed(r io.Reader, size int64, a ChecksumAlgorithm) *hashed {
	h := &hashed{r: r, size: size, md5: md5.New(), algorithm: a}
	if a != "" {
		h.sum = checksum.Algorithm(a).New()
	}
	return h
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.read += int64(n)
	h.md5.Write(p[:n])
	if h.sum != nil {
		h.sum.Write(p[:n])
	}
	if err == io.EOF && h.read != h.size { //nolint:errorlint // a wrapped EOF is no end
		return n, fault.New(fault.Corrupt, "content of %d bytes ended after %d", h.size, h.read)
	}
	return n, err
}

func (h *hashed) Size() int64 { return h.size }

func (h *hashed) MD5() (sum [16]byte) {
	h.md5.Sum(sum[:0])
	return sum
}

func (h *hashed) Checksum() Checksum {
	if h.sum == nil {
		return Checksum{}
	}
	return Checksum{Algorithm: h.algorithm, Value: h.sum.Sum(nil)}
}
