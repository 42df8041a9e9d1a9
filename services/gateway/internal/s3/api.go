// Package s3 is the S3 API: it turns HTTP requests into use cases of package
// objects and their results into what S3 clients expect. Each operation is one
// small function; a table finds it, one other table words every error.
package s3

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/content"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/objects"
	"hangar/services/gateway/internal/sigv4"
	"hangar/shared/adminapi"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
)

// Limits of S3, in bytes.
const (
	maxPutBytes     = 5 << 30
	maxXMLBytes     = 1 << 20
	maxLongXMLBytes = 4 << 20 // of 10,000 parts with checksums, or 1000 keys to delete
)

// Outcome is what one request came to, for metrics.
type Outcome struct {
	Op     string
	Status int
	// In and Out count body bytes.
	In, Out int64
	Took    time.Duration
}

// Options is what the API is built of. Store, Buckets and View are needed.
type Options struct {
	Store   objects.Store
	Buckets adminapi.Buckets
	// View returns the control state as it is now, and Await waits for a newer
	// one: see access.Source.
	View  func() access.Directory
	Await func(context.Context, control.Revision) error
	// Region that requests must be signed for.
	Region string
	// Owner is the id that stands for whoever owns everything.
	Owner string
	// RootDomain, such as ".s3.example.org", enables virtual-hosted requests.
	RootDomain string
	Log        *slog.Logger
	Tracer     trace.Tracer
	// TraceNames has traces say which bucket and key a request was about.
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
	if o.RootDomain != "" {
		o.RootDomain = "." + strings.ToLower(strings.Trim(o.RootDomain, "."))
	}
	a := &API{Options: o}
	a.verifier = sigv4.Verifier{Region: o.Region, Service: "s3", Now: o.Now, Secret: a.secret}
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
	ctx      context.Context
	req      *httpd.Request
	view     access.Directory
	route    *route
	at       target
	query    values
	headers  sigv4.Headers
	identity *sigv4.Identity
	key      *control.Key
	// bucket is nil for operations without one.
	bucket *control.Bucket
	// admission is by what right the request is served; ctx carries it.
	admission access.Admission
}

// header returns the first header called name.
func (c *call) header(name string) string {
	v, _ := c.headers.Get(name)
	return v
}

// location is the object the request is about.
func (c *call) location() objects.Location {
	return objects.Location{Bucket: c.bucket.ID, Key: c.at.key}
}

// response makes an answer with room for n more header fields.
func (c *call) response(status, n int) *httpd.Response {
	return &httpd.Response{Status: status, Header: idHeaders(c.req, n)}
}

// body is the content of the request, verified as it is read.
func (c *call) body(limit int64) (*content.Body, error) { return content.New(c.source(limit)) }

func (c *call) source(limit int64) content.Source {
	src := content.Source{Length: c.req.ContentLength, Headers: c.headers, Identity: c.identity, Limit: limit}
	if c.req.Body != nil {
		src.Reader = c.req.Body
	}
	return src
}

// Serve implements httpd.Handler.
func (a *API) Serve(ctx context.Context, r *httpd.Request) *httpd.Response {
	start := a.Now()
	c := &call{req: r, view: a.View()}
	routed := c.resolve(a)
	op := "Unknown"
	if routed == nil {
		op = c.route.op
	}
	ctx, root := a.begin(ctx, c, op)
	c.ctx = ctx
	resp, err := (*httpd.Response)(nil), routed
	if err == nil {
		resp, err = a.run(c)
	}
	if err != nil {
		resp = a.answer(c, err)
		root.Fail(err, resp.Status)
	}
	status := resp.Status
	resp.Done = func(sent int64, err error) {
		out := Outcome{Op: op, Status: status, Out: sent, Took: a.Now().Sub(start)}
		if r.Body != nil {
			out.In = r.Body.Count()
		}
		if err != nil {
			a.Log.WarnContext(ctx, "response broken off", "request", r.ID, "op", op, "sent", sent, "error", err)
			root.Broken(err)
		}
		root.End(attribute.String("aws.request_id", r.ID), out.Status, out.In, out.Out)
		if a.Observe != nil {
			a.Observe(out)
		}
	}
	return resp
}

