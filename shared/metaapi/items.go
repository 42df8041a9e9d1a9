package metaapi

import (
	"context"

	"hangar/shared/object"
)

// ItemRows is what K2V needs of the replicated table beside Rows: many rows in
// few messages, ranges within one Key, which Keys there are, and what changed
// since somebody last looked. Rows of the table Items have the K2V partition
// key as Key and the sort key as Sub, so that all rows of one partition key
// live in one partition. All methods are safe for concurrent use; durability,
// consistency and errors are those of Rows.
type ItemRows interface {
	Rows
	// GetMany reads rows, each as Get does. The answers are in the order of
	// keys; rows of one partition share their messages.
	GetMany(ctx context.Context, keys []RowKey) []Got
	// UpdateMany changes rows, each as Update does and on its own: some may be
	// written and others not. The keys must differ: a second change of one is
	// Invalid. The answers are in the order of the changes.
	UpdateMany(ctx context.Context, changes []Change) []Changed
	// ScanKey lists the rows of one Key, by Sub, in either direction. It
	// contains every write completed before it began, in the range it covers.
	ScanKey(ctx context.Context, r KeyRange) (Page, error)
	// Index lists the Keys that have live items, with what their rows add up
	// to. Figures lag like those of Counters do.
	Index(ctx context.Context, r IndexRange) (IndexPage, error)
	// Since lists rows of one Key that changed since a mark. No change is
	// missed: one that a Since returned before may be returned again, above all
	// after a change of the layout or when another quorum answers. Rows that
	// were deleted (not items that are only markers) are not listed. Errors
	// besides those of Rows: Invalid, the mark is none of this Key.
	Since(ctx context.Context, r SinceRange) (SincePage, error)
}

// Got is one answer of GetMany.
type Got struct {
	Row
	Err error
}

// Change is one conditional write of UpdateMany.
type Change struct {
	Key    RowKey
	Decide Update
}

// Changed is one answer of UpdateMany.
type Changed struct {
	Written
	Err error
}

// KeyRange selects rows of one Key by their Sub. Prefix, From and To narrow it
// together.
type KeyRange struct {
	Table  Table
	Bucket object.BucketID
	Key    string
	// Prefix that Sub must have.
	Prefix string
	// From is the first Sub considered, To the first that is not any more;
	// empty means no bound. With Reverse the listing goes down: From is then
	// the highest Sub considered, and all of it are above To.
	From, To string
	Reverse  bool
	// Limit is the most entries to return, 1 to MaxScanLimit. Fewer with More
	// are possible where rows are large.
	Limit int
}

// IndexRange selects Keys of a table and bucket. Its fields mean for Keys what
// those of KeyRange mean for Subs.
type IndexRange struct {
	Table    Table
	Bucket   object.BucketID
	Prefix   string
	From, To string
	Reverse  bool
	Limit    int
}

// IndexEntry is a Key with the figures of its rows. A Key without live items
// is not listed.
type IndexEntry struct {
	Key string
	ItemCounters
}

// ItemCounters are what K2V's index tells of a partition key: items with at
// least one value, those of them with several values (or a value and a delete
// marker), values, and bytes of values.
type ItemCounters struct{ Entries, Conflicts, Values, Bytes int64 }

// IndexPage is one page of an index.
type IndexPage struct {
	Entries []IndexEntry
	// More says that Keys follow the last one returned.
	More bool
}

// SinceRange selects rows of one Key that changed after a mark.
type SinceRange struct {
	Table            Table
	Bucket           object.BucketID
	Key              string
	Prefix, From, To string
	// Mark is the Next of an earlier page on this range or one around it; nil
	// asks for everything.
	Mark Mark
	// Limit is the most entries to return, 1 to MaxScanLimit.
	Limit int
}

// SincePage is what changed. With More, the next page is asked for with Next.
type SincePage struct {
	// Entries in the order of Sub, each at its newest state.
	Entries []Entry
	Next    Mark
	More    bool
}

// Mark says what somebody has seen of one Key. It is opaque, bounded in size
// (some dozens of bytes per replica), and outlives the process that made it.
type Mark []byte
