// Package blockapi is the contract of the block service: immutable pieces of
// object content, named by the BLAKE3-256 of their plain bytes, each kept by
// the replicas of its partition for as long as some owner refers to it.
//
// Store is what the rest of Hangar uses: the replicated store as one thing.
// Node is what one process of the block service offers; a Store is built from
// many of them and a layout.
package blockapi

import (
	"context"
	"time"

	"hangar/shared/object"
)

// MaxBlockBytes bounds the plain size of a block.
const MaxBlockBytes = 8 << 20

// MaxUnclaimed is how long a writer may keep a block without having written
// what refers to it, or a claim. A Node collects nothing that was touched within
// MinGrace, which leaves a minute for that last write.
const (
	MaxUnclaimed = 5 * time.Minute
	MinGrace     = MaxUnclaimed + time.Minute
)

// Encoding says how Data of a block is stored and sent. Numbers are stored
// format: append only.
type Encoding uint8

// The encodings.
const (
	Plain Encoding = 0
	Zstd  Encoding = 1
)

// Owner says for whom a block is kept: one manifest (list of blocks) of one
// version of one object. Enough is in it to ask the metadata service whether
// it still lives.
type Owner struct {
	Bucket   object.BucketID
	Key      string
	Version  object.VersionID // equals the upload id for a part of an upload
	Manifest object.ManifestID
	// Part is the part number, 0 for an object that was uploaded in one piece.
	Part int32
}

// Block is a block as it travels: encoded content and how to decode it.
type Block struct {
	Hash object.Hash
	// PlainBytes is the size of the content once decoded.
	PlainBytes int64
	Encoding   Encoding
	// Data is the encoded content. Receivers must not keep or change it after
	// the call it came with returns, unless that call says otherwise.
	Data []byte
	// Hashed says that Data was checked against Hash in this process, or was
	// just read against a checksum taken after such a check: a receiver need
	// not hash it again. It never travels.
	Hashed bool
}

// Released says that an owner has probably died. It is a hint: receivers
// verify before they drop anything.
type Released struct {
	Bucket  object.BucketID
	Key     string
	Version object.VersionID
	// Manifest narrows the hint to one manifest of the version; zero means all.
	Manifest object.ManifestID
}

// Node is one process of the block service. Safe for concurrent use.
//
// Writes carry the epoch of the ring that they were addressed by. A node adopts
// a newer one than its own, durably and together with the write, and refuses an
// older one: OldEpoch, nothing happened, and the caller needs the newer ring.
// So once a majority of a replica set has adopted an epoch, nothing can be
// acknowledged by the rings before.
type Node interface {
	// Put stores b and records that owner refers to it; both are durable when
	// it returns nil. The content is verified against the hash first, unless
	// it is Hashed (Corrupt).
	// Idempotent. Errors: OldEpoch, Corrupt, StorageFull, Overloaded, Invalid.
	Put(ctx context.Context, epoch uint64, owner Owner, b Block) error
	// Get returns a block whose stored checksum was verified. The caller owns
	// the Data and verifies the content hash once decoded. Errors: NotFound, Corrupt.
	Get(ctx context.Context, h object.Hash) (Block, error)
	// Reference records that owner also refers to blocks stored here already.
	// It returns those it does not have; for all others the reference is
	// durable. A referenced block is not collected. Errors as with Put.
	Reference(ctx context.Context, epoch uint64, owner Owner, hashes []object.Hash) (missing []object.Hash, err error)
	// Release passes on a hint. It never fails and may do nothing.
	Release(ctx context.Context, r Released)
	// Epoch is the newest one that the node has adopted.
	Epoch() uint64
}

// Store is the replicated block store. Safe for concurrent use.
type Store interface {
	// Put encodes and stores plain content under its hash at a write quorum of
	// the block's replicas. It does not keep plain after it returns.
	// Errors: Unavailable, StorageFull, Overloaded. A block that was stored
	// although an error was returned is collected later.
	Put(ctx context.Context, owner Owner, plain []byte) (object.Hash, error)
	// Get returns the verified plain content, trying replicas until one
	// answers well. The result is the caller's; give it back with Recycle when
	// convenient. Errors: NotFound, Corrupt (no good copy), Unavailable.
	Get(ctx context.Context, h object.Hash) (plain []byte, err error)
	// Recycle hands a slice got from Get back for reuse.
	Recycle(plain []byte)
	// Reference makes owner an owner of existing blocks at a write quorum of
	// each. Errors: NotFound when some block cannot be referenced at a quorum.
	Reference(ctx context.Context, owner Owner, hashes []object.Hash) error
	// Release hints that owners died.
	Release(ctx context.Context, r Released)
}

// Verdict is the answer to "does this owner still refer to its blocks?".
type Verdict uint8

// The verdicts. Unknown keeps everything.
const (
	Unknown Verdict = iota
	Alive
	Dead
)

// Verifier answers, by a quorum read of the metadata, whether an owner lives.
type Verifier interface {
	Verify(ctx context.Context, owner Owner) (Verdict, error)
}

// PurgeResult says what Purge deleted.
type PurgeResult uint8

// What Purge may delete.
const (
	// PurgedNothing: the owner needed nothing any more.
	PurgedNothing PurgeResult = iota
	// PurgedObject: an object, in the version that it had.
	PurgedObject
	// PurgedPart: a part of an unfinished upload, which may be uploaded again.
	PurgedPart
)

// Purger deletes, in the metadata, what can never be read again because a block
// of it is lost.
type Purger interface {
	// Purge deletes what needs the blocks of owner, if anything still does; what
	// has taken its place meanwhile stays. It is durable when it returns nil, and
	// may be repeated. Errors: Conflict (an upload is being completed: try
	// again), Unavailable, Indeterminate.
	Purge(ctx context.Context, owner Owner) (PurgeResult, error)
}
