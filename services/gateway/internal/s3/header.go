package s3

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/sigv4"
)

// Names of header fields, in the case they are sent in.
const (
	hdrContentType  = "Content-Type"
	hdrETag         = "ETag"
	hdrLastModified = "Last-Modified"
	hdrLocation     = "Location"
	hdrRequestID    = "x-amz-request-id"
	hdrHostID       = "x-amz-id-2"
	hdrBucketRegion = "x-amz-bucket-region"
	hdrCopySource   = "x-amz-copy-source"
	hdrStorageClass = "x-amz-storage-class"
	hdrMissingMeta  = "x-amz-missing-meta"
	hdrRedirect     = "x-amz-website-redirect-location"

	amzPrefix    = "x-amz-"
	metaPrefix   = "x-amz-meta-"
	sumPrefix    = "x-amz-checksum-"
	hdrSumType   = "x-amz-checksum-type"
	hdrSumMode   = "x-amz-checksum-mode"
	hdrAlgorithm = "x-amz-checksum-algorithm"
	hdrPartCount = "x-amz-mp-parts-count"
)

// hostID is S3's second request id, which names the server. One value is as
// good as another.
const hostID = "hangar"

func idHeaders(r *httpd.Request, room int) []httpd.Field {
	h := make([]httpd.Field, 0, room+2)
	return append(h, httpd.Field{Name: hdrRequestID, Value: r.ID}, httpd.Field{Name: hdrHostID, Value: hostID})
}

// understood are the x-amz headers that have no effect here or whose effect is
// built. Any other asks for something that would silently not happen, so it is
// refused.
var understood = map[string]bool{
	"x-amz-content-sha256":                  true,
	"x-amz-date":                            true,
	"x-amz-security-token":                  true, // judged with the signature
	"x-amz-user-agent":                      true,
	"x-amz-decoded-content-length":          true,
	"x-amz-trailer":                         true,
	"x-amz-te":                              true,
	"x-amz-sdk-checksum-algorithm":          true,
	"x-amz-request-payer":                   true, // nobody pays
	"x-amz-optional-object-attributes":      true, // nothing is being restored
	"x-amz-cf-id":                           true, // added by a CDN on the way
	hdrAlgorithm:                            true,
	hdrSumMode:                              true,
	hdrSumType:                              true,
	hdrCopySource:                           true,
	"x-amz-copy-source-range":               true,
	"x-amz-copy-source-if-match":            true,
	"x-amz-copy-source-if-none-match":       true,
	"x-amz-copy-source-if-modified-since":   true,
	"x-amz-copy-source-if-unmodified-since": true,
	"x-amz-metadata-directive":              true,
	"x-amz-tagging-directive":               true, // there are no tags to keep
	"x-amz-object-attributes":               true,
	"x-amz-max-parts":                       true,
	"x-amz-part-number-marker":              true,
	"x-amz-mp-object-size":                  true,
	hdrStorageClass:                         true,
	hdrRedirect:                             true,
}

// harmless are headers that are accepted with some values only: those that ask
// for what is the case anyway.
var harmless = map[string][]string{
	"x-amz-acl":                         {"private", "bucket-owner-full-control"},
	"x-amz-tagging":                     {""},
	"x-amz-bucket-object-lock-enabled":  {"false"},
	"x-amz-object-ownership":            {"BucketOwnerEnforced"},
	"x-amz-bypass-governance-retention": {"false"},
}

// refuseUnbuilt reports the first header that asks for what does not exist.
func refuseUnbuilt(headers sigv4.Headers) error {
	for i := range headers {
		name := headers[i].Name
		if len(name) < len(amzPrefix) || !strings.EqualFold(name[:len(amzPrefix)], amzPrefix) {
			continue
		}
		name = strings.ToLower(name)
		if understood[name] || strings.HasPrefix(name, metaPrefix) || strings.HasPrefix(name, sumPrefix) {
			continue
		}
		if slices.Contains(harmless[name], headers[i].Value) {
			continue
		}
		return fail(notImplemented, "The header %q, as given, implies functionality that is not implemented.", name)
	}
	return nil
}

// hoisted returns the headers that a presigned query carries instead of the
// request, as SDKs do when they presign. For other requests the parameters are
// refused: nobody would look at them.
func hoisted(q values, presigned bool) (sigv4.Headers, error) {
	var more sigv4.Headers
	for _, p := range q {
		name := strings.ToLower(p.name)
		switch name {
		case "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires",
			"x-amz-signedheaders", "x-amz-signature", "x-amz-security-token", "x-amz-content-sha256":
			continue
		}
		if !strings.HasPrefix(name, amzPrefix) {
			continue
		}
		if !presigned {
			return nil, fail(notImplemented, "The query parameter %q is not implemented here.", p.name)
		}
		more = append(more, sigv4.Header{Name: name, Value: p.value})
	}
	return more, nil
}

// visible reports whether s can stand in a header field as it is: printable
// ASCII.
func visible(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// noControl reports whether s is free of control characters, which would break
// a header section.
func noControl(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7F })
}

// httpTime reads a date of a condition; a bad one counts as absent (RFC 9110,
// section 13.1.3).
func httpTime(s string) (t time.Time) {
	if s == "" {
		return t
	}
	t, err := http.ParseTime(s)
	if err != nil {
		return time.Time{}
	}
	return t
}
