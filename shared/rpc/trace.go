package rpc

import (
	"context"
	"strings"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"hangar/shared/fault"
)

// Traces travel as the W3C headers of a NATS message, and only while the
// caller records a span.
var traceContext propagation.TraceContext

// header is a carrier that keeps names as they are: NATS headers are case
// sensitive and W3C names are lower case.
type header nats.Header

func (h header) Get(key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (h header) Set(key, value string) { h[key] = []string{value} }

func (h header) Keys() []string {
	keys := make([]string, 0, len(h))
	for k := range h {
		keys = append(keys, k)
	}
	return keys
}

// recording reports whether ctx's span is recorded.
func recording(ctx context.Context) bool { return trace.SpanFromContext(ctx).IsRecording() }

// inject returns the headers that carry ctx's span, nil when there is none.
func inject(ctx context.Context) nats.Header {
	if !recording(ctx) {
		return nil
	}
	h := make(nats.Header, 2)
	traceContext.Inject(ctx, header(h))
	return h
}

// traced runs f within a span of ctx's trace; without a trace it just runs f.
func traced(ctx context.Context, t trace.Tracer, name string, f func(ctx context.Context) error) error {
	if t == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return f(ctx)
	}
	ctx, s := t.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	defer s.End()
	err := f(ctx)
	if err != nil {
		s.SetStatus(codes.Error, fault.KindOf(err).String())
	}
	return err
}

// spanName is the service and operation of a subject: few different ones,
// whatever the partitions and nodes.
func spanName(subject string) string {
	parts := strings.Split(subject, ".")
	if len(parts) < 4 || parts[0] != root {
		return "rpc"
	}
	return parts[1] + "." + parts[3]
}
