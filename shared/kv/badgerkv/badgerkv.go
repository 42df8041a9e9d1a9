// Package badgerkv keeps a kv.Store in a directory, in Badger. It is the only
// package that knows Badger.
//
// Badger maps its write-ahead log into memory as a sparse file. On a full disk
// a write to such a page kills the process instead of returning an error, so
// the store stops taking commits while some space is still left (ReserveBytes).
package badgerkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"hangar/shared/fault"
	"hangar/shared/freespace"
	"hangar/shared/kv"
)

// Options of a store. The zero value is good for a small store.
type Options struct {
	// MemTableBytes is the size of one in-memory table, of which there are
	// three at worst. 0 means 16 MiB, with which a store under a heavy load of
	// writes was seen to take 170 to 300 MiB, depending on Go's memory limit. 4
	// MiB is the least. A batch may be an eighth of it.
	MemTableBytes int64
	// CacheBytes bounds the cache of blocks, and half of it that of indexes. 0
	// means 32 MiB.
	CacheBytes int64
	// NoSync has commits not wait for the disk: a power loss then loses those
	// since the last Sync, in any order, a crash of the process does not.
	NoSync bool
	// ReserveBytes is the free space below which commits are refused. 0 means
	// 256 MiB.
	ReserveBytes int64
	// FreeBytes is the free space of the directory's file system; by default the
	// operating system is asked, though not for every commit (package
	// freespace).
	FreeBytes func(dir string) (int64, error)
	// Log takes Badger's warnings and errors. Nil means none.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 16 << 20
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 32 << 20
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = 256 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// openBytes is the free space that opening takes at worst: what the memory
// tables held at the end of the last run is written out as tables, and a new log
// is begun. A store that stopped at its reserve can always be opened again.
func (o Options) openBytes() int64 { return min(4*o.MemTableBytes, o.ReserveBytes) }

// Store is a kv.Store in a directory that it holds locked until Close.
type Store struct {
	db    *badger.DB
	dir   string
	opt   Options
	space *freespace.Gauge
	// failed is the first error of a commit whose outcome is unknown. After a
	// failed sync the kernel may have dropped the pages, so nothing more is
	// written before the store is opened again.
	failed atomic.Pointer[error]
}

var _ kv.Store = (*Store)(nil)

// Open opens the store in dir and creates it when there is none. Errors:
// Conflict (another process has it open), Denied (cannot be written),
// StorageFull, Corrupt, Internal; each names the directory. Below the reserve it
// opens all the same, to be read; StorageFull means that there is not even the
// space that opening takes.
func Open(dir string, opt Options) (*Store, error) {
	opt = opt.withDefaults()
	if err := writable(dir); err != nil {
		return nil, err
	}
	space := freespace.New(dir, opt.FreeBytes)
	free, err := space.Free(opt.openBytes())
	if err != nil {
		return nil, fault.Wrap(fault.StorageFull, err, "cannot tell the free space of %s", dir)
	}
	if need := opt.openBytes(); free < need {
		return nil, fault.New(fault.StorageFull, "%s has %d MiB left: to open the store takes %d MiB", dir, free>>20, need>>20)
	}
	bo := badger.DefaultOptions(dir).
		WithLogger(logger{opt.Log}).
		WithMetricsEnabled(false).
		WithSyncWrites(!opt.NoSync).
		WithDetectConflicts(false). // one writer
		WithMemTableSize(opt.MemTableBytes).
		WithNumMemtables(2).
		// Values stay in the tree: the value log's collector does not keep up.
		WithValueThreshold(kv.MaxValueBytes + 1).
		WithValueLogFileSize(1 << 20).
		// Small tables: each table being built takes several times its size in
		// memory, and ten are built at once.
		WithBaseTableSize(2 << 20).
		WithBaseLevelSize(32 << 20).
		WithNumCompactors(2).
		WithBlockCacheSize(opt.CacheBytes).
		WithIndexCacheSize(opt.CacheBytes / 2).
		WithCompression(options.Snappy).
		WithChecksumVerificationMode(options.OnBlockRead)
	if err := removeUnbegun(dir); err != nil {
		return nil, fault.Wrap(fault.Denied, err, "cannot write in %s", dir)
	}
	db, err := badger.Open(bo)
	if err != nil {
		return nil, openError(dir, err)
	}
	return &Store{db: db, dir: dir, opt: opt, space: space}, nil
}

// writable makes dir and proves that files can be created in it.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.Wrap(fault.Denied, err, "cannot create %s", dir)
	}
	f, err := os.CreateTemp(dir, ".probe-*")
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fault.Wrap(fault.StorageFull, err, "no space in %s", dir)
	case err != nil:
		return fault.Wrap(fault.Denied, err, "cannot write in %s", dir)
	}
	_ = f.Close()
	return fault.Wrap(fault.Denied, os.Remove(f.Name()), "cannot write in %s", dir)
}

