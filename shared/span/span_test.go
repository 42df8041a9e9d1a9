package span_test

import (
	"context"
	"errors"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"hangar/shared/fault"
	"hangar/shared/span"
)

// part is what a traced part of a request does.
func part(ctx context.Context, err error) {
	ctx, s := span.Start(ctx, "part")
	s.Int("hangar.bytes", 7)
	span.Asked(ctx, 3)
	span.Past(ctx, "past", time.Time{}, time.Time{})
	s.Event("answer", "node", err)
	s.End(err)
}

// sampled returns a request's context that is traced if the sampler says so.
func sampled(tb testing.TB, s sdk.Sampler) (context.Context, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	tracers := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans), sdk.WithSampler(s))
	ctx, root := tracers.Tracer("test").Start(context.Background(), "root")
	tb.Cleanup(func() { root.End() })
	return ctx, spans
}

// TestNotSampledCostsNoMemory: a request that is not traced pays nothing.
func TestNotSampledCostsNoMemory(t *testing.T) {
	unsampled, spans := sampled(t, sdk.NeverSample())
	for name, ctx := range map[string]context.Context{"untraced": context.Background(), "not sampled": unsampled} {
		if n := testing.AllocsPerRun(100, func() { part(ctx, nil) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if n := len(spans.Started()); n != 0 {
		t.Errorf("%d spans", n)
	}
}

func TestPartsAreChildren(t *testing.T) {
	ctx, spans := sampled(t, sdk.AlwaysSample())
	ctx, tally := span.WithTally(ctx)
	part(ctx, errors.New("the key is secret"))
	part(ctx, fault.New(fault.StorageFull, "full"))
	ended := spans.Ended()
	if len(ended) != 4 || tally.Rounds.Load() != 2 || tally.Asked.Load() != 6 {
		t.Fatalf("%d spans, %d rounds, %d asked", len(ended), tally.Rounds.Load(), tally.Asked.Load())
	}
	root := spans.Started()[0].SpanContext().SpanID()
	for i, want := range []struct {
		name, status string
		child        bool // of the root
	}{{"past", "", false}, {"part", "internal", true}, {"past", "", false}, {"part", "storage full", true}} {
		s := ended[i]
		if s.Name() != want.name || s.Status().Description != want.status || (s.Parent().SpanID() == root) != want.child {
			t.Errorf("span %d is %q with status %q", i, s.Name(), s.Status().Description)
		}
	}
}

func BenchmarkPart(b *testing.B) {
	unsampled, _ := sampled(b, sdk.NeverSample())
	for _, c := range []struct {
		name string
		ctx  context.Context
	}{{"untraced", context.Background()}, {"unsampled", unsampled}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				part(c.ctx, nil)
			}
		})
	}
}
