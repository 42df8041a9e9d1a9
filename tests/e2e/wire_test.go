package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"hangar/tests/harness"
)

// Values of x-amz-content-sha256 that are no hash.
const (
	unsigned        = "UNSIGNED-PAYLOAD"
	signedChunks    = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	signedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	unsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

const wireLimit = 30 * time.Second

// wireRequest is a request that is written to a socket byte for byte, signed
// by code that shares nothing with the server's.
type wireRequest struct {
	method string
	// target is the request target as it stands on the first line.
	target string
	// headers are written and signed; unsignedHeaders are only written.
	headers, unsignedHeaders [][2]string
	body                     []byte
	// length is the declared Content-Length: that of body when 0, none when -1.
	length  int
	payload string // of x-amz-content-sha256; the hash of body when empty
	at      time.Time
	region  string
	keyID   string
	secret  string
}

// wireAnswer is what came back.
type wireAnswer struct {
	*http.Response
	code, text string
}

func (a *wireAnswer) String() string {
	if a == nil {
		return "no answer"
	}
	return fmt.Sprintf("%d %s %q", a.StatusCode, a.code, a.text)
}

func hmacOf(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexSum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// signer is the state that signed chunks need.
type signer struct {
	key         []byte
	stamp       string
	scope, prev string
}

func (s *signer) sign(text string) string {
	s.prev = hex.EncodeToString(hmacOf(s.key, text))
	return s.prev
}

// escape encodes as SigV4 does.
func escape(s string, slash bool) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 || slash && c == '/' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func canonicalTarget(target string) (path, query string) {
	path, query, _ = strings.Cut(target, "?")
	if plain, err := url.PathUnescape(path); err == nil {
		path = escape(plain, true)
	}
	if query == "" {
		return path, ""
	}
	pairs := strings.Split(query, "&")
	for i, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err1 == nil && err2 == nil {
			pairs[i] = escape(n, false) + "=" + escape(v, false)
		}
	}
	slices.Sort(pairs)
	return path, strings.Join(pairs, "&")
}

// head signs the request and returns its first lines, the blank one included.
func (w *wireRequest) head(host string) (string, *signer) {
	at, region, keyID, secret := w.at, w.region, w.keyID, w.secret
	if at.IsZero() {
		at = time.Now()
	}
	if region == "" {
		region = harness.Region
	}
	if keyID == "" {
		keyID, secret = harness.AccessKey, harness.SecretKey
	}
	payload := w.payload
	if payload == "" {
		payload = hexSum(w.body)
	}
	stamp := at.UTC().Format("20060102T150405Z")
	fields := append([][2]string{{"host", host}, {"x-amz-content-sha256", payload}, {"x-amz-date", stamp}}, w.headers...)
	signed := make([]string, len(fields))
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = strings.ToLower(f[0])
		signed[i] = names[i] + ":" + strings.TrimSpace(f[1]) + "\n"
	}
	slices.Sort(names)
	slices.Sort(signed)
	path, query := canonicalTarget(w.target)
	list := strings.Join(names, ";")
	canonical := strings.Join([]string{w.method, path, query, strings.Join(signed, ""), list, payload}, "\n")
	s := &signer{stamp: stamp, scope: stamp[:8] + "/" + region + "/s3/aws4_request"}
	s.key = hmacOf(hmacOf(hmacOf(hmacOf([]byte("AWS4"+secret), stamp[:8]), region), "s3"), "aws4_request")
	s.sign("AWS4-HMAC-SHA256\n" + stamp + "\n" + s.scope + "\n" + hexSum([]byte(canonical)))
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", w.method, w.target)
	for _, f := range append(fields, w.unsignedHeaders...) {
		fmt.Fprintf(&b, "%s: %s\r\n", f[0], f[1])
	}
	fmt.Fprintf(&b, "authorization: AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s\r\n", keyID, s.scope, list, s.prev)
	switch {
	case w.length > 0:
		fmt.Fprintf(&b, "content-length: %d\r\n", w.length)
	case w.length == 0 && (w.body != nil || w.method == http.MethodPut || w.method == http.MethodPost):
		fmt.Fprintf(&b, "content-length: %d\r\n", len(w.body))
	}
	return b.String() + "\r\n", s
}

// dial connects to a server's S3 port.
func dial(t testing.TB, endpoint string) *net.TCPConn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", strings.TrimPrefix(endpoint, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(wireLimit)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// send writes the request on a connection of its own and reads the answer.
func (w *wireRequest) send(t testing.TB, endpoint string) *wireAnswer {
	t.Helper()
	c := dial(t, endpoint)
	defer c.Close()
	head, _ := w.head(c.RemoteAddr().String())
	// The server may answer before it has read everything.
	_, _ = c.Write(append([]byte(head), w.body...))
	return readAnswer(t, bufio.NewReader(c), w.method)
}

func readAnswer(t testing.TB, r *bufio.Reader, method string) *wireAnswer {
	t.Helper()
	a, err := tryAnswer(r, method)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return a
}

func tryAnswer(r *bufio.Reader, method string) (*wireAnswer, error) {
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	a := &wireAnswer{Response: resp, text: string(b)}
	if resp.StatusCode >= 300 && len(b) > 0 {
		var doc struct {
			XMLName struct{} `xml:"Error"`
			Code    string
			Message string
		}
		if err := xml.Unmarshal(b, &doc); err != nil || doc.Message == "" {
			return nil, fmt.Errorf("%d with a body that is no error document: %q, %w", resp.StatusCode, b, err)
		}
		a.code = doc.Code
	}
	return a, nil
}

// want fails the test unless the answer is the error.
func (a *wireAnswer) want(t testing.TB, what string, status int, code string) {
	t.Helper()
	if a.StatusCode != status || a.code != code {
		t.Errorf("%s: %v, want %d %s", what, a, status, code)
	}
}

// chunked is an aws-chunked body under construction.
type chunked struct {
	bytes.Buffer
	s *signer // nil for unsigned chunks
	n int
	// spoil is the chunk whose signature is made wrong, counted from 0; -1 for
	// none. The closing chunk counts as one.
	spoil int
}

func (c *chunked) chunk(b []byte) {
	if c.s == nil {
		fmt.Fprintf(c, "%x\r\n", len(b))
	} else {
		sig := c.s.sign("AWS4-HMAC-SHA256-PAYLOAD\n" + c.s.stamp + "\n" + c.s.scope + "\n" + c.s.prev + "\n" + hexSum(nil) + "\n" + hexSum(b))
		if c.n == c.spoil {
			sig = strings.Repeat("0", 63) + "1"
		}
		fmt.Fprintf(c, "%x;chunk-signature=%s\r\n", len(b), sig)
	}
	c.n++
	c.Write(b)
	if len(b) > 0 {
		c.WriteString("\r\n")
	}
}

// trailer writes a trailer line and, for a signed body, its signature.
func (c *chunked) trailer(name, value string) {
	fmt.Fprintf(c, "%s:%s\r\n", name, value)
	if c.s != nil {
		fmt.Fprintf(c, "x-amz-trailer-signature:%s\r\n",
			c.s.sign("AWS4-HMAC-SHA256-TRAILER\n"+c.s.stamp+"\n"+c.s.scope+"\n"+c.s.prev+"\n"+hexSum([]byte(name+":"+value+"\n"))))
	}
}

// objectPath is the target of a key in the test bucket, encoded as clients do.
func objectPath(key string) string { return "/" + harness.Bucket + "/" + escape(key, true) }
