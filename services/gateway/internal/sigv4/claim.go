package sigv4

import (
	"strconv"
	"strings"
	"time"
)

const (
	algorithm      = "AWS4-HMAC-SHA256"
	algorithmECDSA = "AWS4-ECDSA-P256-SHA256"
	terminator     = "aws4_request"
	stampLayout    = "20060102T150405Z"
)

// claim is what a request says about its own signature, read but not yet
// believed. Its strings point into the request.
type claim struct {
	presigned bool
	keyID     string
	// scope is date/region/service/aws4_request.
	scope, date, region, service string
	signedHeaders                string
	signature                    string
	// stamp is the time of signing as the signature has it.
	stamp string
	when  time.Time
	// dateHeader says that stamp comes from the Date header.
	dateHeader bool
	expires    time.Duration // of a presigned request
	payload    string        // as x-amz-content-sha256 says it
}

// malformed is the S3 error for a claim that cannot be right.
func (c *claim) malformed() error {
	if c.presigned {
		return ErrAuthorizationQueryParameters
	}
	return ErrAuthorizationHeaderMalformed
}

// readClaim finds the signature of a request, wherever it stands.
func (s *scratch) readClaim(r *Request) (*claim, error) {
	for _, name := range [...]string{"host", "authorization", "date", "x-amz-date",
		"x-amz-content-sha256", "x-amz-security-token"} {
		if _, n := r.Headers.Get(name); n > 1 {
			return nil, invalid(ErrInvalidArgument, "the header %s came more than once", name)
		}
	}
	auth, inHeader := r.Headers.Get("authorization")
	inQuery := s.hasParam("X-Amz-Algorithm") || s.hasParam("X-Amz-Credential") || s.hasParam("X-Amz-Signature")
	switch {
	case inHeader > 0 && inQuery:
		return nil, invalid(ErrInvalidArgument, "Only one auth mechanism allowed; only the X-Amz-Algorithm "+
			"query parameter, Signature query string parameter or the Authorization header should be specified")
	case s.hasParam("AWSAccessKeyId") && s.hasParam("Signature"), strings.HasPrefix(auth, "AWS "):
		return nil, invalid(ErrInvalidRequest, "The authorization mechanism you have provided is not supported. "+
			"Please use AWS4-HMAC-SHA256.")
	case inHeader > 0:
		return s.readHeaders(r, auth)
	case inQuery:
		return s.readParams(r)
	}
	return nil, ErrNoCredentials
}

// readHeaders reads the claim of a request signed in its headers.
func (s *scratch) readHeaders(r *Request, auth string) (*claim, error) {
	s.claim = claim{}
	c := &s.claim
	if err := c.parseAuthorization(auth); err != nil {
		return nil, err
	}
	if token, _ := r.Headers.Get("x-amz-security-token"); token != "" {
		return nil, invalidToken()
	}
	var n int
	if c.payload, n = r.Headers.Get("x-amz-content-sha256"); n == 0 {
		return nil, invalid(ErrInvalidRequest, "Missing required header for this request: x-amz-content-sha256")
	}
	if stamp, n := r.Headers.Get("x-amz-date"); n == 1 {
		return c, c.setStamp(strings.Trim(stamp, " \t"))
	}
	date, n := r.Headers.Get("date")
	if n == 0 {
		return nil, denied(ErrAccessDenied, "AWS authentication requires a valid Date or x-amz-date header")
	}
	c.dateHeader = true
	date = strings.Trim(date, " \t")
	for _, layout := range [...]string{time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC} {
		if when, err := time.Parse(layout, date); err == nil {
			return c, c.setStamp(when.UTC().Format(stampLayout))
		}
	}
	return c, c.setStamp(date)
}

// parseAuthorization reads
//
//	AWS4-HMAC-SHA256 Credential=…/…, SignedHeaders=a;b, Signature=…
func (c *claim) parseAuthorization(auth string) error {
	if len(auth) > maxFieldBytes {
		return invalid(ErrAuthorizationHeaderMalformed, "the authorization header is too long")
	}
	name, rest, _ := strings.Cut(auth, " ")
	switch {
	case name == algorithmECDSA:
		return notImplemented("ECDSA signatures are not supported; use AWS4-HMAC-SHA256")
	case name != algorithm:
		return invalid(ErrInvalidArgument, "Unsupported Authorization Type")
	}
	var credential string
	for field := range strings.SplitSeq(rest, ",") {
		key, value, ok := strings.Cut(strings.Trim(field, " \t"), "=")
		var to *string
		switch key {
		case "Credential":
			to = &credential
		case "SignedHeaders":
			to = &c.signedHeaders
		case "Signature":
			to = &c.signature
		}
		if !ok || to == nil || *to != "" || value == "" {
			return invalid(ErrAuthorizationHeaderMalformed, "the authorization header must consist of "+
				"Credential, SignedHeaders and Signature, each once")
		}
		*to = value
	}
	if credential == "" || c.signedHeaders == "" || c.signature == "" {
		return invalid(ErrAuthorizationHeaderMalformed, "the authorization header requires "+
			"Credential, SignedHeaders and Signature")
	}
	return c.setCredential(credential)
}

