package httpd

import (
	"bufio"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestContinuedHeaderLines(t *testing.T) {
	const raw = "PUT /b/k HTTP/1.1\r\nHost: h\r\nX-A: one\r\n  two\r\n\tthree\r\nX-B: b\r\nContent-Length: 3\r\n\r\nabc"
	var c fasthttp.RequestCtx
	if err := c.Request.Read(bufio.NewReader(strings.NewReader(raw))); err != nil {
		t.Fatal(err)
	}
	want := []Field{{"Host", "h"}, {"X-A", "one two three"}, {"X-B", "b"}, {"Content-Length", "3"}}
	if r := newRequest(&c); !slices.Equal(r.Headers, want) || !r.HasLength || r.ContentLength != 3 {
		t.Errorf("got %q", r.Headers)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: h\r\nX-A: b\r\n c\r\n\r\n")
	f.Add("GET / HTTP/1.1\r\nHost: h\r\nX-A:\r\n \r\n\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		var c fasthttp.RequestCtx
		if c.Request.Read(bufio.NewReader(strings.NewReader(raw))) != nil {
			return
		}
		lines := 0
		for _, h := range newRequest(&c).Headers {
			lines += len(h.Name) + len(h.Value)
		}
		if lines > len(raw) {
			t.Errorf("%d bytes of headers out of %d", lines, len(raw))
		}
	})
}
