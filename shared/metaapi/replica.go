package metaapi

import (
	"context"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/register"
)

// Bounds of one node's scan page. A replica may answer with less than it was
// asked for, never with more.
const (
	// MaxScanRows bounds ScanRequest.Limit.
	MaxScanRows = 4096
	// MaxScanBytes bounds ScanRequest.MaxBytes. It keeps a page, with its
	// framing, below the transport's message limit of 1 MiB.
	MaxScanBytes = 768 << 10
)

// Replica is what one node of the metadata service offers. It knows the
// partitions it holds and nothing about other nodes. All methods are safe for
// concurrent use.
//
// Epochs: a request made in an older epoch than the replica has adopted is
// answered Old; one made in a newer epoch is adopted durably before anything
// else happens. For a Scan that goes for every partition the node holds.
//
// Admission: a Handle or Scan that was admitted by control state older than the
// last change of access that the replica knows is answered Behind, with nothing
// done. One that is admitted by 0, or by newer control state than the replica's,
// is served.
//
// Rows of partitions that the node does not hold in the request's epoch may be
// left out of a Scan, of Counters and of an Index.
//
// Changes: a node numbers what it commits of the table Items, with numbers that
// only grow, as long as its store is the same incarnation. A row has the number
// of the commit that gave it its present tag.
//
// Errors: Overloaded, StorageFull, Invalid and Unavailable mean that nothing
// happened and nothing will; any other error leaves open whether it did.
type Replica interface {
	// Handle runs one request of the row protocol, atomically per row, and
	// returns once its effect is on stable storage. A request that comes too
	// late or from an old epoch is a Reply, not an error. It must not keep
	// q.Row.Value.Body after it returned, not even when it returned early.
	Handle(ctx context.Context, key RowKey, q register.Request) (register.Reply, error)
	// HandleMany runs up to MaxBatchRows requests, each as Handle does and by
	// itself, and answers in their order. Those that write share a commit.
	HandleMany(ctx context.Context, rows []RowRequest) []RowReply
	// Scan lists what this node holds, committed or not.
	Scan(ctx context.Context, q ScanRequest) (ScanReply, error)
	// Counters returns what the node's rows of a table and bucket add up to,
	// for each partition the node holds.
	Counters(ctx context.Context, t Table, b object.BucketID) (PartitionCounters, error)
	// Index lists the Keys of the node's live items.
	Index(ctx context.Context, q IndexRequest) (IndexReply, error)
	// Inventory lists the rows this node holds in some slices, delete markers
	// and rows that were only promised included: for copies and repair. It is
	// Unavailable when the node does not serve the partition of each slice in
	// the request's epoch. It may be late by what is not acknowledged yet.
	Inventory(ctx context.Context, q InventoryRequest) (InventoryReply, error)
}

// RowRequest is one request of HandleMany.
type RowRequest struct {
	Key RowKey
	register.Request
}

// RowReply is one answer of HandleMany.
type RowReply struct {
	register.Reply
	Err error
}

// ScanRequest asks a node for the rows it holds of one Table and Bucket, in
// (Key, Sub) order: those whose Key has Prefix (or equals Key, when that is
// set) and that are not below (FromKey, FromSub).
type ScanRequest struct {
	Epoch uint64
	// Admitted is as in register.Request.
	Admitted uint64

	Table  Table
	Bucket object.BucketID
	Prefix string
	// Key, when set, selects rows of exactly this key.
	Key string
	// Delimiter, when set, folds common prefixes: see ScanRow.Folded.
	Delimiter string
	// FromKey and FromSub are the first position considered, inclusive. They
	// need not name a valid key: to exclude (k, s) the caller asks from
	// (k, s+"\x00"), and to pass a prefix, from the first string above all
	// that have it.
	FromKey, FromSub string
	// UntilSub, unless empty, is the first Sub that is not considered any more.
	// Reverse goes from the last row to the first. Both only with Key, and
	// without Delimiter.
	UntilSub string
	Reverse  bool
	// Changes, only with Key and in the table Items, asks for rows that changed
	// after the number After, if that is from the Incarnation of the node's
	// store, and for all rows otherwise.
	Changes            bool
	Incarnation, After uint64
	// Limit bounds the rows of the answer, 1 to MaxScanRows.
	Limit int
	// MaxBytes bounds the sum of the lengths of Key, Sub and Head in the
	// answer, 1 to MaxScanBytes. The first row is returned whatever its size.
	MaxBytes int
}

