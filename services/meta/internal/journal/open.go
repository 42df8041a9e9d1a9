package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/segment"
)

// Open opens the journal in dir, of the commits to base, and applies to base
// what a power loss may have taken from it. A base without a journal gets one.
// Errors: Corrupt (bodies or a journal beside a base that knows nothing of them,
// acknowledged commits that are nowhere), StorageFull, Internal, and those of
// segment.Open.
func Open(dir string, base Base, opts Options) (*Store, error) {
	if opts.CheckpointBytes <= 0 {
		opts.CheckpointBytes = 16 << 20
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	// What was just written is what is read soon.
	opts.Segments.KeepCached = true
	opts.Segments.Ordered = true
	s := &Store{base: base, opts: opts, wake: make(chan struct{}, 1)}
	note, begun, err := position(base, record.DurableKey())
	if err != nil {
		return nil, err
	}
	seen, _, err := position(base, record.AppliedKey())
	if err == nil && !begun {
		err = claimed(base, dir)
	}
	if err != nil {
		return nil, err
	}
	durable, err := ends(base, note, seen)
	if err != nil {
		return nil, err
	}
	if s.log, err = segment.Open(dir, opts.Segments, durable); err != nil {
		return nil, err
	}
	if err := s.recover(note, seen, begun); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), s.log.Close())
	}
	return s, nil
}

// recover applies the records after the note. seen is the last of which base
// knows.
func (s *Store) recover(note, seen record.Position, begun bool) error {
	s.applied = note
	if !begun {
		// Whatever lies in the log is older than the journal.
		for _, f := range s.log.Segments() {
			s.applied.Segment, s.applied.End = f.ID, f.End
		}
	}
	if err := s.replay(); err != nil {
		return err
	}
	if seen.Seq > s.applied.Seq {
		return fault.New(fault.Corrupt, "the journal ends with record %d, but record %d was written: acknowledged changes are lost",
			s.applied.Seq, seen.Seq)
	}
	if n := s.counters.Replayed.Load(); n > 0 {
		s.opts.Log.LogAttrs(context.Background(), slog.LevelInfo, "applied the journal", slog.Int64("records", n))
	}
	// Also when nothing was applied: the note may not have reached the disk.
	return s.Checkpoint()
}

// position reads a position.
func position(base kv.Store, key []byte) (p record.Position, found bool, err error) {
	err = base.View(func(r kv.Reader) error {
		b, ok, err := r.Get(key)
		if found = ok; err != nil || !ok {
			return err
		}
		p, err = record.DecodePosition(b)
		return err
	})
	return p, found, err
}

// claimed refuses a log beside a base that has no rows yet: all bodies would
// seem dead, and compaction would delete them.
func claimed(base kv.Store, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		return fault.Wrap(fault.Invalid, err, "%s", dir)
	}
	return base.View(func(r kv.Reader) error {
		_, found, err := r.Get(record.BitsKey())
		if err == nil && !found {
			err = fault.New(fault.Corrupt, "%s holds bodies of rows that are not there: "+
				"restore the rows, or move the bodies away to start as an empty node", dir)
		}
		return err
	})
}

// ends is how far each segment is known to be on stable storage: no body that a
// row points to, and no record that base knows of, is cut as torn.
func ends(base kv.Store, known ...record.Position) (map[segment.ID]int64, error) {
	usage, err := Usage(base)
	if err != nil {
		return nil, err
	}
	durable := make(map[segment.ID]int64, len(usage))
	for id, u := range usage {
		durable[id] = u.End
	}
	for _, p := range known {
		if p.Segment > 0 { // also without an End: no number is used twice
			durable[p.Segment] = max(durable[p.Segment], p.End)
		}
	}
	return durable, nil
}

// Usage reads what rows have in each segment.
func Usage(store kv.Store) (map[segment.ID]record.Usage, error) {
	all := make(map[segment.ID]record.Usage)
	err := store.View(func(r kv.Reader) error {
		it := r.Iterate(record.UsagePrefix())
		defer it.Close()
		for it.Next() {
			id, err := record.ParseUsageKey(it.Key())
			if err != nil {
				return err
			}
			b, err := it.Value()
			if err != nil {
				return err
			}
			if all[id], err = record.DecodeUsage(b); err != nil {
				return err
			}
		}
		return it.Err()
	})
	return all, err
}

// replay applies all records after s.applied, in the order in which they were
// written, which is that of the log.
func (s *Store) replay() error {
	from := s.applied
	for _, f := range s.log.Segments() {
		if f.ID < from.Segment {
			continue
		}
		start := int64(0)
		if f.ID == from.Segment {
			start = from.End
		}
		var failed error
		err := s.log.ScanFrom(f.ID, start, func(e segment.Entry) error {
			failed = s.replayEntry(e)
			return failed
		})
		switch {
		case failed != nil:
			return failed
		case fault.Is(err, fault.Corrupt):
			// Bodies may be lost, which their readers find. If a record is, the
			// next one does not follow, or base has seen more than there is.
			s.opts.Log.LogAttrs(context.Background(), slog.LevelError, "a segment is damaged", slog.Any("error", err))
		case err != nil:
			return err
		}
	}
	return nil
}

// replayEntry applies e if it is a record of the journal.
func (s *Store) replayEntry(e segment.Entry) error {
	seq, ok := Seq(e.Hash)
	if !ok {
		return nil
	}
	if seq != s.applied.Seq+1 {
		return fault.New(fault.Corrupt, "record %d of the journal follows record %d: acknowledged changes are lost", seq, s.applied.Seq)
	}
	data := make([]byte, e.StoredBytes)
	if err := s.log.Read(e.Location, data); err != nil {
		return err
	}
	var b kv.Batch
	if err := decodeBatch(data, &b); err != nil {
		return err
	}
	if err := s.apply(&b, record.Position{Seq: seq, Segment: e.Segment, End: e.End()}); err != nil {
		return fault.Wrap(fault.StorageFull, err, "apply record %d of the journal", seq)
	}
	s.counters.Replayed.Add(1)
	return nil
}
