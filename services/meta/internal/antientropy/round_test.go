package antientropy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"hangar/services/meta/internal/record"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

const bits = 4

func tag(n int64) register.Tag { return register.Tag{Time: n, Node: 1} }

// holder is a node's rows.
type holder map[metaapi.RowKey]register.Tag

func (h holder) digests(q *metaapi.DigestsRequest) *metaapi.DigestsReply {
	sum := map[uint16]metaapi.Digest{}
	for k, tag := range h {
		s := record.Slice(k.Bucket, k.Key)
		sum[s] = sum[s].Plus(record.DigestOf(record.RowKey(k), tag))
	}
	r := &metaapi.DigestsReply{}
	for _, p := range q.Partitions {
		var in metaapi.Slices
		in.AddPartition(p, bits)
		var whole metaapi.Digest
		in.Each(func(s uint16) { whole = whole.Plus(sum[s]) })
		r.Partitions = append(r.Partitions, whole)
	}
	q.Slices.Each(func(s uint16) { r.Slices = append(r.Slices, sum[s]) })
	return r
}

// inventory answers with pages of up to limit rows.
func (h holder) inventory(q *metaapi.InventoryRequest, limit int) *metaapi.InventoryReply {
	r := &metaapi.InventoryReply{}
	byPosition := map[string]metaapi.RowKey{}
	for k := range h {
		byPosition[string(record.RowKey(k))] = k
	}
	for _, at := range slices.Sorted(maps.Keys(byPosition)) {
		k := byPosition[at]
		if at <= string(q.After) || !q.Slices.Has(record.Slice(k.Bucket, k.Key)) {
			continue
		}
		if len(r.Rows) == limit {
			return r
		}
		r.Rows = append(r.Rows, metaapi.InventoryRow{Key: k, Tag: h[k]})
		r.Next = []byte(at)
	}
	r.Done = true
	return r
}

func key(i int) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Table(1 + i%3), Bucket: object.BucketID{byte(i % 2)}, Key: fmt.Sprintf("k\x00%d", i)}
}

func everything() (parts []layout.Partition, all metaapi.Slices) {
	for p := range layout.Partition(1 << bits) {
		parts = append(parts, p)
		all.AddPartition(p, bits)
	}
	return parts, all
}

// play runs a round between two nodes and returns what it wants repaired.
// onWait is called at each Wait, onMend at each Mend; either may be nil.
func play(t *testing.T, r *Round, mine, theirs holder, limits [2]int, onWait, onMend func()) (mended []metaapi.RowKey) {
	t.Helper()
	e := r.Start()
	for range 10_000 {
		switch e.Do {
		case Look:
			e = r.Looked(mine.digests(&e.Digests), theirs.digests(&e.Digests))
		case Wait:
			if onWait != nil {
				onWait()
			}
			e = r.Waited()
		case List:
			e = r.Listed(mine.inventory(&e.Inventory, limits[0]), theirs.inventory(&e.Inventory, limits[1]))
		case Mend:
			for _, row := range e.Rows {
				if row.Theirs != mine[row.Key].Less(theirs[row.Key]) {
					t.Errorf("%+v: the newer is with the other", row)
				}
				mended = append(mended, row.Key)
			}
			if onMend != nil {
				onMend()
			}
			e = r.Mended()
		case End:
			return mended
		}
	}
	t.Fatal("the round does not end")
	return nil
}

// A round wants exactly the rows repaired that differ, whatever the pages.
func TestRoundFindsWhatDiffers(t *testing.T) {
	parts, all := everything()
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		mine, theirs := holder{}, holder{}
		want := map[metaapi.RowKey]bool{}
		for i := range rng.IntN(400) {
			k := key(i)
			mine[k], theirs[k] = tag(int64(i+1)), tag(int64(i+1))
			switch rng.IntN(20) {
			case 0:
				delete(mine, k)
			case 1:
				delete(theirs, k)
			case 2:
				mine[k] = tag(9000)
			default:
				continue
			}
			want[k] = true
		}
		mine[key(1000)] = register.Tag{} // only promised: nothing to repair
		limits := [2]int{1 + rng.IntN(50), 1 + rng.IntN(50)}
		r := NewRound(bits, parts, all, Rest{})
		got := play(t, r, mine, theirs, limits, nil, nil)
		if len(got) != len(want) {
			t.Fatalf("seed %d: %d rows to repair, not %d", seed, len(got), len(want))
		}
		for _, k := range got {
			if !want[k] {
				t.Fatalf("seed %d: %+v does not differ", seed, k)
			}
		}
		if _, n := r.Differing(); (n > 0) != (len(want) > 0) {
			t.Fatalf("seed %d: %d partitions differ", seed, n)
		}
	}
}

// What becomes alike while it is looked at is not listed.
func TestRoundLetsWritesEnd(t *testing.T) {
	parts, all := everything()
	mine, theirs := holder{key(1): tag(1)}, holder{key(1): tag(2), key(2): tag(3)}
	waits := 0
	r := NewRound(bits, parts, all, Rest{})
	got := play(t, r, mine, theirs, [2]int{10, 10}, func() {
		if waits++; waits == looks-1 {
			mine[key(1)], mine[key(2)] = tag(2), tag(3)
		}
	}, nil)
	if len(got) != 0 || waits != looks-1 || r.Compared() != 0 {
		t.Errorf("after %d waits %v are repaired, %d compared", waits, got, r.Compared())
	}
	if s, n := r.Differing(); s.Len() != 0 || n != 0 {
		t.Errorf("%d slices differ", s.Len())
	}
}

