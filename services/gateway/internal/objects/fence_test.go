package objects

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hangar/shared/object"
	"hangar/shared/turnstile"
)

func TestQuiesceWaitsForThoseInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shut := false
		s := &Service{writes: turnstile.New(), cfg: Config{MayWrite: func(object.BucketID) error {
			if shut {
				return errors.New("shut")
			}
			return nil
		}}}
		leave, err := s.admit(object.BucketID{})
		if err != nil {
			t.Fatal(err)
		}
		shut = true
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Quiesce(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("with a write inside: %v", err)
		}
		again, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Quiesce(again); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("asked again with the same write inside: %v", err)
		}
		if _, err := s.admit(object.BucketID{}); err == nil {
			t.Fatal("a write got in after the bucket was shut")
		}
		leave()
		if err := s.Quiesce(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	})
}
