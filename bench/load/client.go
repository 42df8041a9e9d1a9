// Package load generates S3 and K2V requests as cheaply as it can, so that what a
// benchmark measures is the server, and watches the server's process while it
// does.
package load

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	unsigned   = "UNSIGNED-PAYLOAD"
	dateFormat = "20060102T150405Z"
)

// Client is one client of S3 or K2V. Safe for concurrent use.
type Client struct {
	Host, Bucket  string
	KeyID, Secret string
	scope         string // of the day the client was made
	http          *fasthttp.HostClient
	signingKey    []byte
}

// NewClient returns an S3 client of the server at host ("127.0.0.1:3900").
func NewClient(host, region, keyID, secret, bucket string) *Client {
	return newClient("s3", host, region, keyID, secret, bucket)
}

// NewK2VClient returns a K2V client of the server at host ("127.0.0.1:3904").
// Partition keys must need no escapes in a URL.
func NewK2VClient(host, region, keyID, secret, bucket string) *Client {
	return newClient("k2v", host, region, keyID, secret, bucket)
}

func newClient(service, host, region, keyID, secret, bucket string) *Client {
	scope := []string{time.Now().UTC().Format("20060102"), region, service, "aws4_request"}
	key := []byte("AWS4" + secret)
	for _, part := range scope {
		key = mac(key, part)
	}
	return &Client{
		Host: host, Bucket: bucket, KeyID: keyID, Secret: secret, signingKey: key, scope: strings.Join(scope, "/"),
		http: &fasthttp.HostClient{
			Addr: host, MaxConns: maxConns, StreamResponseBody: true,
			ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10,
			ReadTimeout: time.Minute, WriteTimeout: time.Minute,
		},
	}
}

// maxConns is how many requests one client may have under way.
const maxConns = 256

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}

// Response is what a request returned. Body is set only when it was asked for.
type Response struct {
	Status int
	ETag   string
	// Token is K2V's causality token.
	Token string
	Bytes int64
	Body  []byte
}

// tokenHeader carries K2V's causality tokens.
const tokenHeader = "X-Garage-Causality-Token"

// Do sends one signed request. query must be in canonical form (sorted,
// encoded). The payload is not part of the signature.
func (c *Client) Do(method, key, query string, body []byte, keep bool) (Response, error) {
	return c.DoSeen("", method, key, query, body, keep)
}

// DoSeen is Do with a causality token, unless that is empty.
func (c *Client) DoSeen(token, method, key, query string, body []byte, keep bool) (Response, error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	if token != "" {
		req.Header.Set(tokenHeader, token)
	}
	uri := c.prepare(req, method, key, query, body)
	if err := c.http.Do(req, resp); err != nil {
		return Response{}, err
	}
	r := Response{Status: resp.StatusCode(), ETag: string(resp.Header.Peek("ETag")), Token: string(resp.Header.Peek(tokenHeader))}
	var err error
	if keep {
		r.Body, err = io.ReadAll(stream(resp))
		r.Bytes = int64(len(r.Body))
	} else {
		r.Bytes, err = io.Copy(io.Discard, stream(resp))
	}
	if err != nil {
		return r, err
	}
	if r.Status/100 != 2 {
		return r, fmt.Errorf("%s %s: status %d: %s", method, uri, r.Status, r.Body)
	}
	if want := resp.Header.ContentLength(); want > 0 && r.Bytes != int64(want) && method != fasthttp.MethodHead {
		return r, fmt.Errorf("%s %s: got %d of %d bytes", method, uri, r.Bytes, want)
	}
	return r, nil
}

// prepare makes and signs a request. It returns what is asked for.
func (c *Client) prepare(req *fasthttp.Request, method, key, query string, body []byte) (uri string) {
	path := "/" + c.Bucket
	if key != "" {
		path += "/" + key
	}
	uri = path
	if query != "" {
		uri += "?" + query
	}
	req.Header.SetMethod(method)
	req.Header.SetHost(c.Host)
	req.SetRequestURI(uri)
	if body != nil {
		req.SetBodyRaw(body)
	}
	c.sign(req, method, path, query)
	return uri
}

// Held is a request that the server takes its time to answer, on a connection
// of its own. It costs its client next to nothing.
type Held struct{ conn net.Conn }

// Hold sends a request without a body and does not wait for the answer.
func (c *Client) Hold(ctx context.Context, method, key, query string) (*Held, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.Host)
	if err != nil {
		return nil, err
	}
	req := fasthttp.AcquireRequest()
	defer fasthttp.ReleaseRequest(req)
	c.prepare(req, method, key, query, nil)
	w := bufio.NewWriter(conn)
	if err := errors.Join(req.Write(w), w.Flush()); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Held{conn}, nil
}

// Answer waits for the answer and returns its status; once only.
func (h *Held) Answer(limit time.Duration) (status int, err error) {
	if err := h.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return 0, err
	}
	resp := fasthttp.AcquireResponse()
	defer fasthttp.ReleaseResponse(resp)
	err = resp.Read(bufio.NewReader(h.conn))
	return resp.StatusCode(), err
}

// Waiting reports whether there is no answer yet and the connection is open.
func (h *Held) Waiting() bool {
	if err := h.conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return false
	}
	_, err := h.conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// Close ends the connection.
func (h *Held) Close() error { return h.conn.Close() }

func stream(resp *fasthttp.Response) io.Reader {
	if s := resp.BodyStream(); s != nil {
		return s
	}
	return strings.NewReader("")
}

func (c *Client) sign(req *fasthttp.Request, method, path, query string) {
	now := time.Now().UTC().Format(dateFormat)
	req.Header.Set("x-amz-date", now)
	req.Header.Set("x-amz-content-sha256", unsigned)
	canonical := method + "\n" + path + "\n" + canonicalQuery(query) + "\nhost:" + c.Host +
		"\nx-amz-content-sha256:" + unsigned + "\nx-amz-date:" + now + "\n\nhost;x-amz-content-sha256;x-amz-date\n" + unsigned
	sum := sha256.Sum256([]byte(canonical))
	signature := mac(c.signingKey, "AWS4-HMAC-SHA256\n"+now+"\n"+c.scope+"\n"+hex.EncodeToString(sum[:]))
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.KeyID+"/"+c.scope+
		",SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature="+hex.EncodeToString(signature))
}

func canonicalQuery(query string) string {
	if query == "" {
		return ""
	}
	parts := strings.Split(query, "&")
	for i, p := range parts {
		if !strings.Contains(p, "=") {
			parts[i] = p + "="
		}
	}
	sort.Strings(parts)
	return strings.Join(parts, "&")
}

// Query encodes name and value pairs for Do.
func Query(pairs ...string) string {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		parts = append(parts, pairs[i]+"="+strings.ReplaceAll(url.QueryEscape(pairs[i+1]), "+", "%20"))
	}
	sort.Strings(parts)
	return strings.Join(parts, "&")
}
