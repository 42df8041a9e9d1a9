// Package sigv4 decides who signed an S3 request, by AWS Signature Version 4
// in all the forms S3 has for it: Authorization header, presigned query, and
// the chain of signatures through a body sent in chunks. It knows nothing of
// HTTP servers: it works on the bytes of the request line and the headers as
// they came, because a signature covers those and not what a router makes of
// them.
package sigv4

import (
	"time"
)

// Verifier checks requests for one region and service. Its fields are set
// before the first use; Verify is safe for concurrent use.
type Verifier struct {
	Region  string
	Service string // "s3"
	// Secret returns the secret of an access key. An error of kind
	// fault.NotFound means that there is no such key or that it is disabled;
	// any other is passed on.
	Secret func(keyID string) (secret string, err error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// MaxSkew is how far the client's clock may be off.
const MaxSkew = 15 * time.Minute

// MaxExpires is the longest a presigned request may be valid.
const MaxExpires = 7 * 24 * time.Hour

// Verify finds out who signed r. The error is ErrNoCredentials itself for a
// request that carries no signature at all, which the caller may then treat as
// anonymous; otherwise it wraps one of the Err values of this package.
func (v *Verifier) Verify(r *Request) (*Identity, error) {
	return nil, notImplemented("not built yet")
}
