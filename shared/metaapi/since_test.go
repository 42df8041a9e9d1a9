package metaapi_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/object"
	"hangar/shared/register"
)

// TestSinceMissesNothing: whatever quorums answer, writes that reach some of
// their replicas only, members that change, come back empty or with what they
// had, pages that stop in the middle: whoever follows one Key has been told, at
// the end of each pass, of every item at least what was acknowledged before the
// pass began.
func TestSinceMissesNothing(t *testing.T) {
	seeds := uint64(24)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			newFollowing(t, seed).run()
		})
	}
}

const followedKey = "followed"

// following is a cluster in which all writes are numbered, and those who follow.
// It is one goroutine: what happens at once is what the network does.
type following struct {
	t     *testing.T
	rng   *rand.Rand
	c     *cluster
	clock *register.Clock // of writers that die
	// members holds everything; next is where it is to move, if it is.
	members, next []object.NodeID
	epoch         uint64
	cut           object.NodeID

	written int            // number of the last write
	acked   map[string]int // by Sub: the last that was acknowledged
	all     []*told
}

// told is somebody who follows.
type told struct {
	r     metaapi.SinceRange
	known map[string]int
	// floor is what was acknowledged when the pass under way began.
	floor  map[string]int
	passes int
}

func newFollowing(t *testing.T, seed uint64) *following {
	s := &following{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), c: newCluster(t, 3, 6), acked: map[string]int{},
		clock: register.NewClock(register.NewNode(), time.Now), epoch: 1,
	}
	s.members = s.c.nodes[:3]
	s.adopt(metatest.EvenRing(1, 3, s.members...))
	for range 3 {
		s.all = append(s.all, &told{
			r: metaapi.SinceRange{Table: metaapi.Items, Bucket: bucket, Key: followedKey}, known: map[string]int{},
		})
	}
	return s
}

// adopt puts a ring in force at all its nodes, which fences the one before.
func (s *following) adopt(ring *layout.Ring) {
	s.t.Helper()
	s.c.follow(s.t, ring)
	for _, n := range ring.Nodes {
		q := register.Request{Kind: register.Read, Epoch: ring.Epoch}
		if _, err := s.c.replicas[n].Handle(context.Background(), s.row("00"), q); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *following) row(sub string) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Items, Bucket: bucket, Key: followedKey, Sub: sub}
}

func (s *following) sub() string { return fmt.Sprintf("%02d", s.rng.IntN(25)) }

func numbered(n int) *metaapi.Value {
	head := metaapi.AppendItemCounters(nil, metaapi.ItemCounters{Entries: 1, Values: 1})
	return &metaapi.Value{Head: strconv.AppendInt(head, int64(n), 10)}
}

func (s *following) number(head []byte) int {
	s.t.Helper()
	_, text, err := metaapi.ParseItemCounters(head)
	if err != nil {
		s.t.Fatal(err)
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *following) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 500*time.Millisecond)
}

