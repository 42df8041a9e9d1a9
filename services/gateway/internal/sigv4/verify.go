// Package sigv4 decides who signed an S3 request, by AWS Signature Version 4
// in all the forms S3 has for it: Authorization header, presigned query, and
// the chain of signatures through a body sent in chunks. It knows nothing of
// HTTP servers: it works on the bytes of the request line and the headers as
// they came, because a signature covers those and not what a router makes of
// them.
package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"time"
)

// Verifier checks requests for one region and service. Its fields are set
// before the first use; Verify is safe for concurrent use.
type Verifier struct {
	Region  string
	Service string // "s3", or any other: see matches
	// Secret returns the secret of an access key. An error of kind
	// fault.NotFound means that there is no such key or that it is disabled;
	// any other is passed on.
	Secret func(keyID string) (secret string, err error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	keys    keyCache
	scratch sync.Pool // of *scratch
}

// MaxSkew is how far the client's clock may be off.
const MaxSkew = 15 * time.Minute

// MaxExpires is the longest a presigned request may be valid.
const MaxExpires = 7 * 24 * time.Hour

// Limits on what is looked at before a signature is believed. They lie above
// anything S3's own limits allow.
const (
	maxTargetBytes   = 16 << 10 // of path and query each
	maxHeaders       = 256
	maxSignedHeaders = 128
	maxParams        = 256
	maxFieldBytes    = 8 << 10 // of one header or parameter that is parsed
	maxKeyIDBytes    = 128
	maxScopeBytes    = 256
)

// Verify finds out who signed r. The error is ErrNoCredentials itself for a
// request that carries no signature at all, which the caller may then treat as
// anonymous; otherwise it wraps one of the Err values of this package.
func (v *Verifier) Verify(r *Request) (*Identity, error) {
	s, _ := v.scratch.Get().(*scratch)
	if s == nil {
		s = new(scratch)
	}
	defer v.scratch.Put(s)

	if len(r.RawPath) > maxTargetBytes || len(r.RawQuery) > maxTargetBytes {
		return nil, invalid(ErrInvalidURI, "the request target is too long")
	}
	if len(r.Headers) > maxHeaders {
		return nil, invalid(ErrInvalidRequest, "too many headers")
	}
	if err := s.parseQuery(r.RawQuery); err != nil {
		return nil, err
	}
	c, err := s.readClaim(r)
	if err != nil {
		return nil, err
	}
	payload, sum, err := ParsePayload(c.payload)
	if err != nil {
		return nil, err
	}
	if err := v.checkScope(c); err != nil {
		return nil, err
	}
	if err := v.checkTime(c); err != nil {
		return nil, err
	}
	if err := s.checkSigned(r, c); err != nil {
		return nil, err
	}
	key, known, err := v.signingKey(c)
	if err != nil {
		return nil, err
	}
	matches := s.matches(r, c, &key)
	if !known {
		return nil, denied(ErrInvalidAccessKeyID,
			"The AWS access key ID you provided does not exist in our records.")
	}
	if !matches {
		return nil, denied(ErrSignatureDoesNotMatch, "The request signature we calculated does not match "+
			"the signature you provided. Check your key and signing method.")
	}
	id := &Identity{
		KeyID:     strings.Clone(c.keyID),
		Presigned: c.presigned,
		Date:      c.when,
		Payload:   payload, PayloadSHA256: sum,
	}
	if payload.Signed() {
		id.Chain = &Chain{key: key, date: strings.Clone(c.stamp), scope: strings.Clone(c.scope),
			prev: Signature([]byte(c.signature))}
	}
	return id, nil
}

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}

