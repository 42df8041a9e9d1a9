package check

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// History collects operations. It is safe for concurrent use.
type History struct {
	begin time.Time

	mu    sync.Mutex
	ops   []Op
	wrong []string
}

// NewHistory begins a history now.
func NewHistory() *History { return &History{begin: time.Now()} }

// Now is the time since the history began, on the monotonic clock.
func (h *History) Now() time.Duration { return time.Since(h.begin) }

// Add notes an operation.
func (h *History) Add(o Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
}

// Ops is what was collected so far.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ops)
}

// Violation notes an answer that no operation may get.
func (h *History) Violation(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.wrong) < maxViolations {
		h.wrong = append(h.wrong, fmt.Sprintf(format, args...))
	}
}

// maxViolations bounds a report.
const maxViolations = 100

// Violations is what was noted so far.
func (h *History) Violations() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.wrong)
}

// Write keeps operations in a file, one JSON object a line.
func Write(path string, ops []Op) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	enc := json.NewEncoder(f)
	for _, o := range ops {
		if err := enc.Encode(o); err != nil {
			return err
		}
	}
	return f.Close()
}

// Window is a time in which something was wrong with the cluster.
type Window struct {
	Kind     string
	From, To time.Duration
}

// calm is what operations outside every window count for.
const calm = "calm"

// share is what became of the operations of one kind of window.
type share struct {
	kind                 string
	ok, refused, unknown int
	took                 []time.Duration
}

// Availability says, per kind of window, how the operations fared that were
// begun in it. An operation in several windows counts for each.
func Availability(w io.Writer, ops []Op, windows []Window) error {
	byKind := map[string]*share{}
	count := func(kind string, o Op) {
		s := byKind[kind]
		if s == nil {
			s = &share{kind: kind}
			byKind[kind] = s
		}
		switch o.Verdict {
		case Refused:
			s.refused++
		case Maybe:
			s.unknown++
		default:
			s.ok++
		}
		s.took = append(s.took, o.Return-o.Call)
	}
	for _, o := range ops {
		kinds := map[string]bool{}
		for _, v := range windows {
			if o.Call < v.To && o.Return > v.From {
				kinds[v.Kind] = true
			}
		}
		if len(kinds) == 0 {
			kinds[calm] = true
		}
		for k := range kinds {
			count(k, o)
		}
	}
	var rows []*share
	for _, s := range byKind {
		rows = append(rows, s)
	}
	slices.SortFunc(rows, func(a, b *share) int {
		if (a.kind == calm) != (b.kind == calm) {
			return map[bool]int{true: -1, false: 1}[a.kind == calm]
		}
		return map[bool]int{true: -1, false: 1}[a.kind < b.kind]
	})
	var table strings.Builder
	fmt.Fprintf(&table, "fault\toperations\tsucceeded\tfailed cleanly\tindeterminate\tp50\tp99\n")
	for _, s := range rows {
		n := len(s.took)
		slices.Sort(s.took)
		percent := func(x int) string { return fmt.Sprintf("%.1f %%", 100*float64(x)/float64(n)) }
		fmt.Fprintf(&table, "%s\t%d\t%s\t%s\t%s\t%v\t%v\n", s.kind, n, percent(s.ok), percent(s.refused), percent(s.unknown),
			s.took[n/2].Round(10*time.Microsecond), s.took[n*99/100].Round(10*time.Microsecond))
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if _, err := io.WriteString(t, table.String()); err != nil {
		return err
	}
	return t.Flush()
}
