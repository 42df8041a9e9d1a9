// Package items is what K2V does with items: use cases on the rows of table
// metaapi.Items. An item is one row, hence linearizable; a write adds its value
// to the row's set of concurrent values and takes out what the writer had seen
// (package causal). The gateway holds nothing but who waits.
package items

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/semaphore"

	"hangar/services/gateway/internal/changes"
	"hangar/shared/causal"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/turnstile"
)

// Limits. What passes them is refused as Invalid.
const (
	// MaxKeyBytes is the longest partition key and the longest sort key; both may
	// be that long.
	MaxKeyBytes = object.MaxKeyBytes
	// MaxValueBytes is the longest value.
	MaxValueBytes = 1 << 20
	// MaxItemValues is how many concurrent values an item may have, deletions
	// included, and MaxItemBytes what they may have together.
	MaxItemValues = 64
	MaxItemBytes  = 4 << 20
	// MaxBatchWrites is how many items one batch may write, MaxBatchSearches how
	// many ranges one may read or delete.
	MaxBatchWrites   = 10_000
	MaxBatchSearches = 1000
	// MaxPageItems and MaxPageBytes bound what one answer returns: a search then
	// says that there is more.
	MaxPageItems = 10_000
	MaxPageBytes = 8 << 20
	// maxPagePages bounds how many pages of rows one search goes through for what
	// its filters select.
	maxPagePages = 100
)

const (
	// memory is what requests with large bodies or answers may hold together.
	memory = 256 << 20
	// freeBytes of it anyone has without asking.
	freeBytes = 64 << 10
	// writeTimeout ends a write whose fate is not known until then.
	writeTimeout = 10 * time.Second
	// sliceBytes and sliceRows bound what is asked of the metadata at once.
	sliceBytes = 4 << 20
	sliceRows  = 128
)

// node is the one that gives times to all writes: an item is one row, so no two
// writes ever get the same.
const node causal.Node = 1

// Errors, wrapped in a *fault.Error whose message may be shown to clients.
var (
	// ErrNoSuchItem: nobody ever wrote the item.
	ErrNoSuchItem = errors.New("no such item")
	// ErrItemFull: the item has as many concurrent values as it may.
	ErrItemFull = errors.New("too many concurrent values")
	// ErrTooLarge: a value, a batch or an answer passes a limit.
	ErrTooLarge = errors.New("too large")
	// ErrPartial: a batch came to an end before its end. The message says what
	// is known to be done.
	ErrPartial = errors.New("a batch was not finished")
)

// Name is where an item is.
type Name struct {
	Bucket          object.BucketID
	Partition, Sort string
}

func (n Name) row() metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Items, Bucket: n.Bucket, Key: n.Partition, Sub: n.Sort}
}

func (n Name) check() error {
	if err := checkKey("partition key", n.Partition); err != nil {
		return err
	}
	return checkKey("sort key", n.Sort)
}

func checkKey(what, key string) error {
	switch {
	case key == "":
		return fault.New(fault.Invalid, "the %s must not be empty", what)
	case len(key) > MaxKeyBytes:
		return fault.New(fault.Invalid, "the %s has %d bytes, and may have %d", what, len(key), MaxKeyBytes)
	case !utf8.ValidString(key):
		return fault.New(fault.Invalid, "the %s is not UTF-8", what)
	}
	return nil
}

// Item is what is read of one: its concurrent values, each once, and what
// whoever writes next has seen.
type Item struct {
	Sort    string
	Values  []causal.Value
	Context causal.Context
}

// live reports whether the item has a value that is no deletion.
func (i *Item) live() bool {
	for _, v := range i.Values {
		if !v.Deleted {
			return true
		}
	}
	return false
}

func newItem(sort string, s causal.Set) Item {
	return Item{Sort: sort, Values: s.Values(), Context: s.Context()}
}

// Config is how a Service is set up.
type Config struct {
	// MayWrite says whether a bucket takes writes; nil means always. It is asked
	// right before a write, and Quiesce waits for those that it let in.
	MayWrite func(object.BucketID) error
	// Now is the clock that times of writes start from; nil means time.Now. How
	// wrong it is has no bearing on which writes are concurrent.
	Now func() time.Time
}

// Service is K2V's use cases. Safe for concurrent use.
//
// Errors of writes: Indeterminate, it may have happened and may be repeated at
// will; Unavailable, Overloaded, StorageFull, nothing happened; Invalid, see the
// limits.
type Service struct {
	rows    metaapi.ItemRows
	hub     *changes.Hub
	cfg     Config
	writes  *turnstile.Turnstile
	memory  *semaphore.Weighted
	combine combiner
}

// New makes a service. It starts nothing; hub must run for its polls.
func New(rows metaapi.ItemRows, hub *changes.Hub, cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{rows: rows, hub: hub, cfg: cfg, writes: turnstile.New(), memory: semaphore.NewWeighted(memory)}
}

// Quiesce returns once every write has ended that was admitted before: what
// MayWrite says from now on holds for all writes still to come.
func (s *Service) Quiesce(ctx context.Context) error { return s.writes.Quiesce(ctx) }

// admit asks whether a bucket takes writes; leave must follow the write.
func (s *Service) admit(b object.BucketID) (leave func(), err error) {
	inside := s.writes.Enter()
	if s.cfg.MayWrite != nil {
		if err := s.cfg.MayWrite(b); err != nil {
			inside.Leave()
			return nil, err
		}
	}
	return inside.Leave, nil
}

// Memory is what one request holds of the memory that all share. The zero
// Memory holds nothing; one goroutine.
type Memory struct {
	of   *semaphore.Weighted
	held int64
}

// Memory begins the account of a request; Release must follow.
func (s *Service) Memory() *Memory { return &Memory{of: s.memory} }

// Reserve waits until bytes are there. A request asks once, so that none waits
// for another that waits.
func (m *Memory) Reserve(ctx context.Context, bytes int64) error {
	if m.held > 0 || bytes <= freeBytes {
		return nil
	}
	bytes = min(bytes, memory)
	if err := m.of.Acquire(ctx, bytes); err != nil {
		return fault.Wrap(fault.Overloaded, err, "no memory for the request")
	}
	m.held = bytes
	return nil
}

// Release gives back what is held.
func (m *Memory) Release() {
	if m.held > 0 {
		m.of.Release(m.held)
		m.held = 0
	}
}
