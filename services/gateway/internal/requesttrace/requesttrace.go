// Package requesttrace is the trace of one HTTP request, as all APIs of the
// gateway make it.
package requesttrace

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"hangar/shared/fault"
	"hangar/shared/span"
)

// Root is the span of a whole request, from its headers to the last byte of its
// response.
type Root struct {
	span  trace.Span
	tally *span.Tally // nil when nothing is recorded
}

// Begin begins the trace of a request.
func Begin(ctx context.Context, t trace.Tracer, name string) (context.Context, Root) {
	ctx, s := t.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	r := Root{span: s}
	if s.IsRecording() {
		ctx, r.tally = span.WithTally(ctx)
	}
	return ctx, r
}

// Recording reports whether anybody will see what Set says.
func (r Root) Recording() bool { return r.tally != nil }

// Set says what the request is.
func (r Root) Set(is ...attribute.KeyValue) { r.span.SetAttributes(is...) }

// Fail notes why a request was refused. That a client asked for something that
// is not there or that it may not have is no failure of this server. The text
// of an error may hold a key: it is in the log, under the request's id.
func (r Root) Fail(err error, status int) {
	if r.tally == nil {
		return
	}
	r.span.SetAttributes(attribute.String("error.type", fault.KindOf(err).String()))
	if status >= http.StatusInternalServerError {
		r.span.SetStatus(codes.Error, fault.KindOf(err).String())
	}
}

// Broken notes that the response did not reach the client as a whole.
func (r Root) Broken(err error) {
	if r.tally != nil {
		r.span.AddEvent("response broken off", trace.WithAttributes(attribute.String("error.type", fault.KindOf(err).String())))
	}
}

// End ends the trace of a request that was answered with status; id is what the
// client knows it by, in and out count body bytes.
func (r Root) End(id attribute.KeyValue, status int, in, out int64) {
	if r.tally != nil {
		r.span.SetAttributes(id, attribute.Int("http.response.status_code", status),
			attribute.Int64("http.request.body.size", in), attribute.Int64("http.response.body.size", out),
			attribute.Int64("hangar.rounds", r.tally.Rounds.Load()), attribute.Int64("hangar.asked", r.tally.Asked.Load()))
	}
	r.span.End()
}