// resolve finds out what is asked of what.
func (c *call) resolve(a *API) (err error) {
	if c.at, err = locate(c.req.Host, c.req.RawPath, a.RootDomain); err != nil {
		return err
	}
	if c.query, err = parseQuery(c.req.RawQuery); err != nil {
		return err
	}
	c.headers = make(sigv4.Headers, len(c.req.Headers), len(c.req.Headers)+4)
	for i, f := range c.req.Headers {
		c.headers[i] = sigv4.Header(f)
	}
	copySource := c.header(hdrCopySource) != "" || c.query.has(hdrCopySource)
	c.route, err = findRoute(c.req.Method, c.at.scope(), c.query, copySource)
	return err
}

// admit checks who asks, whether they may, and that nothing is asked for that
// does not exist. It reads nothing of the body.
func (a *API) admit(c *call) (err error) {
	c.identity, err = a.verifier.Verify(&sigv4.Request{
		Method: c.req.Method, RawPath: c.req.RawPath, RawQuery: c.req.RawQuery,
		Host: c.req.Host, Headers: c.headers,
	})
	if err != nil {
		return err
	}
	c.key, err = c.admission.Admit(access.Source{View: a.View, Await: a.Await}, a.Now, c.view, c.identity.KeyID)
	if err != nil {
		return err
	}
	if c.route.need != access.Known {
		if c.bucket, err = c.admission.Bucket(c.at.bucket, c.route.need); err != nil {
			return err
		}
	}
	c.ctx = metaapi.WithAdmission(c.ctx, &c.admission)
	more, err := hoisted(c.query, c.identity.Presigned)
	if err != nil {
		return err
	}
	c.headers = append(c.headers, more...)
	if err := refuseUnbuilt(c.headers); err != nil {
		return err
	}
	return c.checkVersion()
}

func (a *API) run(c *call) (*httpd.Response, error) {
	if err := a.admit(c); err != nil {
		return nil, err
	}
	return c.route.serve(a, c)
}

// Expect implements httpd.Handler: it spares a client the upload that would be
// refused from its headers.
func (a *API) Expect(ctx context.Context, r *httpd.Request) *httpd.Response {
	c := &call{ctx: ctx, req: r, view: a.View()}
	err := c.resolve(a)
	if err == nil {
		err = a.admit(c)
	}
	if err == nil {
		return nil
	}
	return a.answer(c, err)
}

// Fail implements httpd.Handler.
func (a *API) Fail(r *httpd.Request, p httpd.Problem) *httpd.Response {
	e := &apiError{code: problems[p]}
	if e.status == http.StatusServiceUnavailable {
		e.header = []httpd.Field{{Name: "Retry-After", Value: "1"}}
	}
	return errorResponse(r, e)
}

// answer words err for the client and logs it: the one place that does.
func (a *API) answer(c *call, err error) *httpd.Response {
	e := describe(err)
	level := slog.LevelDebug
	if e.status >= http.StatusInternalServerError && e.status != http.StatusNotImplemented &&
		!errors.Is(err, context.Canceled) && !fault.Is(err, fault.Canceled) {
		level = slog.LevelError
	}
	a.Log.Log(c.ctx, level, "request failed", "request", c.req.ID, "method", c.req.Method,
		"code", e.name, "status", e.status, "remote", c.req.Remote, "error", err)
	return errorResponse(c.req, e)
}

// checkVersion refuses versions other than "null", the only one an object of an
// unversioned bucket has.
func (c *call) checkVersion() error {
	switch v, ok := c.query.lookup("versionId"); {
	case !ok, v == "null":
		return nil
	case v == "":
		return fail(invalidArgument, "Version id cannot be the empty string.")
	case c.req.Method == http.MethodDelete:
		return fail(notImplemented, "Versions are not implemented.")
	}
	return fail(noSuchVersion, "")
}
