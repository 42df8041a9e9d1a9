package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"hangar/services/gateway/internal/httpd"
)

const (
	xmlType   = "application/xml"
	xmlHead   = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
	// maxDepth of elements in a document sent by a client.
	maxDepth = 16
	// maxElements of one: 10,000 parts with all they may name. Parsed, an
	// element takes many times what it takes on the wire.
	maxElements = 100_000
	// timeFormat is how S3 writes times in documents.
	timeFormat = "2006-01-02T15:04:05.000Z"
)

// document is an XML document being written: an appender, because a listing
// spends most of its time here.
type document struct{ b []byte }

// pages are documents kept for reuse.
var pages = sync.Pool{New: func() any { return new(document) }}

// maxPooled is the largest buffer worth keeping.
const maxPooled = 4 << 20

func newXML() *document { return &document{b: append(make([]byte, 0, 512), xmlHead...)} }

// pooledXML is for long documents; send it with stream.
func pooledXML() *document {
	x := pages.Get().(*document)
	x.b = append(x.b[:0], xmlHead...)
	return x
}

// root opens the outermost element of an answer.
func (x *document) root(name string) {
	x.b = append(x.b, '<')
	x.b = append(x.b, name...)
	x.b = append(x.b, ` xmlns="`+namespace+`">`...)
}

func (x *document) open(name string) {
	x.b = append(x.b, '<')
	x.b = append(x.b, name...)
	x.b = append(x.b, '>')
}

func (x *document) close(name string) {
	x.b = append(x.b, '<', '/')
	x.b = append(x.b, name...)
	x.b = append(x.b, '>')
}

// el writes an element that holds text.
func (x *document) el(name, text string) {
	x.open(name)
	x.text(text)
	x.close(name)
}

// opt writes an element unless its text is empty.
func (x *document) opt(name, text string) {
	if text != "" {
		x.el(name, text)
	}
}

func (x *document) int(name string, n int64) {
	x.open(name)
	x.b = strconv.AppendInt(x.b, n, 10)
	x.close(name)
}

func (x *document) bool(name string, v bool) { x.el(name, strconv.FormatBool(v)) }

func (x *document) time(name string, t time.Time) {
	x.open(name)
	x.b = t.UTC().AppendFormat(x.b, timeFormat)
	x.close(name)
}

func (x *document) etag(etag string) {
	x.b = append(x.b, "<ETag>&quot;"...)
	x.text(etag)
	x.b = append(x.b, "&quot;</ETag>"...)
}

// text escapes s. Characters that XML cannot hold become numeric references,
// as in S3's own answers; clients that mind ask for encoding-type=url.
func (x *document) text(s string) {
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if ref := escapes[c]; ref != "" {
				x.b = append(x.b, s[from:i]...)
				x.b = append(x.b, ref...)
				from = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == 0xFFFE || r == 0xFFFF || r == utf8.RuneError && size == 1 {
			x.b = append(x.b, s[from:i]...)
			if size > 1 {
				x.b = append(x.b, "&#x"...)
				x.b = strconv.AppendInt(x.b, int64(r), 16)
				x.b = append(x.b, ';')
			} else {
				x.b = append(x.b, "\uFFFD"...)
			}
			from = i + size
		}
		i += size
	}
	x.b = append(x.b, s[from:]...)
}

// escapes holds the reference for each ASCII character that needs one.
var escapes = func() (t [utf8.RuneSelf]string) {
	for c := range 0x20 {
		t[c] = "&#x" + strconv.FormatInt(int64(c), 16) + ";"
	}
	t['&'], t['<'], t['>'], t['"'] = "&amp;", "&lt;", "&gt;", "&quot;"
	t[0x7F] = "&#x7f;"
	return t
}()

// respond makes an answer of a finished document.
func (x *document) respond(c *call) *httpd.Response {
	resp := c.response(http.StatusOK, 1)
	resp.Set(hdrContentType, xmlType)
	resp.Body = x.b
	return resp
}

// stream makes an answer of a pooled document, which goes back once sent.
func (x *document) stream(c *call) *httpd.Response {
	resp := c.response(http.StatusOK, 1)
	resp.Set(hdrContentType, xmlType)
	resp.Stream, resp.Length = &pageReader{x: x}, int64(len(x.b))
	return resp
}

// pageReader sends a pooled document.
type pageReader struct {
	x   *document
	off int
}

func (p *pageReader) Read(b []byte) (int, error) {
	n := copy(b, p.x.b[p.off:])
	p.off += n
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// WriteTo implements io.WriterTo.
func (p *pageReader) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(p.x.b[p.off:])
	p.off += n
	return int64(n), err
}

// Close gives the document back.
func (p *pageReader) Close() error {
	if p.x != nil && cap(p.x.b) <= maxPooled {
		pages.Put(p.x)
	}
	p.x = nil
	return nil
}

// readXML reads a client's document of at most limit bytes into v. body is read
// to its end, so that its signature and checksums have been verified before
// anything is believed.
func readXML(body io.Reader, limit int64, v any) error {
	raw, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return err
	}
	if int64(len(raw)) > limit {
		return fail(malformedXML, "The document exceeds %d bytes.", limit)
	}
	return parseXML(raw, v)
}

func parseXML(raw []byte, v any) error {
	tokens := &plainTokens{d: xml.NewDecoder(bytes.NewReader(raw))}
	d := xml.NewTokenDecoder(tokens)
	if err := d.Decode(v); err != nil {
		return &apiError{code: malformedXML, cause: err}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fail(malformedXML, "")
	}
	return nil
}

// plainTokens passes on what an S3 document may consist of. Without a document
// type there are no entities to expand.
type plainTokens struct {
	d        *xml.Decoder
	depth    int
	elements int
	ended    bool
}

var errNotPlain = errors.New("document types, deep nesting, endless lists and trailing text are not accepted")

// Token implements xml.TokenReader.
func (t *plainTokens) Token() (xml.Token, error) {
	for {
		tok, err := t.d.RawToken()
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.Directive:
			return nil, errNotPlain
		case xml.StartElement:
			t.depth++
			t.elements++
			if t.depth > maxDepth || t.elements > maxElements || t.ended {
				return nil, errNotPlain
			}
		case xml.EndElement:
			t.depth--
			t.ended = t.depth == 0
		case xml.CharData:
			if t.depth == 0 {
				if !blank(tok) {
					return nil, errNotPlain
				}
				continue
			}
		case xml.Comment, xml.ProcInst:
			continue
		}
		return tok, nil
	}
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}
