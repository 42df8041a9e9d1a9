package s3

import (
	"errors"
	"fmt"
	"net/http"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/content"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
	"hangar/services/gateway/internal/sigv4"
	"hangar/shared/fault"
)

// code is an S3 error code: its name, the HTTP status it comes with and what
// it says when nothing more precise is known.
type code struct {
	name    string
	status  int
	message string
}

// The codes that handlers answer themselves. Those that follow from an error
// of another package stand in the tables below.
var (
	accessDenied         = code{"AccessDenied", http.StatusForbidden, "Access Denied."}
	bucketExists         = code{"BucketAlreadyExists", http.StatusConflict, "The requested bucket name is not available."}
	bucketOwned          = code{"BucketAlreadyOwnedByYou", http.StatusConflict, "You already own a bucket of this name."}
	headersTooLarge      = code{"RequestHeaderSectionTooLarge", http.StatusRequestHeaderFieldsTooLarge, "The request line and headers exceed the maximum allowed size."}
	internalError        = code{"InternalError", http.StatusInternalServerError, "We encountered an internal error. Please try again."}
	invalidArgument      = code{"InvalidArgument", http.StatusBadRequest, "Invalid argument."}
	invalidBucketName    = code{"InvalidBucketName", http.StatusBadRequest, "The specified bucket is not valid."}
	invalidLocation      = code{"InvalidLocationConstraint", http.StatusBadRequest, "The specified location constraint is not valid."}
	invalidRequest       = code{"InvalidRequest", http.StatusBadRequest, "Invalid request."}
	invalidStorageClass  = code{"InvalidStorageClass", http.StatusBadRequest, "The storage class you specified is not valid."}
	invalidURI           = code{"InvalidURI", http.StatusBadRequest, "Couldn't parse the specified URI."}
	keyTooLong           = code{"KeyTooLongError", http.StatusBadRequest, "Your key is too long."}
	malformedXML         = code{"MalformedXML", http.StatusBadRequest, "The XML you provided was not well-formed or did not validate against our published schema."}
	metadataTooLarge     = code{"MetadataTooLarge", http.StatusBadRequest, "Your metadata headers exceed the maximum allowed metadata size."}
	methodNotAllowed     = code{"MethodNotAllowed", http.StatusMethodNotAllowed, "The specified method is not allowed against this resource."}
	missingContentLength = code{"MissingContentLength", http.StatusLengthRequired, "You must provide the Content-Length HTTP header."}
	noSuchUpload         = code{"NoSuchUpload", http.StatusNotFound, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."}
	noSuchVersion        = code{"NoSuchVersion", http.StatusNotFound, "The specified version does not exist."}
	notImplemented       = code{"NotImplemented", http.StatusNotImplemented, "A header, query parameter or operation of this request is not implemented."}
	requestTimeout       = code{"RequestTimeout", http.StatusBadRequest, "Your socket connection to the server was not read from or written to within the timeout period."}
	slowDown             = code{"SlowDown", http.StatusServiceUnavailable, "Please reduce your request rate."}
	badRequest           = code{"BadRequest", http.StatusBadRequest, "The request is not valid HTTP."}
)

// sentinels maps the errors other packages name to S3's codes. The first match
// counts.
var sentinels = []struct {
	err error
	code
}{
	{sigv4.ErrNoCredentials, accessDenied},
	{sigv4.ErrAccessDenied, accessDenied},
	{sigv4.ErrInvalidAccessKeyID, invalidAccessKeyID},
	{sigv4.ErrSignatureDoesNotMatch, code{"SignatureDoesNotMatch", http.StatusForbidden, "The request signature we calculated does not match the signature you provided. Check your key and signing method."}},
	{sigv4.ErrRequestTimeTooSkewed, code{"RequestTimeTooSkewed", http.StatusForbidden, "The difference between the request time and the server's time is too large."}},
	{sigv4.ErrAuthorizationHeaderMalformed, code{"AuthorizationHeaderMalformed", http.StatusBadRequest, "The authorization header is malformed."}},
	{sigv4.ErrAuthorizationQueryParameters, code{"AuthorizationQueryParametersError", http.StatusBadRequest, "The authorization query parameters are malformed."}},
	{sigv4.ErrInvalidRequest, invalidRequest},
	{sigv4.ErrInvalidArgument, invalidArgument},
	{sigv4.ErrInvalidToken, code{"InvalidToken", http.StatusBadRequest, "The provided token is malformed or otherwise invalid."}},
	{sigv4.ErrInvalidURI, invalidURI},
	{sigv4.ErrNotImplemented, notImplemented},

	{httpd.ErrBodyTimeout, requestTimeout}, // before what it leads to
	{httpd.ErrTruncated, incompleteBody},
	{content.ErrIncompleteBody, incompleteBody},
	{content.ErrBadDigest, badDigest},
	{content.ErrInvalidDigest, code{"InvalidDigest", http.StatusBadRequest, "The Content-MD5 you specified is not valid."}},
	{content.ErrSHA256Mismatch, code{"XAmzContentSHA256Mismatch", http.StatusBadRequest, "The provided 'x-amz-content-sha256' header does not match what was computed."}},
	{content.ErrMissingContentLength, missingContentLength},
	{content.ErrRequestTimeout, requestTimeout},
	{content.ErrEntityTooLarge, entityTooLarge},
	{content.ErrMalformedTrailer, code{"MalformedTrailerError", http.StatusBadRequest, "The request contained trailing data that was not well-formed or did not conform to our published schema."}},
	{content.ErrInvalidRequest, invalidRequest},

	{access.ErrNoSuchKey, invalidAccessKeyID},
	{access.ErrNoSuchBucket, code{"NoSuchBucket", http.StatusNotFound, "The specified bucket does not exist."}},
	{access.ErrBucketBusy, operationAborted},

	{objects.ErrNoSuchKey, noSuchKey},
	{objects.ErrNoSuchUpload, noSuchUpload},
	{objects.ErrInvalidPart, code{"InvalidPart", http.StatusBadRequest, "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag."}},
	{objects.ErrInvalidPartOrder, code{"InvalidPartOrder", http.StatusBadRequest, "The list of parts was not in ascending order. Parts list must be specified in order by part number."}},
	{objects.ErrEntityTooSmall, code{"EntityTooSmall", http.StatusBadRequest, "Your proposed upload is smaller than the minimum allowed object size."}},
	{objects.ErrEntityTooLarge, entityTooLarge},
	{objects.ErrInvalidRange, code{"InvalidRange", http.StatusRequestedRangeNotSatisfiable, "The requested range cannot be satisfied."}},
	{objects.ErrInvalidPartNum, code{"InvalidPartNumber", http.StatusRequestedRangeNotSatisfiable, "The requested partnumber is not satisfiable."}},
	{objects.ErrNotModified, code{"NotModified", http.StatusNotModified, "Not Modified."}},
	{objects.ErrBadDigest, badDigest},
	{objects.ErrCopySelf, code{"InvalidRequest", http.StatusBadRequest, "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."}},
}

// The codes that several errors lead to.
var (
	badDigest          = code{"BadDigest", http.StatusBadRequest, "The Content-MD5 or checksum value you specified did not match what we received."}
	entityTooLarge     = code{"EntityTooLarge", http.StatusBadRequest, "Your proposed upload exceeds the maximum allowed object size."}
	incompleteBody     = code{"IncompleteBody", http.StatusBadRequest, "You did not provide the number of bytes specified by the Content-Length HTTP header."}
	invalidAccessKeyID = code{"InvalidAccessKeyId", http.StatusForbidden, "The access key id you provided does not exist in our records."}
	noSuchKey          = code{"NoSuchKey", http.StatusNotFound, "The specified key does not exist."}
	operationAborted   = code{"OperationAborted", http.StatusConflict, "A conflicting conditional operation is currently in progress against this resource. Try again."}
	serviceUnavailable = code{"ServiceUnavailable", http.StatusServiceUnavailable, "Service is unable to handle the request. Please try again."}
)

// kinds maps what no sentinel covers.
var kinds = map[fault.Kind]code{
	fault.Internal:       internalError,
	fault.NotFound:       noSuchKey,
	fault.AlreadyExists:  bucketExists,
	fault.Precondition:   {"PreconditionFailed", http.StatusPreconditionFailed, "At least one of the preconditions you specified did not hold."},
	fault.Invalid:        invalidRequest,
	fault.Denied:         accessDenied,
	fault.Unavailable:    serviceUnavailable,
	fault.Indeterminate:  {"ServiceUnavailable", http.StatusServiceUnavailable, "It is not known whether the request took effect. Please try again."},
	fault.Overloaded:     slowDown,
	fault.StorageFull:    {"InsufficientStorage", http.StatusInsufficientStorage, "There is not enough storage left to complete the request."},
	fault.Corrupt:        {"InternalError", http.StatusInternalServerError, "The stored data could not be verified."},
	fault.OldEpoch:       serviceUnavailable,
	fault.Canceled:       serviceUnavailable,
	fault.NotImplemented: notImplemented,
	fault.Conflict:       operationAborted,
	fault.QuotaExceeded:  {"QuotaExceeded", http.StatusForbidden, "The quota of this bucket does not allow this request."},
	fault.NotEmpty:       {"BucketNotEmpty", http.StatusConflict, "The bucket you tried to delete is not empty."},
}

// problems maps what the server below could not even hand to a handler.
var problems = map[httpd.Problem]code{
	httpd.Malformed:       badRequest,
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
	// extra elements of the error document, and headers of the answer.
	extra  []httpd.Field
	header []httpd.Field
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

// describe finds what S3 calls err.
func describe(err error) *apiError {
	var own *apiError
	if errors.As(err, &own) {
		return own
	}
	e := &apiError{code: internalError, cause: err}
	named := false
	for i := range sentinels {
		if errors.Is(err, sentinels[i].err) {
			e.code, named = sentinels[i].code, true
			break
		}
	}
	kind := fault.KindOf(err)
	if c, ok := kinds[kind]; ok && !named {
		e.code = c
	}
	// What an error says to people is shown for what the client did wrong, not
	// for what went wrong here.
	var f *fault.Error
	if errors.As(err, &f) && f.Msg != "" && e.status < http.StatusInternalServerError &&
		(kind == fault.Invalid || kind == fault.Denied || kind == fault.NotImplemented || kind == fault.QuotaExceeded) {
		e.detail = f.Msg
	}
	var region *sigv4.RegionError
	if errors.As(err, &region) {
		e.extra = append(e.extra, httpd.Field{Name: "Region", Value: region.Expected})
		e.header = append(e.header, httpd.Field{Name: hdrBucketRegion, Value: region.Expected})
	}
	if e.status == http.StatusServiceUnavailable {
		e.header = append(e.header, httpd.Field{Name: "Retry-After", Value: "1"})
	}
	return e
}

// errorResponse renders err for the client. HEAD answers have no body, and
// neither has 304.
func errorResponse(r *httpd.Request, e *apiError) *httpd.Response {
	resp := &httpd.Response{Status: e.status, Header: idHeaders(r, len(e.header)+1)}
	resp.Header = append(resp.Header, e.header...)
	if r.Method == http.MethodHead || e.status == http.StatusNotModified {
		return resp
	}
	x := newXML()
	x.open("Error")
	x.el("Code", e.name)
	x.el("Message", e.text())
	for _, f := range e.extra {
		x.el(f.Name, f.Value)
	}
	x.el("Resource", r.RawPath)
	x.el("RequestId", r.ID)
	x.el("HostId", hostID)
	x.close("Error")
	resp.Set(hdrContentType, xmlType)
	resp.Body = x.b
	return resp
}
