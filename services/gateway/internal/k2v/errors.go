package k2v

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/content"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/items"
	"hangar/services/gateway/internal/sigv4"
	"hangar/shared/fault"
)

// code is an error code: its name, the HTTP status it comes with and what it
// says when nothing more precise is known.
type code struct {
	name    string
	status  int
	message string
}

// The codes. Names are those that clients of Garage know, where it has one.
var (
	accessDenied        = code{"AccessDenied", http.StatusForbidden, "The operation is not allowed for this key."}
	badDigest           = code{"InvalidDigest", http.StatusBadRequest, "The body is not what its checksum says."}
	incompleteBody      = code{"InvalidRequest", http.StatusBadRequest, "The body ended before its declared length."}
	internalError       = code{"InternalError", http.StatusInternalServerError, "Something went wrong here. If the request was a write, it may have happened."}
	invalidBase64       = code{"InvalidBase64", http.StatusBadRequest, "The value is not base64."}
	invalidNonMonotonic = code{"InvalidNonMonotonicRead", http.StatusBadRequest, ""}
	invalidRequest      = code{"InvalidRequest", http.StatusBadRequest, "The request is not valid."}
	invalidToken        = code{"CausalityToken", http.StatusBadRequest, "Invalid causality token."}
	invalidUTF8         = code{"InvalidUtf8String", http.StatusBadRequest, "The path or the body is not UTF-8."}
	methodNotAllowed    = code{"MethodNotAllowed", http.StatusMethodNotAllowed, "K2V knows GET, PUT, POST, DELETE and SEARCH."}
	noSuchBucket        = code{"NoSuchBucket", http.StatusNotFound, "The bucket does not exist, or the key may not see it."}
	noSuchKey           = code{"NoSuchKey", http.StatusNotFound, "Key not found"}
	notAcceptable       = code{"NotAcceptable", http.StatusNotAcceptable, "Accept must contain application/json or application/octet-stream, or both."}
	requestTimeout      = code{"RequestTimeout", http.StatusBadRequest, "The request did not arrive in time."}
	slowDown            = code{"SlowDown", http.StatusServiceUnavailable, "Too many requests at once: try again later."}
	tooLarge            = code{"EntityTooLarge", http.StatusRequestEntityTooLarge, "The body is too large."}
	unavailable         = code{"ServiceUnavailable", http.StatusServiceUnavailable, "Not enough of the cluster can be reached; nothing was written. Try again."}
	headersTooLarge     = code{"RequestHeaderSectionTooLarge", http.StatusRequestHeaderFieldsTooLarge, "The request line and headers are too large."}
)

// sentinels maps the errors other packages name. The first match counts.
var sentinels = []struct {
	err error
	code
}{
	{sigv4.ErrNoCredentials, code{"AccessDenied", http.StatusForbidden, "K2V has no anonymous access: the request must be signed, for the service k2v."}},
	{sigv4.ErrInvalidAccessKeyID, code{"InvalidAccessKeyId", http.StatusForbidden, "No such access key."}},
	{sigv4.ErrSignatureDoesNotMatch, code{"SignatureDoesNotMatch", http.StatusForbidden, "The signature does not match."}},
	{sigv4.ErrRequestTimeTooSkewed, code{"RequestTimeTooSkewed", http.StatusForbidden, "The clocks differ by too much."}},
	{sigv4.ErrAuthorizationHeaderMalformed, code{"AuthorizationHeaderMalformed", http.StatusBadRequest, "The authorization header is malformed."}},
	{sigv4.ErrAuthorizationQueryParameters, code{"AuthorizationHeaderMalformed", http.StatusBadRequest, "The signature in the query is malformed."}},
	{httpd.ErrBodyTimeout, requestTimeout},
	{httpd.ErrTruncated, incompleteBody},
	{content.ErrIncompleteBody, incompleteBody},
	{content.ErrBadDigest, badDigest},
	{content.ErrInvalidDigest, badDigest},
	{content.ErrSHA256Mismatch, badDigest},
	{content.ErrRequestTimeout, requestTimeout},
	{content.ErrEntityTooLarge, tooLarge},
	{access.ErrNoSuchKey, code{"InvalidAccessKeyId", http.StatusForbidden, "No such access key."}},
	{access.ErrNoSuchBucket, noSuchBucket},
	{access.ErrBucketBusy, code{"OperationAborted", http.StatusConflict, "The bucket is being deleted."}},
	{items.ErrNoSuchItem, noSuchKey},
	{items.ErrItemFull, code{"TooManyValues", http.StatusBadRequest, ""}},
	{items.ErrTooLarge, tooLarge},
}

