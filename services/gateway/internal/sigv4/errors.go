package sigv4

import (
	"errors"

	"hangar/shared/fault"
)

// Why a request was refused, one value per S3 error code. They are wrapped in
// a *fault.Error whose message may be shown to the client: it never holds a
// secret, a signing key or the expected signature. Test with errors.Is.
var (
	// ErrNoCredentials: the request is anonymous. Not a refusal by itself.
	ErrNoCredentials = errors.New("no credentials")
	// ErrAccessDenied: expired or not yet valid, or something unsigned that
	// must be signed (AccessDenied).
	ErrAccessDenied = errors.New("access denied")
	// ErrInvalidAccessKeyID: no such key (InvalidAccessKeyId).
	ErrInvalidAccessKeyID = errors.New("no such access key")
	// ErrSignatureDoesNotMatch (SignatureDoesNotMatch).
	ErrSignatureDoesNotMatch = errors.New("signature does not match")
	// ErrRequestTimeTooSkewed: the clocks differ by more than MaxSkew
	// (RequestTimeTooSkewed).
	ErrRequestTimeTooSkewed = errors.New("request time too skewed")
	// ErrAuthorizationHeaderMalformed: the Authorization header cannot be
	// read, or names the wrong scope (AuthorizationHeaderMalformed). A
	// *RegionError is one of these when the region is what is wrong.
	ErrAuthorizationHeaderMalformed = errors.New("authorization header malformed")
	// ErrAuthorizationQueryParameters: the same for a presigned request
	// (AuthorizationQueryParametersError).
	ErrAuthorizationQueryParameters = errors.New("authorization query parameters malformed")
	// ErrInvalidRequest: a mechanism that is not offered, or a required
	// header missing (InvalidRequest).
	ErrInvalidRequest = errors.New("invalid request")
	// ErrInvalidArgument: a header or parameter has an impossible value
	// (InvalidArgument).
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrInvalidToken: a session token came along; Hangar issues none
	// (InvalidToken).
	ErrInvalidToken = errors.New("invalid token")
	// ErrInvalidURI: the query string has a bad escape (InvalidURI).
	ErrInvalidURI = errors.New("invalid uri")
	// ErrNotImplemented: a form of signing that S3 knows and Hangar does not
	// offer, such as ECDSA (NotImplemented).
	ErrNotImplemented = errors.New("signing form not implemented")
)

// RegionError is a credential scope for another region. S3 names the expected
// one in the error document so that clients can correct themselves.
type RegionError struct {
	Got, Expected string
	// form is the sentinel of the place where the scope stood.
	form error
}

func (e *RegionError) Error() string {
	return "the region '" + e.Got + "' is wrong; expecting '" + e.Expected + "'"
}

func (e *RegionError) Unwrap() error { return e.form }

func denied(sentinel error, format string, args ...any) error {
	return fault.Wrap(fault.Denied, sentinel, format, args...)
}

func invalid(sentinel error, format string, args ...any) error {
	return fault.Wrap(fault.Invalid, sentinel, format, args...)
}

func notImplemented(format string, args ...any) error {
	return fault.Wrap(fault.NotImplemented, ErrNotImplemented, format, args...)
}
