// Package workload is what clients do to a cluster under test, over S3 and K2V,
// while a nemesis does its worst. Every choice follows from a seed; every answer goes
// into a history.
package workload

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"hangar/tests/harness"
)

// requestTimeout is how long a client waits for an answer; what it has not
// got by then is of unknown fate.
const requestTimeout = 6 * time.Second

// Client is an S3 or K2V client of one gateway. It makes one attempt at
// everything. It is safe for concurrent use.
type Client struct {
	endpoint, host string
	service        string // that requests are signed for
	http           *http.Client
}

// NewClient returns a client of the S3 API of a gateway, at endpoint
// ("http://host:port").
func NewClient(endpoint string, over *http.Client) *Client {
	return &Client{endpoint: endpoint, host: strings.TrimPrefix(endpoint, "http://"), service: "s3", http: over}
}

// NewK2VClient returns a client of a gateway's K2V API.
func NewK2VClient(endpoint string, over *http.Client) *Client {
	c := NewClient(endpoint, over)
	c.service = "k2v"
	return c
}

// request is what is asked. Key is escaped as in a URL where it needs to be,
// query is in canonical form.
type request struct {
	method, key, query string
	header             map[string]string
	body               []byte
	// waits is how long the gateway may wait before it answers.
	waits time.Duration
}

// answer is what came back. Status 0 is none; unsent says that the request
// surely never left.
type answer struct {
	status int
	code   string
	header http.Header
	body   []byte
	unsent bool
}

// note says for people what was answered.
func (a answer) note() string {
	if a.status == 0 && !a.unsent {
		return "no answer"
	}
	return a.code
}

// do sends one signed request.
func (c *Client) do(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.waits+requestTimeout)
	defer cancel()
	path := "/" + harness.Bucket
	if r.key != "" {
		path += "/" + r.key
	}
	target := c.endpoint + path
	if r.query != "" {
		target += "?" + r.query
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	c.sign(req, path, r.query)
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		return answer{unsent: errors.As(err, &op) && op.Op == "dial"}, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, nil //nolint:nilerr // a broken answer says nothing
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: body}
	if a.status/100 != 2 {
		var e struct{ Code string }
		if c.service == "k2v" {
			_ = json.Unmarshal(body, &e) // no code then
		} else {
			_ = xml.Unmarshal(body, &e)
		}
		a.code = e.Code
	}
	return a, nil
}

// sign adds a SigV4 header over the host and the x-amz- headers.
func (c *Client) sign(req *http.Request, path, query string) {
	const unsigned = "UNSIGNED-PAYLOAD"
	now := time.Now().UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	req.Header.Set("x-amz-date", stamp)
	req.Header.Set("x-amz-content-sha256", unsigned)
	lines := []string{"host:" + c.host}
	for k, v := range req.Header {
		if k = strings.ToLower(k); strings.HasPrefix(k, "x-amz-") {
			lines = append(lines, k+":"+v[0])
		}
	}
	slices.Sort(lines)
	names := make([]string, len(lines))
	for i, l := range lines {
		names[i], _, _ = strings.Cut(l, ":")
	}
	signed := strings.Join(names, ";")
	if c.service != "s3" {
		// All services but S3 have the path as it is sent encoded once more.
		path = strings.ReplaceAll(path, "%", "%25")
	}
	canonical := req.Method + "\n" + path + "\n" + query + "\n" + strings.Join(lines, "\n") + "\n\n" + signed + "\n" + unsigned
	sum := sha256.Sum256([]byte(canonical))
	scope := day + "/" + harness.Region + "/" + c.service + "/aws4_request"
	key := []byte("AWS4" + harness.SecretKey)
	for _, part := range []string{day, harness.Region, c.service, "aws4_request"} {
		key = mac(key, part)
	}
	signature := mac(key, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hex.EncodeToString(sum[:]))
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+harness.AccessKey+"/"+scope+
		",SignedHeaders="+signed+",Signature="+hex.EncodeToString(signature))
}

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}

// query encodes pairs of names and values in canonical form.
func query(pairs ...string) string {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		parts = append(parts, pairs[i]+"="+strings.ReplaceAll(url.QueryEscape(pairs[i+1]), "+", "%20"))
	}
	slices.Sort(parts)
	return strings.Join(parts, "&")
}
