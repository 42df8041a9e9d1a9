// Package coordinator drives layout changes: it fences the old epoch, has data
// brought to where the new layout wants it, and ends the change. What to do
// next is a pure decision on the layout record and on what nodes have answered
// (Decide); Driver asks them and writes the record. A driver keeps nothing: it
// may die at any point, and any number of them at once do no harm, since each
// step is a conditional write that is right whoever makes it.
package coordinator

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"hangar/shared/control"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/register"
)

// Phase is how far the change of a ring has come.
type Phase string

// The phases, in order.
const (
	// Fencing: until majorities have adopted the joint epoch, so that nothing
	// is acknowledged in the one before.
	Fencing Phase = "fencing"
	// Marking: until majorities have told their low marks (rows only).
	Marking Phase = "marking"
	// Copying: until all is where the next assignment wants it.
	Copying Phase = "copying"
	// Ending: all is in place; the ring is about to end.
	Ending Phase = "ending"
)

// Waiting names a node that the change waits for.
type Waiting struct {
	Node object.NodeID `json:"node"`
	// Reason says what for, and what went wrong if anything did.
	Reason string `json:"reason"`
	// Partitions is how many wait.
	Partitions int `json:"partitions"`
}

// Plan is what to do next for one joint ring.
type Plan struct {
	Phase Phase
	// Adopt are the nodes to ask to adopt the epoch, in order.
	Adopt []object.NodeID
	// Marks are to be written down, one for each partition; nil: not yet, or
	// done.
	Marks map[layout.Partition]register.Tag
	// Orders are the partitions that nodes are to see to, ascending.
	Orders map[object.NodeID][]layout.Partition
	// End says that the ring may end.
	End bool
	// Total and Done count the partitions that change hands.
	Total, Done int
	Waiting     []Waiting
}

// change is one joint ring and what is known of it.
type change struct {
	service string
	ring    *layout.Ring
	skip    map[object.NodeID]bool
	seen    *Seen
	plan    Plan
	waiting map[object.NodeID]*Waiting
}

// Decide says what to do next for the ring of a service, which must be joint.
// lowsEpoch is the layout's MetaLowsEpoch, skip its Change.Skip. seen may be
// of another epoch: then nothing is known.
func Decide(service string, ring *layout.Ring, lowsEpoch uint64, skip []object.NodeID, seen *Seen) Plan {
	if seen == nil || seen.Epoch != ring.Epoch {
		seen = NewSeen(ring.Epoch)
	}
	c := change{service: service, ring: ring, skip: map[object.NodeID]bool{}, seen: seen, waiting: map[object.NodeID]*Waiting{}}
	for _, n := range skip {
		c.skip[n] = true
	}
	for _, n := range ring.Nodes {
		if !seen.adopted[n] || seen.down[n] != nil { // who is down is asked whether it is up
			c.plan.Adopt = append(c.plan.Adopt, n)
		}
	}
	slices.SortFunc(c.plan.Adopt, compareNodes)
	c.count()
	switch {
	case !c.fenced():
		c.plan.Phase = Fencing
	case service == control.ServiceMeta && lowsEpoch != ring.Epoch:
		c.plan.Phase = Marking
		c.mark()
	case c.plan.Done < c.plan.Total:
		c.plan.Phase = Copying
		c.order()
	default:
		c.plan.Phase, c.plan.End = Ending, true
	}
	for _, w := range c.waiting {
		if err := seen.down[w.Node]; err != nil {
			w.Reason += prefixed(": ", err.Error())
		}
		c.plan.Waiting = append(c.plan.Waiting, *w)
	}
	slices.SortFunc(c.plan.Waiting, func(a, b Waiting) int { return compareNodes(a.Node, b.Node) })
	return c.plan
}

func compareNodes(a, b object.NodeID) int { return bytes.Compare(a[:], b[:]) }

// await notes that a partition waits for n.
func (c *change) await(n object.NodeID, reason string) {
	w := c.waiting[n]
	if w == nil {
		w = &Waiting{Node: n, Reason: reason}
		c.waiting[n] = w
	}
	w.Partitions++
}

// fenced reports whether a majority of both sets of every partition, also of
// those that stay, has adopted the epoch.
func (c *change) fenced() bool {
	fenced := true
	for p := range c.ring.Assign {
		for _, set := range c.ring.Sets(layout.Partition(p)) {
			if c.majority(set, "to adopt the new layout", func(n object.NodeID) bool { return c.seen.adopted[n] }) {
				continue
			}
			fenced = false
		}
	}
	return fenced
}

// majority reports whether a majority of set is ok, and awaits the others if
// it is not.
func (c *change) majority(set layout.ReplicaSet, reason string, ok func(object.NodeID) bool) bool {
	have := 0
	for _, n := range set {
		if ok(n) {
			have++
		}
	}
	if have >= set.Majority() {
		return true
	}
	for _, n := range set {
		if !ok(n) {
			c.await(n, reason)
		}
	}
	return false
}

