package objects

import (
	"context"
	"testing"
	"testing/synctest"

	"hangar/shared/fault"
)

// Whoever waits for memory that slow clients hold is told to come back.
func TestTheWaitForMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := newTokens(1, 1)
		if err := held.acquire(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := held.acquire(context.Background()); !fault.Is(err, fault.Overloaded) {
			t.Errorf("got %v", err)
		}
		held.release()
		if err := held.acquire(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
