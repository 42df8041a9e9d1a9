// Package register is the replication protocol of rows, as pure code: what a
// replica does with a request (Replica functions), what a coordinator does
// with answers (Coordinator), and the tags that order it all. It does no I/O
// and reads no clock, so that the simulator can drive it with seeds.
package register

import "fmt"

// Tag orders the values of a row. Tags are compared by Time, then Node, then
// Seq. The zero Tag is below all others and belongs to a row never written.
type Tag struct {
	// Time is a hybrid logical clock: Unix microseconds, or one more than the
	// highest Time seen when that is larger.
	Time int64
	// Node is unique to one start of one coordinator process and never reused.
	Node uint64
	// Seq is 0 for a first attempt or a re-commit at a ballot, 1 for a new
	// value written at a ballot.
	Seq uint8
}

// Compare returns -1, 0 or 1.
func (t Tag) Compare(o Tag) int {
	switch {
	case t.Time != o.Time:
		return sign(t.Time < o.Time)
	case t.Node != o.Node:
		return sign(t.Node < o.Node)
	case t.Seq != o.Seq:
		return sign(t.Seq < o.Seq)
	}
	return 0
}

func sign(less bool) int {
	if less {
		return -1
	}
	return 1
}

// Less reports whether t orders before o.
func (t Tag) Less(o Tag) bool { return t.Compare(o) < 0 }

// IsZero reports whether t is the zero Tag.
func (t Tag) IsZero() bool { return t == Tag{} }

// Max returns the higher of t and o.
func (t Tag) Max(o Tag) Tag {
	if t.Less(o) {
		return o
	}
	return t
}

func (t Tag) String() string { return fmt.Sprintf("%d.%x.%d", t.Time, t.Node, t.Seq) }
