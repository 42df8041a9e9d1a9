package s3

import (
	"context"

	"go.opentelemetry.io/otel/attribute"

	"hangar/services/gateway/internal/requesttrace"
)

// begin begins the trace of a request.
func (a *API) begin(ctx context.Context, c *call, op string) (context.Context, requesttrace.Root) {
	ctx, root := requesttrace.Begin(ctx, a.Tracer, "s3."+op)
	if !root.Recording() {
		return ctx, root
	}
	root.Set(attribute.String("rpc.system", "aws-api"), attribute.String("rpc.service", "S3"),
		attribute.String("rpc.method", op), attribute.String("http.request.method", c.req.Method))
	if a.TraceNames {
		root.Set(attribute.String("aws.s3.bucket", c.at.bucket), attribute.String("aws.s3.key", c.at.key))
	}
	return ctx, root
}
