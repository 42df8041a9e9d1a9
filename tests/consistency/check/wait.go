package check

import (
	"fmt"
	"slices"
	"time"
)

// Waits checks that nobody waits for what has happened: a poll is answered at
// the latest bound after a newer write was acknowledged, or after it began if
// that was later. It returns how long after such a write those were answered
// who waited already, ascending.
func Waits(history []Op, bound time.Duration) (wrong []string, woken []time.Duration) {
	h := newItems(history)
	marked := map[string]time.Duration{} // when a marker was first known, by marker
	for _, o := range history {
		if o.Verb == Follow && o.Verdict == Done && o.Token != "" && !o.Aside {
			if at, ok := marked[o.Token]; !ok || o.Return < at {
				marked[o.Token] = o.Return
			}
		}
	}
	for _, o := range history {
		if o.Verdict != Done || o.Given == "" || o.Verb != Poll && o.Verb != Follow {
			continue
		}
		since := marked[o.Given]
		if o.Verb == Poll {
			since = h.tokens[o.Key][o.Given].at
		}
		w, ok := h.firstWritten(o, since)
		if !ok {
			continue
		}
		if late := o.Return - max(w.Return, o.Call); late > bound {
			wrong = append(wrong, fmt.Sprintf("%s by client %d via gateway %d from %v to %v, but %s was acknowledged at %v", o, o.Client, o.Via, o.Call, o.Return, w, w.Return))
		}
		if w.Return > o.Call && !o.Unchanged {
			woken = append(woken, o.Return-w.Return)
		}
	}
	slices.Sort(woken)
	return wrong, woken
}

// firstWritten is the write acknowledged first of those that are surely newer
// than since and that o waits for.
func (h *items) firstWritten(o Op, since time.Duration) (first Op, found bool) {
	for key, writes := range h.writes {
		if o.Verb == Poll && key != o.Key || o.Verb == Follow && !o.within(key) {
			continue
		}
		for _, w := range writes {
			if w.Verdict == Done && w.Call > since && w.Return < o.Return && (!found || w.Return < first.Return) {
				first, found = w, true
			}
		}
	}
	return first, found
}
