// Package causal tells concurrent values apart from superseded ones: dotted
// version vector sets, as K2V's specification describes them and the paper
// "Scalable and Accurate Causality Tracking for Eventually Consistent Data
// Stores" explains them. It is pure: no clock, no store.
package causal

import (
	"bytes"
	"slices"
)

// Node is who gave a value its time. What it gives only ever grows; a node that
// forgot what it gave must come back under another id.
type Node uint64

// MaxTime bounds times, so that there is always one above those in use.
const MaxTime = 1<<63 - 1

// Value is what was written: data, or the mark of a deletion.
type Value struct {
	Data    []byte
	Deleted bool
}

// Equal reports whether two values are the same to whoever reads them.
func (v Value) Equal(o Value) bool { return v.Deleted == o.Deleted && bytes.Equal(v.Data, o.Data) }

// Dot is one write: unique with the node that it came through.
type Dot struct {
	Time uint64
	Value
}

// Entry is what came through one node. What it gave times up to Discard is
// superseded; Dots, ascending by time, are above that.
type Entry struct {
	Node    Node
	Discard uint64
	Dots    []Dot
}

// latest is the highest time that the node is known to have given.
func (e *Entry) latest() uint64 {
	if n := len(e.Dots); n > 0 {
		return e.Dots[n-1].Time
	}
	return e.Discard
}

// discard forgets what has been superseded.
func (e *Entry) discard() {
	live := slices.IndexFunc(e.Dots, func(d Dot) bool { return d.Time > e.Discard })
	if live < 0 {
		live = len(e.Dots)
	}
	e.Dots = e.Dots[live:]
}

// Set holds the concurrent values of one item with all that supersedes others,
// ascending by node. The zero Set is an item nobody wrote. Sets are not changed
// once made; they share their parts.
type Set []Entry

// Insert returns s with v written through node by somebody who had seen context.
// The value's time is above all that s and context know of node, and at least
// now. A value that node already holds is not kept twice: whoever saw the
// younger dot saw the older, so the younger stands for both.
func (s Set) Insert(node Node, context Context, now uint64, v Value) Set {
	over := make(Set, 0, len(context))
	for _, seen := range context {
		if seen.Time > 0 {
			over = append(over, Entry{Node: seen.Node, Discard: seen.Time})
		}
	}
	out := Merge(s, over)
	i, found := out.find(node)
	if !found {
		out = slices.Insert(out, i, Entry{Node: node})
	}
	e := &out[i]
	dot := Dot{Time: max(now, e.latest()+1), Value: v}
	dots := make([]Dot, 0, len(e.Dots)+1)
	for _, d := range e.Dots {
		if !d.Equal(v) {
			dots = append(dots, d)
		}
	}
	e.Dots = append(dots, dot)
	return out
}

// Merge joins what two replicas know of an item.
func Merge(a, b Set) Set {
	out := make(Set, 0, max(len(a), len(b))+1)
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Node < b[0].Node:
			out, a = append(out, a[0]), a[1:]
		case a[0].Node > b[0].Node:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, join(a[0], b[0])), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func join(a, b Entry) Entry {
	e := Entry{Node: a.Node, Discard: max(a.Discard, b.Discard), Dots: a.Dots}
	if len(a.Dots) == 0 {
		e.Dots = b.Dots
	} else if len(b.Dots) > 0 {
		e.Dots = make([]Dot, 0, len(a.Dots)+len(b.Dots))
		e.Dots = append(append(e.Dots, a.Dots...), b.Dots...)
		slices.SortFunc(e.Dots, func(x, y Dot) int {
			switch {
			case x.Time < y.Time:
				return -1
			case x.Time > y.Time:
				return 1
			}
			return 0
		})
		e.Dots = slices.CompactFunc(e.Dots, func(x, y Dot) bool { return x.Time == y.Time })
	}
	e.discard()
	return e
}

func (s Set) find(node Node) (int, bool) {
	return slices.BinarySearchFunc(s, node, func(e Entry, n Node) int {
		switch {
		case e.Node < n:
			return -1
		case e.Node > n:
			return 1
		}
		return 0
	})
}

// Context is what somebody has seen who has read s.
func (s Set) Context() Context {
	c := make(Context, 0, len(s))
	for i := range s {
		c = append(c, Seen{s[i].Node, s[i].latest()})
	}
	return c
}

// Values are the concurrent values, each once, in the order they were written
// through their nodes.
func (s Set) Values() []Value {
	var all []Value
	for i := range s {
		for _, d := range s[i].Dots {
			if !slices.ContainsFunc(all, d.Equal) {
				all = append(all, d.Value)
			}
		}
	}
	return all
}

// Dots counts the writes that are kept, those of equal values included.
func (s Set) Dots() (n int) {
	for i := range s {
		n += len(s[i].Dots)
	}
	return n
}
