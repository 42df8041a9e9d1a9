// Package bodies keeps the bodies of rows that are too large for the ordered
// store, which would copy them again and again: in its write-ahead log, its
// memory and every level of its tree. They lie in a log of segments (package
// segment) instead, and a row's record says where. The log is that of the
// journal (package journal).
//
// Crash story. A body is appended before its row goes to the committer, so before
// the record of the journal that holds the row; the sync that makes that record
// durable makes the body so too. So a row never points to bytes that are not on
// stable storage. A crash between the two, and a row that is refused after all,
// leave bytes that no row points to; compaction takes them. How much of each
// segment rows point to, and how far that reaches, is part of the commit that
// changes the row. So after a restart it is known which segments are worth
// compacting, and that nothing before the furthest end may be cut as torn.
//
// A segment is removed only after a commit that found nothing alive in it, never
// while an append to it is not settled, and never while the journal keeps it. A
// reader that looked the place up before that finds the segment gone, and looks
// again.
package bodies

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"

	"hangar/services/meta/internal/journal"
	"hangar/services/meta/internal/record"
	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/object"
	"hangar/shared/segment"
	"hangar/shared/span"
)

// MaxBytes is the longest body: all concurrent values of a K2V item lie in one,
// and it has to fit into a message.
const MaxBytes = 5 << 20

// Options of a Log.
type Options struct {
	// DeadShare is the share of dead bytes from which a segment is rewritten;
	// 0.5.
	DeadShare float64
	// Log gets what was found wrong.
	Log *slog.Logger
}

// Log is the bodies of one node's rows. Safe for concurrent use.
type Log struct {
	journal *journal.Store
	writer  *kv.Committer
	log     *segment.Log // the journal's
	opts    Options
	buffers blockcodec.Buffers

	// compacting serializes compactions; it guards stuck: what lives in the
	// segments that could not be emptied.
	compacting sync.Mutex
	stuck      map[segment.ID]int64

	counters Counters
}

// Counters count what a Log did since it was opened.
type Counters struct {
	CorruptReads, SegmentsRemoved, BytesMoved atomic.Int64
}

// Counters returns the live counters.
func (l *Log) Counters() *Counters { return &l.counters }

