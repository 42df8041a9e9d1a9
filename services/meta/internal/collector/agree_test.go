package collector

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

func at(n int64) register.Tag { return register.Tag{Time: n, Node: 1} }

// Only what every member has alike, without a value and old in all its tags, is
// forgotten, and with every promise.
func TestAgreed(t *testing.T) {
	marker := metaapi.RowState{Tag: at(5)}
	for _, test := range []struct {
		name string
		held [3]metaapi.RowState
		low  register.Tag // zero: not to be forgotten
	}{
		{"all alike", [3]metaapi.RowState{marker, marker, marker}, at(5)},
		{"promises", [3]metaapi.RowState{marker, {Tag: at(5), Promised: at(8)}, {Tag: at(5), Promised: at(7)}}, at(8)},
		{"one lacks it", [3]metaapi.RowState{marker, marker, {}}, register.Tag{}},
		{"one has an older value", [3]metaapi.RowState{marker, marker, {Tag: at(4), Live: true}}, register.Tag{}},
		{"one has another marker", [3]metaapi.RowState{marker, {Tag: at(6)}, marker}, register.Tag{}},
		{"one is written at the same tag", [3]metaapi.RowState{marker, {Tag: at(5), Live: true}, marker}, register.Tag{}},
		{"a young promise", [3]metaapi.RowState{marker, marker, {Tag: at(5), Promised: at(10)}}, register.Tag{}},
		{"too young", [3]metaapi.RowState{{Tag: at(10)}, {Tag: at(10)}, {Tag: at(10)}}, register.Tag{}},
		{"never written", [3]metaapi.RowState{{Promised: at(3)}, {}, {Promised: at(4)}}, at(4)},
		{"nothing at all", [3]metaapi.RowState{}, register.Tag{}},
	} {
		var held [][]metaapi.RowState
		for _, s := range test.held {
			held = append(held, []metaapi.RowState{s})
		}
		rows := agreed([]metaapi.RowKey{{Key: "k"}}, held, time.UnixMicro(10))
		switch {
		case test.low.IsZero() && len(rows) > 0:
			t.Errorf("%s: forgets %+v", test.name, rows)
		case !test.low.IsZero() && (len(rows) != 1 || rows[0].Low != test.low || rows[0].Tag != test.held[0].Tag):
			t.Errorf("%s: forgets %+v, want low %v", test.name, rows, test.low)
		}
	}
}

// Each marker has one collector, a promise any member that knows of it.
func TestCandidates(t *testing.T) {
	first, second, other := object.NodeID{1}, object.NodeID{2}, object.NodeID{3}
	ring := &layout.Ring{Epoch: 1, Bits: 1, Nodes: []object.NodeID{first, second, other}, Assign: [][]uint16{{0, 1}, {1, 0}}}
	var keys []metaapi.RowKey
	for i := range 20 {
		keys = append(keys, metaapi.RowKey{Key: fmt.Sprint(i)})
	}
	if b := group(ring, other, keys); len(b) != 0 {
		t.Errorf("a node that is no member has %+v", b)
	}
	collectors := map[metaapi.RowKey]int{}
	for _, self := range []object.NodeID{first, second} {
		batches := group(ring, self, keys)
		if len(batches) != 2 || len(batches[0].keys)+len(batches[1].keys) != len(keys) {
			t.Fatalf("%+v", batches)
		}
		for _, b := range batches {
			states := slices.Repeat([]metaapi.RowState{{Tag: at(1)}}, len(b.keys))
			states[0] = metaapi.RowState{Promised: at(1)}
			mine, _ := candidates(b, self, states, time.UnixMicro(10))
			for _, k := range mine {
				collectors[k]++
			}
			if !slices.Contains(mine, b.keys[0]) {
				t.Error("a promise is left alone")
			}
		}
	}
	for _, k := range keys {
		if collectors[k] == 0 {
			t.Errorf("nobody collects %q", k.Key)
		}
	}
	if n := len(collectors); n != len(keys) {
		t.Errorf("%d rows of %d have a collector", n, len(keys))
	}
}