// mark takes, for each partition, the highest low mark of a majority of those
// that held it before.
func (c *change) mark() {
	marks := make(map[layout.Partition]register.Tag, len(c.ring.Assign))
	for i := range c.ring.Assign {
		p := layout.Partition(i)
		before := c.ring.Sets(p)[0]
		var high register.Tag
		told := func(n object.NodeID) bool {
			mark, ok := c.seen.marks[n][p]
			if ok {
				high = high.Max(mark)
			}
			return ok
		}
		if c.majority(before, "to tell its low marks", told) {
			marks[p] = high
		}
	}
	if len(marks) == len(c.ring.Assign) {
		c.plan.Marks = marks
		return
	}
	// Who adopted before it served everything has more to tell by now.
	for n := range c.waiting {
		if !slices.Contains(c.plan.Adopt, n) {
			c.plan.Adopt = append(c.plan.Adopt, n)
		}
	}
	slices.SortFunc(c.plan.Adopt, compareNodes)
}

// count counts the partitions that change hands, and those of them that are
// in place.
func (c *change) count() {
	for p := range c.ring.Assign {
		if part := layout.Partition(p); c.ring.Changes(part) {
			c.plan.Total++
			if c.inPlace(part) {
				c.plan.Done++
			}
		}
	}
}

// inPlace reports whether everything of p is where the ring leads. Rows are as
// soon as any worker says so: it wrote them to quorums. Blocks are once each
// next member says so for itself, those that held them before included: one that
// an earlier change skipped may lack what it never brought.
func (c *change) inPlace(p layout.Partition) bool {
	if c.service == control.ServiceMeta {
		return len(c.seen.done[p]) > 0
	}
	return len(c.unfilled(p)) == 0
}

// unfilled are the next members of a partition of blocks that have not said that
// they lack nothing, but for those declared dead.
func (c *change) unfilled(p layout.Partition) []object.NodeID {
	return slices.DeleteFunc(slices.Clone(c.ring.Sets(p)[1]), func(n object.NodeID) bool { return c.skip[n] || c.seen.done[p][n] })
}

// order says who is to see to what is not in place.
func (c *change) order() {
	c.plan.Orders = map[object.NodeID][]layout.Partition{}
	for i := range c.ring.Assign {
		p := layout.Partition(i)
		if !c.ring.Changes(p) || c.inPlace(p) {
			continue
		}
		for _, n := range c.workers(p) {
			c.plan.Orders[n] = append(c.plan.Orders[n], p)
			reason := c.seen.progress[n].Error
			if c.seen.down[n] != nil || reason != "" {
				c.await(n, "to bring what it takes over"+prefixed(": ", reason))
			}
		}
	}
}

// longestReason bounds what is passed on of a node's complaint.
const longestReason = 200

// prefixed adds the first line of a complaint, if there is one.
func prefixed(prefix, s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if s == "" {
		return ""
	}
	return prefix + strings.ToValidUTF8(s[:min(len(s), longestReason)], "")
}

// workers are the nodes to order p from: for blocks all that are to hold it, for
// rows one of the next members.
func (c *change) workers(p layout.Partition) []object.NodeID {
	if c.service == control.ServiceBlocks {
		return c.unfilled(p)
	}
	gains := c.ring.Gains(p)
	members := c.ring.Sets(p)[1]
	best := func(a, b object.NodeID) int {
		return cmp.Or(
			compareBool(c.skip[a], c.skip[b]),
			compareBool(c.seen.down[a] != nil, c.seen.down[b] != nil),
			cmp.Compare(c.seen.strikes[a]/strikesOut, c.seen.strikes[b]/strikesOut),
			compareBool(!slices.Contains(gains, a), !slices.Contains(gains, b)),
			// Spread the work, and keep it where it is when another node dies.
			cmp.Compare(weight(p, a), weight(p, b)),
		)
	}
	return []object.NodeID{slices.MinFunc(members, best)}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// weight is a number of its own for each pair.
func weight(p layout.Partition, n object.NodeID) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint16(n[:], uint16(p))) // never fails
	return h.Sum64()
}

// Risk returns an error when skipping nodes would leave a partition of the
// blocks' ring without a majority of its next members, or with so few of its old
// ones that they need not meet every majority of then. As long as there are both
// nothing is lost: all that are kept have said that they lack nothing (see
// inPlace). Either one of them gained the partition, and took every block, or all
// of them held it before, and meet every majority of then.
func Risk(ring *layout.Ring, skip []object.NodeID) error {
	unsafe := 0
	skipped := func(set layout.ReplicaSet) (n int) {
		for _, node := range set {
			if slices.Contains(skip, node) {
				n++
			}
		}
		return n
	}
	for i := range ring.Next {
		sets := ring.Sets(layout.Partition(i))
		old, next := sets[0], sets[len(sets)-1]
		if len(next)-skipped(next) < next.Majority() || skipped(old) >= old.Majority() {
			unsafe++
		}
	}
	if unsafe > 0 {
		return fmt.Errorf("%d partitions of blocks would be left with less than a majority of their copies", unsafe)
	}
	return nil
}
