package sigv4

import (
	"encoding/hex"
	"strings"
	"time"
)

// Header is one header line as it came. Name may be in any case.
type Header struct{ Name, Value string }

// Headers are the header lines of a request in the order they came, repeated
// ones not merged.
type Headers []Header

// Get returns the value of the first header called name, in any case, and how
// many there are.
func (h Headers) Get(name string) (value string, count int) {
	for i := range h {
		if len(h[i].Name) == len(name) && strings.EqualFold(h[i].Name, name) {
			if count == 0 {
				value = h[i].Value
			}
			count++
		}
	}
	return value, count
}

// Request is what a signature covers, byte for byte as it stood on the wire.
// Nothing of it is kept after Verify returned, so its strings may point into
// buffers that are reused.
type Request struct {
	Method string
	// RawPath is the request target before the '?', untouched: escapes, "//"
	// and ".." included.
	RawPath string
	// RawQuery is what follows the '?', untouched.
	RawQuery string
	// Host is the Host header.
	Host string
	// Headers are all header lines, Content-Length included when it came.
	Headers Headers
}

// Payload says how the body of a request is protected.
type Payload uint8

// The forms of x-amz-content-sha256.
const (
	// PayloadUnsigned: the signature does not cover the body.
	PayloadUnsigned Payload = iota
	// PayloadHash: the signature covers the body's SHA-256.
	PayloadHash
	// PayloadStreamSigned: aws-chunked, each chunk signed.
	PayloadStreamSigned
	// PayloadStreamSignedTrailer: the same, with signed trailers at the end.
	PayloadStreamSignedTrailer
	// PayloadStreamUnsignedTrailer: aws-chunked, unsigned, with trailers.
	PayloadStreamUnsignedTrailer
)

// The words of x-amz-content-sha256 other than a hash.
const (
	UnsignedPayload               = "UNSIGNED-PAYLOAD"
	StreamingSignedPayload        = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingSignedPayloadTrailer = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingUnsignedTrailer      = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	streamingECDSAPayload         = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
	streamingECDSAPayloadTrailer  = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"
)

// Chunked reports whether the body is in the aws-chunked framing.
func (p Payload) Chunked() bool { return p >= PayloadStreamSigned }

// Trailer reports whether trailers may follow the body's chunks.
func (p Payload) Trailer() bool {
	return p == PayloadStreamSignedTrailer || p == PayloadStreamUnsignedTrailer
}

// Signed reports whether each chunk carries a signature.
func (p Payload) Signed() bool {
	return p == PayloadStreamSigned || p == PayloadStreamSignedTrailer
}

// ParsePayload reads a value of x-amz-content-sha256. sum is set for
// PayloadHash only.
func ParsePayload(value string) (p Payload, sum [32]byte, err error) {
	switch value {
	case UnsignedPayload:
		return PayloadUnsigned, sum, nil
	case StreamingSignedPayload:
		return PayloadStreamSigned, sum, nil
	case StreamingSignedPayloadTrailer:
		return PayloadStreamSignedTrailer, sum, nil
	case StreamingUnsignedTrailer:
		return PayloadStreamUnsignedTrailer, sum, nil
	case streamingECDSAPayload, streamingECDSAPayloadTrailer:
		return 0, sum, notImplemented("ECDSA signatures are not supported; use AWS4-HMAC-SHA256")
	}
	if len(value) == 2*len(sum) {
		if _, err := hex.Decode(sum[:], []byte(value)); err == nil {
			return PayloadHash, sum, nil
		}
	}
	return 0, sum, invalid(ErrInvalidArgument,
		"x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING-… value or a valid sha256 value")
}

// Identity is who signed a request and what the signature says of its body.
type Identity struct {
	KeyID     string
	Presigned bool
	// Date is when the request says it was signed.
	Date    time.Time
	Payload Payload
	// PayloadSHA256 is set for PayloadHash.
	PayloadSHA256 [32]byte
	// Chain verifies the chunks of a body whose Payload is Signed; nil
	// otherwise.
	Chain *Chain
}
