package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
)

// emptySHA256 is the hash of nothing, part of what a chunk's signature covers.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// SignatureLen is the length of a signature in its text form.
const SignatureLen = 2 * sha256.Size

// Signature is a signature as it stands on the wire: lower-case hex.
type Signature [SignatureLen]byte

// Equal compares with what a client sent, in constant time.
func (s *Signature) Equal(sent []byte) bool {
	return subtle.ConstantTimeCompare(s[:], sent) == 1
}

func (s Signature) String() string { return string(s[:]) }

// Chain makes the signatures of the chunks of one body: each covers the one
// before, the first that of the request. It belongs to one goroutine.
type Chain struct {
	key  signingKey
	date string // of the request, in the basic ISO form
	// scope is "date/region/service/aws4_request".
	scope string
	prev  Signature
	buf   []byte
}

// Chunk returns the signature that the next chunk must carry, given the
// SHA-256 of its data.
func (c *Chain) Chunk(sum [sha256.Size]byte) Signature {
	return c.next("AWS4-HMAC-SHA256-PAYLOAD", true, sum)
}

// Trailer returns the signature that the trailers must carry, given the
// SHA-256 of their canonical form: "name:value\n" each.
func (c *Chain) Trailer(sum [sha256.Size]byte) Signature {
	return c.next("AWS4-HMAC-SHA256-TRAILER", false, sum)
}

func (c *Chain) next(algorithm string, headers bool, sum [sha256.Size]byte) Signature {
	b := append(c.buf[:0], algorithm...)
	b = append(b, '\n')
	b = append(b, c.date...)
	b = append(b, '\n')
	b = append(b, c.scope...)
	b = append(b, '\n')
	b = append(b, c.prev[:]...)
	b = append(b, '\n')
	if headers {
		b = append(b, emptySHA256...)
		b = append(b, '\n')
	}
	b = hex.AppendEncode(b, sum[:])
	c.buf = b
	c.prev = c.key.sign(b)
	return c.prev
}

// signingKey is the secret narrowed to one day, region and service.
type signingKey [sha256.Size]byte

func deriveKey(secret, date, region, service string) signingKey {
	mac := []byte("AWS4" + secret)
	for _, s := range [...]string{date, region, service, "aws4_request"} {
		h := hmac.New(sha256.New, mac)
		h.Write([]byte(s))
		mac = h.Sum(nil)
	}
	return signingKey(mac)
}

func (k *signingKey) sign(stringToSign []byte) (s Signature) {
	h := hmac.New(sha256.New, k[:])
	h.Write(stringToSign)
	var sum [sha256.Size]byte
	hex.Encode(s[:], h.Sum(sum[:0]))
	return s
}
