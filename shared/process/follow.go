package process

import (
	"context"
	"log/slog"
	"time"
)

// layoutRetry is how long a node waits before it tries again to follow a
// layout that it could not.
const layoutRetry = time.Second

// FollowLayout calls apply now, after each change of the layout, and again a
// second after it failed, until ctx ends. changed returns a channel that the
// next change closes; ready is closed after the first success.
func FollowLayout(ctx context.Context, log *slog.Logger, changed func() <-chan struct{}, ready chan<- struct{}, apply func(context.Context) error) error {
	for first := true; ; {
		next := changed() // before apply looks, so that no change is missed
		err := apply(ctx)
		var again <-chan time.Time
		switch {
		case err == nil && first:
			close(ready)
			first = false
		case err != nil && ctx.Err() == nil:
			log.WarnContext(ctx, "the layout is not followed yet", "error", err)
			again = time.After(layoutRetry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		case <-again:
		}
	}
}
