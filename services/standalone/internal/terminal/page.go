package terminal

import (
	"io"
	"slices"
	"strings"
	"time"
)

// Page is a text that is written at once when it is complete.
type Page struct {
	out    io.Writer
	colour bool
	now    time.Time
	text   strings.Builder
}

// NewPage returns an empty page for out. Times on it are told from now.
func NewPage(out io.Writer, colour bool, now time.Time) *Page {
	return &Page{out: out, colour: colour, now: now}
}

// Line adds a line made of parts, one after the other.
func (p *Page) Line(parts ...any) {
	for _, part := range parts {
		p.write(cell(part))
	}
	p.text.WriteByte('\n')
}

// Text adds lines as somebody else wrote them.
func (p *Page) Text(s string) {
	for line := range strings.Lines(s) {
		p.Line(strings.TrimRight(line, "\r\n"))
	}
}

func (p *Page) write(c Cell) {
	if !p.colour || c.style == "" || c.text == "" {
		p.text.WriteString(c.text)
		return
	}
	p.text.WriteString("\x1b[" + c.style + "m" + c.text + "\x1b[0m")
}

// Flush writes the page.
func (p *Page) Flush() error {
	_, err := io.WriteString(p.out, p.text.String())
	p.text.Reset()
	return err
}

// String is what is on the page and not written yet.
func (p *Page) String() string { return p.text.String() }

// Table is rows whose columns stand below each other.
type Table struct {
	head  []Cell
	right []int
	rows  [][]Cell
}

// NewTable returns a table with a line of headings; without any it has none.
// A heading that begins with ">" is one of numbers, which stand at the right.
func NewTable(head ...string) *Table {
	t := &Table{}
	for i, h := range head {
		name, number := strings.CutPrefix(h, ">")
		if number {
			t.right = append(t.right, i)
		}
		t.head = append(t.head, Cell{name, bold})
	}
	return t
}

// Row adds a row of anything that fmt prints, and of Cells.
func (t *Table) Row(cells ...any) {
	row := make([]Cell, len(cells))
	for i, c := range cells {
		row[i] = cell(c)
	}
	t.rows = append(t.rows, row)
}

// Table adds a table.
func (p *Page) Table(t *Table) {
	rows := t.rows
	if t.head != nil {
		rows = slices.Concat([][]Cell{t.head}, rows)
	}
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], c.width())
		}
	}
	for _, row := range rows {
		last := len(row) // trailing blanks are not written
		for last > 0 && row[last-1].text == "" {
			last--
		}
		for i, c := range row[:last] {
			pad := strings.Repeat(" ", widths[i]-c.width())
			if slices.Contains(t.right, i) {
				p.text.WriteString(pad)
				pad = ""
			}
			p.write(c)
			if i < last-1 {
				p.text.WriteString(pad + "  ")
			}
		}
		p.text.WriteByte('\n')
	}
}

// List adds a table, or says why it would be empty.
func (p *Page) List(t *Table, none string) {
	if len(t.rows) == 0 {
		p.Line(none)
		return
	}
	p.Table(t)
}
