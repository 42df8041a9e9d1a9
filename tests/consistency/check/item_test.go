package check

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// overlap makes an operation last until so many operations later.
func overlap(o Op, later int) Op {
	o.Return = time.Duration(2 * later)
	return o
}

// TestItemsCatchLies: the model refuses what must not happen to items of K2V
// and takes what may.
func TestItemsCatchLies(t *testing.T) {
	insert := func(v, token string) Op { return Op{Verb: Insert, Value: v, Given: token} }
	remove := func(name, token string) Op { return Op{Verb: Remove, Value: name, Given: token} }
	fetch := func(token string, values ...string) Op { return Op{Verb: Fetch, Token: token, Values: values} }
	poll := func(given, token string, values ...string) Op {
		return Op{Verb: Poll, Given: given, Token: token, Values: values}
	}
	vain := func(given string) Op { return Op{Verb: Poll, Given: given, Unchanged: true} }
	lost := func(o Op) Op { o.Verdict = Maybe; return o }
	refused := func(o Op) Op { o.Verdict = Refused; return o }
	for name, c := range map[string]struct {
		ops     []Op
		allowed bool
	}{
		"fresh read":                   {[]Op{insert("a", ""), fetch("1", "a")}, true},
		"never written":                {[]Op{fetch("")}, true},
		"stale read":                   {[]Op{insert("a", ""), fetch("")}, false},
		"nobody wrote it":              {[]Op{insert("a", ""), fetch("1", "b")}, false},
		"both appear":                  {[]Op{insert("a", ""), insert("b", ""), fetch("1", "b", "a")}, true},
		"the other was dropped":        {[]Op{insert("a", ""), insert("b", ""), fetch("1", "b")}, false},
		"superseded":                   {[]Op{insert("a", ""), fetch("1", "a"), insert("b", "1"), fetch("2", "b")}, true},
		"not superseded":               {[]Op{insert("a", ""), fetch("1", "a"), insert("b", "1"), fetch("2", "a", "b")}, false},
		"covered more than was seen":   {[]Op{insert("a", ""), fetch("1", "a"), insert("c", ""), insert("b", "1"), fetch("2", "b")}, false},
		"covered what was seen":        {[]Op{insert("a", ""), fetch("1", "a"), insert("c", ""), insert("b", "1"), fetch("2", "b", "c")}, true},
		"back from the dead":           {[]Op{insert("a", ""), fetch("1", "a"), insert("b", "1"), fetch("2", "b"), fetch("3", "a", "b")}, false},
		"back without the new one":     {[]Op{insert("a", ""), fetch("1", "a"), insert("b", "1"), fetch("2", "b"), fetch("1", "a")}, false},
		"lost or not":                  {[]Op{lost(insert("a", "")), fetch("")}, true},
		"taken late":                   {[]Op{lost(insert("a", "")), fetch(""), fetch("1", "a")}, true},
		"read and unread":              {[]Op{lost(insert("a", "")), fetch("1", "a"), fetch("")}, false},
		"late, over what it saw":       {[]Op{insert("a", ""), fetch("1", "a"), lost(insert("b", "1")), fetch("1", "a"), fetch("2", "b")}, true},
		"late, over what it did not":   {[]Op{insert("a", ""), fetch("1", "a"), lost(insert("b", "1")), insert("c", ""), fetch("2", "b")}, false},
		"refused write did nothing":    {[]Op{refused(insert("a", "")), fetch("1", "a")}, false},
		"refused read says nothing":    {[]Op{insert("a", ""), refused(fetch("9", "x"))}, true},
		"deleted":                      {[]Op{insert("a", ""), fetch("1", "a"), remove("d", "1"), fetch("2", Tombstone)}, true},
		"deleted and gone":             {[]Op{insert("a", ""), fetch("1", "a"), remove("d", "1"), fetch("")}, false},
		"deleted beside a value":       {[]Op{insert("a", ""), fetch("1", "a"), insert("b", ""), remove("d", "1"), fetch("2", "b", Tombstone)}, true},
		"delete took a value unseen":   {[]Op{insert("a", ""), fetch("1", "a"), insert("b", ""), remove("d", "1"), fetch("2", Tombstone)}, false},
		"two deletes look like one":    {[]Op{insert("a", ""), fetch("1", "a"), remove("d", "1"), remove("e", "1"), fetch("2", Tombstone)}, true},
		"over a deletion":              {[]Op{insert("a", ""), fetch("1", "a"), remove("d", "1"), fetch("2", Tombstone), insert("b", "2"), fetch("3", "b")}, true},
		"over one deletion of two":     {[]Op{insert("a", ""), fetch("1", "a"), remove("d", "1"), fetch("2", Tombstone), remove("e", "1"), insert("b", "2"), fetch("3", "b", Tombstone)}, true},
		"over a deletion unseen":       {[]Op{insert("a", ""), fetch("1", "a"), remove("d", "1"), fetch("2", Tombstone), remove("e", "1"), insert("b", "2"), fetch("3", "b")}, false},
		"token of two states":          {[]Op{insert("a", ""), fetch("1", "a"), insert("b", ""), fetch("1", "a", "b")}, false},
		"token of nowhere":             {[]Op{insert("a", "7")}, false},
		"poll woken":                   {[]Op{insert("a", ""), fetch("1", "a"), insert("b", "1"), poll("1", "2", "b")}, true},
		"poll returns what it had":     {[]Op{insert("a", ""), fetch("1", "a"), poll("1", "1", "a")}, false},
		"poll returns what is old":     {[]Op{insert("a", ""), fetch("1", "a"), insert("b", "1"), fetch("2", "b"), poll("2", "1", "a")}, false},
		"poll in vain":                 {[]Op{insert("a", ""), fetch("1", "a"), vain("1")}, true},
		"poll in vain beside a change": {[]Op{insert("a", ""), fetch("1", "a"), insert("b", ""), vain("1")}, false},
		"poll woken by a delete":       {[]Op{insert("a", ""), fetch("1", "a"), remove("d", "1"), poll("1", "2", Tombstone)}, true},
		"poll missed a second delete":  {[]Op{insert("a", ""), fetch("1", "a"), remove("d", "1"), fetch("2", Tombstone), remove("e", "1"), vain("2")}, false},
	} {
		var history []Op
		for i, o := range c.ops {
			history = append(history, after(i, o))
		}
		judge(t, name, history, c.allowed)
	}
	// What happens meanwhile may be seen or not.
	during := []Op{after(0, insert("a", "")), after(1, fetch("1", "a")), overlap(after(2, vain("1")), 9), after(3, insert("b", ""))}
	judge(t, "change while a poll waits", during, true)
}

