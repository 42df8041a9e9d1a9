package terminal

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTablesAreAligned(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	p := NewPage(nil, false, now)
	table := NewTable("NAME", ">SIZE", "SEEN")
	table.Row("photos", Bytes(3<<39), p.Since(now.Add(-3*time.Hour)))
	table.Row("ü", Bytes(7), Warn("never"))
	table.Row("bare")
	p.Table(table)
	p.Line("Total: ", Strong(Count(12345)))
	want := `NAME       SIZE  SEEN
photos  1.5 TiB  3 hours ago
ü           7 B  never
bare
Total: 12,345
`
	if p.String() != want {
		t.Errorf("got\n%s\nwant\n%s", p, want)
	}
}

func TestColourDoesNotMoveColumns(t *testing.T) {
	p := NewPage(nil, true, time.Time{})
	table := NewTable()
	table.Row(Good("up"), "x")
	table.Row(Bad("DOWN"), "y")
	p.Table(table)
	if want := "\x1b[32mup\x1b[0m    x\n\x1b[31mDOWN\x1b[0m  y\n"; p.String() != want {
		t.Errorf("got %q", p)
	}
}

func TestNothingCommandsTheTerminal(t *testing.T) {
	p := NewPage(nil, true, time.Time{})
	p.Line("a\x1b]0;owned\a\nb", Bad("c\rd"), "\u202eevil")
	p.Text("one\r\ntwo\x1b[2J\n")
	want := `a\x1b]0;owned\a\nb` + "\x1b[31m" + `c\rd` + "\x1b[0m" + `\u202eevil` + "\none\n" + `two\x1b[2J` + "\n"
	if p.String() != want {
		t.Errorf("got\n%q\nwant\n%q", p, want)
	}
}

func TestParseBytes(t *testing.T) {
	for s, want := range map[string]int64{
		"500": 500, "1K": 1 << 10, "20G": 20 << 30, "1.5T": 3 << 39, "2TiB": 2 << 40, "7mb": 7 << 20, "1P": 1 << 50, "10 GiB": 10 << 30,
	} {
		if got, err := ParseBytes(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "-1", "0", "G", "1X", "9999999P", "1GG", "NaN", "Inf"} {
		if got, err := ParseBytes(s); err == nil {
			t.Errorf("%q: %d", s, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "1d": 24 * time.Hour, "0.5d": 12 * time.Hour, "2w": 14 * 24 * time.Hour, "1y": 365 * 24 * time.Hour,
	} {
		if got, err := ParseDuration(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "d", "1", "-1d", "0s", "NaNd", "Infd", "1e300d", "200y", "-5m", "1dd"} {
		if got, err := ParseDuration(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestAsking(t *testing.T) {
	for answer, want := range map[string]error{"y\n": nil, "YES\n": nil, "yes": nil, "n\n": ErrDeclined, "": ErrDeclined, "yesterday\n": ErrDeclined} {
		var out strings.Builder
		if err := ask(strings.NewReader(answer), &out, "Really?"); !errors.Is(err, want) {
			t.Errorf("%q: %v", answer, err)
		}
		if out.String() != "Really? [y/N] " {
			t.Errorf("asked %q", out.String())
		}
	}
	null, err := os.Open(os.DevNull) // a device, and no terminal
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var out strings.Builder
	if err := Confirm(t.Context(), null, &out, "Delete it?"); err == nil || !strings.Contains(err.Error(), "--yes") || out.Len() > 0 {
		t.Errorf("without a terminal: %v, printed %q", err, out.String())
	}
}

func TestProgress(t *testing.T) {
	var out strings.Builder
	p := NewProgress(&out)
	for _, s := range []string{"one\n", "one\n", "two\n"} {
		if err := p.Show(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Clear(); err != nil || out.String() != "one\ntwo\n" {
		t.Errorf("%v: %q", err, out.String())
	}
	out.Reset()
	p = &Progress{out: &out, live: true}
	for _, s := range []string{"a\nb\n", "c\n"} {
		if err := p.Show(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Clear(); err != nil || out.String() != "a\nb\n\x1b[2A\x1b[Jc\n\x1b[1A\x1b[J" {
		t.Errorf("%v: %q", err, out.String())
	}
	if got := Bar(1, 2); got != "[###############---------------]" {
		t.Error(got)
	}
	if Bar(0, 0) != Bar(5, 3) {
		t.Error("nothing to do is not done")
	}
}
