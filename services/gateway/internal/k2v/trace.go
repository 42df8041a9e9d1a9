package k2v

import (
	"context"

	"go.opentelemetry.io/otel/attribute"

	"hangar/services/gateway/internal/requesttrace"
)

// begin begins the trace of a request.
func (a *API) begin(ctx context.Context, c *call, op string) (context.Context, requesttrace.Root) {
	ctx, root := requesttrace.Begin(ctx, a.Tracer, "k2v."+op)
	if !root.Recording() {
		return ctx, root
	}
	root.Set(attribute.String("rpc.system", "k2v"), attribute.String("rpc.service", "K2V"),
		attribute.String("rpc.method", op), attribute.String("http.request.method", c.req.Method))
	if a.TraceNames {
		root.Set(attribute.String("k2v.bucket", c.bucket), attribute.String("k2v.partition_key", c.key), attribute.String("k2v.sort_key", c.query.Get("sort_key")))
	}
	return ctx, root
}
