package control

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/register"
)

func nodeID(b byte) (n object.NodeID) { n[0] = b; return n }

func role(service string, b byte) Role {
	return Role{Node: nodeID(b), Service: service, Zone: "z", CapacityBytes: 1 << 30}
}

// placement puts two partitions of each service on one node each.
func placement(meta, blocks [2]byte) Placement {
	a := func(on [2]byte) layout.Assignment {
		return layout.Assignment{Nodes: []object.NodeID{nodeID(on[0]), nodeID(on[1])}, Assign: [][]uint16{{0}, {1}}}
	}
	p := Placement{Bits: 1, Meta: a(meta), Blocks: a(blocks)}
	for _, b := range meta {
		p.Roles = append(p.Roles, role(ServiceMeta, b))
	}
	for _, b := range blocks {
		p.Roles = append(p.Roles, role(ServiceBlocks, b))
	}
	sortRoles(p.Roles)
	return p
}

func begin(t *testing.T, l Layout, p Placement) Layout {
	t.Helper()
	return must[Layout](t)(l.Begin(p, time.Unix(1, 0)))
}

var bothLows = map[layout.Partition]register.Tag{0: {Time: 7}, 1: {}}

func TestBegin(t *testing.T) {
	born := begin(t, Layout{}, placement([2]byte{1, 2}, [2]byte{3, 4}))
	if born.Version != 1 || born.Joint() || born.Change != nil || born.Meta.Epoch != 1 || born.Blocks.Epoch != 1 {
		t.Errorf("first layout %+v", born)
	}
	same := begin(t, born, placement([2]byte{1, 2}, [2]byte{3, 4}))
	if same.Version != 2 || same.Joint() || same.Change != nil || same.Meta.Epoch != 1 {
		t.Errorf("same assignment %+v", same)
	}
	moved := begin(t, born, placement([2]byte{1, 5}, [2]byte{3, 4}))
	if !moved.Meta.Joint() || moved.Meta.Epoch != 2 || moved.Blocks.Joint() || moved.Blocks.Epoch != 1 {
		t.Errorf("moved assignment %+v", moved)
	}
	if moved.Change == nil || len(moved.Change.RolesBefore) != 4 || born.Meta.Joint() {
		t.Errorf("change %+v, before %+v", moved.Change, born)
	}
	if _, err := moved.Begin(placement([2]byte{1, 2}, [2]byte{3, 4}), time.Now()); !fault.Is(err, fault.Conflict) {
		t.Errorf("a change on top of one: %v", err)
	}
	other := placement([2]byte{1, 2}, [2]byte{3, 4})
	other.Meta.Assign = other.Meta.Assign[:1]
	if _, err := born.Begin(other, time.Now()); !fault.Is(err, fault.Invalid) {
		t.Errorf("another number of partitions: %v", err)
	}
}

