// Package k2v is the K2V API, by the specification that Garage published: it
// turns HTTP requests into use cases of package items. Keys, buckets, rights and
// signatures are those of S3, but for the name of the service that is signed.
package k2v

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/content"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/items"
	"hangar/services/gateway/internal/requesttrace"
	"hangar/services/gateway/internal/sigv4"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
)

// MethodSearch is K2V's own HTTP method.
const MethodSearch = "SEARCH"

// statusGone is what a poll counts as whose client went away.
const statusGone = 499

// Headers of K2V.
const (
	hdrToken        = "X-Garage-Causality-Token"
	hdrNonMonotonic = "X-Garage-Non-Monotonic-Read"
	hdrContentType  = "Content-Type"
	hdrRequestID    = "X-Request-Id"

	typeJSON   = "application/json"
	typeBinary = "application/octet-stream"
)

// Outcome is what one request came to, for metrics.
type Outcome struct {
	Op     string
	Status int
	// In and Out count body bytes.
	In, Out int64
	Took    time.Duration
}

// Options is what the API is built of. Items and View are needed.
type Options struct {
	Items *items.Service
	// View returns the control state as it is now, and Await waits for a newer
	// one: see access.Source.
	View  func() access.Directory
	Await func(context.Context, control.Revision) error
	// Region that requests must be signed for.
	Region string
	Log    *slog.Logger
	Tracer trace.Tracer
	// TraceNames has traces say which bucket and keys a request was about.
	TraceNames bool
	// Observe, when set, is told of each request once its response was sent.
	Observe func(Outcome)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// API implements httpd.Handler.
type API struct {
	Options
	verifier sigv4.Verifier
}

// New makes the API.
func New(o Options) *API {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tracer == nil {
		o.Tracer = noop.NewTracerProvider().Tracer("")
	}
	a := &API{Options: o}
	a.verifier = sigv4.Verifier{Region: o.Region, Service: "k2v", Now: o.Now, Secret: a.secret}
	return a
}

func (a *API) secret(keyID string) (string, error) {
	k, err := access.Key(a.View(), keyID, a.Now())
	if err != nil {
		return "", err
	}
	return k.Secret, nil
}

// call is one request on its way through the API. One goroutine.
type call struct {
	ctx     context.Context
	req     *httpd.Request
	view    access.Directory
	route   *route
	bucket  string
	key     string // partition key; empty for requests about the bucket
	query   url.Values
	headers sigv4.Headers
	id      *sigv4.Identity
	at      *control.Bucket
	memory  *items.Memory
	// admission is by what right the request is served; polls keep it.
	admission *access.Admission
}

func (c *call) header(name string) (value string, ok bool) {
	v, n := c.headers.Get(name)
	return v, n > 0
}

func (c *call) name() (items.Name, error) {
	sort := c.query["sort_key"]
	if len(sort) == 0 {
		return items.Name{}, fail(invalidRequest, "The parameter sort_key is missing.")
	}
	return items.Name{Bucket: c.at.ID, Partition: c.key, Sort: sort[0]}, nil
}

// body is the content of the request, verified as it is read.
func (c *call) body(limit int64) (*content.Body, error) {
	src := content.Source{Length: c.req.ContentLength, Headers: c.headers, Identity: c.id, Limit: limit}
	if c.req.Body != nil {
		src.Reader = c.req.Body
	}
	if n := c.req.ContentLength; n >= 0 {
		limit = min(limit, n)
	}
	// As it came, decoded, in the row, and in the message that carries it.
	if err := c.memory.Reserve(c.ctx, 4*limit); err != nil {
		return nil, err
	}
	return content.New(src)
}

func response(r *httpd.Request, status int) *httpd.Response {
	return &httpd.Response{Status: status, Header: append(make([]httpd.Field, 0, 4), httpd.Field{Name: hdrRequestID, Value: r.ID})}
}

// Serve implements httpd.Handler.
func (a *API) Serve(ctx context.Context, r *httpd.Request) *httpd.Response {
	start := a.Now()
	c := &call{req: r, view: a.View(), memory: a.Items.Memory(), admission: new(access.Admission)}
	err := c.resolve()
	op := "Unknown"
	if err == nil {
		op = c.route.op
	}
	ctx, root := a.begin(ctx, c, op)
	c.ctx = ctx
	var resp *httpd.Response
	if err == nil {
		resp, err = a.run(c)
	}
	if err != nil {
		resp = a.answer(ctx, r, err)
		root.Fail(err, resp.Status)
	}
	in := int64(0)
	if r.Body != nil {
		in = r.Body.Count()
	}
	account := func(status int, sent int64, err error) {
		c.memory.Release()
		out := Outcome{Op: op, Status: status, In: in, Out: sent, Took: a.Now().Sub(start)}
		if err != nil {
			a.Log.WarnContext(ctx, "response broken off", "request", r.ID, "op", op, "error", err)
		}
		root.End(attribute.String("k2v.request_id", r.ID), out.Status, out.In, out.Out)
		if a.Observe != nil {
			a.Observe(out)
		}
	}
	if p := resp.Park; p != nil {
		c.memory.Release()
		a.accountLater(p, root, op, r.ID, in, start)
		return resp
	}
	status := resp.Status
	resp.Done = func(sent int64, err error) { account(status, sent, err) }
	return resp
}

// accountLater accounts for a request that waits, without keeping alive more of
// it than that takes.
func (a *API) accountLater(p *httpd.Park, root requesttrace.Root, op, id string, in int64, start time.Time) {
	account := func(status int, sent int64, err error) {
		if err != nil {
			status = statusGone
		}
		out := Outcome{Op: op, Status: status, In: in, Out: sent, Took: a.Now().Sub(start)}
		root.End(attribute.String("k2v.request_id", id), out.Status, out.In, out.Out)
		if a.Observe != nil {
			a.Observe(out)
		}
	}
	resume, end := p.Resume, p.End
	p.Resume = func(ctx context.Context, over bool) *httpd.Response {
		resp := resume(ctx, over)
		if resp != nil {
			status, done := resp.Status, resp.Done
			resp.Done = func(sent int64, err error) {
				if done != nil {
					done(sent, err)
				}
				account(status, sent, err)
			}
		}
		return resp
	}
	p.End = func(gone bool) {
		end(gone)
		if gone {
			account(statusGone, 0, nil)
		}
	}
}

// resolve finds out what is asked of what.
func (c *call) resolve() (err error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(c.req.RawPath, "/"), "/")
	if c.bucket, err = unescape(bucket); err != nil {
		return err
	}
	if c.key, err = unescape(key); err != nil {
		return err
	}
	if c.bucket == "" {
		return fail(invalidRequest, "The path names no bucket.")
	}
	if c.query, err = url.ParseQuery(c.req.RawQuery); err != nil {
		return fail(invalidRequest, "The query cannot be read: %v.", err)
	}
	c.headers = make(sigv4.Headers, len(c.req.Headers))
	for i, f := range c.req.Headers {
		c.headers[i] = sigv4.Header(f)
	}
	c.route, err = findRoute(c.req.Method, c.key != "", c.query)
	return err
}

