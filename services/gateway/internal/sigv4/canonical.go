package sigv4

import (
	"bytes"
	"slices"
	"strings"
)

// scratch is the memory one verification works in.
type scratch struct {
	claim   claim
	query   []byte // canonical names and values of params, end to end
	params  []param
	signed  []string // names of the signed headers
	path    []byte
	request []byte // canonical request, then string to sign
}

// param is one query parameter in canonical form, as slices of scratch.query.
type param struct{ start, eq, end int }

func (s *scratch) name(p param) []byte  { return s.query[p.start:p.eq] }
func (s *scratch) value(p param) []byte { return s.query[p.eq:p.end] }

// parseQuery brings the query into canonical form: each name and value
// decoded ('+' is a space) and encoded again, the pairs sorted by both. A name
// without '=' has the empty value.
func (s *scratch) parseQuery(raw string) error {
	s.query, s.params = s.query[:0], s.params[:0]
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		if len(s.params) == maxParams {
			return invalid(ErrInvalidURI, "too many query parameters")
		}
		name, value, _ := strings.Cut(pair, "=")
		var p param
		var okName, okValue bool
		p.start = len(s.query)
		s.query, okName = appendRecoded(s.query, name, false, true)
		p.eq = len(s.query)
		s.query, okValue = appendRecoded(s.query, value, false, true)
		p.end = len(s.query)
		if !okName || !okValue {
			return invalid(ErrInvalidURI, "the query has an escape that cannot be read")
		}
		s.params = append(s.params, p)
	}
	slices.SortFunc(s.params, func(a, b param) int {
		if c := bytes.Compare(s.name(a), s.name(b)); c != 0 {
			return c
		}
		return bytes.Compare(s.value(a), s.value(b))
	})
	return nil
}

// param returns the decoded value of a parameter and how many there are. The
// name must need no encoding.
func (s *scratch) param(name string) (value string, n int) {
	for _, p := range s.params {
		if string(s.name(p)) == name {
			if n++; n == 1 {
				value = decode(s.value(p))
			}
		}
	}
	return value, n
}

func (s *scratch) hasParam(name string) bool {
	return slices.ContainsFunc(s.params, func(p param) bool { return string(s.name(p)) == name })
}

// encodePath decodes a path and encodes it as S3 does: once, '/' left alone,
// nothing collapsed. It reports false if an escape cannot be read.
func (s *scratch) encodePath(raw string) (path []byte, ok bool) {
	if raw == "" {
		raw = "/"
	}
	s.path, ok = appendRecoded(s.path[:0], raw, true, false)
	return s.path, ok
}

// encodeAgain encodes a path as it was sent, escapes included.
func (s *scratch) encodeAgain(raw string) []byte {
	s.path = s.path[:0]
	for i := range len(raw) {
		s.path = appendEncoded(s.path, raw[i], true)
	}
	return s.path
}

// canonicalRequest builds what the signature covers, in s.request.
func (s *scratch) canonicalRequest(r *Request, c *claim, path []byte) []byte {
	b := append(s.request[:0], r.Method...)
	b = append(b, '\n')
	b = append(b, path...)
	b = append(b, '\n')
	first := true
	for _, p := range s.params {
		if c.presigned && string(s.name(p)) == "X-Amz-Signature" {
			continue
		}
		if !first {
			b = append(b, '&')
		}
		first = false
		b = append(b, s.name(p)...)
		b = append(b, '=')
		b = append(b, s.value(p)...)
	}
	b = append(b, '\n')
	for _, name := range s.signed {
		b = append(b, name...)
		b = append(b, ':')
		if name == "host" {
			b = appendTrimmed(b, r.Host)
		} else {
			b = appendValues(b, r.Headers, name)
		}
		b = append(b, '\n')
	}
	b = append(b, '\n')
	b = append(b, c.signedHeaders...)
	b = append(b, '\n')
	b = append(b, c.payload...)
	s.request = b
	return b
}

// appendValues appends the values of all headers called name, joined by commas.
func appendValues(b []byte, headers Headers, name string) []byte {
	first := true
	for _, h := range headers {
		if len(h.Name) != len(name) || !strings.EqualFold(h.Name, name) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendTrimmed(b, h.Value)
	}
	return b
}

// appendTrimmed appends a header value without white space around it and with
// single spaces within.
func appendTrimmed(b []byte, value string) []byte {
	value = strings.Trim(value, " \t")
	for {
		i := strings.Index(value, "  ")
		if i < 0 {
			return append(b, value...)
		}
		b = append(b, value[:i+1]...)
		value = strings.TrimLeft(value[i:], " ")
	}
}

const upperHex = "0123456789ABCDEF"

// appendRecoded decodes s and appends it in AWS's encoding: everything but
// letters, digits and "-_.~" as %XX, also '/' unless slash.
func appendRecoded(b []byte, s string, slash, plusIsSpace bool) (out []byte, ok bool) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return b, false
			}
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		case c == '+' && plusIsSpace:
			c = ' '
		}
		b = appendEncoded(b, c, slash)
	}
	return b, true
}

func appendEncoded(b []byte, c byte, slash bool) []byte {
	if unreserved(c) || slash && c == '/' {
		return append(b, c)
	}
	return append(b, '%', upperHex[c>>4], upperHex[c&15])
}

// decode undoes the escapes of a canonical value.
func decode(canonical []byte) string {
	if bytes.IndexByte(canonical, '%') < 0 {
		return string(canonical)
	}
	b := make([]byte, 0, len(canonical))
	for i := 0; i < len(canonical); i++ {
		c := canonical[i]
		if c == '%' {
			c = unhex(canonical[i+1])<<4 | unhex(canonical[i+2])
			i += 2
		}
		b = append(b, c)
	}
	return string(b)
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c == '~'
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unhex is the value of a hex digit.
func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	default:
		return c - 'a' + 10
	}
}