func judge(t *testing.T, name string, history []Op, allowed bool) {
	t.Helper()
	r, err := Items(history, time.Minute, t.TempDir())
	if err != nil || len(r.Undecided) > 0 || r.OK() != allowed {
		t.Errorf("%s: allowed is not %v: %+v, %v", name, allowed, r, err)
	}
}

// TestRangesCatchLies: of each item in a range a listing tells what is there,
// and whoever follows the range knows it.
func TestRangesCatchLies(t *testing.T) {
	insert := func(key, v, token string) Op { return Op{Verb: Insert, Key: key, Value: v, Given: token} }
	at := func(key, token string, values ...string) Item { return Item{Key: key, Token: token, Values: values} }
	search := func(found ...Item) Op { return Op{Verb: Search, Key: "p|", Items: found} }
	follow := func(given, marker string, found ...Item) Op {
		return Op{Verb: Follow, Key: "p|", Given: given, Token: marker, Items: found}
	}
	vain := func(given string) Op { return Op{Verb: Follow, Key: "p|", Given: given, Unchanged: true} }
	aside := func(o Op) Op { o.Aside = true; return o }
	bounded := func(o Op, from, to string) Op { o.From, o.To = from, to; return o }
	a, b, c := insert("p|1", "a", ""), insert("p|2", "b", ""), insert("p|1", "c", "t")
	for name, x := range map[string]struct {
		ops     []Op
		allowed bool
	}{
		"all there":                   {[]Op{a, b, search(at("p|1", "t", "a"), at("p|2", "u", "b"))}, true},
		"one missing":                 {[]Op{a, b, search(at("p|1", "t", "a"))}, false},
		"missing beyond the bound":    {[]Op{a, b, bounded(search(at("p|1", "t", "a")), "", "2")}, true},
		"missing before the bound":    {[]Op{a, b, bounded(search(at("p|2", "t", "b")), "2", "")}, true},
		"shown beyond the bound":      {[]Op{a, b, bounded(search(at("p|1", "t", "a"), at("p|2", "u", "b")), "", "2")}, false},
		"out of order":                {[]Op{a, b, search(at("p|2", "u", "b"), at("p|1", "t", "a"))}, false},
		"old":                         {[]Op{a, search(at("p|1", "t", "a")), c, search(at("p|1", "t", "a"))}, false},
		"nobody wrote it":             {[]Op{a, search(at("p|1", "t", "a"), at("p|9", "u", "z"))}, false},
		"elsewhere":                   {[]Op{insert("q|1", "a", ""), search()}, true},
		"followed":                    {[]Op{a, follow("", "m", at("p|1", "t", "a")), c, follow("m", "n", at("p|1", "u", "c"))}, true},
		"nothing new":                 {[]Op{a, follow("", "m", at("p|1", "t", "a")), vain("m")}, true},
		"told twice":                  {[]Op{a, follow("", "m", at("p|1", "t", "a")), follow("m", "n", at("p|1", "t", "a"))}, true},
		"first answer lacks one":      {[]Op{a, b, follow("", "m", at("p|1", "t", "a"))}, false},
		"change never told":           {[]Op{a, follow("", "m", at("p|1", "t", "a")), c, vain("m")}, false},
		"change told beside another":  {[]Op{a, follow("", "m", at("p|1", "t", "a")), c, b, follow("m", "n", at("p|1", "u", "c"), at("p|2", "v", "b"))}, true},
		"other change told":           {[]Op{a, follow("", "m", at("p|1", "t", "a")), c, b, follow("m", "n", at("p|2", "v", "b"))}, false},
		"told late":                   {[]Op{a, follow("", "m", at("p|1", "t", "a")), b, follow("m", "n"), follow("n", "o", at("p|2", "v", "b"))}, false},
		"an old state told":           {[]Op{a, follow("", "m", at("p|1", "t", "a")), c, follow("m", "n", at("p|1", "u", "c")), follow("n", "o", at("p|1", "t", "a"))}, false},
		"told aside, then missed":     {[]Op{a, follow("", "m", at("p|1", "t", "a")), c, aside(follow("m", "x", at("p|1", "u", "c"))), vain("m")}, false},
		"told aside and again":        {[]Op{a, follow("", "m", at("p|1", "t", "a")), c, aside(follow("m", "x", at("p|1", "u", "c"))), follow("m", "n", at("p|1", "u", "c"))}, true},
		"missed, then a new start":    {[]Op{a, follow("", "m", at("p|1", "t", "a")), c, follow("", "n", at("p|1", "u", "c"))}, true},
		"told to have a value unseen": {[]Op{a, follow("", "m", at("p|1", "t", "a")), insert("p|1", "d", ""), insert("p|1", "c", "t"), follow("m", "n", at("p|1", "u", "c"))}, false},
	} {
		var history []Op
		for i, o := range x.ops {
			o = after(i, o)
			o.Client = 1
			history = append(history, o)
		}
		judge(t, name, history, x.allowed)
	}
}

