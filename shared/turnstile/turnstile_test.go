package turnstile_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hangar/shared/turnstile"
)

func TestQuiesceWaitsForThoseInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := turnstile.New()
		if err := s.Quiesce(t.Context()); err != nil {
			t.Fatal(err)
		}
		inside := s.Enter()
		for range 2 { // the second finds the same one
			short, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := s.Quiesce(short); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("with one inside: %v", err)
			}
		}
		later := s.Enter()
		inside.Leave()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Quiesce(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("with another inside: %v", err)
		}
		later.Leave()
		if err := s.Quiesce(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	})
}

func BenchmarkEnter(b *testing.B) {
	s := turnstile.New()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Enter().Leave()
		}
	})
}
