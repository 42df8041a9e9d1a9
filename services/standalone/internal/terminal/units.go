package terminal

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Bytes prints a size, such as "1.5 GiB".
func Bytes(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// Count prints a number with its thousands apart.
func Count(n int64) string { return humanize.Comma(n) }

// Since tells a time from the page's now, such as "3 hours ago" or "2 days from
// now"; the zero time is "never".
func (p *Page) Since(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return humanize.RelTime(t, p.now, "ago", "from now")
}

// Ago tells a time that lies some seconds back.
func (p *Page) Ago(seconds int64) string {
	return p.Since(p.now.Add(-time.Duration(seconds) * time.Second))
}

// ParseBytes reads a size of at least one byte: 500, 500K, 20G, 1.5T, 10GiB
// (steps of 1024; a B or iB at the end changes nothing).
func ParseBytes(s string) (int64, error) {
	t := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I")
	unit := int64(1)
	if i := strings.IndexAny(t, "KMGTPE"); i >= 0 && i == len(t)-1 {
		unit = 1 << (10 * (1 + strings.IndexByte("KMGTPE", t[i])))
		t = t[:i]
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(t), 64)
	if err != nil || !(v > 0 && v*float64(unit) < math.MaxInt64) { // false for NaN too
		return 0, fmt.Errorf("size %q: want a number with an optional K, M, G, T or P", s)
	}
	return int64(v * float64(unit)), nil
}

// longest keeps what is added to a time within what a time can hold.
const longest = 100 * 365 * 24 * time.Hour

// ParseDuration reads a time span of at least a second: what Go reads (90m,
// 1h30m) or a number of days, weeks or years (7d, 2w, 1y).
func ParseDuration(s string) (time.Duration, error) {
	wrong := fmt.Errorf("time span %q: want a number with s, m, h, d, w or y, such as 12h or 30d", s)
	days := map[string]float64{"d": 1, "w": 7, "y": 365}
	d, err := time.ParseDuration(s)
	if n := len(s) - 1; n > 0 && days[s[n:]] > 0 {
		var v float64
		v, err = strconv.ParseFloat(s[:n], 64)
		v *= days[s[n:]] * float64(24*time.Hour)
		if !(v < float64(longest)) { // true for NaN too
			return 0, wrong
		}
		d = time.Duration(v)
	}
	if err != nil || d < time.Second || d > longest {
		return 0, wrong
	}
	return d, nil
}
