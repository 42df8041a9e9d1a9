package nodeapi

import (
	"context"
	"time"

	"hangar/shared/object"
)

const (
	opWorkers     = "workers"
	opVariables   = "variables"
	opSetVariable = "set-variable"
	opRepair      = "repair"
	opSnapshot    = "snapshot"
	opBlockErrors = "block-errors"
	opBlockInfo   = "block-info"
	opRetryBlocks = "retry-blocks"
	opPurgeBlocks = "purge-blocks"
)

// WorkerState says what a worker is doing.
type WorkerState string

// The states of a worker.
const (
	// Busy workers have work at hand.
	Busy WorkerState = "busy"
	// Throttled workers have work at hand and rest for the sake of requests.
	Throttled WorkerState = "throttled"
	// Idle workers wait for work.
	Idle WorkerState = "idle"
	// Done workers have ended or are switched off.
	Done WorkerState = "done"
)

// Worker describes one piece of background work of a node.
type Worker struct {
	// ID is the same as long as the process runs.
	ID    uint64      `json:"id"`
	Name  string      `json:"name"`
	State WorkerState `json:"state"`
	// Rest is how long a throttled worker rests at a time.
	Rest time.Duration `json:"rest,omitempty"`
	// Errors since the process began, and in a row at present.
	Errors            int64 `json:"errors"`
	ConsecutiveErrors int64 `json:"consecutiveErrors"`
	// LastError and its time; empty when there was none.
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
	// PersistentErrors counts what is kept in a queue of failures, nil for
	// workers without one.
	PersistentErrors *int64 `json:"persistentErrors,omitempty"`
	// Progress is for people, such as "12.3 %"; empty when it has no meaning.
	Progress string `json:"progress,omitempty"`
	// QueueLength is nil for workers without a queue.
	QueueLength *int64 `json:"queueLength,omitempty"`
	// Tranquility is nil for workers that are not slowed by one.
	Tranquility *int `json:"tranquility,omitempty"`
	// Notes are further lines for people.
	Notes []string `json:"notes,omitempty"`
}

// RepairKind names a repair as the Admin API does.
type RepairKind string

// The repairs. A service takes those that concern it and answers NotImplemented to
// the others.
const (
	RepairTables           RepairKind = "tables"
	RepairBlocks           RepairKind = "blocks"
	RepairVersions         RepairKind = "versions"
	RepairMultipartUploads RepairKind = "multipartUploads"
	RepairBlockRefs        RepairKind = "blockRefs"
	RepairBlockCounts      RepairKind = "blockRc"
	RepairRebalance        RepairKind = "rebalance"
	RepairAliases          RepairKind = "aliases"
	RepairCounters         RepairKind = "counters"
	RepairClearResyncQueue RepairKind = "clearResyncQueue"
	RepairScrub            RepairKind = "scrub"
)

// Repair is an order to begin a repair in the background.
type Repair struct {
	Kind RepairKind `json:"kind"`
	// Scrub is "start", "pause", "resume" or "cancel" for RepairScrub.
	Scrub string `json:"scrub,omitempty"`
}

// Operator is what a storage node offers operators. Safe for concurrent use.
// Errors besides those named: Unavailable, and from a client Indeterminate when
// no answer came in time.
type Operator interface {
	// Workers lists the background work, by id.
	Workers(ctx context.Context) ([]Worker, error)
	// Variables returns the values of all run-time variables by name.
	Variables(ctx context.Context) (map[string]string, error)
	// SetVariable changes one; it is durable when it returns. Errors: NotFound
	// (no such variable), Invalid (the value).
	SetVariable(ctx context.Context, name, value string) error
	// Repair begins a repair and returns. Errors: NotImplemented (not of this
	// service), Conflict (that repair runs), Invalid.
	Repair(ctx context.Context, r Repair) error
	// Snapshot keeps a copy of the node's metadata, durable when it returns.
	// Errors: StorageFull, Conflict (one is being made).
	Snapshot(ctx context.Context) error
}

// BlockError is a block that could not be brought to where it belongs.
type BlockError struct {
	Hash object.Hash `json:"hash"`
	// References counts the owners that this node knows.
	References int64     `json:"references"`
	Errors     int64     `json:"errors"`
	LastTry    time.Time `json:"lastTry"`
	NextTry    time.Time `json:"nextTry"`
	Message    string    `json:"message,omitempty"`
}

// BlockOwner is one reference to a block.
type BlockOwner struct {
	Bucket  object.BucketID `json:"bucket"`
	Key     string          `json:"key"`
	Version string          `json:"version"`
	// Upload is set when a part of an unfinished upload owns the block.
	Upload string `json:"upload,omitempty"`
	// Dead says that the owner is known not to exist any more.
	Dead bool `json:"dead,omitempty"`
}

// BlockInfo is what a node knows of a block.
type BlockInfo struct {
	Hash object.Hash `json:"hash"`
	// Present says that this node holds the content, in StoredBytes.
	Present     bool         `json:"present"`
	StoredBytes int64        `json:"storedBytes"`
	Owners      []BlockOwner `json:"owners"`
}

// Purged says what was deleted with blocks that are lost.
type Purged struct {
	Blocks     int64 `json:"blocks"`
	Objects    int64 `json:"objects"`
	Uploads    int64 `json:"uploads"`
	Versions   int64 `json:"versions"`
	References int64 `json:"references"`
}

// BlockOperator is what a node of the block service offers operators besides.
// Safe for concurrent use. Errors as with Operator.
type BlockOperator interface {
	// BlockErrors lists blocks that could not be repaired, the first thousand.
	BlockErrors(ctx context.Context) ([]BlockError, error)
	// BlockInfo errors: NotFound.
	BlockInfo(ctx context.Context, h object.Hash) (BlockInfo, error)
	// RetryBlocks has failed blocks tried again now, all of them when none is
	// named, and returns how many.
	RetryBlocks(ctx context.Context, hashes []object.Hash) (int64, error)
	// PurgeBlocks gives up blocks for lost: every version that needs one of
	// them is deleted. There is no way back.
	PurgeBlocks(ctx context.Context, hashes []object.Hash) (Purged, error)
}