func TestLows(t *testing.T) {
	l := begin(t, begin(t, Layout{}, placement([2]byte{1, 2}, [2]byte{3, 4})), placement([2]byte{1, 5}, [2]byte{3, 4}))
	l.MetaLows = map[layout.Partition]register.Tag{0: {Time: 3}, 1: {Time: 5}}
	if err := l.TakeLows(2, map[layout.Partition]register.Tag{0: {Time: 7}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("with a partition missing: %v", err)
	}
	if err := l.TakeLows(1, bothLows); err != errUnchanged { //nolint:errorlint // the very value
		t.Errorf("of an epoch that is over: %v", err)
	}
	if err := l.TakeLows(2, bothLows); err != nil {
		t.Fatal(err)
	}
	want := map[layout.Partition]register.Tag{0: {Time: 7}, 1: {Time: 5}}
	if d := cmp.Diff(want, l.MetaLows); d != "" || l.MetaLowsEpoch != 2 {
		t.Errorf("epoch %d, lows (-want +got):\n%s", l.MetaLowsEpoch, d)
	}
	higher := map[layout.Partition]register.Tag{0: {Time: 9}, 1: {Time: 9}}
	if err := l.TakeLows(2, higher); err != errUnchanged { //nolint:errorlint // the very value
		t.Errorf("a second time: %v", err)
	}
}

func TestEndRing(t *testing.T) {
	l := begin(t, begin(t, Layout{}, placement([2]byte{1, 2}, [2]byte{3, 4})), placement([2]byte{1, 5}, [2]byte{6, 4}))
	if err := l.EndRing(ServiceMeta, 2); !fault.Is(err, fault.Conflict) {
		t.Errorf("without low marks: %v", err)
	}
	if err := l.TakeLows(2, bothLows); err != nil {
		t.Fatal(err)
	}
	if err := l.EndRing(ServiceMeta, 1); err != errUnchanged { //nolint:errorlint // the very value
		t.Errorf("of another epoch: %v", err)
	}
	if err := l.EndRing(ServiceMeta, 2); err != nil || l.Meta.Joint() || l.Change == nil {
		t.Fatalf("one of two: %v, %+v", err, l)
	}
	if err := l.EndRing(ServiceMeta, 3); err != errUnchanged { //nolint:errorlint // the very value
		t.Errorf("at rest: %v", err)
	}
	if err := l.EndRing(ServiceBlocks, 2); err != nil || l.Joint() || l.Change != nil || l.Blocks.Epoch != 3 {
		t.Fatalf("the last: %v, %+v", err, l)
	}
}

func TestAbort(t *testing.T) {
	born := begin(t, Layout{}, placement([2]byte{1, 2}, [2]byte{3, 4}))
	to := placement([2]byte{1, 5}, [2]byte{6, 4})
	to.ZoneRedundancy = 2
	l := begin(t, born, to)
	for _, v := range []uint64{1, 3} {
		if err := l.Abort(v); !fault.Is(err, fault.Conflict) {
			t.Errorf("abort of version %d: %v", v, err)
		}
	}
	whole := l
	if err := whole.Abort(2); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(born.Roles, whole.Roles); d != "" || whole.ZoneRedundancy != 0 || whole.Joint() || whole.Change != nil {
		t.Errorf("%+v, roles (-want +got):\n%s", whole, d)
	}
	if whole.Version != 3 || whole.AbortedVersion != 2 || whole.Meta.Epoch != 3 || whole.Blocks.Epoch != 3 {
		t.Errorf("%+v", whole)
	}
	if err := whole.Abort(3); !fault.Is(err, fault.Conflict) {
		t.Errorf("at rest: %v", err)
	}
	// What has ended stays.
	if err := l.TakeLows(2, bothLows); err != nil {
		t.Fatal(err)
	}
	if err := l.EndRing(ServiceMeta, 2); err != nil {
		t.Fatal(err)
	}
	ended := l.Meta
	if err := l.Abort(2); err != nil {
		t.Fatal(err)
	}
	want := placement([2]byte{1, 5}, [2]byte{3, 4}).Roles
	if d := cmp.Diff(want, l.Roles); d != "" {
		t.Errorf("roles (-want +got):\n%s", d)
	}
	if d := cmp.Diff(ended, l.Meta); d != "" {
		t.Errorf("the ring that had ended (-want +got):\n%s", d)
	}
}

func TestSkip(t *testing.T) {
	l := begin(t, begin(t, Layout{}, placement([2]byte{1, 2}, [2]byte{3, 4})), placement([2]byte{1, 2}, [2]byte{6, 4}))
	if err := l.Skip(1, []object.NodeID{nodeID(6)}); !fault.Is(err, fault.Conflict) {
		t.Errorf("for another version: %v", err)
	}
	if err := l.Skip(2, []object.NodeID{nodeID(6), nodeID(2), nodeID(6)}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]object.NodeID{nodeID(2), nodeID(6)}, l.Change.Skip); d != "" {
		t.Errorf("skipped (-want +got):\n%s", d)
	}
	if err := l.Skip(2, []object.NodeID{nodeID(6)}); err != errUnchanged { //nolint:errorlint // the very value
		t.Errorf("again: %v", err)
	}
}

func TestHistory(t *testing.T) {
	var h History
	note := func(l Layout, want ...LayoutStatus) {
		t.Helper()
		_ = h.note(&l, time.Unix(int64(l.Version), 0))
		var got []LayoutStatus
		for _, p := range h.Layouts {
			got = append(got, p.Status)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("after version %d (-want +got):\n%s", l.Version, d)
		}
		if err := h.note(&l, time.Now()); err != errUnchanged { //nolint:errorlint // the very value
			t.Errorf("version %d again: %v", l.Version, err)
		}
	}
	note(Layout{Version: 1}, LayoutCurrent)
	note(Layout{Version: 2, Change: &Change{}}, LayoutHistorical, LayoutChanging)
	note(Layout{Version: 2}, LayoutHistorical, LayoutCurrent)
	note(Layout{Version: 2, Change: &Change{}}, LayoutHistorical, LayoutCurrent) // old news
	note(Layout{Version: 3, Change: &Change{}}, LayoutHistorical, LayoutHistorical, LayoutChanging)
	note(Layout{Version: 4, AbortedVersion: 3}, LayoutHistorical, LayoutHistorical, LayoutAborted, LayoutCurrent)
	note(Layout{Version: 5, AbortedVersion: 3}, LayoutHistorical, LayoutHistorical, LayoutAborted, LayoutHistorical, LayoutCurrent)
	note(Layout{Version: 1}, LayoutHistorical, LayoutHistorical, LayoutAborted, LayoutHistorical, LayoutCurrent)
	for v := range uint64(20) {
		_ = h.note(&Layout{Version: 6 + v}, time.Now())
	}
	if len(h.Layouts) != maxHistory || h.Layouts[maxHistory-1].Version != 25 {
		t.Errorf("%d layouts remembered", len(h.Layouts))
	}
	_ = h.note(&Layout{Version: 26, Roles: make([]Role, maxHistoryRoles)}, time.Now())
	if len(h.Layouts) != 10 {
		t.Errorf("%d layouts within the bound of roles", len(h.Layouts))
	}
	_ = h.note(&Layout{Version: 27, Roles: make([]Role, 1)}, time.Now())
	if len(h.Layouts) != 1 {
		t.Errorf("%d layouts beyond the bound of roles", len(h.Layouts))
	}
}