// openError says what Badger's error means. Badger does not type these errors.
func openError(dir string, err error) error {
	switch msg := strings.ToLower(err.Error()); {
	case strings.Contains(msg, "directory lock"):
		return fault.Wrap(fault.Conflict, err, "%s is in use by another process", dir)
	case errors.Is(err, fs.ErrPermission):
		return fault.Wrap(fault.Denied, err, "cannot open the store in %s", dir)
	case strings.Contains(msg, "manifest"), strings.Contains(msg, "checksum"), strings.Contains(msg, "corrupt"),
		strings.Contains(msg, "file does not exist"):
		return fault.Wrap(fault.Corrupt, err, "the store in %s is damaged", dir)
	default:
		return fault.Wrap(fault.Internal, err, "cannot open the store in %s", dir)
	}
}

// View implements kv.Store.
func (s *Store) View(read func(kv.Reader) error) error {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	return read(reader{txn})
}

// Commit implements kv.Store.
func (s *Store) Commit(b *kv.Batch) error {
	if err := s.Writable(); err != nil {
		return err
	}
	return s.commit(b)
}

// CommitReserved is Commit for what is already promised: it may use the reserve,
// as long as a memory table could still be written.
func (s *Store) CommitReserved(b *kv.Batch) error {
	if err := s.room(min(s.opt.MemTableBytes, s.opt.ReserveBytes/4)); err != nil {
		return err
	}
	return s.commit(b)
}

func (s *Store) commit(b *kv.Batch) error {
	if b.Bytes() > s.MaxBatchBytes() {
		return fault.New(fault.Invalid, "batch of %d bytes is larger than %d", b.Bytes(), s.MaxBatchBytes())
	}
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	for _, op := range b.Ops() {
		err := op.Check()
		switch {
		case err != nil:
		case op.Delete:
			err = txn.Delete(op.Key)
		default:
			err = txn.Set(op.Key, op.Value)
		}
		if err != nil {
			return fault.Wrap(fault.Invalid, err, "batch refused")
		}
	}
	began := b.Clock()
	err := txn.Commit()
	b.Note("badger.commit", began)
	if err != nil {
		err = fault.Wrap(fault.Internal, err, "commit to %s", s.dir)
		s.failed.CompareAndSwap(nil, &err)
		return err
	}
	return nil
}

// MaxBatchBytes implements kv.Store. It stays below Badger's 15 % of a memory
// table, which counts its own overhead too.
func (s *Store) MaxBatchBytes() int { return int(s.opt.MemTableBytes / 8) }

// Writable implements kv.Store.
func (s *Store) Writable() error { return s.room(s.opt.ReserveBytes) }

// room is nil when no commit has failed and more space than reserve is left.
func (s *Store) room(reserve int64) error {
	if err := s.failed.Load(); err != nil {
		return fault.Wrap(fault.StorageFull, *err, "%s takes no writes since a commit failed", s.dir)
	}
	free, err := s.space.Free(reserve)
	if err != nil {
		return fault.Wrap(fault.StorageFull, err, "cannot tell the free space of %s", s.dir)
	}
	if free < reserve {
		return fault.New(fault.StorageFull, "%s has %d MiB left, less than the reserve of %d MiB",
			s.dir, free>>20, reserve>>20)
	}
	return nil
}

// DiskBytes implements kv.Store. It counts blocks, because the log files are
// sparse.
func (s *Store) DiskBytes() int64 {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0
	}
	var total int64
	for _, e := range entries {
		var st syscall.Stat_t
		if syscall.Stat(filepath.Join(s.dir, e.Name()), &st) == nil {
			total += st.Blocks * 512
		}
	}
	return total
}

