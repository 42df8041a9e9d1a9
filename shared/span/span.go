// Package span records how long the parts of a request took, as children of
// the span that its context carries. A request that is not traced, or not
// sampled, pays one look into its context and no memory.
package span

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"hangar/shared/fault"
)

// scope is the name under which a collector files these spans.
const scope = "hangar"

// Span is one part of a request. The zero Span records nothing. One goroutine.
type Span struct{ s trace.Span }

// Start begins a part of ctx's request. End must follow.
func Start(ctx context.Context, name string) (context.Context, Span) {
	return start(ctx, name, trace.SpanKindInternal)
}

// StartCall is Start for a question to other nodes.
func StartCall(ctx context.Context, name string) (context.Context, Span) {
	return start(ctx, name, trace.SpanKindClient)
}

func start(ctx context.Context, name string, kind trace.SpanKind) (context.Context, Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, Span{}
	}
	ctx, s := parent.TracerProvider().Tracer(scope).Start(ctx, name, trace.WithSpanKind(kind))
	return ctx, Span{s}
}

// Past records a part of ctx's request that is over.
func Past(ctx context.Context, name string, began, ended time.Time) {
	if parent := trace.SpanFromContext(ctx); parent.IsRecording() {
		_, s := parent.TracerProvider().Tracer(scope).Start(ctx, name, trace.WithTimestamp(began))
		s.End(trace.WithTimestamp(ended))
	}
}

// Recording reports whether anything is recorded.
func (s Span) Recording() bool { return s.s != nil }

// Int notes a number; units belong in the key.
func (s Span) Int(key string, v int64) {
	if s.s != nil {
		s.s.SetAttributes(attribute.Int64(key, v))
	}
}

// String notes a text.
func (s Span) String(key, v string) {
	if s.s != nil {
		s.s.SetAttributes(attribute.String(key, v))
	}
}

// Event notes that node said something: err is nil, or what it failed with.
func (s Span) Event(name, node string, err error) {
	if s.s == nil {
		return
	}
	attrs := []attribute.KeyValue{attribute.String("hangar.node", node)}
	if err != nil {
		attrs = append(attrs, attribute.String("error.type", fault.KindOf(err).String()))
	}
	s.s.AddEvent(name, trace.WithAttributes(attrs...))
}

// End ends the part. An error marks it as failed with its kind; what the error
// says may name keys, and stays in the log.
func (s Span) End(err error) {
	if s.s == nil {
		return
	}
	if err != nil {
		s.s.SetStatus(codes.Error, fault.KindOf(err).String())
	}
	s.s.End()
}