// readParams reads the claim of a presigned request.
func (s *scratch) readParams(r *Request) (*claim, error) {
	s.claim = claim{presigned: true}
	c := &s.claim
	var name, credential, stamp, expires, payload, token string
	for _, p := range [...]struct {
		name     string
		to       *string
		required bool
	}{
		{"X-Amz-Algorithm", &name, true},
		{"X-Amz-Credential", &credential, true},
		{"X-Amz-Date", &stamp, true},
		{"X-Amz-Expires", &expires, true},
		{"X-Amz-SignedHeaders", &c.signedHeaders, true},
		{"X-Amz-Signature", &c.signature, true},
		{"X-Amz-Content-Sha256", &payload, false},
		{"X-Amz-Security-Token", &token, false},
	} {
		value, n := s.param(p.name)
		if n > 1 || n == 0 && p.required || n == 1 && value == "" && p.required {
			return nil, invalid(ErrAuthorizationQueryParameters, "Query-string authentication version 4 requires "+
				"the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, "+
				"and X-Amz-Expires parameters, each once.")
		}
		*p.to = value
	}
	switch {
	case name == algorithmECDSA:
		return nil, notImplemented("ECDSA signatures are not supported; use AWS4-HMAC-SHA256")
	case name != algorithm:
		return nil, invalid(ErrAuthorizationQueryParameters, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"")
	case token != "":
		return nil, invalidToken()
	}
	if token, _ := r.Headers.Get("x-amz-security-token"); token != "" {
		return nil, invalidToken()
	}
	seconds, err := strconv.ParseUint(expires, 10, 32)
	if err != nil || seconds < 1 || seconds > uint64(MaxExpires/time.Second) {
		return nil, invalid(ErrAuthorizationQueryParameters, "X-Amz-Expires must be a number of seconds from 1 to %d",
			MaxExpires/time.Second)
	}
	c.expires = time.Duration(seconds) * time.Second
	c.payload = UnsignedPayload
	if payload != "" {
		c.payload = payload
	}
	if header, n := r.Headers.Get("x-amz-content-sha256"); n == 1 {
		if payload != "" && payload != header {
			return nil, invalid(ErrInvalidArgument, "x-amz-content-sha256 differs between header and query")
		}
		c.payload = header
	}
	if err := c.setCredential(credential); err != nil {
		return nil, err
	}
	return c, c.setStamp(stamp)
}

func invalidToken() error {
	return invalid(ErrInvalidToken, "The provided token is malformed or otherwise invalid: no session tokens are issued here.")
}

// setCredential reads keyID/date/region/service/aws4_request. A key id may
// contain slashes, so it is read from the end.
func (c *claim) setCredential(credential string) error {
	at := len(credential)
	for range 4 {
		if at = strings.LastIndexByte(credential[:at], '/'); at < 0 {
			return invalid(c.malformed(), "the credential is malformed; expecting "+
				"\"<access key>/YYYYMMDD/<region>/<service>/aws4_request\"")
		}
	}
	c.keyID, c.scope = credential[:at], credential[at+1:]
	var rest, end string
	c.date, rest, _ = strings.Cut(c.scope, "/")
	c.region, rest, _ = strings.Cut(rest, "/")
	c.service, end, _ = strings.Cut(rest, "/")
	if c.keyID == "" || len(c.keyID) > maxKeyIDBytes || len(c.scope) > maxScopeBytes || end != terminator {
		return invalid(c.malformed(), "the credential is malformed; expecting "+
			"\"<access key>/YYYYMMDD/<region>/<service>/aws4_request\"")
	}
	return nil
}

// setStamp takes the time of signing, in the basic ISO form.
func (c *claim) setStamp(stamp string) error {
	when, err := time.Parse(stampLayout, stamp)
	if err != nil || len(stamp) != len(stampLayout) {
		if c.presigned {
			return invalid(ErrAuthorizationQueryParameters,
				"X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
		}
		return denied(ErrAccessDenied, "AWS authentication requires a valid Date or x-amz-date header")
	}
	c.stamp, c.when = stamp, when
	return nil
}
