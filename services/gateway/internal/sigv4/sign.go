package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signer signs requests as a client does. Tests and benchmarks use it to make
// what Verifier checks.
type Signer struct {
	KeyID, Secret, Region, Service string
}

// Sign adds the headers of a request signed at a time: x-amz-date,
// x-amz-content-sha256 with the value payload, and authorization. All headers
// already there are signed. RawPath and RawQuery are signed in canonical form.
// The chain signs the chunks of the body, if it has any.
func (s Signer) Sign(r *Request, payload string, at time.Time) *Chain {
	stamp := at.UTC().Format(stampLayout)
	r.Headers = append(r.Headers,
		Header{"x-amz-date", stamp}, Header{"x-amz-content-sha256", payload})
	c := s.claim(stamp)
	c.payload = payload
	chain := s.sign(r, &c)
	r.Headers = append(r.Headers, Header{"authorization", algorithm + " Credential=" + s.KeyID + "/" + c.scope +
		", SignedHeaders=" + c.signedHeaders + ", Signature=" + chain.prev.String()})
	return chain
}

// Presign adds the query parameters of a request that may be sent until
// expires after at. All headers already there are signed.
func (s Signer) Presign(r *Request, expires time.Duration, at time.Time) {
	c := s.claim(at.UTC().Format(stampLayout))
	c.presigned = true
	c.payload = UnsignedPayload
	if value, n := r.Headers.Get("x-amz-content-sha256"); n > 0 {
		c.payload = value
	}
	c.signedHeaders = signedHeaders(r.Headers)
	if r.RawQuery != "" {
		r.RawQuery += "&"
	}
	r.RawQuery += "X-Amz-Algorithm=" + algorithm +
		"&X-Amz-Credential=" + encodeParam(s.KeyID+"/"+c.scope) +
		"&X-Amz-Date=" + c.stamp +
		"&X-Amz-Expires=" + strconv.FormatInt(int64(expires/time.Second), 10) +
		"&X-Amz-SignedHeaders=" + encodeParam(c.signedHeaders)
	chain := s.sign(r, &c)
	r.RawQuery += "&X-Amz-Signature=" + chain.prev.String()
}

func (s Signer) claim(stamp string) claim {
	date := stamp[:len("20060102")]
	return claim{keyID: s.KeyID, date: date, region: s.Region, service: s.Service, stamp: stamp,
		scope: date + "/" + s.Region + "/" + s.Service + "/" + terminator}
}

func (s Signer) sign(r *Request, c *claim) *Chain {
	var w scratch
	c.signedHeaders = signedHeaders(r.Headers)
	w.signed = strings.Split(c.signedHeaders, ";")
	// What cannot be parsed is signed as it is; the verifier refuses it.
	_ = w.parseQuery(r.RawQuery)
	path, ok := w.encodePath(r.RawPath)
	switch {
	case c.service != "s3":
		path = w.encodeAgain(r.RawPath)
	case !ok:
		path = []byte(r.RawPath)
	}
	key := deriveKey(s.Secret, c.date, c.region, c.service)
	return &Chain{key: key, date: c.stamp, scope: c.scope, prev: *w.signature(r, c, &key, path)}
}

func signedHeaders(headers Headers) string {
	names := []string{"host"}
	for _, h := range headers {
		names = append(names, strings.ToLower(h.Name))
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ";")
}

// HashPayload is the value of x-amz-content-sha256 for a body.
func HashPayload(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// EncodePath encodes a path as S3 clients do.
func EncodePath(path string) string {
	var b []byte
	for i := range len(path) {
		b = appendEncoded(b, path[i], true)
	}
	return string(b)
}

func encodeParam(value string) string {
	var b []byte
	for i := range len(value) {
		b = appendEncoded(b, value[i], false)
	}
	return string(b)
}
