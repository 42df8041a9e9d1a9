package coordinator

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hangar/shared/control"
	"hangar/shared/layout"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

func id(b byte) (n object.NodeID) { n[0] = b; return n }

// oneRing is joint in epoch 2: partition 0 goes from 1, 2, 3 to 1, 4, 5, and
// partition 1 stays on 1, 2, 3.
func oneRing() *layout.Ring {
	born := &layout.Ring{Epoch: 1, Bits: 1, Nodes: []object.NodeID{id(1), id(2), id(3)}, Assign: [][]uint16{{0, 1, 2}, {0, 1, 2}}}
	return born.Begin(layout.Assignment{
		Nodes:  []object.NodeID{id(1), id(2), id(3), id(4), id(5)},
		Assign: [][]uint16{{0, 3, 4}, {0, 1, 2}},
	})
}

func adopts(s *Seen, marks map[layout.Partition]json.RawMessage, nodes ...byte) {
	for _, n := range nodes {
		s.Adopted(id(n), nodeapi.Adopted{Epoch: 2, Marks: marks})
	}
}

func marks(time int64) map[layout.Partition]json.RawMessage {
	b, err := json.Marshal(register.Tag{Time: time})
	if err != nil {
		panic(err)
	}
	return map[layout.Partition]json.RawMessage{0: b, 1: b}
}

func TestNothingMovesBeforeTheFence(t *testing.T) {
	for _, service := range control.StorageServices {
		s := NewSeen(2)
		for _, step := range []struct {
			adopted []byte
			fenced  bool
		}{
			{nil, false},
			{[]byte{4, 5}, false},       // a majority of the next set only
			{[]byte{4, 5, 1}, false},    // not of partition 0 before
			{[]byte{4, 5, 1, 2}, true},  // of both, and of partition 1
			{[]byte{1, 2, 3}, false},    // of the old set only
			{[]byte{1, 2, 3, 4}, true},  // and of the next
			{[]byte{2, 3, 4, 5}, true},  // without the one that stays
			{[]byte{1, 3, 4, 99}, true}, // whoever 99 is
		} {
			s = NewSeen(2)
			adopts(s, nil, step.adopted...)
			p := Decide(service, oneRing(), 2, nil, s)
			if fenced := p.Phase != Fencing; fenced != step.fenced || (len(p.Orders) > 0) != fenced || p.End {
				t.Errorf("%s, adopted by %v: %+v", service, step.adopted, p)
			}
		}
		if p := Decide(service, oneRing(), 2, nil, nil); len(p.Adopt) != 5 || p.Total != 1 {
			t.Errorf("%s: at first %+v", service, p)
		}
		s.Epoch = 1
		if p := Decide(service, oneRing(), 2, nil, s); p.Phase != Fencing {
			t.Errorf("%s: knowledge of another epoch led to %+v", service, p)
		}
	}
}

func TestMarksComeFromAMajority(t *testing.T) {
	s := NewSeen(2)
	adopts(s, nil, 1, 4, 5)
	adopts(s, marks(3), 2)
	p := Decide(control.ServiceMeta, oneRing(), 0, nil, s)
	if p.Phase != Marking || p.Marks != nil || len(p.Orders) > 0 || len(p.Waiting) != 2 || len(p.Adopt) != 2 {
		t.Errorf("with the marks of one: %+v", p)
	}
	adopts(s, marks(9), 4) // no member before: counts for nothing
	s.Adopted(id(1), nodeapi.Adopted{Epoch: 3, Marks: marks(9)})
	if p = Decide(control.ServiceMeta, oneRing(), 0, nil, s); p.Marks != nil {
		t.Errorf("with marks of others and of another epoch: %+v", p)
	}
	adopts(s, marks(5), 3)
	p = Decide(control.ServiceMeta, oneRing(), 0, nil, s)
	want := map[layout.Partition]register.Tag{0: {Time: 5}, 1: {Time: 5}}
	if d := cmp.Diff(want, p.Marks); d != "" || len(p.Orders) > 0 {
		t.Errorf("marks (-want +got):\n%s", d)
	}
	s.Adopted(id(2), nodeapi.Adopted{Epoch: 2, Marks: map[layout.Partition]json.RawMessage{0: []byte("{")}})
	if s.down[id(2)] == nil {
		t.Error("a mark that cannot be read was passed over")
	}
}