// checkScope holds the credential scope against what this verifier serves.
func (v *Verifier) checkScope(c *claim) error {
	switch {
	case c.region != v.Region:
		err := &RegionError{Got: strings.Clone(c.region), Expected: v.Region, form: c.malformed()}
		return invalid(err, "the region '%s' is wrong; expecting '%s'", c.region, v.Region)
	case c.service != v.Service:
		return invalid(c.malformed(), "incorrect service %q; this endpoint belongs to %q", c.service, v.Service)
	case c.date != c.stamp[:len("20060102")]:
		return invalid(c.malformed(), "the credential's date %q is not that of the request, %q", c.date, c.stamp)
	}
	return nil
}

func (v *Verifier) checkTime(c *claim) error {
	now := v.now()
	if !c.presigned {
		if d := now.Sub(c.when); d > MaxSkew || d < -MaxSkew {
			return denied(ErrRequestTimeTooSkewed,
				"The difference between the request time and the current time is too large.")
		}
		return nil
	}
	if c.when.After(now.Add(MaxSkew)) {
		return denied(ErrAccessDenied, "Request is not valid yet")
	}
	if now.After(c.when.Add(c.expires)) {
		return denied(ErrAccessDenied, "Request has expired")
	}
	return nil
}

// checkSigned makes sure that the signature covers all that acts on S3: the
// host and every x-amz- header. (The query, method and path always are.)
func (s *scratch) checkSigned(r *Request, c *claim) error {
	s.signed = s.signed[:0]
	for name := range strings.SplitSeq(c.signedHeaders, ";") {
		if name == "" || strings.ContainsFunc(name, notHeaderName) {
			return invalid(c.malformed(), "SignedHeaders must be lower-case header names separated by ';'")
		}
		if len(s.signed) == maxSignedHeaders {
			return invalid(c.malformed(), "too many signed headers")
		}
		if _, n := r.Headers.Get(name); n == 0 && name != "host" {
			return denied(ErrSignatureDoesNotMatch,
				"The header %q is signed but did not arrive with the request.", name)
		}
		s.signed = append(s.signed, name)
	}
	if !s.isSigned("host") {
		return denied(ErrAccessDenied, "The host header must be signed.")
	}
	if !c.presigned && c.dateHeader && !s.isSigned("date") {
		return denied(ErrAccessDenied, "The date header must be signed.")
	}
	for _, h := range r.Headers {
		if len(h.Name) > len("x-amz-") && strings.EqualFold(h.Name[:len("x-amz-")], "x-amz-") &&
			!s.isSigned(h.Name) {
			return denied(ErrAccessDenied, "There were headers present in the request which were not signed: %s", h.Name)
		}
	}
	return nil
}

func (s *scratch) isSigned(name string) bool {
	for _, n := range s.signed {
		if len(n) == len(name) && strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// notHeaderName reports the runes that no lower-case header name has.
func notHeaderName(c rune) bool {
	return c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
}

// matches recomputes the signature. S3's rule is to decode the path and encode
// it again; some clients sign the path as they send it. Both spell the same
// key, so either may be what was signed. All other services have the path as it
// is sent encoded once more, and nothing else will do: the two ways together
// would let one signature stand for two keys.
func (s *scratch) matches(r *Request, c *claim, key *signingKey) bool {
	if c.service != "s3" {
		return s.signature(r, c, key, s.encodeAgain(r.RawPath)).Equal([]byte(c.signature))
	}
	path, ok := s.encodePath(r.RawPath)
	if ok && s.signature(r, c, key, path).Equal([]byte(c.signature)) {
		return true
	}
	if ok && string(path) == r.RawPath {
		return false
	}
	return s.signature(r, c, key, []byte(r.RawPath)).Equal([]byte(c.signature))
}

func (s *scratch) signature(r *Request, c *claim, key *signingKey, path []byte) *Signature {
	request := sha256.Sum256(s.canonicalRequest(r, c, path))
	b := append(s.request[:0], algorithm...)
	b = append(b, '\n')
	b = append(b, c.stamp...)
	b = append(b, '\n')
	b = append(b, c.scope...)
	b = append(b, '\n')
	b = hex.AppendEncode(b, request[:])
	s.request = b
	sig := key.sign(b)
	return &sig
}