func TestTheLeaseMovesOnWhenItsHolderFallsSilent(t *testing.T) {
	a, b := Candidate{Holder: "a"}, Candidate{Holder: "b"}
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	held := a.Consider(at(0), nil, 0)
	if held == nil || held.Holder != "a" {
		t.Fatalf("a free lease: %+v", held)
	}
	// b's clock is far from a's, and only its own waiting counts.
	expiry := int(LeaseExpiry / time.Second)
	steps := []struct {
		at   int
		rev  Revision
		want bool
	}{
		{9000, 5, false}, {9000 + expiry - 1, 5, false},
		{9000 + expiry, 6, false}, // renewed
		{9000 + 2*expiry - 1, 6, false}, {9000 + 2*expiry, 6, true},
	}
	for _, s := range steps {
		if got := b.Consider(at(s.at), held, s.rev); (got != nil) != s.want {
			t.Errorf("after %d s at revision %d: %+v", s.at, s.rev, got)
		}
	}
	if got := a.Consider(at(1), held, 6); got == nil || got.Beat != held.Beat+1 {
		t.Errorf("renewal: %+v", got)
	}
}

func TestLeaseOverNATS(t *testing.T) {
	b := startBroker(t)
	s := b.store()
	first, second := &Candidate{Holder: "1", Node: nodeID(1)}, &Candidate{Holder: "2", Node: nodeID(2)}
	for _, c := range []struct {
		who  *Candidate
		want bool
	}{{first, true}, {second, false}, {first, true}, {second, false}} {
		if held := must[bool](t)(s.TryLease(ctx(t), c.who)); held != c.want {
			t.Fatalf("candidate %s holds it: %v", c.who.Holder, held)
		}
	}
	for _, c := range []*Candidate{second, first} { // what is not held is not given up
		if err := s.ReleaseLease(ctx(t), c); err != nil {
			t.Fatal(err)
		}
		if held := must[bool](t)(s.TryLease(ctx(t), second)); held != (c == first) {
			t.Fatalf("after %s gave it up, 2 holds it: %v", c.Holder, held)
		}
	}
}

// TestTwoDriversAtOnce lets several processes write every step of a change at
// the same time: it happens once.
func TestTwoDriversAtOnce(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	born := begin(t, Layout{}, placement([2]byte{1, 2}, [2]byte{3, 4}))
	rev := must[Revision](t)(s.ApplyLayout(ctx(t), born, 0, 0))
	if _, _, err := s.AbortChange(ctx(t), 1); !fault.Is(err, fault.Conflict) {
		t.Errorf("abort at rest: %v", err)
	}
	_, rev, err := s.Layout(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	next := begin(t, born, placement([2]byte{1, 5}, [2]byte{6, 4}))
	var applied sync.Map
	together(t, 4, func(i int) error {
		_, staged, err := b.stores[i].Staged(ctx(t))
		if err != nil {
			return err
		}
		_, err = b.stores[i].ApplyLayout(ctx(t), next, rev, staged)
		if err == nil {
			applied.Store(i, true)
		} else if !fault.Is(err, fault.Conflict) {
			return err
		}
		return nil
	}, b)
	count := 0
	applied.Range(func(any, any) bool { count++; return true })
	if count != 1 {
		t.Fatalf("applied %d times", count)
	}
	together(t, 4, func(i int) error {
		s := b.stores[i]
		if _, _, err := s.TakeMetaLows(ctx(t), 2, map[layout.Partition]register.Tag{0: {Time: int64(i + 1)}, 1: {}}); err != nil {
			return err
		}
		if _, _, err := s.SkipNodes(ctx(t), 2, []object.NodeID{nodeID(6)}, nil); err != nil && !fault.Is(err, fault.Conflict) {
			return err
		}
		for _, service := range StorageServices {
			if _, _, err := s.EndRing(ctx(t), service, 2); err != nil {
				return err
			}
		}
		l, _, err := s.Layout(ctx(t))
		if err != nil {
			return err
		}
		_, err = s.NoteLayout(ctx(t), l, time.Now())
		return err
	}, b)
	v := b.sync(s, m)
	if l := v.Layout; l.Change != nil || l.Meta.Epoch != 3 || l.Blocks.Epoch != 3 || l.MetaLowsEpoch != 2 || l.MetaLows[0].IsZero() {
		t.Errorf("layout %+v", l)
	}
	if h := v.History; h == nil || len(h.Layouts) != 1 || h.Layouts[0].Status != LayoutCurrent {
		t.Errorf("history %+v", h)
	}
}

// together runs do n times at once, each with a store of its own.
func together(t *testing.T, n int, do func(i int) error, b *broker) {
	t.Helper()
	for len(b.stores) < n {
		b.stores = append(b.stores, b.store())
	}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := do(i); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
