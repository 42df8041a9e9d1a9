// Package journal makes the commits of an ordered store durable with one sync
// that they share with the bodies of rows: the log of segments in which the
// bodies lie also takes one record for each commit.
//
// Crash story. Commit appends the batch to the log, after the bodies that its
// rows point to, syncs the log, and only then has the ordered store apply the
// batch, unsynced. So what was acknowledged is in the log, whole, with all that
// it refers to (the log is Ordered). A power loss may take any part of what the
// ordered store had not synced. Open therefore applies again, in order, every
// record since the last checkpoint: each key that was written since gets its
// last value, and every other has the value of the checkpoint, which is durable.
// It does so before anything is read.
//
// A checkpoint has the ordered store sync itself, then notes in it the record up
// to which that was. The note is never ahead of what is durable. Segments from
// that of the note on must stay; Kept says which those are, and moves on only
// once the note itself is durable.
//
// Records are numbered without a gap. A torn record at the end of the log is
// cut: nobody heard of it. A record that is missing anywhere else, or that the
// ordered store has seen and the log has not, is damage: Open refuses.
package journal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"hangar/services/meta/internal/record"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/segment"
)

const (
	// checkpointEvery is the longest time that a commit waits for a checkpoint.
	checkpointEvery = 30 * time.Second
	// behind is how many times the bytes that call for a checkpoint may be
	// without one before commits wait for it.
	behind = 2
)

// Base is the ordered store under the journal; *badgerkv.Store is one. Nothing
// but the journal commits to it.
type Base interface {
	// Commit of a Base need not be durable when it returns, but is all or
	// nothing whatever happens.
	kv.Store
	// CommitReserved is Commit for what the journal holds already: it may use
	// the reserve.
	CommitReserved(b *kv.Batch) error
	// Sync returns once every commit that has returned is durable. Errors:
	// Internal, after which the store refuses commits.
	Sync() error
}

// Options of a Store.
type Options struct {
	// Segments says how the files are kept. With NoSync nothing is written to
	// the journal: a power loss then loses the last commits.
	Segments segment.Options
	// CheckpointBytes is how much is written to the journal between two
	// checkpoints; twice as much may have to be read when it is opened. 16 MiB.
	CheckpointBytes int64
	// Log gets what was found wrong.
	Log *slog.Logger
}

// Store is a kv.Store whose commits are durable.
type Store struct {
	base Base
	log  *segment.Log
	opts Options

	mu      sync.Mutex      // serializes commits, in journal and base; it guards the next four
	applied record.Position // the last record, which base holds
	record  []byte          // memory for encoding
	batch   kv.Batch        // memory for what base gets
	written int64           // bytes of records so far

	// failed is the first error of a commit that may have happened. It is
	// stored under mu, and read without by who must not wait for a commit.
	failed atomic.Pointer[error]

	// checkpointing serializes checkpoints.
	checkpointing sync.Mutex
	// unsaved is how many bytes of records are after the last checkpoint.
	unsaved atomic.Int64
	// kept is the first segment that holds records after a durable checkpoint.
	kept atomic.Uint64
	// wake has Run make a checkpoint now.
	wake chan struct{}

	counters Counters
}

// Counters count what a Store did since it was opened.
type Counters struct {
	Replayed, Checkpoints atomic.Int64
}

// Counters returns the live counters.
func (s *Store) Counters() *Counters { return &s.counters }

var _ kv.Store = (*Store)(nil)

// Log is the log of segments, for bodies. Records whose hash field is a Seq are
// the journal's.
func (s *Store) Log() *segment.Log { return s.log }

// Kept is the first segment that may hold records of the journal that are still
// needed: it and all after it must stay.
func (s *Store) Kept() segment.ID { return segment.ID(s.kept.Load()) }

// View implements kv.Store.
func (s *Store) View(read func(kv.Reader) error) error { return s.base.View(read) }

