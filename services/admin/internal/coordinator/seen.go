package coordinator

import (
	"encoding/json"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

// Seen is what nodes answered about one joint ring, kept in memory only: a
// driver that starts anew asks again. Answers of other epochs are not taken
// for answers of this one.
type Seen struct {
	Epoch uint64

	adopted map[object.NodeID]bool
	marks   map[object.NodeID]map[layout.Partition]register.Tag
	// done holds, by partition, the nodes that reported it complete.
	done     map[layout.Partition]map[object.NodeID]bool
	progress map[object.NodeID]nodeapi.Progress // newest answers
	down     map[object.NodeID]error            // whose newest question failed
	strikes  map[object.NodeID]int              // answers in a row with an error and nothing gained
}

// NewSeen is what is known when an epoch begins.
func NewSeen(epoch uint64) *Seen {
	return &Seen{
		Epoch:    epoch,
		adopted:  map[object.NodeID]bool{},
		marks:    map[object.NodeID]map[layout.Partition]register.Tag{},
		done:     map[layout.Partition]map[object.NodeID]bool{},
		progress: map[object.NodeID]nodeapi.Progress{},
		down:     map[object.NodeID]error{},
		strikes:  map[object.NodeID]int{},
	}
}

// Adopted takes an answer to AskAdopt.
func (s *Seen) Adopted(n object.NodeID, a nodeapi.Adopted) {
	delete(s.down, n)
	if a.Epoch < s.Epoch {
		return
	}
	s.adopted[n] = true
	if a.Epoch != s.Epoch {
		return // the ring has moved on: its marks are of another time
	}
	marks := make(map[layout.Partition]register.Tag, len(a.Marks))
	for p, raw := range a.Marks {
		var mark register.Tag
		if err := json.Unmarshal(raw, &mark); err != nil {
			s.Failed(n, fault.Wrap(fault.Corrupt, err, "low mark of partition %d", p))
			return
		}
		marks[p] = mark
	}
	s.marks[n] = marks
}

// strikesOut is after how many vain answers another worker is preferred.
const strikesOut = 20

// Moved takes an answer to AskTransfer with these partitions.
func (s *Seen) Moved(n object.NodeID, asked []layout.Partition, p nodeapi.Progress) {
	delete(s.down, n)
	if p.Epoch != s.Epoch {
		return
	}
	was := map[layout.Partition]bool{}
	for _, part := range asked {
		was[part] = true
	}
	gained := p.Items > s.progress[n].Items
	for _, part := range p.Done {
		if !was[part] || s.done[part][n] {
			continue
		}
		if s.done[part] == nil {
			s.done[part] = map[object.NodeID]bool{}
		}
		s.done[part][n], gained = true, true
	}
	switch {
	case gained || p.Error == "":
		s.strikes[n] = 0
	default:
		s.strikes[n]++
	}
	s.progress[n] = p
}

// Failed notes that a question was not answered, or answered with an error.
// Nothing follows from it but whom to prefer and what to tell the operator.
func (s *Seen) Failed(n object.NodeID, err error) { s.down[n] = err }

// moved sums up what nodes have brought.
func (s *Seen) moved() (p nodeapi.Progress) {
	for _, one := range s.progress {
		p.Items, p.ItemsTotal = p.Items+one.Items, p.ItemsTotal+one.ItemsTotal
		p.Bytes, p.BytesTotal = p.Bytes+one.Bytes, p.BytesTotal+one.BytesTotal
	}
	return p
}

// settled reports whether a majority of every partition of a ring at rest has
// adopted its epoch.
func (s *Seen) settled(ring *layout.Ring) bool {
	for p := range ring.Assign {
		for _, set := range ring.Sets(layout.Partition(p)) {
			have := 0
			for _, n := range set {
				if s.adopted[n] {
					have++
				}
			}
			if have < set.Majority() {
				return false
			}
		}
	}
	return true
}
