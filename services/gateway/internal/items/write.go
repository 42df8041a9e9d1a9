package items

import (
	"context"
	"fmt"

	"hangar/shared/causal"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// Write is a value for an item, by somebody who had seen Context of it.
type Write struct {
	Name
	Context causal.Context
	Value   causal.Value
}

func (w *Write) check() error {
	if n := len(w.Value.Data); n > MaxValueBytes {
		return fault.Wrap(fault.Invalid, ErrTooLarge, "the value has %d bytes, and may have %d", n, MaxValueBytes)
	}
	return w.Name.check()
}

// add is set with w written to it. What a writer claims to have seen is cut to
// what there is: the row is the item's whole history, and no token, however old
// or made up, is to supersede what is still to come.
func (s *Service) add(set causal.Set, w *Write) (causal.Set, error) {
	now := uint64(s.cfg.Now().UnixMicro())
	seen := w.Context.Within(set.Context())
	if !keepsConcurrent {
		seen = set.Context()
	}
	out := set.Insert(node, seen, now, w.Value)
	switch dots, bytes := out.Dots(), size(out); {
	case dots > MaxItemValues && dots > set.Dots():
		return nil, fault.Wrap(fault.Invalid, ErrItemFull,
			"the item has %d concurrent values already: read it and write with its causality token", set.Dots())
	case bytes > MaxItemBytes && bytes > size(set):
		return nil, fault.Wrap(fault.Invalid, ErrItemFull,
			"the item's concurrent values would have %d bytes together, and may have %d: read it and write with its causality token",
			bytes, MaxItemBytes)
	}
	return out, nil
}

func size(s causal.Set) (n int) {
	for i := range s {
		for _, d := range s[i].Dots {
			n += len(d.Data)
		}
	}
	return n
}

// update decides the write of several values into one item, in order. What
// became of each stands in errs afterwards; only when none could be written is
// nothing.
func (s *Service) update(writes []*Write, errs []error) metaapi.Update {
	return func(row metaapi.Row) (*metaapi.Value, error) {
		set, err := record.DecodeItem(row.Value)
		if err != nil {
			return nil, err
		}
		written := false
		for i, w := range writes {
			var next causal.Set
			if next, errs[i] = s.add(set, w); errs[i] == nil {
				set, written = next, true
			}
		}
		if !written {
			return nil, errs[0]
		}
		return record.EncodeItem(set), nil
	}
}

// happened reports whether a write may have left something.
func happened(err error) bool {
	switch {
	case err == nil:
		return true
	case fault.Is(err, fault.Indeterminate), fault.Is(err, fault.Internal), fault.Is(err, fault.Canceled):
		return true
	}
	return false
}

// change is a write of one row by a batch.
type change struct {
	name   Name
	writes []*Write
	errs   []error
}

// InsertBatch writes several values. Each item is written on its own: an error
// leaves some written and others not, and says how many (ErrPartial); the whole
// batch may be repeated, as any write. Errors: as those of Insert.
func (s *Service) InsertBatch(ctx context.Context, bucket object.BucketID, writes []Write) error {
	if n := len(writes); n > MaxBatchWrites {
		return fault.Wrap(fault.Invalid, ErrTooLarge, "%d items, and one batch may have %d", n, MaxBatchWrites)
	}
	byName := make(map[Name]*change, len(writes))
	var all []*change
	for i := range writes {
		w := &writes[i]
		w.Bucket = bucket
		if err := w.check(); err != nil {
			return fault.Wrap(fault.KindOf(err), err, "item %d of the batch: %s; nothing was written", i+1, message(err))
		}
		c := byName[w.Name]
		if c == nil {
			c = &change{name: w.Name}
			byName[w.Name] = c
			all = append(all, c)
		}
		c.writes = append(c.writes, w)
	}
	leave, err := s.admit(bucket)
	if err != nil {
		return err
	}
	defer leave()
	var done tally
	for len(all) > 0 {
		n, bytes := 0, 0
		for n < len(all) && n < sliceRows && (n == 0 || bytes < sliceBytes) {
			for _, w := range all[n].writes {
				bytes += len(w.Value.Data)
			}
			n++
		}
		if err := s.writeMany(ctx, all[:n], &done); err != nil {
			return done.partial(err, "%d of the batch's %d items are written, %d may be, the others are not", done.written, len(writes), done.unknown)
		}
		all = all[n:]
	}
	return nil
}

// message is what an error says to people.
func message(err error) string {
	if f, ok := err.(*fault.Error); ok && f.Msg != "" { //nolint:errorlint // the outermost
		return f.Msg
	}
	return err.Error()
}

// tally counts what became of the writes of a batch.
type tally struct{ written, unknown int }

// partial is err, which ended a batch, for a client: it says what is known to be
// done. Only what the client itself did wrong is said of the cause.
func (t *tally) partial(err error, format string, args ...any) error {
	kind, said := fault.KindOf(err), ""
	switch {
	case t.unknown > 0:
		kind = fault.Indeterminate
	case kind == fault.Invalid || kind == fault.Denied:
		said = message(err) + "; "
	}
	return fault.Wrap(kind, fmt.Errorf("%w: %w", ErrPartial, err), "%s", said+fmt.Sprintf(format, args...))
}

// writeMany writes several rows at once, says what changed, and counts it. The
// error is that of the first write that failed, if any.
func (s *Service) writeMany(ctx context.Context, all []*change, t *tally) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	changes := make([]metaapi.Change, len(all))
	for i, c := range all {
		c.errs = make([]error, len(c.writes))
		changes[i] = metaapi.Change{Key: c.name.row(), Decide: s.update(c.writes, c.errs)}
	}
	told := map[string][]string{}
	for i, done := range s.rows.UpdateMany(ctx, changes) {
		c := all[i]
		if happened(done.Err) {
			told[c.name.Partition] = append(told[c.name.Partition], c.name.Sort)
		}
		for _, e := range c.errs {
			if e == nil {
				e = unknownFate(done.Err)
			}
			switch {
			case e == nil:
				t.written++
				continue
			case happened(e):
				t.unknown++
			}
			if err == nil {
				err = fault.Wrap(fault.KindOf(e), e, "item %q of %q: %s", c.name.Sort, c.name.Partition, message(e))
			}
		}
	}
	for key, sorts := range told {
		s.hub.Publish(ctx, all[0].name.Bucket, key, sorts...)
	}
	return err
}