func TestWhoBringsWhat(t *testing.T) {
	s := NewSeen(2)
	adopts(s, marks(1), 1, 2, 3, 4, 5)
	part := []layout.Partition{0}
	p := Decide(control.ServiceMeta, oneRing(), 2, nil, s)
	if len(p.Orders) != 1 || len(p.Orders[id(4)])+len(p.Orders[id(5)]) != 1 {
		t.Errorf("rows: %v", p.Orders)
	}
	s.Failed(id(4), errors.New("gone"))
	if p = Decide(control.ServiceMeta, oneRing(), 2, nil, s); len(p.Orders[id(5)]) != 1 {
		t.Errorf("rows, one gaining node down: %v", p.Orders)
	}
	s.Failed(id(5), errors.New("gone"))
	if p = Decide(control.ServiceMeta, oneRing(), 2, nil, s); len(p.Orders[id(1)]) != 1 || len(p.Adopt) != 2 {
		t.Errorf("rows, both down: %+v", p)
	}
	s.Moved(id(1), part, nodeapi.Progress{Epoch: 2, Done: []layout.Partition{0}})
	if p = Decide(control.ServiceMeta, oneRing(), 2, nil, s); !p.End || p.Done != 1 {
		t.Errorf("rows, done: %+v", p)
	}

	s = NewSeen(2)
	adopts(s, nil, 1, 2, 3, 4, 5)
	if p = Decide(control.ServiceBlocks, oneRing(), 0, nil, s); len(p.Orders[id(4)]) != 1 || len(p.Orders[id(5)]) != 1 || len(p.Orders[id(1)]) != 1 || len(p.Orders) != 3 {
		t.Errorf("blocks: %v", p.Orders)
	}
	s.Moved(id(1), part, nodeapi.Progress{Epoch: 2, Done: []layout.Partition{0}}) // it may have been skipped when it joined
	s.Moved(id(4), part, nodeapi.Progress{Epoch: 2, Done: []layout.Partition{0}})
	s.Moved(id(5), part, nodeapi.Progress{Epoch: 1, Done: []layout.Partition{0}})
	s.Moved(id(5), nil, nodeapi.Progress{Epoch: 2, Done: []layout.Partition{0}})
	s.Failed(id(5), errors.New("gone"))
	p = Decide(control.ServiceBlocks, oneRing(), 0, nil, s)
	if p.End || len(p.Orders) != 1 || len(p.Waiting) != 1 || p.Waiting[0].Node != id(5) {
		t.Errorf("blocks, one of two done: %+v", p)
	}
	if p = Decide(control.ServiceBlocks, oneRing(), 0, []object.NodeID{id(5)}, s); !p.End {
		t.Errorf("blocks, the other skipped: %+v", p)
	}
}

func TestAWorkerInVainIsReplaced(t *testing.T) {
	s := NewSeen(2)
	adopts(s, marks(1), 1, 2, 3, 4, 5)
	first := worker(t, s)
	for range strikesOut {
		s.Moved(first, []layout.Partition{0}, nodeapi.Progress{Epoch: 2, Error: "no majority"})
	}
	if second := worker(t, s); second == first {
		t.Error("a node that gets nowhere keeps the work")
	}
	s.Moved(first, []layout.Partition{0}, nodeapi.Progress{Epoch: 2, Items: 1, Error: "no majority"})
	if worker(t, s) != first {
		t.Error("a node that gets on does not get the work")
	}
}

func worker(t *testing.T, s *Seen) object.NodeID {
	t.Helper()
	p := Decide(control.ServiceMeta, oneRing(), 2, nil, s)
	for n := range p.Orders {
		return n
	}
	t.Fatalf("nobody has orders: %+v", p)
	return object.NodeID{}
}

func TestRisk(t *testing.T) {
	for _, c := range []struct {
		skip []byte
		safe bool
	}{
		{nil, true}, {[]byte{2}, true}, {[]byte{4}, true}, {[]byte{5}, true}, {[]byte{2, 4}, true},
		{[]byte{2, 3}, false}, // they may hold what node 1 never got
		{[]byte{4, 5}, false}, // one copy is left, if any
		{[]byte{1, 4}, false}, // no majority
	} {
		var skip []object.NodeID
		for _, n := range c.skip {
			skip = append(skip, id(n))
		}
		// Partition 1 of oneRing loses its majority with 2 and 3.
		ring := oneRing()
		ring.Assign, ring.Next = ring.Assign[:1], ring.Next[:1]
		if err := Risk(ring, skip); (err == nil) != c.safe {
			t.Errorf("skipping %v: %v", c.skip, err)
		}
	}
}

func TestEstimate(t *testing.T) {
	p, s, at := &pace{}, NewSeen(2), time.Unix(100, 0)
	plan := Plan{Total: 10}
	if got := p.estimate(at, plan, s); got != nil {
		t.Errorf("at first %v", *got)
	}
	plan.Done = 4
	if got := p.estimate(at.Add(8*time.Second), plan, s); got == nil || *got != 12 {
		t.Errorf("4 of 10 in 8 s: %v", got)
	}
	s.Moved(id(1), nil, nodeapi.Progress{Epoch: 2, Bytes: 50, BytesTotal: 100, Items: 1, ItemsTotal: 100})
	if got := p.estimate(at.Add(10*time.Second), plan, s); got == nil || *got != 10 {
		t.Errorf("50 of 100 bytes in 10 s: %v", got)
	}
}
