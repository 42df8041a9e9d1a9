package volume

import (
	"reflect"
	"strings"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/object"
)

var self, stranger = object.NodeID{1}, object.NodeID{2}

func TestReconcile(t *testing.T) {
	mine := func(s Slot, segments bool) Seen { return Seen{Node: self, Slot: s, Segments: segments} }
	full := []Known{{1, "/a", 10}, {2, "/b", 20}}
	for _, c := range []struct {
		name    string
		known   []Known
		config  string
		seen    map[string]Seen
		open    string // slots, with + for new ones and - for drained ones
		lose    string
		forget  string
		highest Slot
		err     string // of what is refused
	}{
		{name: "one directory", seen: map[string]Seen{}},
		{name: "first start", config: "main,/a,/b", seen: map[string]Seen{"/a": {}, "/b": {}}, open: "1+ 2+", highest: 2},
		{name: "as before", known: full, config: "/b,/a", seen: map[string]Seen{"/a": mine(1, true), "/b": mine(2, true)}, open: "2 1", highest: 2},
		{name: "one more", known: full, config: "/a,/b,/c", seen: map[string]Seen{"/a": mine(1, true), "/b": mine(2, true), "/c": {}}, open: "1 2 3+", highest: 3},
		{name: "mounted elsewhere", known: full, config: "/a,/z", seen: map[string]Seen{"/a": mine(1, true), "/z": mine(2, true)}, open: "1 2", highest: 2},
		{name: "swapped", known: full, config: "/a,/b", seen: map[string]Seen{"/a": mine(2, true), "/b": mine(1, true)}, open: "2 1", highest: 2},
		{name: "moved, and a new disk in its place", known: full, config: "/a,/b,/z", seen: map[string]Seen{"/a": mine(1, true), "/b": {}, "/z": mine(2, true)}, open: "1 3+ 2", highest: 3},
		{name: "drained", known: full, config: "/a,/b=ro", seen: map[string]Seen{"/a": mine(1, true), "/b": mine(2, true)}, open: "1 2-", highest: 2},
		{name: "empty and left out", known: []Known{{1, "/a", 10}, {2, "/b", 0}}, config: "/a", seen: map[string]Seen{"/a": mine(1, true)}, open: "1", forget: "2", highest: 2},
		{name: "back to one", known: []Known{{1, "/a", 0}}, seen: map[string]Seen{}, forget: "1", highest: 1},
		{name: "lost", known: full, config: "/a,/b=lost", seen: map[string]Seen{"/a": mine(1, true), "/b": {}}, open: "1", lose: "2", highest: 2},
		{name: "lost with its mount point", known: full, config: "/a,/b=lost", seen: map[string]Seen{"/a": mine(1, true), "/b": {Missing: true}}, open: "1", lose: "2", highest: 2},
		{name: "lost before", known: full[:1], config: "/a,/b=lost", seen: map[string]Seen{"/a": mine(1, true), "/b": {Missing: true}}, open: "1", highest: 2},
		{name: "a new disk for a lost one", known: full[:1], config: "/a,/b", seen: map[string]Seen{"/a": mine(1, true), "/b": {}}, open: "1 3+", highest: 3},
		{name: "left out once, and back", known: full[:1], config: "/a,/b", seen: map[string]Seen{"/a": mine(1, true), "/b": mine(2, false)}, open: "1 3+", highest: 3},
		{name: "lost once, and back", known: full[:1], config: "/a,/b", seen: map[string]Seen{"/a": mine(1, true), "/b": mine(2, true)}, open: "1 2", highest: 2},
		{name: "a crash after the mark", config: "/b,/a", seen: map[string]Seen{"/a": mine(1, false), "/b": {}}, open: "1+ 2+", highest: 2},

		{name: "not mounted", known: full, config: "/a,/b", seen: map[string]Seen{"/a": mine(1, true), "/b": {}}, err: "/b=lost"},
		{name: "no mount point", known: full, config: "/a,/b", seen: map[string]Seen{"/a": mine(1, true), "/b": {Missing: true}}, err: "/b=lost"},
		{name: "even when it is empty", known: []Known{{1, "/a", 0}}, config: "/a", seen: map[string]Seen{"/a": {}}, err: "mount its disk"},
		{name: "not there yet", config: "/a", seen: map[string]Seen{"/a": {Missing: true}}, err: "create the directory"},
		{name: "left out with blocks", known: full, config: "/a", seen: map[string]Seen{"/a": mine(1, true)}, err: "/b=ro until it is empty"},
		{name: "all left out", known: full, seen: map[string]Seen{}, err: "/a=ro until it is empty"},
		{name: "lost, but there", known: full, config: "/a,/b=lost", seen: map[string]Seen{"/a": mine(1, true), "/b": mine(2, true)}, err: "/b=ro"},
		{name: "lost, but elsewhere", known: full, config: "/a,/b=lost,/c", seen: map[string]Seen{"/a": mine(1, true), "/b": {}, "/c": mine(2, true)}, err: "is there"},
		{name: "of another node", config: "/a", seen: map[string]Seen{"/a": {Node: stranger, Slot: 1}}, err: "of node " + stranger.String()},
		{name: "a copy", known: full, config: "/a,/b,/c", seen: map[string]Seen{"/a": mine(1, true), "/b": mine(2, true), "/c": mine(2, true)}, err: "a copy"},
		{name: "blocks of nobody", config: "/a", seen: map[string]Seen{"/a": {Segments: true}}, err: "empty directory"},
		{name: "blocks of a lost index", config: "/a", seen: map[string]Seen{"/a": mine(1, true)}, err: "restore the index"},
		{name: "read-only from the start", config: "/a=ro", seen: map[string]Seen{"/a": {}}, err: "never held"},
	} {
		highest := Slot(0)
		if len(c.known) > 0 {
			highest = max(c.highest-Slot(strings.Count(c.open, "+")), c.known[len(c.known)-1].Slot)
		}
		specs, err := Parse(c.config)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Reconcile(self, highest, c.known, specs, c.seen)
		if c.err != "" {
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var open []string
		for _, o := range p.Open {
			s := string('0' + rune(o.Slot))
			if o.New {
				s += "+"
			}
			if o.Use == Drain {
				s += "-"
			}
			open = append(open, s)
		}
		names := func(known []Known) (s string) {
			for _, k := range known {
				s += string('0' + rune(k.Slot))
			}
			return s
		}
		got := []any{strings.Join(open, " "), names(p.Lose), names(p.Forget), p.Highest}
		if want := []any{c.open, c.lose, c.forget, c.highest}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, not %v", c.name, got, want)
		}
	}
}