func unescape(s string) (string, error) {
	out, err := url.PathUnescape(s)
	if err != nil {
		return "", fail(invalidRequest, "The path cannot be read: %v.", err)
	}
	if !utf8.ValidString(out) {
		return "", fail(invalidUTF8, "")
	}
	return out, nil
}

// admit checks who asks and whether they may. It reads nothing of the body.
func (a *API) admit(c *call) (err error) {
	c.id, err = a.verifier.Verify(&sigv4.Request{
		Method: c.req.Method, RawPath: c.req.RawPath, RawQuery: c.req.RawQuery,
		Host: c.req.Host, Headers: c.headers,
	})
	if err != nil {
		return err
	}
	if _, err = c.admission.Admit(access.Source{View: a.View, Await: a.Await}, a.Now, c.view, c.id.KeyID); err != nil {
		return err
	}
	if c.at, err = c.admission.Bucket(c.bucket, c.route.need); err != nil {
		return err
	}
	c.admission.Settle()
	c.ctx = metaapi.WithAdmission(c.ctx, c.admission)
	return nil
}

func (a *API) run(c *call) (*httpd.Response, error) {
	if err := a.admit(c); err != nil {
		return nil, err
	}
	if v, ok := c.header(hdrNonMonotonic); ok && v != "true" && v != "false" {
		// All reads are monotonic here: what is asked for makes no difference.
		return nil, fail(invalidNonMonotonic, "%s must be true or false, not %q.", hdrNonMonotonic, v)
	}
	return c.route.serve(a, c)
}

// Expect implements httpd.Handler: it spares a client the upload that would be
// refused from its headers.
func (a *API) Expect(ctx context.Context, r *httpd.Request) *httpd.Response {
	c := &call{ctx: ctx, req: r, view: a.View(), admission: new(access.Admission)}
	err := c.resolve()
	if err == nil {
		err = a.admit(c)
	}
	if err == nil {
		return nil
	}
	return a.answer(ctx, r, err)
}

// Fail implements httpd.Handler.
func (a *API) Fail(r *httpd.Request, p httpd.Problem) *httpd.Response {
	return a.errorResponse(r, &apiError{code: problems[p]})
}

// answer words err for the client and logs it: the one place that does.
func (a *API) answer(ctx context.Context, r *httpd.Request, err error) *httpd.Response {
	e := describe(err)
	level := slog.LevelDebug
	if e.status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) && !fault.Is(err, fault.Canceled) {
		level = slog.LevelError
	}
	a.Log.Log(ctx, level, "request failed", "request", r.ID, "method", r.Method,
		"code", e.name, "status", e.status, "remote", r.Remote, "error", err)
	return a.errorResponse(r, e)
}
