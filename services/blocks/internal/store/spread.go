package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"

	"hangar/services/blocks/internal/index"
	"hangar/services/blocks/internal/volume"
	"hangar/shared/blockapi"
	"hangar/shared/segment"
)

// Drain empties the directories that nothing is written to any more: what lives
// in them is moved to the others as compaction moves it, however much of a segment
// lives. A record that cannot be read stays, until another node's copy has taken
// its place.
func (s *Store) Drain(ctx context.Context) error {
	before, err := s.draining()
	if err != nil || len(before) == 0 {
		return err
	}
	var errs []error
	err = s.segments(func(seg segment.Info, live index.Usage) {
		if ctx.Err() != nil || !s.log.Draining(seg.ID) {
			return
		}
		place := func(b blockapi.Block, _ segment.ID) (segment.Location, error) { return s.log.Append(b) }
		_, err := s.rewrite(ctx, seg.ID, live, job{place: place, worker: s.workers.drain})
		errs = append(errs, err)
		if left, err := s.draining(); err == nil {
			s.workers.drain.Progress("%s", progress(left))
		}
	})
	after, also := s.draining()
	if err := errors.Join(append(errs, err, also)...); err != nil {
		return err
	}
	for _, d := range before {
		if d.Slot != 0 && !slices.ContainsFunc(after, func(a Directory) bool { return a.Slot == d.Slot }) {
			s.opts.Log.Warn("a data directory is empty: it may be taken out of the configuration", slog.String("path", d.Path))
		}
	}
	return nil
}

// progress says for people what is left in the directories that are drained.
func progress(left []Directory) string {
	var bytes, blocks int64
	for _, d := range left {
		bytes, blocks = bytes+d.LiveBytes, blocks+d.LiveBlocks
	}
	return fmt.Sprintf("%d blocks, %d MiB left", blocks, bytes>>20)
}

// rebalanceBytes is how much a step of a rebalancing moves.
const rebalanceBytes = 16 << 20

// Rebalanced is how far a rebalancing has come.
type Rebalanced struct {
	// Segment is emptied at present, from At on; zero: none.
	Segment segment.ID
	At      int64
	// MovedBytes in all, and LeftBytes that lie in directories with more than
	// their share.
	MovedBytes, LeftBytes int64
	Done                  bool
}

// Rebalance goes on with moving what directories have beyond their share to those
// that have less, segment by segment, about 16 MiB of it. It is done when all are
// as close to their shares as whole segments let them be.
func (s *Store) Rebalance(ctx context.Context, r Rebalanced) (Rebalanced, error) {
	sums, err := s.live()
	if err != nil {
		return r, err
	}
	live := make(map[volume.Slot]int64)
	for slot, u := range sums {
		live[slot] = u.LiveBytes
	}
	usage := make(map[segment.ID]index.Usage)
	var pieces []volume.Piece
	err = s.segments(func(seg segment.Info, u index.Usage) {
		if p := (volume.Piece{ID: seg.ID, LiveBytes: u.LiveBytes}); !s.log.Draining(seg.ID) && !s.isStuck(p) {
			usage[seg.ID], pieces = u, append(pieces, p)
		}
	})
	if err != nil {
		return r, err
	}
	fills := s.log.Fills(live)
	over := volume.Surplus(fills)
	r.LeftBytes = 0
	for _, n := range over {
		r.LeftBytes += max(n, 0)
	}
	id, found := volume.NextMove(over, pieces)
	if u, begun := usage[r.Segment]; begun && u.LiveBytes > 0 && over[volume.SlotOf(r.Segment)] > 0 {
		id, found = r.Segment, true
	} else {
		r.Segment, r.At = id, 0
	}
	if !found {
		r.Done = true
		return r, nil
	}
	before := s.counters.BytesMoved.Load()
	r.At, err = s.rewrite(ctx, id, usage[id], job{place: s.placeByLack(over), from: r.At, budget: rebalanceBytes})
	moved := s.counters.BytesMoved.Load() - before
	r.MovedBytes += moved
	r.LeftBytes = max(r.LeftBytes-moved, 0)
	return r, err
}

// placeByLack puts records into the directories that have less than their share,
// and, what fits none of them exactly, into those that have not more.
func (s *Store) placeByLack(over map[volume.Slot]int64) func(blockapi.Block, segment.ID) (segment.Location, error) {
	lack, others := make(map[volume.Slot]int64), make(map[volume.Slot]int64)
	for slot, n := range over {
		lack[slot] = max(-n, 0)
		if n <= 0 {
			others[slot] = math.MaxInt64
		}
	}
	return func(b blockapi.Block, _ segment.ID) (segment.Location, error) {
		at, err := s.log.AppendWithin(b, lack)
		if err != nil {
			return s.log.AppendWithin(b, others)
		}
		lack[volume.SlotOf(at.Segment)] -= at.RecordBytes()
		return at, nil
	}
}

// isStuck reports whether a segment could not be emptied as it is.
func (s *Store) isStuck(p volume.Piece) bool {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	was, stuck := s.stuck[p.ID]
	return stuck && was == p.LiveBytes
}
