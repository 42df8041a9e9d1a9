package store

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
	"hangar/shared/segment"
)

// The most records and bytes that a compaction moves in one commit.
const (
	moveRecords = 256
	moveBytes   = 16 << 20
)

// Compact rewrites every segment whose dead share has passed the threshold:
// what lives is copied to the end of the log, made durable, remembered at its
// new place, and only then is the file deleted. It is safe at any time and
// after any crash. A segment with a record that cannot be read is kept.
func (s *Store) Compact(ctx context.Context) error {
	s.compacting.Lock()
	defer s.compacting.Unlock()
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
	var errs []error
	for _, seg := range segments {
		if seg.Busy || ctx.Err() != nil {
			continue
		}
		dead := seg.Bytes - live[seg.ID].LiveBytes
		if seg.Bytes > 0 && float64(dead) < s.opts.DeadShare*float64(seg.Bytes) {
			continue
		}
		if was, stuck := s.stuck[seg.ID]; stuck && was == live[seg.ID].LiveBytes {
			continue // nothing has changed since it could not be emptied
		}
		errs = append(errs, s.rewrite(ctx, seg.ID, live[seg.ID].LiveBlocks))
	}
	return errors.Join(errs...)
}

// rewrite empties a segment and deletes it.
func (s *Store) rewrite(ctx context.Context, id segment.ID, blocks int64) error {
	var damage error
	if blocks > 0 {
		m := mover{store: s, ctx: ctx}
		err := s.log.Scan(id, m.visit)
		if flushed := m.flush(); flushed != nil {
			return flushed
		}
		if err != nil && !fault.Is(err, fault.Corrupt) {
			return err
		}
		damage = err
	}
	empty := false
	err := s.committer.Update(ctx, func(tx *kv.Tx) (err error) {
		empty, err = index.ForgetSegment(tx, id)
		return err
	})
	if err != nil {
		return err
	}
	if !empty {
		s.opts.Log.LogAttrs(ctx, slog.LevelError, "a segment cannot be compacted: some of its blocks are unreadable",
			slog.Uint64("segment", uint64(id)), slog.Any("error", damage))
		return s.remember(id)
	}
	delete(s.stuck, id)
	s.counters.SegmentsRemoved.Add(1)
	return s.log.Remove(id)
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
	moves []move
	bytes int64
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
	to, err := s.log.AppendMoved(blockapi.Block{Hash: e.Hash, PlainBytes: known.PlainBytes, Encoding: known.Encoding, Data: buf})
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
	return s.workers.compact.Rest(m.ctx, time.Since(m.began))
}
