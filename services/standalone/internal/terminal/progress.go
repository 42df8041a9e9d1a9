package terminal

import (
	"fmt"
	"io"
	"strings"
)

// Progress shows how far something is: on a terminal in place, elsewhere again
// whenever it says something else.
type Progress struct {
	out   io.Writer
	live  bool
	lines int    // on the terminal at present
	last  string // shown last
}

// NewProgress returns a progress shown on out.
func NewProgress(out io.Writer) *Progress { return &Progress{out: out, live: Is(out)} }

// Live says that it is shown on a terminal, where bars may be drawn.
func (p *Progress) Live() bool { return p.live }

// Show replaces what was shown by text, whole lines.
func (p *Progress) Show(text string) error {
	if text == p.last {
		return nil
	}
	p.last = text
	if p.live {
		text = p.erase() + text
		p.lines = strings.Count(text, "\n")
	}
	_, err := io.WriteString(p.out, text)
	return err
}

// Clear takes back what is shown on a terminal.
func (p *Progress) Clear() error {
	_, err := io.WriteString(p.out, p.erase())
	p.last = ""
	return err
}

func (p *Progress) erase() string {
	if p.lines == 0 {
		return ""
	}
	up := fmt.Sprintf("\x1b[%dA\x1b[J", p.lines)
	p.lines = 0
	return up
}

// Bar draws how much of total is done; all of it when total is nothing.
func Bar(done, total float64) string {
	const width = 30
	full := width
	if total > 0 {
		full = int(width * max(0, min(done/total, 1)))
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", width-full) + "]"
}
