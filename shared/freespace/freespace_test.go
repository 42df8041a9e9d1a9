package freespace

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

// TestFree: an answer is used again only while it is young and plenty, and an
// error never is.
func TestFree(t *testing.T) {
	asked, free, failure := 0, int64(2*margin), error(nil)
	now := time.Unix(1, 0)
	g := &Gauge{
		ask: func(string) (int64, error) { asked++; return free, failure },
		now: func() time.Time { return now },
	}
	for i, step := range []struct {
		later  time.Duration
		want   int64
		asked  int
		answer int64
	}{
		{0, margin, 1, 2 * margin},
		{maxAge - 1, margin, 1, 2 * margin},
		{0, margin + 1, 2, 2 * margin}, // too close, and young again
		{maxAge - 1, 1, 2, 2 * margin},
		{1, 1, 3, 2 * margin}, // too old
	} {
		now = now.Add(step.later)
		if got, err := g.Free(step.want); err != nil || got != step.answer || asked != step.asked {
			t.Errorf("step %d: %d, %v, asked %d times", i, got, err, asked)
		}
	}
	now, failure = now.Add(maxAge), syscall.EIO
	if _, err := g.Free(1); !errors.Is(err, syscall.EIO) {
		t.Errorf("an old answer hides %v", err)
	}
	free, failure = 7, nil
	if got, err := g.Free(1); err != nil || got != 7 {
		t.Errorf("after the error: %d, %v", got, err)
	}
}

// TestGivenAnswersAreFresh: who replaces the operating system is asked always.
func TestGivenAnswersAreFresh(t *testing.T) {
	free := int64(1 << 40)
	g := New("", func(string) (int64, error) { free--; return free, nil })
	for want := int64(1<<40 - 1); want > 1<<40-4; want-- {
		if got, err := g.Free(1); err != nil || got != want {
			t.Errorf("%d, %v, want %d", got, err, want)
		}
	}
}

func TestAsk(t *testing.T) {
	if free, err := New(t.TempDir(), nil).Free(1); err != nil || free <= 0 {
		t.Errorf("%d, %v", free, err)
	}
	if _, err := New("/does/not/exist", nil).Free(1); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v", err)
	}
}
