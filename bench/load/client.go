// Package load generates S3 requests as cheaply as it can, so that what a
// benchmark measures is the server, and watches the server's process while it
// does.
package load

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	unsigned   = "UNSIGNED-PAYLOAD"
	dateFormat = "20060102T150405Z"
)

// Client is one S3 client. Safe for concurrent use.
type Client struct {
	Host, Bucket  string
	Region        string
	KeyID, Secret string
	http          *fasthttp.HostClient
	signingKey    []byte // of the day the client was made
	day           string
}

// NewClient returns a client of the server at host ("127.0.0.1:3900").
func NewClient(host, region, keyID, secret, bucket string) *Client {
	day := time.Now().UTC().Format("20060102")
	key := []byte("AWS4" + secret)
	for _, part := range []string{day, region, "s3", "aws4_request"} {
		key = mac(key, part)
	}
	return &Client{
		Host: host, Bucket: bucket, Region: region, KeyID: keyID, Secret: secret, signingKey: key, day: day,
		http: &fasthttp.HostClient{
			Addr: host, MaxConns: 256, StreamResponseBody: true,
			ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10,
			ReadTimeout: time.Minute, WriteTimeout: time.Minute,
		},
	}
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}

// Response is what a request returned. Body is set only when it was asked for.
type Response struct {
	Status int
	ETag   string
	Bytes  int64
	Body   []byte
}

// Do sends one signed request. query must be in canonical form (sorted,
// encoded). The payload is not part of the signature.
func (c *Client) Do(method, key, query string, body []byte, keep bool) (Response, error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	path := "/" + c.Bucket
	if key != "" {
		path += "/" + key
	}
	uri := path
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
	if err := c.http.Do(req, resp); err != nil {
		return Response{}, err
	}
	r := Response{Status: resp.StatusCode(), ETag: string(resp.Header.Peek("ETag"))}
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
	scope := c.day + "/" + c.Region + "/s3/aws4_request"
	signature := mac(c.signingKey, "AWS4-HMAC-SHA256\n"+now+"\n"+scope+"\n"+hex.EncodeToString(sum[:]))
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.KeyID+"/"+scope+
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