// Slices that another node sees to are reported, and left alone.
func TestRoundTakesItsPart(t *testing.T) {
	parts, _ := everything()
	mine, theirs := holder{}, holder{}
	for i := range 100 {
		theirs[key(i)] = tag(1)
	}
	var take metaapi.Slices
	take.AddPartition(3, bits)
	r := NewRound(bits, parts, take, Rest{})
	got := play(t, r, mine, theirs, [2]int{7, 7}, nil, nil)
	for _, k := range got {
		if layout.OfRow(k.Bucket, k.Key, bits) != 3 {
			t.Errorf("%+v is repaired", k)
		}
	}
	if s, n := r.Differing(); len(got) == 0 || n < 10 || s.Len() < n {
		t.Errorf("%d rows are repaired; %d slices of %d partitions differ", len(got), s.Len(), n)
	}
}

// A round that was cut short goes on where everything before was repaired.
func TestRoundResumes(t *testing.T) {
	parts, all := everything()
	mine, theirs := holder{}, holder{}
	for i := range 100 {
		theirs[key(i)] = tag(1)
	}
	r := NewRound(bits, parts, all, Rest{})
	var left Rest
	mends := 0
	whole := play(t, r, mine, theirs, [2]int{10, 10}, nil, func() {
		if mends++; mends == 4 { // three pages are mended, the fourth is in hand
			if left = r.Rest(); left.Empty() {
				t.Error("nothing is listed")
			}
		}
	})
	rest := play(t, ResumeRound(left), mine, theirs, [2]int{10, 10}, nil, nil)
	if left := r.Rest(); !left.Empty() {
		t.Error("something is left after all")
	}
	if len(whole) != 100 || !slices.Equal(rest, whole[30:]) {
		t.Errorf("%d rows, then %d", len(whole), len(rest))
	}
}

// Slices that change between the looks are listed by and by, others at once.
func TestRoundBoundsBusySlices(t *testing.T) {
	parts, all := everything()
	mine, theirs := holder{}, holder{}
	for i := range 3 * busyPages {
		mine[key(i)] = tag(1)
	}
	rows := len(mine)
	n := int64(100)
	write := func() { // all slices go on changing, at one node first
		n++
		for k := range mine {
			mine[k] = tag(n)
		}
	}
	var rest Rest
	found := map[metaapi.RowKey]int{}
	rounds := 0
	for ; rounds == 0 || !rest.Empty(); rounds++ {
		r := NewRound(bits, parts, all, rest)
		got := play(t, r, mine, theirs, [2]int{1, 1}, write, nil)
		if len(got) > busyPages {
			t.Fatalf("a round lists %d pages of busy slices", len(got))
		}
		for _, k := range got {
			found[k]++
		}
		rest = r.Rest()
	}
	if rounds != 3 && rounds != 4 || len(found) != rows {
		t.Errorf("%d of %d rows in %d rounds", len(found), rows, rounds)
	}
	r := NewRound(bits, parts, all, Rest{})
	if got := play(t, r, mine, theirs, [2]int{1, 1}, nil, nil); len(got) != rows {
		t.Errorf("%d rows of calm slices in one round, want %d", len(got), rows)
	}
}

// A calm slice that the rest of the last round does not have is not passed over.
func TestRoundBeginsAgain(t *testing.T) {
	parts, all := everything()
	mine, theirs := holder{}, holder{key(1): tag(1)}
	var rest Rest
	rest.Slices.Add(record.Slice(key(2).Bucket, key(2).Key))
	rest.After = []byte{0xff}
	if got := play(t, NewRound(bits, parts, all, rest), mine, theirs, [2]int{1, 1}, nil, nil); len(got) != 1 {
		t.Errorf("%v", got)
	}
	rest.Slices = all
	if got := play(t, NewRound(bits, parts, all, rest), mine, theirs, [2]int{1, 1}, nil, nil); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// A node whose pages never end does not keep a round for ever.
func TestRoundEnds(t *testing.T) {
	parts, all := everything()
	mine, theirs := holder{key(1): tag(1)}, holder{}
	r := NewRound(bits, parts, all, Rest{})
	e := r.Start()
	for n := 0; e.Do != End; n++ {
		switch e.Do {
		case Look:
			e = r.Looked(mine.digests(&e.Digests), theirs.digests(&e.Digests))
		case Wait:
			e = r.Waited()
		case List:
			next := append(append([]byte(nil), e.Inventory.After...), 0)
			e = r.Listed(&metaapi.InventoryReply{Done: true}, &metaapi.InventoryReply{Next: next})
		case Mend:
			e = r.Mended()
		}
		if n > maxPages+100 {
			t.Fatal("the round does not end")
		}
	}
	if left := r.Rest(); left.Empty() {
		t.Error("nothing is left")
	}
}
