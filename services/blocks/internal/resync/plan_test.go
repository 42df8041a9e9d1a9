package resync

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// node is a node of the tables.
func node(n byte) object.NodeID { return object.NodeID{15: n} }

func nodes(ns ...byte) (list []object.NodeID) {
	for _, n := range ns {
		list = append(list, node(n))
	}
	return list
}

// ring has one partition that the nodes before hold and, unless it is nil,
// those after are to hold.
func ring(before, after []byte) *layout.Ring {
	assign := func(set []byte) layout.Assignment {
		a := layout.Assignment{Nodes: nodes(set...), Assign: [][]uint16{nil}}
		for i := range set {
			a.Assign[0] = append(a.Assign[0], uint16(i))
		}
		return a
	}
	a := assign(before)
	r := &layout.Ring{Epoch: 4, Nodes: a.Nodes, Assign: a.Assign}
	if after != nil {
		r = r.Begin(assign(after))
	}
	return r
}

func TestSourcesAndWhenAPartitionIsFilled(t *testing.T) {
	for name, c := range map[string]struct {
		before, after, skip []byte
		nodes               []byte
		// outcome by listed and complete members
		full, not [][2]int
	}{
		"gained": {
			before: []byte{2, 3, 4}, after: []byte{1, 3, 4}, nodes: []byte{2, 3, 4},
			full: [][2]int{{2, 2}, {3, 2}, {3, 0}}, not: [][2]int{{0, 0}, {1, 1}, {2, 1}, {2, 0}},
		},
		"gained from one": {
			before: []byte{2}, after: []byte{1, 2}, nodes: []byte{2},
			full: [][2]int{{1, 1}, {1, 0}}, not: [][2]int{{0, 0}},
		},
		"one declared dead": {
			before: []byte{2, 3, 4}, after: []byte{1, 3, 4}, skip: []byte{2}, nodes: []byte{3, 4},
			full: [][2]int{{2, 2}, {2, 0}}, not: [][2]int{{1, 1}},
		},
		"two of three declared dead: the third may have missed what they hold": {
			before: []byte{2, 3, 4}, after: []byte{1, 3, 4}, skip: []byte{2, 3}, nodes: []byte{4, 2, 3},
			full: [][2]int{{3, 0}, {2, 2}}, not: [][2]int{{1, 1}, {2, 1}},
		},
		"all declared dead": {
			before: []byte{2}, after: []byte{1}, skip: []byte{2}, nodes: []byte{2}, not: [][2]int{{0, 0}},
		},
		"a member that missed its own filling asks all": {
			before: []byte{1, 2, 3}, nodes: []byte{2, 3},
			full: [][2]int{{2, 2}, {2, 0}}, not: [][2]int{{1, 1}, {0, 0}},
		},
	} {
		got, quorum := sources(ring(c.before, c.after), 0, node(1), nodes(c.skip...))
		if !slices.Equal(got, nodes(c.nodes...)) {
			t.Errorf("%s: sources %v", name, got)
		}
		for _, x := range c.full {
			if !filled(len(got), quorum, x[0], x[1]) {
				t.Errorf("%s: not filled by %d listed, %d complete", name, x[0], x[1])
			}
		}
		for _, x := range c.not {
			if filled(len(got), quorum, x[0], x[1]) {
				t.Errorf("%s: filled by %d listed, %d complete", name, x[0], x[1])
			}
		}
	}
}

func TestOthers(t *testing.T) {
	for _, c := range []struct {
		before, after, want []byte
		member              bool
	}{
		{[]byte{1, 2, 3}, nil, []byte{2, 3}, true},
		{[]byte{2, 3}, nil, []byte{2, 3}, false},
		{[]byte{2, 3}, []byte{3, 1}, []byte{2, 3}, true},
		{[]byte{1, 2}, []byte{2, 3}, []byte{2, 3}, true},
	} {
		got, member := others(ring(c.before, c.after), 0, node(1))
		if !slices.Equal(got, nodes(c.want...)) || member != c.member {
			t.Errorf("%v to %v: %v, %v", c.before, c.after, got, member)
		}
	}
}

func TestDiffering(t *testing.T) {
	d := func(n uint64) blockapi.Digest { return blockapi.Digest{Sum: [2]uint64{n, n}, Refs: int64(n)} }
	stored := d(3)
	stored.Bytes = 77 // another encoding is no difference
	mine := map[blockapi.Leaf]blockapi.Digest{1: d(1), 2: d(2), 3: d(3), 9: d(9)}
	theirs := map[blockapi.Leaf]blockapi.Digest{2: d(7), 1: d(1), 3: stored, 5: d(5)}
	if got := differing(mine, theirs); !slices.Equal(got, []blockapi.Leaf{2, 5}) {
		t.Errorf("got %v", got)
	}
}

func TestExcept(t *testing.T) {
	a, b := blocktest.Owner(), blocktest.Owner()
	entries := []blockapi.Entry{
		{Hash: object.Hash{1}, Owners: []blockapi.Owner{a, b}},
		{Hash: object.Hash{2}, Owners: []blockapi.Owner{a}},
		{Hash: object.Hash{3}, Owners: []blockapi.Owner{b}},
	}
	want := []blockapi.Entry{entries[0], entries[2]}
	want[0].Owners = []blockapi.Owner{b}
	if got := except(entries, map[int]bool{0: true, 2: true}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestBackoff(t *testing.T) {
	last := time.Duration(0)
	for tries := range uint32(40) {
		d := backoff(tries)
		if d < last || d > maxBackoff || tries == 0 && d != minBackoff {
			t.Fatalf("after %d tries %v, before %v", tries, d, last)
		}
		last = d
	}
	if last != maxBackoff {
		t.Errorf("the longest wait is %v", last)
	}
}