func (s *following) run() {
	for range 150 {
		switch s.rng.IntN(14) {
		case 0, 1, 2:
			s.write()
		case 3, 4:
			s.scatter()
		case 5:
			s.c.net.Lose(0)
			if s.turn(); s.cut.IsZero() {
				s.c.net.Lose(0.1)
			}
		case 6:
			s.read()
		case 7:
			if s.rng.IntN(3) == 0 {
				s.change()
			}
		default:
			s.follow(s.all[min(s.rng.IntN(4), 2)]) // one more often than the others
		}
	}
	s.heal()
	s.c.net.Lose(0)
	ctx := context.Background()
	for i := range 25 {
		if err := s.c.client.Recommit(ctx, s.row(fmt.Sprintf("%02d", i))); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, f := range s.all {
		for done := f.passes + 2; f.passes < done; {
			s.follow(f)
		}
		for i := range 25 {
			sub := fmt.Sprintf("%02d", i)
			row, err := s.c.client.Get(ctx, s.row(sub))
			if err != nil {
				s.t.Fatal(err)
			}
			if row.Value != nil && f.known[sub] != s.number(row.Value.Head) {
				s.t.Errorf("in the end %s is known as %d, but it is %d", sub, f.known[sub], s.number(row.Value.Head))
			}
		}
	}
}

// write is a batch whose writer lives.
func (s *following) write() {
	ctx, cancel := s.soon()
	defer cancel()
	var changes []metaapi.Change
	used := map[string]int{}
	for range 1 + s.rng.IntN(4) {
		sub := s.sub()
		if used[sub] > 0 {
			continue
		}
		s.written++
		used[sub] = s.written
		v := numbered(s.written)
		changes = append(changes, metaapi.Change{Key: s.row(sub), Decide: func(metaapi.Row) (*metaapi.Value, error) { return v, nil }})
	}
	for i, got := range s.c.client.UpdateMany(ctx, changes) {
		sub := changes[i].Key.Sub
		switch {
		case got.Err == nil:
			s.acked[sub] = used[sub]
		case !fault.Is(got.Err, fault.Indeterminate) && !fault.Is(got.Err, fault.Unavailable):
			s.t.Fatal(got.Err)
		}
	}
}

// read is somebody who reads: what was read once is as good as acknowledged.
func (s *following) read() {
	ctx, cancel := s.soon()
	defer cancel()
	sub := s.sub()
	row, err := s.c.client.Get(ctx, s.row(sub))
	if err == nil && row.Value != nil {
		s.acked[sub] = max(s.acked[sub], s.number(row.Value.Head))
	}
}

// scatter is a write that reaches some replicas, before its writer dies. Those
// it did not reach may get it later, from whoever finds it.
func (s *following) scatter() {
	sub := s.sub()
	s.written++
	tag := s.clock.Next(register.Tag{})
	q := register.Request{Kind: register.Apply, Epoch: s.epoch, Row: register.Row{Tag: tag, Op: tag, Value: numbered(s.written)}}
	ring := s.c.rings.Ring()
	for _, i := range s.rng.Perm(len(ring.Nodes))[:1+s.rng.IntN(2)] {
		if _, err := s.c.replicas[ring.Nodes[i]].Handle(context.Background(), s.row(sub), q); err != nil {
			s.t.Fatal(err)
		}
	}
}

// turn cuts another member off, or none.
func (s *following) turn() {
	s.heal()
	if s.rng.IntN(4) > 0 {
		s.cut = s.members[s.rng.IntN(3)]
		s.c.net.Cut(s.cut, true)
	}
}

func (s *following) heal() {
	if !s.cut.IsZero() {
		s.c.net.Cut(s.cut, false)
	}
	s.cut = object.NodeID{}
}

// change takes the next step of a change of the layout.
func (s *following) change() {
	s.heal()
	s.c.net.Lose(0)
	s.c.net.Settle()
	s.epoch++
	if s.next == nil {
		for _, i := range s.rng.Perm(6)[:3] {
			s.next = append(s.next, s.c.nodes[i])
		}
		ring := &layout.Ring{Epoch: s.epoch, Bits: layout.DefaultBits, Nodes: slices.Clone(s.members)}
		ring.Assign = metatest.EvenAssignment(3, 3)
		var at []uint16
		for _, n := range s.next {
			i := slices.Index(ring.Nodes, n)
			if i < 0 {
				i = len(ring.Nodes)
				ring.Nodes = append(ring.Nodes, n)
			}
			at = append(at, uint16(i))
		}
		for range ring.Assign {
			ring.Next = append(ring.Next, at)
		}
		s.adopt(ring)
		return
	}
	for i := range 25 { // copying
		if err := s.c.client.Recommit(context.Background(), s.row(fmt.Sprintf("%02d", i))); err != nil {
			s.t.Fatal(err)
		}
	}
	s.c.net.Settle()
	s.adopt(metatest.EvenRing(s.epoch, 3, s.next...))
	for _, n := range s.members {
		switch {
		case slices.Contains(s.next, n):
		case s.rng.IntN(2) == 0:
			s.c.replicas[n].Drop(layout.OfRow(bucket, followedKey, layout.DefaultBits))
		default:
			s.c.replicas[n].Empty()
		}
	}
	s.members, s.next = s.next, nil
}

// follow takes one page of what somebody has not been told.
func (s *following) follow(f *told) {
	if f.floor == nil {
		f.floor = map[string]int{}
		for sub, n := range s.acked {
			f.floor[sub] = n
		}
	}
	f.r.Limit = 1 + s.rng.IntN(8)
	ctx, cancel := s.soon()
	defer cancel()
	page, err := s.c.client.Since(ctx, f.r)
	if fault.Is(err, fault.Unavailable) {
		return
	}
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range page.Entries {
		n := s.number(e.Head)
		if n < f.known[e.Sub] {
			s.t.Fatalf("%s was told as %d, and then as %d", e.Sub, f.known[e.Sub], n)
		}
		f.known[e.Sub] = n
		s.acked[e.Sub] = max(s.acked[e.Sub], n) // it was told, so others must be
	}
	f.r.Mark = page.Next
	if page.More {
		return
	}
	for sub, n := range f.floor {
		if f.known[sub] < n {
			s.t.Fatalf("write %d of %s was acknowledged before the pass, which ends with %d", n, sub, f.known[sub])
		}
	}
	f.floor = nil
	f.passes++
}

// Whatever a client hands in as a mark is refused, or one that was given out.
func TestHostileMarks(t *testing.T) {
	c := newCluster(t, 3, 3)
	r := metaapi.SinceRange{Table: metaapi.Items, Bucket: bucket, Key: "k", Limit: 1}
	for i := range 3 {
		k := metaapi.RowKey{Table: metaapi.Items, Bucket: bucket, Key: "k", Sub: fmt.Sprint(i)}
		if _, err := c.client.Put(t.Context(), k, numbered(i)); err != nil {
			t.Fatal(err)
		}
	}
	page, err := c.client.Since(t.Context(), r)
	if err != nil || !page.More {
		t.Fatal(page, err)
	}
	good := page.Next
	if len(good) > metaapi.MaxMarkBytes {
		t.Fatalf("a mark of %d bytes", len(good))
	}
	try := func(m metaapi.Mark) {
		t.Helper()
		r.Mark = m
		if _, err := c.client.Since(t.Context(), r); !fault.Is(err, fault.Invalid) {
			t.Fatalf("%x: %v", m, err)
		}
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 1 << (i % 8)
		try(bad)
		if i > 0 {
			try(good[:i])
		}
	}
	try(append(slices.Clone(good), 0))
	try(make(metaapi.Mark, 1<<20))
	r.Key = "other"
	try(good)
}
