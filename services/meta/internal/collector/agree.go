package collector

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

// awayError says that a member could not be asked.
type awayError struct {
	node object.NodeID
	err  error
}

func (e *awayError) Error() string { return fmt.Sprintf("node %v: %v", e.node, e.err) }
func (e *awayError) Unwrap() error { return e.err }

func asAway(err error, to **awayError) bool { return errors.As(err, to) }

// batch is some rows that the same members hold.
type batch struct {
	set  layout.ReplicaSet
	keys []metaapi.RowKey
}

// waitsFor reports whether one of the members is among those away.
func (b *batch) waitsFor(away map[object.NodeID]bool) bool {
	return slices.ContainsFunc(b.set, func(n object.NodeID) bool { return away[n] })
}

// group sorts rows by who holds them, in a ring at rest, without those that
// self is no member of.
func group(ring *layout.Ring, self object.NodeID, keys []metaapi.RowKey) (batches []batch) {
	for _, k := range keys {
		sets := ring.Sets(layout.OfRow(k.Bucket, k.Key, ring.Bits))
		if len(sets) != 1 || !sets[0].Has(self) {
			continue
		}
		i := slices.IndexFunc(batches, func(b batch) bool { return slices.Equal(b.set, sets[0]) })
		if i < 0 {
			i, batches = len(batches), append(batches, batch{set: sets[0]})
		}
		batches[i].keys = append(batches[i].keys, k)
	}
	return batches
}

// candidates are the rows of a batch that are self's to collect, with what self
// has of them: markers if it is the first of the set, and in any case rows that
// were only promised, which the first may not know of.
func candidates(b batch, self object.NodeID, own []metaapi.RowState, before time.Time) (keys []metaapi.RowKey, states []metaapi.RowState) {
	for i, s := range own {
		if vacantSince(s, before) && (b.set[0] == self || s.Tag.IsZero()) {
			keys, states = append(keys, b.keys[i]), append(states, s)
		}
	}
	return keys, states
}

// vacantSince reports whether a row has no value, nor a promise, of a time from
// before on.
func vacantSince(s metaapi.RowState, before time.Time) bool {
	return !s.Live && s.Tag.Max(s.Promised).Time < before.UnixMicro()
}

// agreed picks the rows that may be forgotten: held has, member by member, what
// each has of keys, and all must have the same. A row is forgotten with all
// that any member promised for it.
func agreed(keys []metaapi.RowKey, held [][]metaapi.RowState, before time.Time) (rows []metaapi.ForgetRow) {
	for i, k := range keys {
		tag, low, same := held[0][i].Tag, register.Tag{}, true
		for _, states := range held {
			same = same && vacantSince(states[i], before) && states[i].Tag == tag
			low = low.Max(states[i].Tag).Max(states[i].Promised)
		}
		if same && !low.IsZero() {
			rows = append(rows, metaapi.ForgetRow{Key: k, Tag: tag, Low: low})
		}
	}
	return rows
}
