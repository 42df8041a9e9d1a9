package k2v

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	tokenHeader        = "X-Garage-Causality-Token"
	nonMonotonicHeader = "X-Garage-Non-Monotonic-Read"
	userAgent          = "hangar-k2v"

	// firstPause and maxPause bound the pause between attempts, maxAsked one
	// that a server asks for.
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
	maxAsked   = 30 * time.Second
)

// effect says what a repeated request does.
type effect int

const (
	reads      effect = iota // nothing
	repeatable               // at worst a concurrent value more
	once                     // perhaps something that nobody asked for
)

// request is one operation.
type request struct {
	op, method string
	effect     effect
	// partition is the path below the bucket; empty: the bucket itself.
	partition string
	query     url.Values
	header    map[string]string
	body      []byte
	// wait is how long the server may take on top of Options.Timeout.
	wait time.Duration
	// forever repeats until the context ends, for watching.
	forever bool
}

type response struct {
	status int
	header http.Header
	body   []byte
}

// do tries an operation until it succeeds or there is no point in going on; see
// the package's documentation.
func (c *Client) do(ctx context.Context, r request) (response, error) {
	var unknown bool // an attempt may have been done
	for attempt := 1; ; attempt++ {
		resp, err := c.try(ctx, r)
		if err == nil {
			return resp, nil
		}
		unknown = unknown || errors.Is(err, ErrIndeterminate)
		again := errors.Is(err, ErrUnavailable) || errors.Is(err, ErrIndeterminate) && r.effect != once
		if !again || attempt >= c.o.Attempts && !r.forever || ctx.Err() != nil {
			return response{}, c.failed(ctx, err, unknown)
		}
		wait := pause(attempt, err)
		if c.o.OnRetry != nil {
			c.o.OnRetry(Retry{r.op, err, wait})
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return response{}, c.failed(ctx, err, unknown)
		}
	}
}

// failed is what an operation ends in whose last attempt ended in err.
func (c *Client) failed(ctx context.Context, err error, unknown bool) error {
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return err
	case unknown:
		e.Kind = ErrIndeterminate
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		e.Cause = ctx.Err()
	}
	return e
}

// pause is how long to wait after an attempt: what the server asks for, else
// twice as long each time, by chance between half and all of it, so that
// clients do not come back together.
func pause(attempt int, err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok && e.after > 0 {
		return e.after
	}
	most := min(firstPause<<min(attempt-1, 10), maxPause)
	return most/2 + rand.N(most/2)
}

// try does one attempt.
func (c *Client) try(ctx context.Context, r request) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout+r.wait)
	defer cancel()
	var sent atomic.Bool // there was a connection to send it on
	req, err := c.sign(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	}), r)
	if err != nil {
		return response{}, &Error{Op: r.op, Kind: ErrInvalid, Cause: err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return response{}, lost(r, sent.Load(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.o.MaxResponse+1))
	done := resp.StatusCode/100 == 2 || resp.StatusCode == http.StatusNotModified
	switch {
	case !done:
		return response{}, answered(r, resp.StatusCode, resp.Header, body)
	case err != nil:
		return response{}, lost(r, true, err)
	case int64(len(body)) > c.o.MaxResponse && r.effect == reads:
		return response{}, &Error{Op: r.op, Kind: ErrTooLarge, Message: "the answer is larger than Options.MaxResponse"}
	}
	return response{resp.StatusCode, resp.Header, body}, nil
}

// lost is an attempt without an answer.
func lost(r request, sent bool, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the address, which holds the keys of the item
	}
	e := &Error{Op: r.op, Kind: ErrUnavailable, Cause: err}
	if sent && r.effect != reads {
		e.Kind = ErrIndeterminate
	}
	return e
}

// sign makes the HTTP request of an attempt.
func (c *Client) sign(ctx context.Context, r request) (*http.Request, error) {
	u := *c.endpoint
	u.RawPath = u.EscapedPath() + "/" + escape(c.o.Bucket)
	u.Path += "/" + c.o.Bucket
	if r.partition != "" {
		u.RawPath += "/" + escape(r.partition)
		u.Path += "/" + r.partition
	}
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if r.effect == reads && c.o.NonMonotonic {
		req.Header.Set(nonMonotonicHeader, "true")
	}
	sum := sha256.Sum256(r.body)
	hash := hex.EncodeToString(sum[:])
	req.Header.Set("X-Amz-Content-Sha256", hash)
	return req, c.signer.SignHTTP(ctx, c.keys, req, hash, "k2v", c.o.Region, time.Now())
}

// escape writes out what has a meaning in a path, and dots where they are all
// there is: a partition key may well be "..", and nothing on the way may tidy
// it up.
func escape(s string) string {
	const hexDigits = "0123456789ABCDEF"
	plain := "-_.~"
	if s == "." || s == ".." {
		plain = ""
	}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}
