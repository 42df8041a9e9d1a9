package segment

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/freespace"
)

// Options of a Log. Zero values mean the defaults.
type Options struct {
	// SegmentBytes is the size from which a new file is begun; 1 GiB.
	SegmentBytes int64
	// ReserveBytes of free space that Append leaves; half of it is open to
	// AppendMoved. 1 GiB.
	ReserveBytes int64
	// KeepCached leaves what was written in the system's page cache, for data
	// that is likely to be read soon.
	KeepCached bool
	// NoSync makes Sync do nothing: a power loss then loses the last records, a
	// crash of the process does not.
	NoSync bool
	// Ordered makes a record that Sync made durable stand for all that were
	// appended before it, in earlier files too: a file is synced before the next
	// one is begun. When a sync fails, or a half written record cannot be taken
	// back, the log takes no more records until it is opened again.
	Ordered bool
	// OnSync learns how long each fsync took.
	OnSync func(time.Duration)
	// First is the number after which those of new files begin, for several logs
	// whose numbers must not meet.
	First ID
	// ReadOnly begins no file, cuts none and takes no record: the files are only
	// read, and removed. A directory that is not there is an empty log.
	ReadOnly bool
	// Log gets what was found wrong in the files.
	Log *slog.Logger

	// OpenFile opens or creates a file; the operating system's by default.
	OpenFile func(path string, create bool) (File, error)
	// FreeBytes is the free space of the directory's file system; by default the
	// operating system is asked, though not for every record (package freespace).
	FreeBytes func(dir string) (int64, error)
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 1 << 30
	}
	if o.ReserveBytes <= 0 {
		o.ReserveBytes = 1 << 30
	}
	if o.OnSync == nil {
		o.OnSync = func(time.Duration) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OpenFile == nil {
		o.OpenFile = func(path string, create bool) (File, error) {
			return openOS(path, create, o.ReadOnly, o.KeepCached)
		}
	}
	return o
}

// Log is the segments of one directory. Safe for concurrent use.
type Log struct {
	dir   string
	opts  Options
	space *freespace.Gauge
	// vitals is shared with the files.
	vitals vitals
	// bytes is the size of all files.
	bytes atomic.Int64

	// appending is held while a record is written; it guards active and next.
	appending sync.Mutex
	active    *file // nil until the next Append begins a file
	next      ID

	mu    sync.RWMutex // guards files
	files map[ID]*file
}

// Open opens the log in dir, creating the directory. durable says how far each
// file is known to hold remembered records: nothing before that end is ever
// cut. The last file is scanned from there and cut at its first bad record.
// Damage anywhere else is reported to Options.Log and found again by reads.
// Errors: Denied, Invalid (a newer format), StorageFull, Internal.
func Open(dir string, opts Options, durable map[ID]int64) (*Log, error) {
	l := &Log{
		dir: dir, opts: opts.withDefaults(), space: freespace.New(dir, opts.FreeBytes),
		next: opts.First + 1, files: make(map[ID]*file),
	}
	if opts.ReadOnly {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return l, nil
		}
		return l.openFiles(durable)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Denied, err, "create %s", dir)
	}
	// Makes a just created dir durable in its parent.
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, fault.Wrap(fault.Internal, err, "sync the parent of %s", dir)
	}
	return l.openFiles(durable)
}

