// Package terminal is what people read and type: pages of text and tables, sizes
// and times as they say them, bars of progress, questions. What is shown may come
// from anybody (names, keys of objects), so nothing in it can command the
// terminal: control characters are written out.
package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// Is says whether f, an input or output, is a terminal.
func Is(f any) bool {
	file, ok := f.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// The styles of a Cell, as terminals know them.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// Cell is a text that is shown in a style where there is colour.
type Cell struct{ text, style string }

// Strong returns a text that stands out.
func Strong(s string) Cell { return Cell{s, bold} }

// Faint returns a text that stands back.
func Faint(s string) Cell { return Cell{s, dim} }

// Good returns a text about something that is as it should be.
func Good(s string) Cell { return Cell{s, green} }

// Warn returns a text about something that needs a look.
func Warn(s string) Cell { return Cell{s, yellow} }

// Bad returns a text about something that is wrong.
func Bad(s string) Cell { return Cell{s, red} }

// cell makes a Cell of anything that fmt prints.
func cell(v any) Cell {
	switch v := v.(type) {
	case Cell:
		return Cell{Clean(v.text), v.style}
	case nil:
		return Cell{}
	}
	return Cell{Clean(fmt.Sprint(v)), ""}
}

// Clean writes out what could command a terminal or break a line.
func Clean(s string) string {
	if !strings.ContainsFunc(s, unsafe) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafe(r) {
			b.WriteString(strings.Trim(fmt.Sprintf("%+q", r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unsafe are control characters and those that change the direction of text.
func unsafe(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

func (c Cell) width() int { return utf8.RuneCountInString(c.text) }

// ErrDeclined is returned by Confirm when the answer is no.
var ErrDeclined = errors.New("nothing was done")

// Confirm asks a question on out and reads the answer from in, until ctx ends.
// Without a terminal to read from there is nobody to ask: that is an error which
// names --yes.
func Confirm(ctx context.Context, in io.Reader, out io.Writer, question string) error {
	if !Is(in) {
		return fmt.Errorf("%s: there is no terminal to ask on, so say --yes", strings.TrimSuffix(Clean(question), "?"))
	}
	answer := make(chan error, 1)
	go func() { answer <- ask(in, out, question) }() // reading cannot be ended, only left alone
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ErrDeclined
	}
}

func ask(in io.Reader, out io.Writer, question string) error {
	if _, err := fmt.Fprintf(out, "%s [y/N] ", Clean(question)); err != nil {
		return err
	}
	answer, err := bufio.NewReader(in).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); a == "y" || a == "yes" {
		return nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return ErrDeclined
}
