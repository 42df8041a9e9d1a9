package volume

import "hangar/shared/segment"

// balance spreads bytes over directories in proportion to the room that each
// has: those with more take more, and all become full together. It owes each
// directory its share of everything written so far and gives the next record to
// the one it owes most, so the shares are exact after a few records, not only
// on average. The zero value owes nothing. Not safe for concurrent use.
type balance struct{ owed []float64 }

// pick returns which of the directories with so much room takes a record of n
// bytes; -1: none has room for it.
func (b *balance) pick(rooms []int64, n int64) int {
	for len(b.owed) < len(rooms) {
		b.owed = append(b.owed, 0)
	}
	var all float64
	for _, r := range rooms {
		if r >= n {
			all += float64(r)
		}
	}
	best := -1
	for i, r := range rooms {
		if r < n || r <= 0 {
			b.owed[i] = 0 // it gets nothing for the time in which it took nothing
			continue
		}
		b.owed[i] += float64(n) * float64(r) / all
		if best < 0 || b.owed[i] > b.owed[best] {
			best = i
		}
	}
	if best >= 0 {
		b.owed[best] -= float64(n)
	}
	return best
}

// Fill is how a directory is filled.
type Fill struct {
	Slot Slot
	// CapacityBytes is what its share is measured by, LiveBytes what lives in it.
	CapacityBytes, LiveBytes int64
}

// Surplus is how much more, or with a minus less, lives in each directory than
// its share: that by which all are filled to the same part of their capacity.
func Surplus(fills []Fill) map[Slot]int64 {
	var live, capacity float64
	for _, f := range fills {
		live += float64(f.LiveBytes)
		capacity += float64(max(f.CapacityBytes, 0))
	}
	over := make(map[Slot]int64, len(fills))
	for _, f := range fills {
		if capacity > 0 {
			over[f.Slot] = f.LiveBytes - int64(live*float64(max(f.CapacityBytes, 0))/capacity)
		}
	}
	return over
}

// Piece is a segment that may be moved, and how much lives in it.
type Piece struct {
	ID        segment.ID
	LiveBytes int64
}

// NextMove returns the segment to be emptied next for the directories to come
// closer to their shares, by how much each has more than its own. A segment is
// given away only by a directory that has more than its share by all that lives
// in it, so nothing is ever moved back. found is false when they are as close as
// whole segments let them be. Pieces are in the order of their age; of the
// directory that has most the oldest is chosen.
func NextMove(over map[Slot]int64, pieces []Piece) (id segment.ID, found bool) {
	var most int64
	for _, p := range pieces {
		n := over[SlotOf(p.ID)]
		if p.LiveBytes > 0 && n >= p.LiveBytes && n > most {
			id, most, found = p.ID, n, true
		}
	}
	return id, found
}
