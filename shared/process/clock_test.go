package process

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// off is how far now is from the truth, to the minute.
func off(now func() time.Time) time.Duration { return time.Until(now()).Round(time.Minute) }

func TestClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	for _, c := range []struct {
		name, offset, file string
		want               time.Duration
		warns, fails       bool
	}{
		{name: "right"},
		{name: "ahead", offset: "+5m", want: 5 * time.Minute, warns: true},
		{name: "behind", offset: "-2h", want: -2 * time.Hour, warns: true},
		{name: "no file yet", offset: "-1h", file: path, want: -time.Hour, warns: true},
		{name: "malformed", offset: "soon", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(clockOffset, c.offset)
			t.Setenv(clockFile, c.file)
			var log bytes.Buffer
			now, err := Clock(slog.New(slog.NewTextHandler(&log, nil)))
			if c.fails {
				if err == nil || !strings.HasPrefix(err.Error(), clockOffset) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || off(now) != c.want {
				t.Errorf("off by %v, want %v: %v", off(now), c.want, err)
			}
			if warns := strings.Contains(log.String(), "level=WARN"); warns != c.warns {
				t.Errorf("logged %q", log.String())
			}
		})
	}
}

func TestClockJumps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	t.Setenv(clockFile, path)
	now, err := Clock(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		want time.Duration
	}{{"10m", 10 * time.Minute}, {"-10m\n", -10 * time.Minute}, {"nonsense", -10 * time.Minute}, {"", 0}} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := off(now); got != c.want {
			t.Errorf("the file holds %q: off by %v, want %v", c.text, got, c.want)
		}
	}
}
