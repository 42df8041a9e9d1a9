package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Tombstone is how a deletion is shown among the values of an item.
const Tombstone = "null"

// Item is what a read found of one item.
type Item struct {
	// Key of the item, as in Op.
	Key string `json:"key"`
	// Values that are there at once, Tombstone for a deletion.
	Values []string `json:"values"`
	// Token stands for what whoever read this has seen.
	Token string `json:"token"`
}

// itemState is what the model knows of an item: the writes that nothing has
// superseded, and which deletions among them a token covers. Values have names
// of their own, so what a token covers of them is what came with it; deletions
// all look alike.
type itemState struct {
	live   string // names of writes, sorted, one a line; deletions begin with "-"
	covers string // sorted lines "token deletion": both in use
}

// itemInput is an operation on one item, with what the history says of its
// tokens.
type itemInput struct {
	Op
	// covered are the values that came with the token given.
	covered []string
	// shown are the values read, sorted, each once.
	shown []string
	// remember says that somebody gives the token later, so that it matters
	// which deletions it covers.
	remember bool
}

// item is the model of one item of K2V: a write removes exactly what its token
// covers and adds a value of its own.
var item = porcupine.Model{
	Init:              func() any { return itemState{} },
	Step:              func(state, input, _ any) (bool, any) { return state.(itemState).step(input.(itemInput)) },
	DescribeOperation: func(input, _ any) string { return input.(itemInput).String() },
	DescribeState:     func(state any) string { return strings.ReplaceAll(state.(itemState).live, "\n", " ") },
}

func (s itemState) step(in itemInput) (bool, itemState) {
	live := lines(s.live)
	covered := func(write string) bool {
		if strings.HasPrefix(write, "-") {
			return slices.Contains(lines(s.covers), in.Given+" "+write)
		}
		return slices.Contains(in.covered, write)
	}
	newer := slices.ContainsFunc(live, func(w string) bool { return !covered(w) })
	switch in.Verb {
	case Insert, Remove:
		name := in.Value
		if in.Verb == Remove {
			name = "-" + name
		}
		live = slices.DeleteFunc(live, covered)
		at, _ := slices.BinarySearch(live, name)
		next := itemState{live: strings.Join(slices.Insert(live, at, name), "\n"), covers: s.covers}
		return true, next.forget()
	case Poll:
		if in.Unchanged {
			return !newer, s
		}
		if !newer {
			return false, s
		}
	}
	if !slices.Equal(show(live), in.shown) {
		return false, s
	}
	if in.remember {
		return true, s.cover(in.Token)
	}
	return true, s
}

