// Package kv is the contract of a small ordered store of bytes: what the
// metadata and block services keep their records and indexes in. Package
// badgerkv implements it on disk and memkv in memory; kvtest holds both to the
// same suite. Committer, here, merges the updates of many callers into few
// synced commits.
package kv

import (
	"time"

	"hangar/shared/fault"
)

// Bounds of one key and value.
const (
	MaxKeyBytes   = 16 << 10
	MaxValueBytes = 512 << 10
)

// Store is an ordered map of byte keys to byte values, in bytewise order of
// keys. All methods are safe for concurrent use until Close.
type Store interface {
	// View runs read on a snapshot: commits that end later are not seen. The
	// Reader and every slice got from it are valid only until read returns.
	// The error is read's own.
	View(read func(Reader) error) error
	// Commit applies all of b or nothing, also across a crash, and returns nil
	// once that is on stable storage (unless the operator has switched syncing
	// off). The slices in b must not change until it returns. Errors:
	// StorageFull, Invalid (larger than MaxBatchBytes, see also Op.Check) and
	// nothing happened; Internal and it may have happened, after which the
	// store refuses further commits.
	Commit(b *Batch) error
	// MaxBatchBytes is the largest Batch.Bytes that Commit takes.
	MaxBatchBytes() int
	// Writable is nil when a Commit would be let in, and otherwise the error
	// it would get. It is cheap enough for a health check.
	Writable() error
	// DiskBytes is about how much space the store takes.
	DiskBytes() int64
	// Close waits for nothing: callers end their Views and Commits first.
	Close() error
}

// Reader reads one snapshot. It belongs to one goroutine.
type Reader interface {
	// Get returns the value of key. Errors: Corrupt, Internal.
	Get(key []byte) (value []byte, found bool, err error)
	// Iterate walks the keys that begin with prefix, in order. It stands before
	// the first of them until the first Next or Seek. The caller closes it
	// before the View ends.
	Iterate(prefix []byte) Iterator
	// IterateReverse walks the same keys from the last to the first. Its Next
	// moves to the key before, and its Seek to the last key at or before key.
	IterateReverse(prefix []byte) Iterator
}

// Iterator is a position in a snapshot.
//
//	it := r.Iterate(prefix)
//	defer it.Close()
//	for it.Next() { … it.Key() … }
//	return it.Err()
type Iterator interface {
	// Next moves to the following key and reports whether there is one.
	Next() bool
	// Seek moves to the first key at or after key (in the iterator's prefix)
	// and reports whether there is one.
	Seek(key []byte) bool
	// Key is valid until the iterator moves.
	Key() []byte
	// Value is valid until the iterator moves. It is only read when asked for.
	Value() ([]byte, error)
	// Err is what ended the walk early, nil at a true end.
	Err() error
	Close()
}

// Op is one change of a Batch.
type Op struct {
	Key, Value []byte
	Delete     bool
}

// Check is nil when a store takes the operation: its key is not empty, and
// neither key nor value is too long. Errors: Invalid.
func (op *Op) Check() error {
	if n := len(op.Key); n == 0 || n > MaxKeyBytes {
		return fault.New(fault.Invalid, "key of %d bytes, not 1 to %d", n, MaxKeyBytes)
	}
	if n := len(op.Value); n > MaxValueBytes {
		return fault.New(fault.Invalid, "value of %d bytes is larger than %d", n, MaxValueBytes)
	}
	return nil
}

// opOverhead is what a store needs for an operation besides its bytes.
const opOverhead = 128

// Batch collects changes for one Commit. Of several changes to one key the
// last one counts. The zero Batch is empty.
type Batch struct {
	ops   []Op
	bytes int
	// watched has the store note the steps of the commit.
	watched bool
	steps   []Step
}

// Step is a part of a commit, for traces.
type Step struct {
	Name         string
	Began, Ended time.Time
}

// Clock is the time at which a step of the commit begins, zero when nobody
// wants to know.
func (b *Batch) Clock() (now time.Time) {
	if b.watched {
		now = time.Now()
	}
	return now
}

// Note ends a step that began at a time that Clock gave. Stores call it.
func (b *Batch) Note(step string, began time.Time) {
	if b.watched {
		b.steps = append(b.steps, Step{step, began, time.Now()})
	}
}

// Set stores value under key. Both slices are kept, not copied.
func (b *Batch) Set(key, value []byte) { b.add(Op{Key: key, Value: value}) }

// Delete removes key; it need not exist.
func (b *Batch) Delete(key []byte) { b.add(Op{Key: key, Delete: true}) }

func (b *Batch) add(op Op) {
	b.ops = append(b.ops, op)
	b.bytes += opBytes(op)
}

func opBytes(op Op) int { return opOverhead + len(op.Key) + len(op.Value) }

// Ops are the changes in the order they were made. Callers must not keep it.
func (b *Batch) Ops() []Op { return b.ops }

// Bytes is the size that counts against Store.MaxBatchBytes.
func (b *Batch) Bytes() int { return b.bytes }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	clear(b.ops)
	b.ops, b.bytes, b.steps = b.ops[:0], 0, nil
}
