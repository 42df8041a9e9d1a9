// Package content turns the raw body of a request into verified content: it
// takes off the aws-chunked framing, computes the MD5 and the additional
// checksum on the way, and says io.EOF only when length, signatures, hashes
// and trailers all held. One pass, constant memory.
package content

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"hash"
	"io"

	"hangar/services/gateway/internal/checksum"
	"hangar/services/gateway/internal/chunk"
	"hangar/services/gateway/internal/objects"
	"hangar/services/gateway/internal/sigv4"
)

// Source is a request body with what its head says about it.
type Source struct {
	// Reader yields the bytes on the wire, transfer coding taken off; nil for
	// a request without a body.
	Reader io.Reader
	// Length is the Content-Length, -1 when there was none. A Reader that ends
	// early, or does not end there, is an error.
	Length int64
	// Headers are those of the request. Nothing of them is kept after New.
	Headers sigv4.Headers
	// Identity is what the signature said; nil for an anonymous request.
	Identity *sigv4.Identity
	// Limit is the most bytes the content may have.
	Limit int64
	// ForeignChecksum says that the x-amz-checksum- headers speak of something
	// else than this body, as those of CompleteMultipartUpload do.
	ForeignChecksum bool
}

// Body is an objects.Body. It belongs to one goroutine. Errors are final, and
// after one nothing that was read may be kept.
type Body struct {
	src    io.Reader
	chunks *chunk.Reader // src, when the body is framed
	expect expectations
	limit  int64
	read   int64
	err    error // what the next Read returns

	md5       hash.Hash
	sha256    hash.Hash // for the signature, the checksum or both
	sum       hash.Hash // of the checksum; may be sha256
	md5Sum    [md5.Size]byte
	checksum  []byte // valid after io.EOF
	algorithm checksum.Algorithm
}

var _ objects.Body = (*Body)(nil)

// New prepares to read a body, refusing what its head already shows to be
// wrong. It reads nothing.
func New(s Source) (*Body, error) {
	x, err := expect(s)
	if err != nil {
		return nil, err
	}
	if x.length > s.Limit {
		return nil, tooLarge()
	}
	b := &Body{expect: x, limit: s.Limit, md5: md5.New()}
	wire := &wire{src: s.Reader, left: s.Length, known: s.Length >= 0}
	b.src = wire
	if x.payload.Chunked() {
		b.chunks = chunk.NewReader(wire, x.length, x.chain, x.payload.Trailer())
		b.src = b.chunks
	}
	if x.payload == sigv4.PayloadHash {
		b.sha256 = sha256.New()
	}
	if x.algorithm != "" {
		b.compute(x.algorithm)
	}
	return b, nil
}

// Require has the checksum of algorithm a computed although the client may
// have named none, as the parts of an upload need it. Before the first Read
// only; an error when the client named another one.
func (b *Body) Require(a checksum.Algorithm) error {
	if b.read > 0 {
		panic("content: checksum asked for after the first read")
	}
	switch b.algorithm {
	case a:
	case "":
		b.compute(a)
	default:
		return invalid(ErrInvalidRequest,
			"Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s", a, b.algorithm)
	}
	return nil
}

func (b *Body) compute(a checksum.Algorithm) {
	b.algorithm = a
	if a != checksum.SHA256 {
		b.sum = a.New()
		return
	}
	if b.sha256 == nil {
		b.sha256 = sha256.New()
	}
	b.sum = b.sha256
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	if n > 0 {
		b.take(p[:n])
		if b.read > b.limit {
			err = tooLarge()
		}
	}
	if err == nil {
		return n, nil
	}
	if err != io.EOF { //nolint:errorlint // only io.EOF itself is a clean end
		b.err = err
		return 0, err
	}
	b.err = b.finish()
	if n > 0 {
		return n, nil
	}
	return 0, b.err
}

func (b *Body) take(p []byte) {
	b.read += int64(len(p))
	b.md5.Write(p)
	if b.sha256 != nil {
		b.sha256.Write(p)
	}
	if b.sum != nil && b.algorithm != checksum.SHA256 {
		b.sum.Write(p)
	}
}

// finish holds the whole content against what was expected of it. It returns
// io.EOF when it is right.
func (b *Body) finish() error {
	x := &b.expect
	b.md5.Sum(b.md5Sum[:0])
	if x.md5 != nil && !bytes.Equal(x.md5, b.md5Sum[:]) {
		return invalid(ErrBadDigest, "The Content-MD5 you specified did not match what we received.")
	}
	if x.payload == sigv4.PayloadHash && !bytes.Equal(x.sha256[:], b.sha256.Sum(nil)) {
		return invalid(ErrSHA256Mismatch,
			"The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	if b.chunks != nil {
		if err := x.takeTrailers(b.chunks.Trailers()); err != nil {
			return err
		}
	}
	if b.sum == nil {
		return io.EOF
	}
	b.checksum = b.sum.Sum(nil)
	if x.checksum != nil && !bytes.Equal(x.checksum, b.checksum) {
		return invalid(ErrBadDigest, "The %s you specified did not match the calculated checksum.", b.algorithm)
	}
	return io.EOF
}

// Size is the length of the content, without framing; -1 if unknown.
func (b *Body) Size() int64 { return b.expect.length }

// MD5 of the content; valid after io.EOF.
func (b *Body) MD5() [md5.Size]byte { return b.md5Sum }

// Checksum that the client named or Require asked for; valid after io.EOF.
func (b *Body) Checksum() objects.Checksum {
	if b.checksum == nil {
		return objects.Checksum{}
	}
	return objects.Checksum{Algorithm: objects.ChecksumAlgorithm(b.algorithm), Value: b.checksum}
}

func tooLarge() error {
	return invalid(ErrEntityTooLarge, "Your proposed upload exceeds the maximum allowed size")
}