// cover notes that token covers the deletions that are there now.
func (s itemState) cover(token string) itemState {
	all := lines(s.covers)
	for _, w := range lines(s.live) {
		if line := token + " " + w; strings.HasPrefix(w, "-") && !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	slices.Sort(all)
	s.covers = strings.Join(all, "\n")
	return s
}

// forget drops what is noted of deletions that are gone.
func (s itemState) forget() itemState {
	live := lines(s.live)
	s.covers = strings.Join(slices.DeleteFunc(lines(s.covers), func(l string) bool {
		_, write, _ := strings.Cut(l, " ")
		return !slices.Contains(live, write)
	}), "\n")
	return s
}

func lines(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// show is what a read shows of writes, sorted: deletions as one.
func show(writes []string) []string {
	var all []string
	for _, w := range writes {
		if strings.HasPrefix(w, "-") {
			w = Tombstone
		}
		all = append(all, w)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Items checks operations on items of K2V. Each item must be linearizable: a
// write removes the values that its token covers and no others, and every read
// (of one item, of several, by a poll) shows what is there. Whoever follows a
// range by markers must know of each item, after each answer, what was there at
// some time while he waited for it. limit bounds the time for each item. What
// proves a violation is drawn into dir.
func Items(history []Op, limit time.Duration, dir string) (Result, error) {
	h := newItems(history)
	byKey := map[string][]porcupine.Operation{}
	for key, ops := range h.ops {
		for _, o := range ops {
			in := itemInput{Op: o, shown: show(o.Values)}
			if o.Given != "" {
				seen, ok := h.tokens[key][o.Given]
				if !ok {
					h.wrong = append(h.wrong, fmt.Sprintf("the test is wrong: %s gives a token of nowhere", o))
				}
				in.covered = seen.values
			}
			in.remember = o.Token != "" && h.given[key][o.Token] && slices.Contains(o.Values, Tombstone)
			p := o.operation()
			p.Input = in
			byKey[key] = append(byKey[key], p)
		}
	}
	r, err := linearizable(item, byKey, limit, dir)
	r.Violations = append(r.Violations, h.wrong...)
	return r, err
}

// items is a history of items, each operation on several taken apart.
type items struct {
	ops    map[string][]Op            // by key; only what says something
	writes map[string][]Op            // those of them that write
	tokens map[string]map[string]seen // by key and token
	given  map[string]map[string]bool // tokens by key that somebody gave
	wrong  []string
}

// seen is what came with a token, and when first.
type seen struct {
	values []string // sorted
	at     time.Duration
}

func newItems(history []Op) *items {
	h := &items{ops: map[string][]Op{}, writes: map[string][]Op{}, tokens: map[string]map[string]seen{}, given: map[string]map[string]bool{}}
	for _, o := range history {
		if o.Verdict != Refused && (o.Verb == Insert || o.Verb == Remove) {
			h.add(o)
			h.writes[o.Key] = append(h.writes[o.Key], o)
		}
	}
	followed := map[int][]Op{} // by client
	for _, o := range history {
		if o.Verdict != Done {
			continue
		}
		switch o.Verb {
		case Fetch, Poll:
			h.add(o)
		case Search:
			h.search(o)
		case Follow:
			followed[o.Client] = append(followed[o.Client], o)
		}
	}
	for _, ops := range followed {
		h.follow(ops)
	}
	return h
}

// add takes an operation on one item.
func (h *items) add(o Op) {
	h.ops[o.Key] = append(h.ops[o.Key], o)
	if o.Given != "" {
		if h.given[o.Key] == nil {
			h.given[o.Key] = map[string]bool{}
		}
		h.given[o.Key][o.Given] = true
	}
	if o.Token == "" {
		return
	}
	if h.tokens[o.Key] == nil {
		h.tokens[o.Key] = map[string]seen{}
	}
	now := seen{show(o.Values), o.Return}
	if before, ok := h.tokens[o.Key][o.Token]; ok {
		if !slices.Equal(before.values, now.values) {
			h.wrong = append(h.wrong, fmt.Sprintf("%s: the same token came with %v before", o, before.values))
		}
		now.at = min(now.at, before.at)
	}
	h.tokens[o.Key][o.Token] = now
}

// within reports whether o is about the item at key.
func (o Op) within(key string) bool {
	sort, ok := strings.CutPrefix(key, o.Key)
	return ok && sort >= o.From && (o.To == "" || sort < o.To)
}

// part is what an operation on several items says of one.
func (o Op) part(found Item) Op {
	return Op{
		Client: o.Client, Verb: Fetch, Key: found.Key, Values: found.Values, Token: found.Token,
		Verdict: Done, Call: o.Call, Return: o.Return, Via: o.Via, Note: string(o.Verb),
	}
}

// known lists the items that may have been written before o returned and that o
// is about.
func (h *items) known(o Op) (keys []string) {
	for key, writes := range h.writes {
		if o.within(key) && slices.ContainsFunc(writes, func(w Op) bool { return w.Call < o.Return }) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// told takes the items of an answer.
func (h *items) told(o Op) map[string]Item {
	all := map[string]Item{}
	last := ""
	for _, i := range o.Items {
		switch {
		case !o.within(i.Key):
			h.wrong = append(h.wrong, fmt.Sprintf("%s: shows %s, which is not in the range", o, i.Key))
		case i.Key <= last:
			h.wrong = append(h.wrong, fmt.Sprintf("%s: %s comes after %s", o, i.Key, last))
		case len(h.writes[i.Key]) == 0:
			h.wrong = append(h.wrong, fmt.Sprintf("%s: shows %s, which nobody wrote", o, i.Key))
		}
		last = i.Key
		all[i.Key] = i
	}
	return all
}

// search takes a listing apart: what is not in it is not there.
func (h *items) search(o Op) {
	told := h.told(o)
	for _, key := range h.known(o) {
		found := told[key]
		found.Key = key
		h.add(o.part(found))
	}
}

// follow takes apart what one client was told who follows a range: after each
// answer he knows all items of the range.
func (h *items) follow(ops []Op) {
	slices.SortFunc(ops, func(a, b Op) int { return int(a.Call - b.Call) })
	view := map[string]Item{}
	asked := map[string]time.Duration{} // when what is in ops of an item was asked for
	for i, o := range ops {
		if o.Given == "" {
			clear(view)
		}
		told := h.told(o)
		for _, key := range h.known(o) {
			found, fresh := told[key]
			if !fresh {
				found = view[key]
				found.Key = key
			}
			if fresh && !o.Aside {
				view[key] = found
			}
			// Saying again what nothing can have changed only takes time.
			changed := func(w Op) bool { return w.Call < o.Return && w.Return > asked[key] }
			if fresh || i == len(ops)-1 || slices.ContainsFunc(h.writes[key], changed) {
				h.add(o.part(found))
				if !o.Aside {
					asked[key] = o.Call
				}
			}
		}
	}
}