// kinds maps what no sentinel covers.
var kinds = map[fault.Kind]code{
	fault.NotFound:      noSuchKey,
	fault.Invalid:       invalidRequest,
	fault.Denied:        accessDenied,
	fault.Unavailable:   unavailable,
	fault.OldEpoch:      unavailable,
	fault.Canceled:      unavailable,
	fault.Conflict:      unavailable,
	fault.Indeterminate: {"ServiceUnavailable", http.StatusServiceUnavailable, "It is not known whether the write happened. It can be repeated: equal values are read as one."},
	fault.Overloaded:    slowDown,
	fault.StorageFull:   {"InsufficientStorage", http.StatusInsufficientStorage, "There is not enough storage left."},
	fault.Corrupt:       {"InternalError", http.StatusInternalServerError, "The stored data could not be verified."},
}

// problems maps what the server below could not even hand to a handler.
var problems = map[httpd.Problem]code{
	httpd.Malformed:       {"InvalidRequest", http.StatusBadRequest, "The request is not valid HTTP."},
	httpd.HeadersTooLarge: headersTooLarge,
	httpd.Stalled:         requestTimeout,
	httpd.Truncated:       incompleteBody,
	httpd.MethodUnknown:   methodNotAllowed,
	httpd.Overloaded:      slowDown,
	httpd.Panicked:        internalError,
}

// apiError is an error that this package words itself.
type apiError struct {
	code
	detail string
	cause  error
}

func (e *apiError) Error() string {
	if e.cause != nil {
		return e.name + ": " + e.cause.Error()
	}
	return e.name + ": " + e.text()
}

func (e *apiError) Unwrap() error { return e.cause }

func (e *apiError) text() string {
	if e.detail != "" {
		return e.detail
	}
	return e.message
}

// fail answers with c; a format replaces its message.
func fail(c code, format string, args ...any) error {
	e := &apiError{code: c}
	if format != "" {
		e.detail = fmt.Sprintf(format, args...)
	}
	return e
}

// describe finds what clients are told of err.
func describe(err error) *apiError {
	var own *apiError
	if errors.As(err, &own) {
		return own
	}
	e := &apiError{code: internalError, cause: err}
	kind := fault.KindOf(err)
	if c, ok := kinds[kind]; ok {
		e.code = c
	}
	for i := range sentinels {
		if errors.Is(err, sentinels[i].err) {
			e.code = sentinels[i].code
			break
		}
	}
	// What an error says to people is shown for what the client did wrong, and
	// for how far a batch came, not for what went wrong here.
	var f *fault.Error
	refused := e.status < http.StatusInternalServerError && (kind == fault.Invalid || kind == fault.Denied)
	if errors.As(err, &f) && f.Msg != "" && (refused || errors.Is(err, items.ErrPartial)) {
		e.detail = f.Msg
		if e.status >= http.StatusInternalServerError {
			e.detail += ". The batch can be repeated: equal values are read as one."
		}
	}
	return e
}

// errorBody is the document of an error.
type errorBody struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Region  string `json:"region"`
	Path    string `json:"path"`
}

func (a *API) errorResponse(r *httpd.Request, e *apiError) *httpd.Response {
	resp := response(r, e.status)
	if e.status == http.StatusServiceUnavailable {
		resp.Set("Retry-After", "1")
	}
	if r.Method == http.MethodHead {
		return resp
	}
	// Strings always have a JSON form.
	resp.Body, _ = json.Marshal(errorBody{e.name, e.text(), a.Region, r.RawPath})
	resp.Set(hdrContentType, typeJSON)
	return resp
}
