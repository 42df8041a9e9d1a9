// Package metaapi is the contract of the metadata service: rows that are
// linearizable registers, replicated by quorum (package register holds the
// protocol), and ordered scans over them.
//
// Two interfaces live here. Rows is what the rest of Hangar uses: the
// replicated table, as one thing. Replica is what one node of the metadata
// service offers; Rows is built from many of them by a coordinator that runs
// in the caller's process.
package metaapi

import (
	"context"

	"hangar/shared/object"
	"hangar/shared/register"
)

// Table separates kinds of rows. Numbers are stored format: append only.
type Table uint8

// The tables.
const (
	// Objects: Key = object key, no Sub.
	Objects Table = 1
	// Uploads: unfinished multipart uploads. Key = object key, Sub = upload id.
	Uploads Table = 2
	// Parts of unfinished uploads. Key = object key, Sub = upload id + part number.
	Parts Table = 3
	// Manifests: pages of block lists. Key = manifest id (16 raw bytes) + page (4 bytes).
	Manifests Table = 4
	// Items of K2V: Key = partition key, Sub = sort key.
	Items Table = 5
)

// RowKey names a row. Rows of one (Bucket, Key) live in one partition, whatever
// their Table and Sub. Order within (Table, Bucket) is by Key, then Sub, bytewise.
type RowKey struct {
	Table  Table
	Bucket object.BucketID
	Key    string
	Sub    string
}

// Value is what a row holds: see register.Value.
type Value = register.Value

// Row is the state of a row as read at a quorum.
type Row struct {
	Tag register.Tag
	// Value is nil when the row does not exist (or was deleted).
	Value *Value
}

// Entry is one element of a listing.
type Entry struct {
	Key, Sub string
	// Head of the row; nil for a common prefix.
	Head []byte
	// Prefix marks a common prefix: Key then ends with the delimiter.
	Prefix bool
}

// Range selects rows of one table and bucket, in order.
type Range struct {
	Table  Table
	Bucket object.BucketID
	// Prefix that Key must have.
	Prefix string
	// Delimiter, when set, folds rows whose Key contains it after Prefix into
	// one common-prefix Entry.
	Delimiter string
	// From is the first (Key, Sub) considered; FromExcluded skips it itself.
	// When a delimiter is set and From.Key is itself a common prefix (ends in
	// the delimiter) with FromExcluded, everything under that prefix is skipped.
	FromKey, FromSub string
	FromExcluded     bool
	// Key, when set, restricts the scan to rows of exactly this Key: one
	// partition is asked instead of all.
	Key string
	// Limit is the most entries to return, 1 to 1000.
	Limit int
}

// Page is one page of a listing.
type Page struct {
	Entries []Entry
	// More says that entries follow the last one returned.
	More bool
}

// Update decides a conditional write: given the committed row it returns the
// new value (nil deletes) or an error, which ends the operation with nothing
// written and is returned to the caller as it is. It may be called more than
// once and must have no effects.
type Update func(current Row) (*Value, error)

// Written reports a completed write.
type Written struct {
	Tag register.Tag
	// Replaced holds the distinct heads that replicas reported as replaced by
	// this write. It is a hint for clean-up only: it may miss some, and one
	// listed here may never have been committed.
	Replaced [][]byte
}

// Rows is the replicated table. All methods are safe for concurrent use.
//
// Durability: a nil error from Put, Update or Delete means a write quorum of
// every replica set of the row's partition holds the row on stable storage.
// Consistency: each row is a linearizable register. Errors: Unavailable (nothing
// happened), Indeterminate (may have happened), Overloaded, StorageFull.
type Rows interface {
	// Get reads a row; a missing row is a Row with nil Value, not an error.
	Get(ctx context.Context, key RowKey) (Row, error)
	// Put writes value whatever was there: one round trip in calm conditions.
	// A nil value deletes.
	Put(ctx context.Context, key RowKey, value *Value) (Written, error)
	// Update is a conditional write: two round trips in calm conditions.
	Update(ctx context.Context, key RowKey, decide Update) (Written, error)
	// Scan lists rows in order. It contains every write completed before it
	// began, in the range it covers.
	Scan(ctx context.Context, r Range) (Page, error)
	// Counters sums the counters of a bucket and table. Writes acknowledged before
	// are counted, but for those that replicas have to catch up with; a delete
	// may be missed for as long as one of its replicas has not heard of it.
	Counters(ctx context.Context, t Table, b object.BucketID) (Counters, error)
}

// Counters are the sums of Value.Count and Value.Bytes over live rows.
type Counters struct{ Count, Bytes int64 }
