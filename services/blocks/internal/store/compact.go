package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
	"hangar/shared/segment"
	"hangar/shared/work"
)

// The most records and bytes that a compaction moves in one commit.
const (
	moveRecords = 256
	moveBytes   = 16 << 20
)

// job is how a segment is rewritten: where its records go to, who rests meanwhile
// (nil: nobody), where to begin, and after how many bytes to leave off, 0: never.
type job struct {
	place  func(b blockapi.Block, from segment.ID) (segment.Location, error)
	worker *work.Worker
	from   int64
	budget int64
}

// errEnough ends a scan when the budget of a job is used up.
var errEnough = errors.New("enough was moved for now")

// Compact rewrites every segment whose dead share has passed the threshold:
// what lives is copied to the end of the log, made durable, remembered at its
// new place, and only then is the file deleted. It is safe at any time and
// after any crash. A segment with a record that cannot be read is kept.
func (s *Store) Compact(ctx context.Context) error {
	var errs []error
	err := s.segments(func(seg segment.Info, live index.Usage) {
		dead := seg.Bytes - live.LiveBytes
		if ctx.Err() != nil || seg.Bytes > 0 && float64(dead) < s.opts.DeadShare*float64(seg.Bytes) || s.log.Draining(seg.ID) {
			return
		}
		_, err := s.rewrite(ctx, seg.ID, live, job{place: s.log.AppendMoved, worker: s.workers.compact})
		errs = append(errs, err)
	})
	return errors.Join(append(errs, err)...)
}

// segments calls visit for each segment that is not busy.
func (s *Store) segments(visit func(segment.Info, index.Usage)) error {
	// The files first: a segment that is not busy now has all its records in
	// the usage read after.
	segments := s.log.Segments()
	var live map[segment.ID]index.Usage
	err := s.index.View(func(r kv.Reader) (err error) {
		live, err = index.Segments(r)
		return err
	})
	if err != nil {
		return err
	}
	for _, seg := range segments {
		if !seg.Busy {
			visit(seg, live[seg.ID])
		}
	}
	return nil
}

// rewrite empties a segment and deletes it, unless nothing has changed since it
// could not be emptied. When it left off before the end, at is where.
func (s *Store) rewrite(ctx context.Context, id segment.ID, live index.Usage, j job) (at int64, err error) {
	s.compacting.Lock()
	defer s.compacting.Unlock()
	if was, stuck := s.stuck[id]; stuck && was == live.LiveBytes {
		return 0, nil
	}
	var damage error
	if live.LiveBlocks > 0 {
		m := mover{store: s, ctx: ctx, job: j}
		err := s.log.ScanFrom(id, j.from, m.visit)
		if flushed := m.flush(); flushed != nil {
			return 0, flushed
		}
		switch {
		case errors.Is(err, errEnough):
			return m.at, nil
		case errors.Is(err, segment.ErrGone):
			return 0, nil // other work has emptied it meanwhile
		case err != nil && !fault.Is(err, fault.Corrupt):
			return 0, err
		}
		damage = err
	}
	return 0, s.discard(ctx, id, damage)
}

// discard deletes a segment in which nothing lives any more; what was found
// damaged says why something still may.
func (s *Store) discard(ctx context.Context, id segment.ID, damage error) error {
	empty := false
	err := s.committer.Update(ctx, func(tx *kv.Tx) (err error) {
		empty, err = index.ForgetSegment(tx, id)
		return err
	})
	if err != nil {
		return err
	}
	if !empty {
		s.opts.Log.LogAttrs(ctx, slog.LevelError, "a segment cannot be emptied: some of its blocks are unreadable",
			slog.String("segment", fmt.Sprintf("%016x", uint64(id))), slog.Any("error", damage))
		return s.remember(id)
	}
	delete(s.stuck, id)
	err = s.log.Remove(id)
	if errors.Is(err, segment.ErrGone) {
		return nil
	}
	s.counters.SegmentsRemoved.Add(1)
	return err
}

// remember notes what is left in a segment that could not be emptied.
func (s *Store) remember(id segment.ID) error {
	return s.index.View(func(r kv.Reader) error {
		live, err := index.Segments(r)
		s.stuck[id] = live[id].LiveBytes
		return err
	})
}

// mover copies the live records of one segment in batches. It belongs to one
// goroutine.
type mover struct {
	store *Store
	ctx   context.Context
	job   job
	moves []move
	bytes int64 // of moves
	moved int64 // in all
	at    int64 // the end of the last record that was visited
	began time.Time
}

type move struct {
	hash     object.Hash
	from, to segment.Location
}

// visit copies one record if the index says that it lives.
func (m *mover) visit(e segment.Entry) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	if m.job.budget > 0 && m.moved+m.bytes >= m.job.budget {
		return errEnough
	}
	m.at = e.End()
	s := m.store
	known, found, err := s.find(e.Hash)
	if err != nil || !found || known.Location != e.Location {
		return err
	}
	if len(m.moves) == 0 {
		m.began = time.Now()
	}
	buf := s.opts.Buffers.Get(int(e.StoredBytes))
	defer s.opts.Buffers.Put(buf)
	if err := s.log.Read(e.Location, buf); err != nil {
		if fault.Is(err, fault.Corrupt) {
			s.counters.CorruptReads.Add(1)
			s.suspect(m.ctx, e.Hash, e.Location)
			return nil // it stays, and so does the segment
		}
		return err
	}
	to, err := m.job.place(blockapi.Block{Hash: e.Hash, PlainBytes: known.PlainBytes, Encoding: known.Encoding, Data: buf}, e.Segment)
	if err != nil {
		return err
	}
	m.moves = append(m.moves, move{e.Hash, e.Location, to})
	m.bytes += e.RecordBytes()
	if len(m.moves) >= moveRecords || m.bytes >= moveBytes {
		return m.flush()
	}
	return nil
}

// flush makes the copies durable, then remembers them, then rests: requests come
// first.
func (m *mover) flush() error {
	if len(m.moves) == 0 {
		return nil
	}
	s, moves := m.store, m.moves
	defer func() {
		for _, mv := range moves {
			s.log.Settle(mv.to)
		}
		m.moves, m.bytes = nil, 0
	}()
	for _, mv := range moves {
		if err := s.log.Sync(mv.to); err != nil {
			return err
		}
	}
	err := s.committer.Update(m.ctx, func(tx *kv.Tx) error {
		for _, mv := range moves {
			if _, err := index.Move(tx, mv.hash, mv.from, mv.to); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.counters.BytesMoved.Add(m.bytes)
	m.moved += m.bytes
	if m.job.worker == nil {
		return nil
	}
	return m.job.worker.Rest(m.ctx, time.Since(m.began))
}