// Check is nil when a request is one that a node may be asked. Errors: Invalid.
func (q *ScanRequest) Check() error {
	if q.Limit < 1 || q.Limit > MaxScanRows || q.MaxBytes < 1 || q.MaxBytes > MaxScanBytes {
		return fault.New(fault.Invalid, "a scan of %d rows and %d bytes", q.Limit, q.MaxBytes)
	}
	if inKey := q.Key != "" && q.Delimiter == ""; !inKey && (q.UntilSub != "" || q.Reverse || q.Changes) {
		return fault.New(fault.Invalid, "a scan with bounds for one key, but of many")
	}
	if q.Changes && (q.Table != Items || q.Reverse) {
		return fault.New(fault.Invalid, "changes of a table that does not number them")
	}
	return nil
}

// ScanReply is one node's page.
type ScanReply struct {
	// Old says that the request's epoch has been left; Epoch is the node's.
	// There are no rows then.
	Old   bool
	Epoch uint64
	// Behind, unless 0, is what the request must be admitted by at least. There
	// are no rows then.
	Behind uint64
	// Incarnation of the node's store, and Last, the number of the last change in
	// the picture that Rows are from. Only with Changes.
	Incarnation, Last uint64
	// Rows ascend by (Key, Sub), or descend with Reverse. Every row the node holds between the start of
	// the request and the last of Rows is among them, or was folded.
	Rows []ScanRow
	// Exhausted says that no row follows the last of Rows.
	Exhausted bool
}

// ScanRow is a row as one node holds it. It need not be committed: only the
// agreement of a quorum says that.
type ScanRow struct {
	Key, Sub string
	Tag      register.Tag
	// Deleted marks a delete marker, which has no Head.
	Deleted bool
	Head    []byte
	// Folded marks the first row under a common prefix that is not Deleted, a
	// witness for that prefix: the node then left out every further row under
	// it. The common prefix is Key up to the end of the first Delimiter that
	// follows the request's Prefix. Deleted rows before the witness are listed
	// like any other.
	Folded bool
	// Change is the number of the row's last change on this node. Only with
	// Changes.
	Change uint64
}

// IndexRequest asks a node for the Keys of a table and bucket with live items,
// from From to before Until (empty: to the end), in either direction.
type IndexRequest struct {
	Epoch, Admitted uint64
	Table           Table
	Bucket          object.BucketID
	From, Until     string
	Reverse         bool
	// Limit bounds the rows of the answer, 1 to MaxScanLimit.
	Limit int
}

// Check is nil when a request is one that a node may be asked. Errors: Invalid.
func (q *IndexRequest) Check() error {
	if q.Limit < 1 || q.Limit > MaxScanLimit || q.Table != Items {
		return fault.New(fault.Invalid, "an index of %d keys of table %d", q.Limit, q.Table)
	}
	return nil
}

// IndexReply is one node's page of the index. Old, Epoch and Behind are as in
// ScanReply.
type IndexReply struct {
	Old           bool
	Epoch, Behind uint64
	Rows          []IndexEntry
	// Exhausted says that no Key follows the last of Rows.
	Exhausted bool
}

// PartitionCounters are a node's counters for one table and bucket. Partitions
// without rows may be missing.
type PartitionCounters []PartitionCounter

// PartitionCounter is what the rows of one partition add up to.
type PartitionCounter struct {
	Partition layout.Partition
	Counters
}
