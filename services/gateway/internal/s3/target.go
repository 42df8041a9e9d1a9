package s3

import (
	"net"
	"strings"
	"unicode/utf8"

	"hangar/shared/object"
)

// target is what a request is about. Bucket is empty for the service itself,
// Key for a bucket.
type target struct{ bucket, key string }

// scope tells service, bucket and object requests apart.
type scope uint8

const (
	onService scope = iota
	onBucket
	onObject
)

func (t target) scope() scope {
	switch {
	case t.key != "":
		return onObject
	case t.bucket != "":
		return onBucket
	}
	return onService
}

// locate finds bucket and key in host and path. rootDomain, such as
// ".s3.example.org", makes the label before it the bucket. The key is decoded
// once and otherwise taken as it is: "//", ".." and a trailing "/" are part of
// it.
func locate(host, rawPath, rootDomain string) (t target, err error) {
	path, ok := strings.CutPrefix(rawPath, "/")
	if !ok {
		return t, fail(invalidURI, "")
	}
	if t.bucket = virtualBucket(host, rootDomain); t.bucket == "" {
		var bucket string
		bucket, path, _ = strings.Cut(path, "/")
		if t.bucket, err = unescape(bucket, false); err != nil {
			return t, err
		}
	}
	if t.key, err = unescape(path, false); err != nil {
		return t, err
	}
	switch {
	case t.bucket == "" && t.key != "":
		return t, fail(invalidBucketName, "")
	case len(t.key) > object.MaxKeyBytes:
		return t, fail(keyTooLong, "")
	}
	return t, nil
}

// virtualBucket is the bucket that a host names, "" for none.
func virtualBucket(host, rootDomain string) string {
	if rootDomain == "" {
		return ""
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	// A name that ends in the root's dot is the same name.
	bucket, ok := strings.CutSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), rootDomain)
	if !ok {
		return ""
	}
	return bucket
}

// unescape decodes percent escapes, and '+' as a space when plus says so. What
// comes out is valid UTF-8.
func unescape(s string, plus bool) (string, error) {
	if !strings.ContainsRune(s, '%') && (!plus || !strings.ContainsRune(s, '+')) {
		if !utf8.ValidString(s) {
			return "", fail(invalidURI, "")
		}
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '%':
			if i+2 >= len(s) {
				return "", fail(invalidURI, "")
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi > 15 || lo > 15 {
				return "", fail(invalidURI, "")
			}
			b = append(b, hi<<4|lo)
			i += 2
		case plus && s[i] == '+':
			b = append(b, ' ')
		default:
			b = append(b, s[i])
		}
	}
	if !utf8.Valid(b) {
		return "", fail(invalidURI, "")
	}
	return string(b), nil
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// values are the parameters of a query, in order.
type values []value

type value struct{ name, value string }

// maxParameters bounds the parameters of one request.
const maxParameters = 100

// parseQuery reads a raw query. "?acl" and "?acl=" are the same; a parameter
// that comes twice has no meaning.
func parseQuery(raw string) (values, error) {
	if raw == "" {
		return nil, nil
	}
	var q values
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := unescape(rawName, true)
		if err != nil {
			return nil, err
		}
		v, err := unescape(rawValue, true)
		if err != nil {
			return nil, err
		}
		if q.has(name) {
			return nil, fail(invalidArgument, "The query parameter %q is given more than once.", name)
		}
		if len(q) == maxParameters {
			return nil, fail(invalidRequest, "Too many query parameters.")
		}
		q = append(q, value{name, v})
	}
	return q, nil
}

func (q values) has(name string) bool {
	_, ok := q.lookup(name)
	return ok
}

func (q values) get(name string) string {
	v, _ := q.lookup(name)
	return v
}

func (q values) lookup(name string) (string, bool) {
	for i := range q {
		if q[i].name == name {
			return q[i].value, true
		}
	}
	return "", false
}
