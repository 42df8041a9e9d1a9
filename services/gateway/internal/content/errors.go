package content

import (
	"errors"

	"hangar/services/gateway/internal/chunk"
	"hangar/shared/fault"
)

// Why a body was refused, one value per S3 error code. They are wrapped in a
// *fault.Error of kind Invalid. Test with errors.Is. A chunk's wrong signature
// is sigv4.ErrSignatureDoesNotMatch, of kind Denied.
var (
	// ErrIncompleteBody: the body ended early (IncompleteBody). When its kind
	// is Canceled, the connection broke.
	ErrIncompleteBody = chunk.ErrIncomplete
	// ErrMalformedTrailer: a trailer is missing, unannounced or unreadable
	// (MalformedTrailerError).
	ErrMalformedTrailer = chunk.ErrTrailer
	// ErrMalformedChunk: framing that cannot be read (InvalidRequest).
	ErrMalformedChunk = chunk.ErrMalformed
	// ErrBadDigest: Content-MD5 or an additional checksum differs (BadDigest).
	ErrBadDigest = errors.New("bad digest")
	// ErrInvalidDigest: Content-MD5 cannot be read (InvalidDigest).
	ErrInvalidDigest = errors.New("invalid digest")
	// ErrSHA256Mismatch: the body is not what x-amz-content-sha256 says
	// (XAmzContentSHA256Mismatch).
	ErrSHA256Mismatch = errors.New("content sha256 mismatch")
	// ErrMissingContentLength: no length was given where one is needed
	// (MissingContentLength).
	ErrMissingContentLength = errors.New("missing content length")
	// ErrEntityTooLarge: more than the caller's limit (EntityTooLarge).
	ErrEntityTooLarge = errors.New("entity too large")
	// ErrRequestTimeout: the client sent nothing for too long
	// (RequestTimeout).
	ErrRequestTimeout = errors.New("request timeout")
	// ErrInvalidRequest: headers that contradict each other, or more body than
	// Content-Length says (InvalidRequest).
	ErrInvalidRequest = errors.New("invalid request")
)

func invalid(sentinel error, format string, args ...any) error {
	return fault.Wrap(fault.Invalid, sentinel, format, args...)
}
