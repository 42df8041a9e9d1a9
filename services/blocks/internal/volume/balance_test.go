package volume

import (
	"math"
	"math/rand/v2"
	"testing"

	"hangar/shared/segment"
)

// Directories take bytes in proportion to their room, exactly up to a few
// records, in whatever sizes the records come.
func TestPickIsProportional(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	rooms := []int64{4e12, 2e12, 0, 1e12}
	var b balance
	got := make([]float64, len(rooms))
	var all float64
	for range 20_000 {
		n := rnd.Int64N(1<<20) + 100
		i := b.pick(rooms, n)
		got[i] += float64(n)
		all += float64(n)
	}
	for i, r := range rooms {
		if want := all * float64(r) / 7e12; math.Abs(got[i]-want) > 3<<20 {
			t.Errorf("directory %d of room %d got %.0f bytes, not %.0f", i, r, got[i], want)
		}
	}
}

// Until all are full: together, each exactly, and none is written beyond its
// room.
func TestAllBecomeFullTogether(t *testing.T) {
	rooms := []int64{40_000, 10_000, 20_000}
	var b balance
	for i := 0; ; i++ {
		at := b.pick(rooms, 100)
		if at < 0 {
			break
		}
		if rooms[at] -= 100; rooms[at] < 0 {
			t.Fatal("written beyond the room")
		}
		if i == 350 && (rooms[0] < 19_500 || rooms[0] > 20_500 || rooms[1] < 4_800 || rooms[1] > 5_200) {
			t.Errorf("half way the rooms are %v", rooms)
		}
	}
	for i, r := range rooms {
		if r != 0 {
			t.Errorf("directory %d has %d bytes left", i, r)
		}
	}
}

// A directory that was away takes its share when it is back, not what it missed.
func TestAbsenceIsNotMadeUpFor(t *testing.T) {
	var b balance
	for range 1000 {
		if b.pick([]int64{1000, 0}, 10) != 0 {
			t.Fatal("a full directory was picked")
		}
	}
	got := 0
	for range 100 {
		got += b.pick([]int64{1000, 1000}, 10)
	}
	if got < 49 || got > 51 {
		t.Errorf("it got %d of 100", got)
	}
}

func TestSurplus(t *testing.T) {
	over := Surplus([]Fill{{1, 100, 90}, {2, 300, 10}, {3, 0, 20}})
	if over[1] != 60 || over[2] != -80 || over[3] != 20 {
		t.Errorf("%v", over)
	}
}

// Whatever the directories hold, moving segments as NextMove says ends, moves
// nothing twice, and leaves none with more than a segment above its share.
func TestMovesEndInBalance(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var fills []Fill
		var pieces []Piece
		for s := range Slot(1 + rnd.IntN(5)) {
			fills = append(fills, Fill{Slot: s, CapacityBytes: 1 + rnd.Int64N(1e6)})
			for n := range rnd.IntN(40) {
				p := Piece{ID: s.first() + segment.ID(n), LiveBytes: rnd.Int64N(1000)}
				pieces = append(pieces, p)
				fills[s].LiveBytes += p.LiveBytes
			}
		}
		moved := 0
		for {
			over := Surplus(fills)
			id, found := NextMove(over, pieces)
			if !found {
				break
			}
			if moved++; moved > 400 {
				t.Fatalf("seed %d: it does not end", seed)
			}
			var p Piece
			for i := range pieces {
				if pieces[i].ID == id {
					p = pieces[i]
					pieces = append(pieces[:i], pieces[i+1:]...)
					break
				}
			}
			// It goes to the one that lacks most, into a segment that is busy.
			least := 0
			for i := range fills {
				if over[fills[i].Slot] < over[fills[least].Slot] {
					least = i
				}
			}
			fills[SlotOf(id)].LiveBytes -= p.LiveBytes
			fills[least].LiveBytes += p.LiveBytes
		}
		over := Surplus(fills)
		for _, p := range pieces {
			if n := over[SlotOf(p.ID)]; p.LiveBytes > 0 && n > 1000 {
				t.Errorf("seed %d: directory %d still has %d too much", seed, SlotOf(p.ID), n)
			}
		}
	}
}

func TestSlots(t *testing.T) {
	if SlotOf(1<<48-1) != 0 || SlotOf(1<<48) != 1 || Slot(65535).first() != 0xffff<<48 || SlotOf(1<<64-1) != 65535 {
		t.Error("slots and segments do not fit each other")
	}
}
