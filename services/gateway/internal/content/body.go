// Package content turns the raw body of a request into verified content: it
// takes off the aws-chunked framing, computes the MD5 and the additional
// checksum on the way, and says io.EOF only when length, signatures, hashes
// and trailers all held. One pass, constant memory.
package content

import (
	"io"

	"hangar/services/gateway/internal/checksum"
	"hangar/services/gateway/internal/objects"
	"hangar/services/gateway/internal/sigv4"
)

// Source is a request body with what its head says about it.
type Source struct {
	// Reader yields the bytes on the wire, transfer coding taken off; nil for
	// a request without a body.
	Reader io.Reader
	// Length is the Content-Length, -1 when there was none but a transfer
	// coding. A Reader that ends early, or does not, is an error.
	Length int64
	// Headers are those of the request. Nothing of them is kept after New.
	Headers sigv4.Headers
	// Identity is what the signature said; nil for an anonymous request.
	Identity *sigv4.Identity
	// Limit is the most bytes the content may have.
	Limit int64
}

// Body is an objects.Body. It belongs to one goroutine. Errors are final, and
// after one nothing that was read may be kept.
type Body struct{}

var _ objects.Body = (*Body)(nil)

// New prepares to read a body, refusing what its head already shows to be
// wrong. It reads nothing.
func New(s Source) (*Body, error) { return &Body{}, nil }

// Require has the checksum of algorithm a computed although the client may
// have named none, as the parts of an upload need it. Before the first Read
// only; an error when the client named another one.
func (b *Body) Require(a checksum.Algorithm) error { return nil }

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) { return 0, io.EOF }

// Size is the length of the content, without framing; -1 if unknown.
func (b *Body) Size() int64 { return 0 }

// MD5 of the content; valid after io.EOF.
func (b *Body) MD5() [16]byte { return [16]byte{} }

// Checksum that the client named or Require asked for; valid after io.EOF.
func (b *Body) Checksum() objects.Checksum { return objects.Checksum{} }
