package process

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// Variables with which a test makes the wall clock of a process wrong. They
// are no settings: nobody else has a use for them.
const (
	// clockOffset is added to the wall clock: "+5m", "-300ms".
	clockOffset = "HANGAR_TEST_CLOCK_OFFSET"
	// clockFile names a file that holds such an offset. It is read whenever
	// the clock is, so that the clock can jump. The test replaces it atomically.
	clockFile = "HANGAR_TEST_CLOCK_FILE"
)

// Clock is the wall clock of this process, the one place where it is read for
// anything that others see or that decides what is old: tags of rows, times in
// what is stored, signatures, the expiry of keys and claims. It is time.Now
// unless a test says otherwise.
//
// A wrong clock differs from a wrong machine in two ways: deadlines, timers and
// measured durations stay right, and where this clock jumps the difference of
// two of its times jumps too.
func Clock(log *slog.Logger) (func() time.Time, error) {
	text, path := os.Getenv(clockOffset), os.Getenv(clockFile)
	if text == "" && path == "" {
		return time.Now, nil
	}
	offset, err := parseOffset(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", clockOffset, err)
	}
	log.Warn("THE WALL CLOCK OF THIS PROCESS IS WRONG ON PURPOSE: a test has set "+clockOffset+" or "+clockFile,
		"offset", offset, "file", path)
	if path == "" {
		return func() time.Time { return time.Now().Add(offset) }, nil
	}
	var last atomic.Int64 // holds while the file cannot be read
	last.Store(int64(offset))
	return func() time.Time {
		if b, err := os.ReadFile(path); err == nil {
			if d, err := parseOffset(strings.TrimSpace(string(b))); err == nil {
				last.Store(int64(d))
			}
		}
		return time.Now().Add(time.Duration(last.Load()))
	}, nil
}

func parseOffset(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	return time.ParseDuration(s)
}
