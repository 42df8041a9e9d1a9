package httpd

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/valyala/fasthttp"
)

// Request is one request as it came over the wire. All strings are copies.
type Request struct {
	// ID is unique and told to the client.
	ID     string
	Method string
	// RawPath and RawQuery are the two halves of the request target, byte for
	// byte: nothing is decoded, collapsed or cleaned.
	RawPath, RawQuery string
	// Host is the Host header field.
	Host string
	// Remote is the client's address.
	Remote string
	// Body is nil when the request has none.
	Body *Body
	// ContentLength is -1 for a chunked body, else its declared length; 0 when
	// there is none.
	ContentLength int64
	// HasLength says that the client declared a length, be it 0.
	HasLength bool
	// Headers are all header lines in the order they came, repeated ones not
	// merged. Trailers of a chunked body never appear here.
	Headers []Field
}

// newRequest copies the parts of a parsed request that handlers need.
func newRequest(c *fasthttp.RequestCtx) *Request {
	h := &c.Request.Header
	path, query := splitTarget(h.RequestURI())
	r := &Request{
		ID:       fmt.Sprintf("%016X", rand.Uint64()),
		Method:   string(h.Method()),
		RawPath:  path,
		RawQuery: query,
		Host:     string(h.Host()),
		Headers:  copyHeaders(h),
	}
	if addr := c.RemoteAddr(); addr != nil {
		r.Remote = addr.String()
	}
	if n := h.ContentLength(); n >= 0 {
		r.ContentLength = int64(n)
	} else if n == -1 {
		r.ContentLength = -1
	}
	// fasthttp fills in a length where the client gave none.
	r.HasLength = r.Header(fasthttp.HeaderContentLength) != ""
	return r
}

// splitTarget cuts a request target at the first '?'. An absolute-form target
// loses its scheme and authority: the Host field says the same.
func splitTarget(target []byte) (path, query string) {
	if len(target) > 0 && target[0] != '/' {
		if _, rest, ok := bytes.Cut(target, []byte("://")); ok {
			if i := bytes.IndexAny(rest, "/?"); i >= 0 {
				target = rest[i:]
			} else {
				target = nil
			}
		}
	}
	p, q, _ := bytes.Cut(target, []byte("?"))
	if len(p) == 0 {
		return "/", string(q)
	}
	return string(p), string(q)
}

// copyHeaders copies all header lines into one string and cuts it up. It goes
// through them once only: to unfold a continued line, fasthttp rewrites what it
// iterates over, and a second pass would find other lines.
func copyHeaders(h *fasthttp.RequestHeader) []Field {
	var all strings.Builder
	all.Grow(len(h.RawHeaders()))
	lengths := make([]int, 0, 64)
	for k, v := range h.AllInOrder() {
		all.Write(k)
		all.Write(v)
		lengths = append(lengths, len(k), len(v))
	}
	rest := all.String()
	fields := make([]Field, len(lengths)/2)
	for i := range fields {
		name, value := lengths[2*i], lengths[2*i+1]
		fields[i] = Field{rest[:name], rest[name : name+value]}
		rest = rest[name+value:]
	}
	return fields
}

// Header returns the first field called name, in any case; "" when there is
// none.
func (r *Request) Header(name string) string {
	for i := range r.Headers {
		if f := &r.Headers[i]; len(f.Name) == len(name) && strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}