// New returns the bodies in the log of j, to which rows point that writer
// commits.
func New(j *journal.Store, writer *kv.Committer, opts Options) (*Log, error) {
	if opts.DeadShare <= 0 {
		opts.DeadShare = 0.5
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{journal: j, writer: writer, log: j.Log(), opts: opts, stuck: make(map[segment.ID]int64)}
	usage, err := journal.Usage(j)
	if err != nil {
		return nil, err
	}
	for _, s := range l.log.Segments() {
		delete(usage, s.ID)
	}
	for id, u := range usage {
		if u.LiveBodies > 0 {
			opts.Log.LogAttrs(context.Background(), slog.LevelError, "a segment of bodies is missing",
				slog.Uint64("segment", uint64(id)), slog.Int64("bodies", u.LiveBodies))
		}
	}
	return l, nil
}

// Writable is nil when Append would find room, else the error it would get.
func (l *Log) Writable() error { return l.log.Writable() }

// DiskBytes is how much space the bodies take, and the journal with them.
func (l *Log) DiskBytes() (n int64) {
	for _, s := range l.log.Segments() {
		n += s.Bytes
	}
	return n
}

// Append writes a body that the row under key rk may point to in an update that
// calls Account. The caller must Settle the place once that is committed or
// given up. Errors: Invalid (too long), StorageFull: nothing was written.
func (l *Log) Append(rk, body []byte) (segment.Location, error) {
	if len(body) > MaxBytes {
		return segment.Location{}, fault.New(fault.Invalid, "body of %d bytes is larger than %d", len(body), MaxBytes)
	}
	buf := l.buffers.Get(binary.MaxVarintLen64 + len(rk) + len(body))[:0]
	buf = binary.AppendUvarint(buf, uint64(len(rk)))
	buf = append(append(buf, rk...), body...)
	at, err := l.append(rk, buf, l.log.Append)
	l.buffers.Put(buf)
	return at, err
}

// append writes the record of the row under rk. Its name in the log is the hash
// of rk, so that the owner of a damaged record can still be told.
func (l *Log) append(rk, data []byte, write func(blockapi.Block) (segment.Location, error)) (segment.Location, error) {
	return write(blockapi.Block{Hash: object.Hash(sha256.Sum256(rk)), PlainBytes: int64(len(data)), Data: data})
}

// Settle ends what Append began.
func (l *Log) Settle(at segment.Location) { l.log.Settle(at) }

// Read returns the body at a place that the row under key rk points to, of n
// bytes. Errors: segment.ErrGone (the row has changed: look again), Corrupt,
// Internal.
func (l *Log) Read(ctx context.Context, rk []byte, at segment.Location, n int) ([]byte, error) {
	buf := make([]byte, at.StoredBytes)
	_, s := span.Start(ctx, "segment.read")
	s.Int("hangar.bytes", at.StoredBytes)
	err := l.log.Read(at, buf)
	s.End(err)
	if err == nil {
		var key, body []byte
		key, body, err = split(buf)
		if err == nil && string(key) == string(rk) && len(body) == n {
			return body, nil
		}
		err = fault.New(fault.Corrupt, "segment %d at %d: the body is another row's", at.Segment, at.Offset)
	}
	if fault.Is(err, fault.Corrupt) {
		l.corrupt(ctx, at, err)
	}
	return nil, err
}

func (l *Log) corrupt(ctx context.Context, at segment.Location, err error) {
	l.counters.CorruptReads.Add(1)
	l.opts.Log.LogAttrs(ctx, slog.LevelError, "the body of a row is corrupt",
		slog.Uint64("segment", uint64(at.Segment)), slog.Int64("offset", at.Offset), slog.Any("error", err))
}

// split takes the data of a record apart.
func split(data []byte) (rk, body []byte, err error) {
	n, w := binary.Uvarint(data)
	if w <= 0 || n > uint64(len(data)-w) {
		return nil, nil, fault.New(fault.Corrupt, "the record of a body names no row")
	}
	return data[w : w+int(n)], data[w+int(n):], nil
}

// Account makes the usage of segments part of the update that changes a row.
func (l *Log) Account(tx *kv.Tx, before, after *record.Row) error {
	if before.BodyApart() {
		if err := count(tx, before.Place, -1); err != nil {
			return err
		}
	}
	if !after.BodyApart() {
		return nil
	}
	return count(tx, after.Place, 1)
}

func count(tx *kv.Tx, at segment.Location, sign int64) error {
	key := record.UsageKey(at.Segment)
	u, err := usageOf(tx, key)
	if err != nil {
		return err
	}
	u.LiveBytes += sign * at.RecordBytes()
	u.LiveBodies += sign
	u.End = max(u.End, at.End())
	tx.Set(key, record.EncodeUsage(u))
	return nil
}

func usageOf(tx *kv.Tx, key []byte) (u record.Usage, err error) {
	b, found, err := tx.Get(key)
	if err == nil && found {
		u, err = record.DecodeUsage(b)
	}
	return u, err
}

// Usage sums what the log holds. What the journal wrote counts as dead.
type Usage struct {
	Bodies, LiveBytes, DeadBytes int64
	Segments                     int
}

// Usage reads the sums.
func (l *Log) Usage() (u Usage, err error) {
	live, err := journal.Usage(l.journal)
	for _, s := range l.log.Segments() {
		u.Segments++
		u.Bodies += live[s.ID].LiveBodies
		u.LiveBytes += live[s.ID].LiveBytes
		u.DeadBytes += max(s.Bytes-live[s.ID].LiveBytes, 0)
	}
	return u, err
}

// Hold keeps compaction from changing anything until release is called: no body
// that a row points to goes away meanwhile.
func (l *Log) Hold() (release func()) {
	l.compacting.Lock()
	return l.compacting.Unlock
}

// Export puts the log as it is into another directory, durably but for the
// directory itself; see segment.Log.Export. The caller holds it. The last file is
// copied, never linked: it may be appended to once more when the log is opened.
// Errors: StorageFull.
func (l *Log) Export(dir string) error {
	segments := l.log.Segments()
	for i, s := range segments {
		s.Busy = s.Busy || i == len(segments)-1
		if err := l.log.Export(s, dir); err != nil {
			return err
		}
	}
	return nil
}
