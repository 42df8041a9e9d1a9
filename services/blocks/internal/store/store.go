// Package store is one node's blocks: it puts the segments (bytes) and the
// index (who needs them) together and offers them as a blockapi.Node.
//
// Write order of a Put: record appended → fsync → index and reference in one
// synced commit → nil. A crash before the commit leaves bytes that nothing
// remembers; the compaction takes them. Nothing is ever remembered that was
// not durable before.
package store

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/services/blocks/internal/volume"
	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
	"hangar/shared/segment"
	"hangar/shared/span"
	"hangar/shared/work"
)

// Options of a Store.
type Options struct {
	// Node is whose blocks they are; Directories are its data directories, none:
	// only the main one. A main directory that is not among them is drained.
	Node        object.NodeID
	Directories []volume.Spec
	// Segments says how the files are kept.
	Segments segment.Options
	// Grace is how long an owner must not have been touched before it may be
	// found dead, and how long a hint waits. It must exceed the longest request.
	Grace time.Duration
	// QueueLimit bounds the owners waiting to be verified.
	QueueLimit int64
	// WantedLimit bounds the blocks waiting to be resynchronised.
	WantedLimit int64
	// SweepEvery is the least time between the begins of two sweeps.
	SweepEvery time.Duration
	// DeadShare is the share of dead bytes from which a segment is rewritten.
	DeadShare float64
	// Verifier decides whether an owner lives.
	Verifier blockapi.Verifier
	// Buffers to take blocks' memory from.
	Buffers *blockcodec.Buffers
	// Concurrency is how many blocks are decompressed at once.
	Concurrency int
	// Clock is the age of the node; its own running time by default.
	Clock func() time.Duration
	// Work is what the background work belongs to; nil is a Set of its own.
	Work *work.Set
	// Log gets what went wrong in the background.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Grace <= 0 {
		o.Grace = 10 * time.Minute
	}
	if o.QueueLimit <= 0 {
		o.QueueLimit = 1 << 20
	}
	if o.WantedLimit <= 0 {
		o.WantedLimit = 1 << 20
	}
	if o.SweepEvery <= 0 {
		o.SweepEvery = 24 * time.Hour
	}
	if o.DeadShare <= 0 {
		o.DeadShare = 0.5
	}
	if o.Buffers == nil {
		o.Buffers = &blockcodec.Buffers{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Store is the blocks of one node. Safe for concurrent use. Changes make
// progress only while Run runs.
type Store struct {
	opts      Options
	index     kv.Store
	committer *kv.Committer
	log       *volume.Set
	codec     *blockcodec.Codec
	now       func() time.Duration
	gc        *collector
	// unreadable are the blocks that a Put brings back.
	unreadable places
	epoch      epochs
	members    members
	wanted     wanted
	workers    workers

	// compacting is held while a segment is rewritten; it guards stuck: what lives
	// in the segments that cannot be emptied.
	compacting sync.Mutex
	stuck      map[segment.ID]int64

	counters Counters
}

var _ blockapi.Node = (*Store)(nil)

// Counters count what a Store did since it was opened.
type Counters struct {
	Puts, Gets, Known, CorruptReads             atomic.Int64
	Verified, OwnersDropped, HintsLost, Unknown atomic.Int64
	SegmentsRemoved, BytesMoved                 atomic.Int64
	// OldEpochs are writes refused; Repaired blocks and references that other
	// nodes had and this one lacked.
	OldEpochs, Repaired, RepairedRefs atomic.Int64
}

// Open opens the blocks in the main directory dir and those that opts name, whose
// index is idx. The caller closes idx after the Store.
func Open(dir string, idx kv.Store, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	codec, err := blockcodec.New(opts.Buffers, opts.Concurrency)
	if err != nil {
		return nil, err
	}
	s := &Store{opts: opts, index: idx, committer: kv.NewCommitter(idx), codec: codec, now: opts.Clock, stuck: make(map[segment.ID]int64)}
	if err := claim(idx, volume.SegmentsOf(dir)); err != nil {
		return nil, err
	}
	if err := index.Migrate(idx); err != nil {
		return nil, err
	}
	dirs, err := directories(dir, idx, opts)
	if err != nil {
		return nil, err
	}
	durable := make(map[segment.ID]int64)
	err = idx.View(func(r kv.Reader) error {
		usage, err := index.Segments(r)
		for id, u := range usage {
			durable[id] = u.End
		}
		if err == nil && s.now == nil {
			s.now, err = runningTime(r)
		}
		if err == nil {
			s.gc, err = newCollector(s, r)
		}
		if err == nil {
			err = s.load(r)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.employ(opts.Work); err != nil {
		return nil, err
	}
	s.log, err = volume.Open(dirs, opts.Segments, durable)
	return s, err
}

// claim marks a new index as the one of these segments, before there is any.
// Under an index that is not theirs all blocks would seem dead, and compaction
// would delete them.
func claim(idx kv.Store, segments string) error {
	var claimed bool
	err := idx.View(func(r kv.Reader) (err error) {
		_, claimed, err = index.Mark(r, markClaimed)
		return err
	})
	if err != nil || claimed {
		return err
	}
	files, err := filepath.Glob(filepath.Join(segments, "*"))
	if err != nil || len(files) > 0 {
		return fault.New(fault.Corrupt, "%s holds blocks that the index knows nothing of: "+
			"restore the index, or move the segments away to start as an empty node", segments)
	}
	var b kv.Batch
	index.SetMark(&b, markClaimed, nil)
	return idx.Commit(&b)
}

// Close closes the files. Run has ended and no request is in progress.
func (s *Store) Close() error { return s.log.Close() }

// Writable is nil when a Put would be let in, else the error it would get.
func (s *Store) Writable() error {
	if err := s.log.Writable(); err != nil {
		return err
	}
	return s.index.Writable()
}

// DiskFailing says why no data directory is to be relied on for new blocks; nil
// while one is.
func (s *Store) DiskFailing() error { return s.log.Failing() }

// Traffic is the bytes that blocks were written and read with.
func (s *Store) Traffic() (written, read int64) { return s.log.Traffic() }

// Counters returns the live counters.
func (s *Store) Counters() *Counters { return &s.counters }

func (s *Store) touch(owner blockapi.Owner) index.Touch {
	return index.Touch{Owner: owner, Now: s.now(), Coarse: s.opts.Grace / 10}
}

// Put implements blockapi.Node.
func (s *Store) Put(ctx context.Context, epoch uint64, owner blockapi.Owner, b blockapi.Block) error {
	if err := s.epoch.check(epoch); err != nil { // before the work
		s.counters.OldEpochs.Add(1)
		return err
	}
	if err := s.codec.Verify(b); err != nil {
		return err
	}
	if err := s.Writable(); err != nil {
		return err
	}
	s.counters.Puts.Add(1)
	bad := s.unreadable.at(b.Hash)
	if bad == (segment.Location{}) {
		missing, err := s.refer(ctx, s.fenced(epoch), owner, []object.Hash{b.Hash}, true)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			s.counters.Known.Add(1)
			return nil
		}
	}
	return s.write(ctx, s.fenced(epoch), owner, b, bad)
}

// write stores a block in place of the bad copy, if there is one.
func (s *Store) write(ctx context.Context, commit commit, owner blockapi.Owner, b blockapi.Block, bad segment.Location) error {
	at, err := s.durably(ctx, b)
	if err != nil {
		return err
	}
	defer s.log.Settle(at)
	known := index.Block{Location: at, Encoding: b.Encoding, PlainBytes: b.PlainBytes}
	err = commit(ctx, func(tx *kv.Tx) error {
		return index.PutBlock(tx, s.touch(owner), b.Hash, known, bad)
	})
	if err == nil {
		s.unreadable.forget(b.Hash)
	}
	return err
}

// durably writes a block's record and makes it durable. The caller settles it.
// Where a directory turns out not to sync, the next one is tried: what may lie
// in the first is remembered by nobody.
func (s *Store) durably(ctx context.Context, b blockapi.Block) (segment.Location, error) {
	var failed error
	for range s.log.Len() {
		at, err := s.append(ctx, b)
		if err != nil && failed != nil {
			err = fault.Wrap(fault.KindOf(err), errors.Join(failed, err), "after a directory failed")
		}
		if err != nil {
			return segment.Location{}, err
		}
		_, syncing := span.Start(ctx, "segment.sync")
		err = s.log.Sync(at)
		syncing.End(err)
		if err == nil {
			return at, nil
		}
		s.log.Settle(at)
		failed = err
	}
	return segment.Location{}, failed
}

// append writes a block's record, not yet durable. The caller settles it.
func (s *Store) append(ctx context.Context, b blockapi.Block) (segment.Location, error) {
	_, writing := span.Start(ctx, "segment.append")
	at, err := s.log.Append(b)
	writing.Int("hangar.bytes", int64(len(b.Data)))
	writing.End(err)
	return at, err
}

// Get implements blockapi.Node.
func (s *Store) Get(ctx context.Context, h object.Hash) (blockapi.Block, error) {
	s.counters.Gets.Add(1)
	return s.reading(ctx, h, nil)
}

// Verify reads a block and holds everything that is known of it against its
// content: the index entry, the record's header, the hash. It returns the size as
// stored. What is wrong is counted and queued, to be replaced by the copy of
// another node. Errors: NotFound, Corrupt.
func (s *Store) Verify(ctx context.Context, h object.Hash) (storedBytes int64, err error) {
	b, err := s.reading(ctx, h, func(b blockapi.Block, at segment.Location) error {
		if err := s.log.Check(segment.Entry{Location: at, Hash: h, Encoding: b.Encoding, PlainBytes: b.PlainBytes}); err != nil {
			return err
		}
		if err := s.codec.Verify(b); err != nil {
			return fault.Wrap(fault.Corrupt, err, "block %s", h)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.unreadable.forget(h) // whatever was wrong before
	storedBytes = int64(len(b.Data))
	s.opts.Buffers.Put(b.Data)
	return storedBytes, nil
}

// reading reads a block that passes a check, nil for none.
func (s *Store) reading(ctx context.Context, h object.Hash, check func(blockapi.Block, segment.Location) error) (blockapi.Block, error) {
	// A compaction may move the block between the look-up and the read, but
	// hardly again and again.
	var at segment.Location
	for range 10 {
		if err := ctx.Err(); err != nil {
			return blockapi.Block{}, err
		}
		var b blockapi.Block
		var err error
		b, at, err = s.read(ctx, h)
		if err == nil && check != nil {
			if err = check(b, at); err != nil {
				s.opts.Buffers.Put(b.Data)
				b = blockapi.Block{}
			}
		}
		if !errors.Is(err, segment.ErrGone) {
			if fault.Is(err, fault.Internal) && at != (segment.Location{}) {
				// The disk does not give it back: as bad as a wrong one.
				err = fault.Wrap(fault.Corrupt, err, "block %s cannot be read", h)
			}
			if fault.Is(err, fault.Corrupt) {
				s.counters.CorruptReads.Add(1)
				s.opts.Log.LogAttrs(ctx, slog.LevelError, "a stored block is corrupt",
					slog.String("block", h.String()), slog.Any("error", err))
				s.suspect(ctx, h, at)
			}
			return b, err
		}
	}
	s.suspect(ctx, h, at)
	return blockapi.Block{}, fault.New(fault.Corrupt, "block %s: its segment is missing", h)
}

// read looks for a block once, and says where.
func (s *Store) read(ctx context.Context, h object.Hash) (blockapi.Block, segment.Location, error) {
	_, look := span.Start(ctx, "badger.get")
	known, found, err := s.find(h)
	look.End(err)
	if err != nil {
		return blockapi.Block{}, segment.Location{}, err
	}
	if !found {
		return blockapi.Block{}, segment.Location{}, fault.New(fault.NotFound, "no block %s", h)
	}
	buf := s.opts.Buffers.Get(int(known.StoredBytes))
	_, reading := span.Start(ctx, "segment.read")
	reading.Int("hangar.bytes", known.StoredBytes)
	err = s.log.Read(known.Location, buf)
	reading.End(err)
	if err != nil {
		s.opts.Buffers.Put(buf)
		return blockapi.Block{}, known.Location, err
	}
	return blockapi.Block{Hash: h, PlainBytes: known.PlainBytes, Encoding: known.Encoding, Data: buf}, known.Location, nil
}

func (s *Store) find(h object.Hash) (b index.Block, found bool, err error) {
	err = s.index.View(func(r kv.Reader) error {
		b, found, err = index.FindBlock(r, h)
		return err
	})
	return b, found, err
}

// Reference implements blockapi.Node.
func (s *Store) Reference(ctx context.Context, epoch uint64, owner blockapi.Owner, hashes []object.Hash) ([]object.Hash, error) {
	if err := s.epoch.check(epoch); err != nil {
		s.counters.OldEpochs.Add(1)
		return nil, err
	}
	var missing []object.Hash
	for len(hashes) > 0 {
		n := min(len(hashes), index.MaxChange)
		part, err := s.refer(ctx, s.fenced(epoch), owner, hashes[:n], false)
		if err != nil {
			return nil, err
		}
		missing = append(missing, part...)
		hashes = hashes[n:]
	}
	return missing, nil
}

// refer references known blocks. With peek it looks first, and commits nothing
// when none is known.
func (s *Store) refer(ctx context.Context, commit commit, owner blockapi.Owner, hashes []object.Hash, peek bool) (missing []object.Hash, err error) {
	if peek {
		if _, found, err := s.find(hashes[0]); err != nil || !found {
			return hashes, err
		}
	}
	err = commit(ctx, func(tx *kv.Tx) error {
		missing, err = index.Refer(tx, s.touch(owner), hashes)
		return err
	})
	if err != nil {
		return nil, err
	}
	return missing, nil
}

// Release implements blockapi.Node.
func (s *Store) Release(_ context.Context, r blockapi.Released) { s.gc.hint(r) }

// Usage sums what the store holds.
type Usage struct {
	Blocks, LiveBytes, DeadBytes int64
	Segments                     int
	// Queued is the number of owners waiting to be verified.
	Queued int64
}

// Usage reads the sums.
func (s *Store) Usage() (u Usage, err error) {
	err = s.index.View(func(r kv.Reader) error {
		live, err := index.Segments(r)
		for _, seg := range s.log.Segments() {
			u.Segments++
			u.Blocks += live[seg.ID].LiveBlocks
			u.LiveBytes += live[seg.ID].LiveBytes
			u.DeadBytes += max(seg.Bytes-live[seg.ID].LiveBytes, 0)
		}
		return err
	})
	u.Queued = s.gc.queued.Load()
	return u, err
}
