package process

import (
	"context"
	"fmt"

	"hangar/shared/lifecycle"
)

// Serve starts a service as a part of g and returns nil once it is ready, else
// why it is not: its error, or context.Canceled when g ends first.
func Serve(g *lifecycle.Group, name string, run func(context.Context) error, ready <-chan struct{}) error {
	var err error // set before stopped is closed
	stopped := make(chan struct{})
	g.Go(name, func(ctx context.Context) error {
		defer close(stopped)
		err = run(ctx)
		return err
	})
	select {
	case <-ready:
		return nil
	case <-stopped:
		if err == nil {
			return context.Canceled
		}
		return fmt.Errorf("%s: %w", name, err)
	case <-g.Context().Done():
		return context.Canceled
	}
}
