package items

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"hangar/client/k2v"
	"hangar/services/standalone/internal/terminal"
)

// line is an item as JSON, in dumps and for programs; its members are called as
// in the K2V API. A deletion is a null among the values.
type line struct {
	PartitionKey string    `json:"pk"`
	SortKey      string    `json:"sk"`
	Token        k2v.Token `json:"ct,omitempty"`
	Values       []*string `json:"v"`
}

func lineOf(i k2v.Item) line {
	l := line{PartitionKey: i.PartitionKey, SortKey: i.SortKey, Token: i.Token, Values: []*string{}}
	for _, v := range i.Values {
		s := base64.StdEncoding.EncodeToString(v)
		l.Values = append(l.Values, &s)
	}
	if i.Deleted {
		l.Values = append(l.Values, nil)
	}
	return l
}

// writeJSON writes v on a line of its own.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// state tells in a word or two what an item is.
func state(i k2v.Item) any {
	switch n := len(i.Values); {
	case n == 0:
		return terminal.Faint("deleted")
	case i.Deleted && n == 1:
		return terminal.Warn("1 value, and deleted")
	case i.Deleted:
		return terminal.Warn(fmt.Sprintf("%d values, and deleted", n))
	case n == 1:
		return "1 value"
	default:
		return terminal.Warn(fmt.Sprintf("%d values", n))
	}
}

func size(i k2v.Item) (n int64) {
	for _, v := range i.Values {
		n += int64(len(v))
	}
	return n
}

// preview shows the beginning of a value, at most so many characters.
func preview(v []byte, most int) any {
	if !utf8.Valid(v) {
		s := base64.StdEncoding.EncodeToString(v[:min(len(v), most*3/4)])
		if len(s) > most || len(v) > most*3/4 {
			s = s[:min(len(s), most-1)] + "…"
		}
		return terminal.Faint("base64:" + s)
	}
	runes := 0
	for i := range string(v) {
		if runes++; runes > most {
			return string(v[:i]) + "…"
		}
	}
	return string(v)
}

// first shows the beginning of the first value.
func first(i k2v.Item, most int) any {
	if len(i.Values) == 0 {
		return ""
	}
	return preview(i.Values[0], most)
}

const (
	shortPreview = 50
	longPreview  = 2000
)
