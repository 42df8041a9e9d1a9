package k2v

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"hangar/shared/fault"
	"hangar/shared/span"
)

// root is the span of a whole request, from its headers to the last byte of its
// response.
type root struct {
	span  trace.Span
	tally *span.Tally // nil when nothing is recorded
}

// begin begins the trace of a request.
func (a *API) begin(ctx context.Context, c *call, op string) (context.Context, root) {
	ctx, s := a.Tracer.Start(ctx, "k2v."+op, trace.WithSpanKind(trace.SpanKindServer))
	r := root{span: s}
	if !s.IsRecording() {
		return ctx, r
	}
	ctx, r.tally = span.WithTally(ctx)
	s.SetAttributes(attribute.String("rpc.system", "k2v"), attribute.String("rpc.service", "K2V"),
		attribute.String("rpc.method", op), attribute.String("http.request.method", c.req.Method))
	if a.TraceNames {
		s.SetAttributes(attribute.String("k2v.bucket", c.bucket), attribute.String("k2v.partition_key", c.key), attribute.String("k2v.sort_key", c.query.Get("sort_key")))
	}
	return ctx, r
}

// fail notes why a request was refused. That a client asked for something that
// is not there or that it may not have is no failure of this server. The text
// of an error may hold a key: it is in the log, under the request's id.
func (r root) fail(err error, status int) {
	if r.tally == nil {
		return
	}
	r.span.SetAttributes(attribute.String("error.type", fault.KindOf(err).String()))
	if status >= http.StatusInternalServerError {
		r.span.SetStatus(codes.Error, fault.KindOf(err).String())
	}
}

// end ends the trace of the request that the client knows by id.
func (r root) end(id string, out Outcome) {
	if r.tally != nil {
		r.span.SetAttributes(attribute.String("k2v.request_id", id), attribute.Int("http.response.status_code", out.Status),
			attribute.Int64("http.request.body.size", out.In), attribute.Int64("http.response.body.size", out.Out),
			attribute.Int64("hangar.rounds", r.tally.Rounds.Load()), attribute.Int64("hangar.asked", r.tally.Asked.Load()))
	}
	r.span.End()
}
