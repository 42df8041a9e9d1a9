package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// newTracers follows OpenTelemetry's standard variables. Which collector,
// headers, timeouts and sampler are the exporter's and the SDK's own reading of
// them; here is decided only whether to export, and how.
func newTracers(ctx context.Context, getenv func(string) string, service, version string) (
	p trace.TracerProvider, stop func(ctx context.Context) error, err error,
) {
	const prefix = "OTEL_EXPORTER_OTLP_"
	setting := func(name string) string {
		return cmp.Or(getenv(prefix+"TRACES_"+name), getenv(prefix+name))
	}
	if setting("ENDPOINT") == "" || getenv("OTEL_TRACES_EXPORTER") == "none" ||
		strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return noop.NewTracerProvider(), func(context.Context) error { return nil }, nil
	}
	var client otlptrace.Client
	switch protocol := setting("PROTOCOL"); protocol {
	case "http/protobuf", "":
		client = otlptracehttp.NewClient()
	case "grpc":
		client = otlptracegrpc.NewClient()
	default:
		return nil, nil, fmt.Errorf("%sPROTOCOL: %q is neither http/protobuf nor grpc", prefix, protocol)
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, nil, err
	}
	// Later options win: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last.
	res, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.namespace", "hangar"),
		attribute.String("service.name", strings.TrimSuffix("hangar-"+service, "-hangar")), // all in one process is "hangar"
		attribute.String("service.version", version),
	), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, nil, err
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(res))
	return provider, provider.Shutdown, nil
}
