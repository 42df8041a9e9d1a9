package span

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
)

// Tally counts what one request asked of other nodes. Safe for concurrent use.
type Tally struct {
	// Rounds are questions, each to one node or to several at once; Asked are
	// the nodes they went to, added up.
	Rounds, Asked atomic.Int64
}

type tallyKey struct{}

// WithTally has the questions asked with ctx counted. It is for requests whose
// span is recorded.
func WithTally(ctx context.Context) (context.Context, *Tally) {
	t := new(Tally)
	return context.WithValue(ctx, tallyKey{}, t), t
}

// Asked counts a question to n nodes. Without a recorded span it does nothing.
func Asked(ctx context.Context, n int) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return
	}
	if t, ok := ctx.Value(tallyKey{}).(*Tally); ok {
		t.Rounds.Add(1)
		t.Asked.Add(int64(n))
	}
}