// Verify reads the whole store and checks every block's checksum. Errors:
// Corrupt.
func (s *Store) Verify() error {
	return fault.Wrap(fault.Corrupt, s.db.VerifyChecksum(), "the store in %s is damaged", s.dir)
}

// Close implements kv.Store.
func (s *Store) Close() error {
	return fault.Wrap(fault.Internal, s.db.Close(), "close %s", s.dir)
}

type reader struct{ txn *badger.Txn }

func (r reader) Get(key []byte) ([]byte, bool, error) {
	item, err := r.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fault.Wrap(fault.Internal, err, "get")
	}
	v, err := valueOf(item)
	return v, err == nil, err
}

// valueOf returns the value in Badger's own memory, which stays as it is until
// the transaction ends or, in an iterator, moves on.
func valueOf(item *badger.Item) (v []byte, err error) {
	err = item.Value(func(b []byte) error {
		v = b
		return nil
	})
	return v, fault.Wrap(fault.Corrupt, err, "read value")
}

func (r reader) Iterate(prefix []byte) kv.Iterator {
	it := r.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	return &iterator{it: it, prefix: prefix}
}

type iterator struct {
	it      *badger.Iterator
	prefix  []byte
	started bool
}

func (i *iterator) Next() bool {
	if !i.started {
		return i.Seek(i.prefix)
	}
	if i.it.Valid() {
		i.it.Next()
	}
	return i.it.Valid()
}

func (i *iterator) Seek(key []byte) bool {
	if string(key) < string(i.prefix) {
		key = i.prefix
	}
	i.started = true
	i.it.Seek(key)
	return i.it.Valid()
}

// IterateReverse implements kv.Reader. Badger is not told the prefix: it would
// not say whether it stands behind the prefix or nowhere.
func (r reader) IterateReverse(prefix []byte) kv.Iterator {
	it := r.txn.NewIterator(badger.IteratorOptions{Reverse: true})
	return &reverse{iterator{it: it, prefix: prefix}}
}

// reverse is an iterator that goes down.
type reverse struct{ iterator }

func (i *reverse) valid() bool { return i.it.ValidForPrefix(i.prefix) }

func (i *reverse) Next() bool {
	switch {
	case !i.started:
		return i.last()
	case i.valid():
		i.it.Next()
	}
	return i.valid()
}

// last moves to the last key of the prefix.
func (i *reverse) last() bool {
	i.started = true
	behind := bytes.Clone(i.prefix) // the first key behind all with the prefix
	for len(behind) > 0 && behind[len(behind)-1] == 0xff {
		behind = behind[:len(behind)-1]
	}
	if len(behind) > 0 {
		behind[len(behind)-1]++
	}
	if i.it.Seek(behind); i.it.Valid() && len(behind) > 0 && bytes.Equal(i.it.Item().Key(), behind) {
		i.it.Next()
	}
	return i.valid()
}

func (i *reverse) Seek(key []byte) bool {
	if bytes.Compare(key, i.prefix) > 0 && !bytes.HasPrefix(key, i.prefix) {
		return i.last()
	}
	i.started = true
	if len(key) == 0 { // for Badger that is the end
		i.it.Seek([]byte{0})
		return i.it.Valid() && len(i.it.Item().Key()) == 0
	}
	i.it.Seek(key)
	return i.valid()
}

func (i *iterator) Key() []byte            { return i.it.Item().Key() }
func (i *iterator) Value() ([]byte, error) { return valueOf(i.it.Item()) }
func (i *iterator) Err() error             { return nil } // Badger reports none
func (i *iterator) Close()                 { i.it.Close() }

// logger passes on Badger's warnings and errors; the rest is chatter.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(format string, args ...any) { l.print(slog.LevelError, format, args) }

func (l logger) Warningf(format string, args ...any) { l.print(slog.LevelWarn, format, args) }

func (l logger) Infof(format string, args ...any) { l.print(slog.LevelDebug, format, args) }

func (l logger) Debugf(string, ...any) {}

func (l logger) print(level slog.Level, format string, args []any) {
	if ctx := context.Background(); l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}