func TestWaits(t *testing.T) {
	sec := time.Second
	op := func(o Op, from, to time.Duration) Op {
		o.Key, o.Call, o.Return, o.Verdict = "p|"+o.Key, from, to, Done
		return o
	}
	history := func(wait Op) []Op {
		return []Op{
			op(Op{Verb: Insert, Key: "1", Value: "a"}, 0, sec),
			op(Op{Verb: Fetch, Key: "1", Values: []string{"a"}, Token: "t"}, 2*sec, 3*sec),
			op(Op{Verb: Follow, Token: "m", Items: []Item{{"p|1", []string{"a"}, "t"}}}, 2*sec, 3*sec),
			op(Op{Verb: Insert, Key: "1", Value: "b", Given: "t"}, 6*sec, 7*sec),
			op(Op{Verb: Insert, Key: "1", Value: "c", Given: "t"}, 20*sec, 21*sec),
			wait,
		}
	}
	answer := []Item{{"p|1", []string{"b"}, "u"}}
	for name, c := range map[string]struct {
		wait  Op
		wrong bool
		woken string
	}{
		"woken":                        {op(Op{Verb: Poll, Key: "1", Given: "t", Token: "u", Values: []string{"b"}}, 5*sec, 8*sec), false, "[1s]"},
		"before the writer knew":       {op(Op{Verb: Poll, Key: "1", Given: "t", Token: "u", Values: []string{"b"}}, 5*sec, 6500*time.Millisecond), false, "[]"},
		"late":                         {op(Op{Verb: Poll, Key: "1", Given: "t", Token: "u", Values: []string{"b"}}, 5*sec, 18*sec), true, "[11s]"},
		"asked late":                   {op(Op{Verb: Poll, Key: "1", Given: "t", Token: "u", Values: []string{"b"}}, 17*sec, 18*sec), false, "[]"},
		"never":                        {op(Op{Verb: Poll, Key: "1", Given: "t", Unchanged: true}, 5*sec, 18*sec), true, "[]"},
		"in vain, but not for so long": {op(Op{Verb: Poll, Key: "1", Given: "t", Unchanged: true}, 5*sec, 12*sec), false, "[]"},
		"followed, woken":              {op(Op{Verb: Follow, Given: "m", Token: "n", Items: answer}, 5*sec, 8*sec), false, "[1s]"},
		"followed, late":               {op(Op{Verb: Follow, Given: "m", Token: "n", Items: answer}, 5*sec, 18*sec), true, "[11s]"},
		"followed, never":              {op(Op{Verb: Follow, Given: "m", Unchanged: true}, 5*sec, 18*sec), true, "[]"},
		"no answer says nothing":       {Op{Verb: Poll, Key: "p|1", Given: "t", Call: 5 * sec, Return: 18 * sec, Verdict: Refused}, false, "[]"},
	} {
		wrong, woken := Waits(history(c.wait), 10*sec)
		if (len(wrong) > 0) != c.wrong || fmt.Sprint(woken) != c.woken {
			t.Errorf("%s: %v, woken %v, want %v", name, strings.Join(wrong, "; "), woken, c.woken)
		}
	}
}