// openFiles opens the files that are there. Whoever fails closes the log.
func (l *Log) openFiles(durable map[ID]int64) (*Log, error) {
	sizes, err := list(l.dir)
	if err != nil {
		return nil, fault.Wrap(fault.Denied, err, "read %s", l.dir)
	}
	for id := range durable {
		l.next = max(l.next, id+1)
	}
	for i, id := range slices.Sorted(maps.Keys(sizes)) {
		l.next = max(l.next, id+1)
		if err := l.load(id, sizes[id], durable[id], i == len(sizes)-1); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// load opens an existing file.
func (l *Log) load(id ID, size, durable int64, last bool) error {
	path := filepath.Join(l.dir, id.name())
	f, err := l.opts.OpenFile(path, false)
	if err != nil {
		return fault.Wrap(fault.Denied, err, "open %s", path)
	}
	s := &file{id: id, path: path, f: f, observe: l.opts.OnSync, vitals: &l.vitals}
	s.users.Store(1)
	s.written.Store(size)
	s.durable = size
	head := make([]byte, min(size, fileHeader))
	if _, err = f.ReadAt(head, 0); err == nil {
		err = parseFileHeader(id, head)
	}
	switch {
	case fault.Is(err, fault.Invalid):
		return errors.Join(fault.Wrap(fault.Invalid, err, "%s", path), f.Close())
	case err != nil && last && durable == 0 && size <= fileHeader && !l.opts.ReadOnly:
		// The crash came before the file was ready for its first record.
		return errors.Join(f.Close(), fault.Wrap(fault.Internal, os.Remove(path), "remove %s", path))
	case err != nil || size < durable:
		l.damaged(id, "segment file is damaged: it is kept, and its records are read where possible",
			slog.Int64("size", size), slog.Int64("remembered", durable), slog.Any("error", err))
		s.failed = fault.New(fault.Corrupt, "damaged")
	case last && !l.opts.ReadOnly:
		if err := l.recover(s, size, max(durable, fileHeader)); err != nil {
			return errors.Join(err, f.Close())
		}
		l.active = s
	}
	l.files[id] = s
	l.bytes.Add(s.written.Load())
	return nil
}

func (l *Log) damaged(id ID, msg string, attrs ...slog.Attr) {
	attrs = append(attrs, slog.String("segment", id.name()))
	l.opts.Log.LogAttrs(context.Background(), slog.LevelError, msg, attrs...)
}

// recover cuts what the crash left at the end of the last file.
func (l *Log) recover(s *file, size, from int64) error {
	buf := make([]byte, 0, 64<<10)
	end, err := scan(s, from, size, func(e Entry) error {
		buf = slices.Grow(buf[:0], int(e.StoredBytes))
		return s.read(e.Location, buf[:e.StoredBytes])
	})
	if err != nil && !fault.Is(err, fault.Corrupt) {
		return err
	}
	if end < size {
		l.opts.Log.LogAttrs(context.Background(), slog.LevelWarn, "cutting the torn end of a segment",
			slog.String("segment", s.id.name()), slog.Int64("kept", end), slog.Int64("cut", size-end))
		if err := s.f.Truncate(end); err != nil {
			return fault.Wrap(fault.Internal, err, "cut %s", s.path)
		}
	}
	if err := s.f.Sync(); err != nil {
		return fault.Wrap(fault.StorageFull, err, "sync %s", s.path)
	}
	s.written.Store(end)
	s.durable = end
	return nil
}

// Append writes b as a record, not yet durable: the caller Syncs before it
// remembers the Location. It does not keep b. The caller must Settle the
// Location once it is remembered or given up: until then the segment is Busy,
// so that nobody takes the record for dead. Errors: StorageFull, and nothing
// was written.
func (l *Log) Append(b blockapi.Block) (Location, error) { return l.append(b, l.opts.ReserveBytes) }

// AppendMoved is Append for records whose old place is freed later: it may use
// half of the reserve, so that a full disk can be compacted.
func (l *Log) AppendMoved(b blockapi.Block) (Location, error) {
	return l.append(b, l.opts.ReserveBytes/2)
}

// AppendUnreserved is Append for records that free space or are small enough to
// be let into the reserve: the caller has looked how much of it is left. Once
// the log is broken (ErrBroken) it is unknown whether the record was written.
func (l *Log) AppendUnreserved(b blockapi.Block) (Location, error) { return l.append(b, 0) }

// ErrBroken says that an Ordered log takes no more records until it is opened
// again. It comes as the cause of a StorageFull.
var ErrBroken = errors.New("the log takes no more records until it is opened again")

func (l *Log) append(b blockapi.Block, reserve int64) (Location, error) {
	if l.opts.ReadOnly {
		return Location{}, fault.New(fault.StorageFull, "%s takes no new blocks", l.dir)
	}
	e := Entry{Hash: b.Hash, Encoding: b.Encoding, PlainBytes: b.PlainBytes}
	e.StoredBytes, e.Checksum = int64(len(b.Data)), Checksum(b.Data)
	if err := l.room(e.RecordBytes() + reserve); err != nil {
		return Location{}, err
	}
	l.appending.Lock()
	defer l.appending.Unlock()
	s, err := l.current(e.RecordBytes())
	if err != nil {
		return Location{}, err
	}
	start := s.written.Load()
	e.Segment, e.Offset = s.id, start+recordHeader
	l.vitals.begin(time.Now())
	err = s.write(e, b.Data)
	l.vitals.end(time.Now(), err)
	if err != nil {
		if cut := l.takeBack(s, start); cut != nil {
			s.spoil(cut)
			if l.opts.Ordered {
				err = errors.Join(ErrBroken, err)
			}
		}
		return Location{}, fault.Wrap(fault.StorageFull, err, "write to %s", s.path)
	}
	s.written.Store(e.End())
	l.bytes.Add(e.RecordBytes())
	s.unsettled.Add(1)
	l.vitals.writtenBytes.Add(e.StoredBytes)
	return e.Location, nil
}

// takeBack cuts off whatever of a record was half written at start. If not even
// that works, the file is left alone for ever. In an Ordered log it is also made
// certain that a power loss does not bring the record back.
func (l *Log) takeBack(s *file, start int64) error {
	err := s.f.Truncate(start)
	if err == nil && l.opts.Ordered && !l.opts.NoSync {
		err = s.f.Sync()
	}
	return err
}

// Settle ends what Append began.
func (l *Log) Settle(loc Location) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if s := l.files[loc.Segment]; s != nil {
		s.unsettled.Add(-1)
	}
}

// current returns the file that a record of n bytes goes to. The caller holds
// appending.
func (l *Log) current(n int64) (*file, error) {
	if s := l.active; s != nil {
		err := s.broken()
		if end := s.written.Load(); err == nil && (end == fileHeader || end+n <= l.opts.SegmentBytes) {
			return s, nil
		}
		if l.opts.Ordered {
			if err == nil && !l.opts.NoSync {
				err = s.sync(s.written.Load())
			}
			if err != nil {
				return nil, fault.Wrap(fault.StorageFull, errors.Join(ErrBroken, err), "%s", s.path)
			}
		}
	}
	l.active = nil // full or broken
	s, err := l.create(l.next)
	if err != nil {
		return nil, err
	}
	l.next++
	l.active = s
	l.bytes.Add(fileHeader)
	l.mu.Lock()
	l.files[s.id] = s
	l.mu.Unlock()
	return s, nil
}

// create makes a file that is durable, entry in the directory included, before
// anything is written to it.
func (l *Log) create(id ID) (*file, error) {
	path := filepath.Join(l.dir, id.name())
	f, err := l.opts.OpenFile(path, true)
	if err != nil {
		return nil, fault.Wrap(fault.StorageFull, err, "create %s", path)
	}
	header := encodeFileHeader(id)
	_, err = f.WriteAt(header[:], 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(l.dir)
	}
	if err != nil {
		return nil, errors.Join(fault.Wrap(fault.StorageFull, err, "begin %s", path), f.Close(), os.Remove(path))
	}
	s := &file{id: id, path: path, f: f, durable: fileHeader, observe: l.opts.OnSync, vitals: &l.vitals}
	s.users.Store(1)
	s.written.Store(fileHeader)
	return s, nil
}

// End is where the next record will begin at the earliest: all records so far
// are before it.
func (l *Log) End() (id ID, end int64) {
	l.appending.Lock()
	defer l.appending.Unlock()
	if l.active == nil {
		return l.next, 0
	}
	return l.active.id, l.active.written.Load()
}

// Sync returns once the record at loc, and all written before it in the same
// file, are on stable storage. Errors: StorageFull: the record may be lost.
func (l *Log) Sync(loc Location) error {
	if l.opts.NoSync {
		return nil
	}
	s, err := l.acquire(loc.Segment)
	if err != nil {
		return err
	}
	return errors.Join(s.sync(loc.End()), s.release())
}

// ErrGone says that a segment is no longer there: the record has moved, and the
// index knows where.
var ErrGone = errors.New("segment has been removed")

func (l *Log) acquire(id ID) (*file, error) {
	l.mu.RLock()
	s := l.files[id]
	l.mu.RUnlock()
	if s == nil || !s.acquire() {
		return nil, ErrGone
	}
	return s, nil
}

// Read fills buf, of length loc.StoredBytes, with a record's data and checks
// it. Errors: ErrGone, Corrupt, Internal.
func (l *Log) Read(loc Location, buf []byte) error {
	s, err := l.acquire(loc.Segment)
	if err != nil {
		return err
	}
	l.vitals.read.Add(int64(len(buf)))
	return errors.Join(s.read(loc, buf), s.release())
}

// Check reads the header of the record that e describes, and compares: Corrupt
// when it says otherwise. Errors besides: ErrGone, Internal.
func (l *Log) Check(e Entry) error {
	s, err := l.acquire(e.Segment)
	if err != nil {
		return err
	}
	var h [recordHeader]byte
	start := e.Offset - recordHeader
	err = readFull(s, h[:], start)
	if err == nil {
		var found Entry
		if found, err = parseHeader(s.id, start, h[:]); err == nil && found != e {
			err = fault.New(fault.Corrupt, "the record is another one than was expected")
		}
		err = fault.Wrap(fault.KindOf(err), err, "%s at %d", s.path, start)
	}
	return errors.Join(err, s.release())
}

// Info describes a segment.
type Info struct {
	ID ID
	// Bytes is the size of all its records, End where the last of them ends.
	Bytes, End int64
	// Busy says that records may still be appended, or were appended and are
	// not settled. What is not busy never becomes so again.
	Busy bool
}

// Segments lists the files, oldest first.
func (l *Log) Segments() []Info {
	l.appending.Lock()
	defer l.appending.Unlock()
	l.mu.RLock()
	defer l.mu.RUnlock()
	var infos []Info
	for _, id := range slices.Sorted(maps.Keys(l.files)) {
		s := l.files[id]
		end := s.written.Load()
		infos = append(infos, Info{ID: id, Bytes: end - fileHeader, End: end, Busy: s == l.active || s.unsettled.Load() > 0})
	}
	return infos
}

// Scan calls visit for each record of a segment in order, without reading its
// data. It returns Corrupt when it came upon something that is no record, after
// having visited all before it, or the error of visit.
func (l *Log) Scan(id ID, visit func(Entry) error) error { return l.ScanFrom(id, 0, visit) }

// ScanFrom is Scan from the end of a record on, 0 for all.
func (l *Log) ScanFrom(id ID, from int64, visit func(Entry) error) error {
	s, err := l.acquire(id)
	if err != nil {
		return err
	}
	_, err = scan(s, max(from, fileHeader), s.written.Load(), visit)
	return errors.Join(err, s.release())
}

// Remove deletes a segment that is not busy. Reads in progress end undisturbed.
func (l *Log) Remove(id ID) error {
	l.mu.Lock()
	s := l.files[id]
	if s == nil {
		l.mu.Unlock()
		return ErrGone
	}
	delete(l.files, id)
	l.mu.Unlock()
	l.bytes.Add(-s.written.Load())
	return fault.Wrap(fault.Internal, errors.Join(os.Remove(s.path), s.release()), "remove %s", s.path)
}

// Close closes all files. Callers have ended everything else first.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, s := range l.files {
		errs = append(errs, s.release())
	}
	clear(l.files)
	return errors.Join(errs...)
}
