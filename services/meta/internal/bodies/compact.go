package bodies

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"hangar/services/meta/internal/journal"
	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/lifecycle"
	"hangar/shared/segment"
)

const (
	// moveRows and moveBytes are the most that is moved in one commit. Requests
	// wait for it.
	moveRows  = 64
	moveBytes = 4 << 20
)

// Compact rewrites every segment whose dead share has passed the threshold:
// what lives is copied to the end of the log and made durable, its row is
// pointed there, and only when no row points to the segment any more is the
// file deleted. It is safe at any time and after any crash. A segment with a
// live body that cannot be read is kept, and so are those that the journal
// needs; what the journal wrote in others is dead.
func (l *Log) Compact(ctx context.Context) error {
	l.compacting.Lock()
	defer l.compacting.Unlock()
	// The files first: a segment that is not busy now has all its rows in the
	// usage read after.
	segments, kept := l.log.Segments(), l.journal.Kept()
	live, err := journal.Usage(l.journal)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range segments {
		u := live[s.ID]
		if s.Busy || s.ID >= kept || ctx.Err() != nil || s.Bytes > 0 && float64(s.Bytes-u.LiveBytes) < l.opts.DeadShare*float64(s.Bytes) {
			continue
		}
		if was, stuck := l.stuck[s.ID]; stuck && was == u.LiveBytes {
			continue // nothing has changed since it could not be emptied
		}
		errs = append(errs, l.rewrite(ctx, s.ID, u.LiveBodies))
	}
	return errors.Join(errs...)
}

// rewrite empties a segment and deletes it.
func (l *Log) rewrite(ctx context.Context, id segment.ID, bodies int64) error {
	var damage error
	if bodies > 0 {
		m := mover{log: l, ctx: ctx}
		err := l.log.Scan(id, m.visit)
		if flushed := m.flush(); flushed != nil {
			return errors.Join(err, flushed)
		}
		if err != nil && !fault.Is(err, fault.Corrupt) {
			return err
		}
		damage = err
	}
	var left record.Usage
	err := l.writer.Update(ctx, func(tx *kv.Tx) (err error) {
		key := record.UsageKey(id)
		if left, err = usageOf(tx, key); err == nil && left.LiveBodies == 0 {
			tx.Delete(key)
		}
		return err
	})
	if err != nil {
		return err
	}
	if left.LiveBodies > 0 {
		l.stuck[id] = left.LiveBytes
		l.opts.Log.LogAttrs(ctx, slog.LevelError, "a segment cannot be compacted: some of its bodies are unreadable",
			slog.Uint64("segment", uint64(id)), slog.Int64("bodies", left.LiveBodies), slog.Any("error", damage))
		return nil
	}
	delete(l.stuck, id)
	l.counters.SegmentsRemoved.Add(1)
	return l.log.Remove(id)
}

// mover copies the live records of one segment in batches. It belongs to one
// goroutine.
type mover struct {
	log   *Log
	ctx   context.Context
	moves []move
	bytes int64
	began time.Time
}

type move struct {
	row      []byte // its key
	from, to segment.Location
}

// visit copies one record if a row points to it.
func (m *mover) visit(e segment.Entry) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	if _, ours := journal.Seq(e.Hash); ours {
		return nil
	}
	l := m.log
	if m.began.IsZero() {
		m.began = time.Now()
	}
	buf := l.buffers.Get(int(e.StoredBytes))
	defer l.buffers.Put(buf)
	err := l.log.Read(e.Location, buf)
	var rk []byte
	if err == nil {
		rk, _, err = split(buf)
	}
	if fault.Is(err, fault.Corrupt) {
		return nil // if it lives it stays, and so does the segment
	}
	if err != nil {
		return err
	}
	if lives, err := l.lives(rk, e.Location); err != nil || !lives {
		return err
	}
	to, err := l.append(rk, buf, l.log.AppendMoved)
	if err != nil {
		return err
	}
	m.moves = append(m.moves, move{append([]byte(nil), rk...), e.Location, to})
	m.bytes += e.RecordBytes()
	if len(m.moves) >= moveRows || m.bytes >= moveBytes {
		return m.flush()
	}
	return nil
}

// lives reports whether the row under rk points to a place.
func (l *Log) lives(rk []byte, at segment.Location) (lives bool, err error) {
	err = l.journal.View(func(r kv.Reader) error {
		b, found, err := r.Get(rk)
		if err != nil || !found {
			return err
		}
		row, err := record.Decode(b)
		lives = err == nil && row.BodyApart() && row.Place == at
		return err
	})
	return lives, err
}

// flush points the rows to the copies, which are made durable before that is
// committed, then rests as long as it all took: requests come first.
func (m *mover) flush() error {
	if len(m.moves) == 0 {
		return nil
	}
	l, moves, moved := m.log, m.moves, m.bytes
	took := time.Since(m.began)
	defer func() {
		for _, mv := range moves {
			l.log.Settle(mv.to)
		}
		m.moves, m.bytes, m.began = nil, 0, time.Time{}
	}()
	err := l.writer.Update(m.ctx, func(tx *kv.Tx) error {
		for _, mv := range moves {
			if err := l.point(tx, mv); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.counters.BytesMoved.Add(moved)
	return lifecycle.Sleep(m.ctx, took)
}

// point makes a row point to the copy of its body, unless it has changed.
func (l *Log) point(tx *kv.Tx, mv move) error {
	b, found, err := tx.Get(mv.row)
	if err != nil || !found {
		return err
	}
	row, err := record.Decode(b)
	if err != nil || !row.BodyApart() || row.Place != mv.from {
		return err
	}
	moved := *row
	moved.Place = mv.to
	tx.Set(mv.row, record.Encode(&moved))
	return l.Account(tx, row, &moved)
}
