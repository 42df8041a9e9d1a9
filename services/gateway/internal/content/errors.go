package content

import "errors"

// Why a body was refused, one value per S3 error code. They are wrapped in a
// *fault.Error of kind Invalid (chunk signatures: Denied). Test with errors.Is.
// A chunk's wrong signature is sigv4.ErrSignatureDoesNotMatch.
var (
	// ErrIncompleteBody: the body ended early (IncompleteBody).
	ErrIncompleteBody = errors.New("incomplete body")
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
	// ErrMalformedTrailer: a trailer is missing, unannounced or unreadable
	// (MalformedTrailerError).
	ErrMalformedTrailer = errors.New("malformed trailer")
	// ErrInvalidRequest: headers that contradict each other, or chunk framing
	// that cannot be read (InvalidRequest).
	ErrInvalidRequest = errors.New("invalid request")
)