// Commit implements kv.Store.
func (s *Store) Commit(b *kv.Batch) error {
	if s.unsaved.Load() > behind*s.opts.CheckpointBytes {
		if err := s.Checkpoint(); err != nil {
			return fault.Wrap(fault.StorageFull, err, "the journal is full")
		}
	}
	if err := s.base.Writable(); err != nil {
		return err
	}
	if s.opts.Segments.NoSync {
		return s.base.Commit(b)
	}
	if b.Bytes() > s.MaxBatchBytes() {
		return fault.New(fault.Invalid, "batch of %d bytes is larger than %d", b.Bytes(), s.MaxBatchBytes())
	}
	for _, op := range b.Ops() {
		if err := op.Check(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commit(b)
}

// commit writes a batch that base will take. The caller holds mu.
func (s *Store) commit(b *kv.Batch) error {
	if err := s.Failed(); err != nil {
		return err
	}
	began := b.Clock()
	at, err := s.append(b)
	b.Note("journal.append", began)
	if err == nil {
		// The compaction leaves the segment alone without that.
		s.log.Settle(at)
		began = b.Clock()
		err = s.log.Sync(at)
		b.Note("journal.sync", began)
	} else if !errors.Is(err, segment.ErrBroken) {
		return err // and nothing was written
	}
	if err == nil {
		began = b.Clock()
		err = s.apply(b, record.Position{Seq: s.applied.Seq + 1, Segment: at.Segment, End: at.End()})
		b.Note("badger.apply", began)
	}
	if err != nil {
		// The record may be on the disk: then it counts when the store is opened
		// again, and nothing may follow that was decided without it.
		s.failed.Store(&err)
		return fault.Wrap(fault.Internal, err, "the commit may have happened")
	}
	s.written += at.RecordBytes()
	if s.unsaved.Add(at.RecordBytes()) >= s.opts.CheckpointBytes {
		select {
		case s.wake <- struct{}{}:
		default: // it is awake
		}
	}
	return nil
}

// append writes the record of the next commit to the log. The caller holds mu.
func (s *Store) append(b *kv.Batch) (segment.Location, error) {
	s.record = appendBatch(s.record[:0], b)
	return s.log.AppendUnreserved(blockapi.Block{
		Hash: name(s.applied.Seq + 1), PlainBytes: int64(len(s.record)), Data: s.record,
	})
}

// apply has base commit what is in the log at a position. The caller holds mu,
// or is Open.
func (s *Store) apply(b *kv.Batch, at record.Position) error {
	s.batch.Reset()
	for _, op := range b.Ops() {
		if op.Delete {
			s.batch.Delete(op.Key)
		} else {
			s.batch.Set(op.Key, op.Value)
		}
	}
	s.batch.Set(record.AppliedKey(), record.EncodePosition(at))
	if err := s.base.CommitReserved(&s.batch); err != nil {
		return err
	}
	s.applied = at
	return nil
}

// positionBytes is more than what the position adds to a batch.
const positionBytes = 256

// MaxBatchBytes implements kv.Store.
func (s *Store) MaxBatchBytes() int {
	return min(s.base.MaxBatchBytes()-positionBytes, segment.MaxDataBytes)
}

// Failed is nil until a commit failed in a way after which no more are taken,
// until the store is opened again. It never waits.
func (s *Store) Failed() error {
	if err := s.failed.Load(); err != nil {
		return fault.Wrap(fault.StorageFull, *err, "no writes are taken until a restart, since a commit failed")
	}
	return nil
}

// Writable implements kv.Store.
func (s *Store) Writable() error {
	if err := s.Failed(); err != nil {
		return err
	}
	return s.base.Writable()
}

// DiskBytes implements kv.Store. The log is not in it.
func (s *Store) DiskBytes() int64 { return s.base.DiskBytes() }

// Run makes checkpoints until ctx ends, and tells result how each ended. After an
// error the next one tries again, and commits wait for it when there are too many
// since the last.
func (s *Store) Run(ctx context.Context, result func(error)) error {
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.wake:
		}
		if s.unsaved.Load() == 0 {
			continue
		}
		result(s.Checkpoint())
	}
}

// Checkpoint makes durable in the ordered store what was committed so far, so
// that the records of the journal until now are no longer needed. Errors:
// Internal, StorageFull; the last checkpoint stays.
func (s *Store) Checkpoint() error {
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	at, written, err := s.mark()
	if err != nil {
		return err
	}
	if err := s.base.Sync(); err != nil {
		return err
	}
	var note kv.Batch
	note.Set(record.DurableKey(), record.EncodePosition(at))
	if err := s.base.CommitReserved(&note); err != nil {
		return err
	}
	if err := s.base.Sync(); err != nil {
		return err
	}
	s.kept.Store(uint64(at.Segment))
	s.mu.Lock()
	s.unsaved.Store(s.written - written)
	s.mu.Unlock()
	s.counters.Checkpoints.Add(1)
	return nil
}

// mark returns a position up to which base holds all, and the bytes of records
// before it. The log is durable up to there, so that it is never cut before it.
func (s *Store) mark() (at record.Position, written int64, err error) {
	s.mu.Lock()
	at, written = s.applied, s.written
	at.Segment, at.End = s.log.End()
	s.mu.Unlock()
	if at.End > 0 {
		err = s.log.Sync(segment.Location{Segment: at.Segment, Offset: at.End})
	}
	return at, written, err
}

// Close makes a last checkpoint, so that nothing is to be done when the store is
// opened again, and closes the log. Everything else has ended. The base stays
// open.
func (s *Store) Close() error {
	var err error
	if s.Writable() == nil {
		err = s.Checkpoint()
	}
	return errors.Join(err, s.log.Close())
}
