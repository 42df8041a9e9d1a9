// Package adminclient calls operations of the Admin API for the command line. It
// finds out where a cluster is and how to be let in, and turns what goes wrong
// into one line that says what to do.
package adminclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Client calls operations. It is safe for concurrent use.
type Client struct {
	Access
	HTTP *http.Client
}

// Client returns the client of the cluster. Its HTTP trusts the certificate in
// the file CA, any well-known one when there is none.
func (a Access) Client() (*Client, error) {
	if a.CA == "" {
		return &Client{a, http.DefaultClient}, nil
	}
	b, err := os.ReadFile(a.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate", a.CA)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return &Client{a, &http.Client{Transport: t}}, nil
}

// Request is one call of an operation.
type Request struct {
	// Method is http.MethodGet or http.MethodPost.
	Method string
	// Operation is the API's name of it, such as GetClusterStatus.
	Operation string
	Query     url.Values
	// Body is sent as JSON unless it is nil.
	Body any
}

// Answer is what an operation answered.
type Answer struct {
	// JSON is as it was sent; null when nothing was.
	JSON json.RawMessage
	// Late says that a change is durable but was not yet seen applied by every
	// process of the cluster.
	Late bool
}

// Decode reads the answer into v.
func (a Answer) Decode(v any) error {
	if err := json.Unmarshal(a.JSON, v); err != nil {
		return fmt.Errorf("the answer is not what this version of hangar expects: %w", err)
	}
	return nil
}

// Write prints the answer, indented.
func (a Answer) Write(w io.Writer) error {
	var b bytes.Buffer
	if err := json.Indent(&b, a.JSON, "", "  "); err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	b.WriteByte('\n')
	_, err := b.WriteTo(w)
	return err
}

const (
	callTimeout = 2 * time.Minute
	// barrierHeader is "timeout" on the answer to a change that is not known to
	// be applied everywhere.
	barrierHeader = "X-Hangar-Barrier"
	// maxAnswer is more than a list of every bucket of a large cluster.
	maxAnswer = 512 << 20
)

// Call does one operation. Errors are of type *Error, or ctx's. A change without
// an answer may have been made: the error says so.
func (c *Client) Call(parent context.Context, r Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(parent, callTimeout)
	defer cancel()
	req, err := c.request(ctx, r)
	if err != nil {
		return Answer{}, err
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return Answer{}, c.unanswered(parent, r, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return Answer{}, c.unanswered(parent, r, err)
	}
	if len(body) > maxAnswer {
		return Answer{}, fmt.Errorf("%s: the answer is larger than %d bytes", r.Operation, maxAnswer)
	}
	if resp.StatusCode/100 != 2 {
		return Answer{}, failure(r.Operation, resp.StatusCode, body)
	}
	if body = bytes.TrimSpace(body); len(body) == 0 {
		body = []byte("null")
	}
	return Answer{JSON: body, Late: resp.Header.Get(barrierHeader) == "timeout"}, nil
}

func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	var body io.Reader
	if r.Body != nil {
		b, err := json.Marshal(r.Body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Operation, err)
		}
		body = bytes.NewReader(b)
	}
	address := strings.TrimSuffix(c.Endpoint, "/") + "/v2/" + url.PathEscape(r.Operation)
	if len(r.Query) > 0 {
		address += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, address, body)
	if err != nil {
		return nil, &Error{Operation: r.Operation, Message: fmt.Sprintf("%q is no address of an Admin API", c.Endpoint)}
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}
