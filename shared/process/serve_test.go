package process

import (
	"context"
	"errors"
	"testing"

	"hangar/shared/lifecycle"
)

func TestServeSaysWhyAServiceIsNotReady(t *testing.T) {
	broken := errors.New("broken")
	err := lifecycle.Run(t.Context(), func(g *lifecycle.Group) error {
		return Serve(g, "part", func(context.Context) error { return broken }, nil)
	})
	if !errors.Is(err, broken) || err.Error() != "part: broken" {
		t.Errorf("got %v", err)
	}
}

func TestServeReturnsOnceReady(t *testing.T) {
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := false
	err := lifecycle.Run(ctx, func(g *lifecycle.Group) error {
		defer cancel()
		return Serve(g, "part", func(ctx context.Context) error {
			close(ready)
			<-ctx.Done()
			ended = true
			return nil
		}, ready)
	})
	if err != nil || !ended {
		t.Errorf("got %v; the service ended: %t", err, ended)
	}
}