// unknownFate words an end of the time for a write: it may have happened.
func unknownFate(err error) error {
	if fault.Is(err, fault.Canceled) {
		return fault.Wrap(fault.Indeterminate, err, "")
	}
	return err
}

// DeleteBatch deletes the live items that each search selects, one by one: of
// each exactly what was read. It returns how many each had. Nothing is deleted
// if one search is not valid; another error leaves some deleted and others not,
// and says how many (ErrPartial); the batch may be repeated.
func (s *Service) DeleteBatch(ctx context.Context, bucket object.BucketID, all []Search) ([]int, error) {
	for i := range all {
		if err := all[i].check(); err != nil {
			return nil, fault.Wrap(fault.KindOf(err), err, "search %d of the batch: %s; nothing was deleted", i+1, message(err))
		}
	}
	leave, err := s.admit(bucket)
	if err != nil {
		return nil, err
	}
	defer leave()
	var done tally
	deleted := make([]int, len(all))
	for i := range all {
		before := done.written
		if err := s.deleteRange(ctx, bucket, &all[i], &done); err != nil {
			return nil, done.partial(err, "search %d of the batch's %d was not finished; %d items are deleted, %d may be", i+1, len(all), done.written, done.unknown)
		}
		deleted[i] = done.written - before
	}
	return deleted, nil
}

func (s *Service) deleteRange(ctx context.Context, bucket object.BucketID, q *Search, t *tally) error {
	if q.Single {
		name := Name{bucket, q.Partition, *q.Start}
		set, err := s.get(ctx, name)
		if item := newItem(name.Sort, set); err != nil || !item.live() {
			return err
		}
		return s.writeMany(ctx, []*change{deletion(name, set.Context())}, t)
	}
	w := s.walk(bucket, q)
	w.limit = sliceRows
	for !w.over {
		page, err := w.next(ctx)
		if err != nil {
			return err
		}
		var all []*change
		for _, e := range page {
			if e.head.Counters.Entries > 0 {
				all = append(all, deletion(Name{bucket, q.Partition, e.sort}, e.head.Set.Context()))
			}
		}
		if len(all) == 0 {
			continue
		}
		if err := s.writeMany(ctx, all, t); err != nil {
			return err
		}
	}
	return nil
}

func deletion(n Name, seen causal.Context) *change {
	return &change{name: n, writes: []*Write{{Name: n, Context: seen, Value: causal.Value{Deleted: true}}}}
}
