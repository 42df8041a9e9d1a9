package metaapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// mark is what a Mark says. Its invariant: somebody who has it knows each row of
// its range at least as new as any node of base holds it under a number up to
// that in base, if the node's store is still the same incarnation. Rows are only
// ever numbered anew, so this stays true whatever happens to them.
type mark struct {
	of   uint64 // the Key it is about
	base map[object.NodeID]seen
	// passing: somebody is in the midst of what changed since base, behind the
	// Sub after. Then next holds of the rows up to there: of those nodes that
	// took part in all pages so far.
	passing bool
	after   string
	next    map[object.NodeID]seen
}

// seen is a number of a node's changes.
type seen struct{ incarnation, change uint64 }

const (
	markVersion = 1
	// maxMarkNodes is more than a partition has members in two assignments.
	maxMarkNodes = 64
	markSumBytes = 8
	seenBytes    = len(object.NodeID{}) + 8 + 8
	// MaxMarkBytes bounds a Mark.
	MaxMarkBytes = 1 + 8 + 1 + 2*(1+maxMarkNodes*seenBytes) + object.MaxKeyBytes + markSumBytes
)

// markOf names a Key: a mark is of no use for another.
func markOf(t Table, b object.BucketID, key string) uint64 {
	sum := sha256.Sum256(append(append([]byte{byte(t)}, b[:]...), key...))
	return binary.BigEndian.Uint64(sum[:])
}

func (m *mark) encode() Mark {
	b := binary.BigEndian.AppendUint64([]byte{markVersion}, m.of)
	b = appendSeen(b, m.base)
	if m.passing {
		b = append(appendSeen(append(b, 1), m.next), m.after...)
	} else {
		b = append(b, 0)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:markSumBytes]...)
}

// appendSeen writes nodes in ascending order, so that a mark has one form.
func appendSeen(b []byte, all map[object.NodeID]seen) []byte {
	b = append(b, byte(len(all)))
	for _, n := range sortedNodes(all) {
		b = append(b, n[:]...)
		b = binary.BigEndian.AppendUint64(b, all[n].incarnation)
		b = binary.BigEndian.AppendUint64(b, all[n].change)
	}
	return b
}

// parseMark reads what a client handed in, which may be anything. No mark at all
// is one that has seen nothing. Errors: Invalid.
func parseMark(b Mark, of uint64) (m mark, err error) {
	m = mark{of: of, base: map[object.NodeID]seen{}}
	if len(b) == 0 {
		return m, nil
	}
	bad := fault.New(fault.Invalid, "this is no mark of changes: ask without one")
	if len(b) < 1+8+1+1+markSumBytes || len(b) > MaxMarkBytes || b[0] != markVersion {
		return m, bad
	}
	rest := b[:len(b)-markSumBytes]
	if sum := sha256.Sum256(rest); !bytes.Equal(sum[:markSumBytes], b[len(rest):]) {
		return m, bad
	}
	if binary.BigEndian.Uint64(rest[1:]) != of {
		return m, fault.New(fault.Invalid, "this mark of changes is of another partition key: ask without one")
	}
	var ok bool
	if m.base, rest, ok = cutSeen(rest[1+8:]); !ok || len(rest) == 0 || rest[0] > 1 {
		return m, bad
	}
	m.passing, rest = rest[0] == 1, rest[1:]
	if m.passing {
		if m.next, rest, ok = cutSeen(rest); !ok || len(rest) > object.MaxKeyBytes {
			return m, bad
		}
		m.after, rest = string(rest), nil
	}
	if len(rest) > 0 {
		return m, bad
	}
	return m, nil
}

func cutSeen(b []byte) (all map[object.NodeID]seen, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	n := int(b[0])
	if b = b[1:]; n > maxMarkNodes || len(b) < n*seenBytes {
		return nil, nil, false
	}
	all = make(map[object.NodeID]seen, n)
	var last object.NodeID
	for i := range n {
		node := object.NodeID(b[:len(last)])
		if i > 0 && bytes.Compare(last[:], node[:]) >= 0 {
			return nil, nil, false
		}
		b = b[len(node):]
		all[node] = seen{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
		b, last = b[16:], node
	}
	return all, b, true
}

// advance is the mark behind a page, of which heard is what the nodes that took
// part said, and members are the nodes of the partition. More says that the page
// ends with the Sub last.
func (m *mark) advance(heard map[object.NodeID]seen, members []object.NodeID, more bool, last string) mark {
	next := heard
	if m.passing {
		next = map[object.NodeID]seen{}
		for n, was := range m.next {
			if now, ok := heard[n]; ok && now.incarnation == was.incarnation {
				// A later page has seen more of its own rows, but not of those before.
				next[n] = seen{was.incarnation, min(was.change, now.change)}
			}
		}
	}
	if more {
		return mark{of: m.of, base: m.base, passing: true, after: last, next: next}
	}
	done := mark{of: m.of, base: map[object.NodeID]seen{}}
	for _, n := range members {
		if s, ok := next[n]; ok {
			done.base[n] = s
		} else if s, ok := m.base[n]; ok {
			done.base[n] = s
		}
	}
	return done
}
