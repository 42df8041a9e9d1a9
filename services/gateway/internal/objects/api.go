// Package objects holds the use cases of the S3 API: what it means to put,
// get, list, copy and upload in parts, in terms of rows and blocks. It knows
// nothing of HTTP, XML or signatures.
package objects

import (
	"context"
	"io"
	"time"

	"hangar/shared/object"
)

// Store is what the S3 edge needs. Implemented by Service; every method is
// safe for concurrent use. Errors carry a fault.Kind and, where S3 has a more
// specific code, wrap one of the Err values of this package.
type Store interface {
	// Put stores an object read from in.Body to its end. Nothing becomes
	// visible unless the body ended without error and every expectation in
	// in.Expect held; then the row is written (conditionally when in.If is set).
	Put(ctx context.Context, in PutInput) (Info, error)
	// Head reads what is known of an object.
	Head(ctx context.Context, at Location) (Info, error)
	// Get opens an object. The reader yields exactly the range asked for,
	// verified block by block; Close stops the work and frees its memory.
	Get(ctx context.Context, in GetInput) (Info, io.ReadCloser, error)
	// Delete removes an object; one that does not exist is no error.
	Delete(ctx context.Context, at Location, cond WriteConditions) error
	// Copy stores a copy of an existing object, sharing its blocks.
	Copy(ctx context.Context, in CopyInput) (Info, error)
	// List lists objects of a bucket.
	List(ctx context.Context, in ListInput) (Listing, error)

	CreateUpload(ctx context.Context, in CreateUploadInput) (object.VersionID, error)
	UploadPart(ctx context.Context, in PartInput) (PartInfo, error)
	// UploadPartCopy stores a part read from an existing object.
	UploadPartCopy(ctx context.Context, in PartCopyInput) (PartInfo, error)
	// CompleteUpload makes the object out of the named parts. Repeating a
	// completed one with the same parts answers as the first time did.
	CompleteUpload(ctx context.Context, in CompleteInput) (Info, error)
	AbortUpload(ctx context.Context, at Location, upload object.VersionID) error
	ListParts(ctx context.Context, in ListPartsInput) (PartListing, error)
	ListUploads(ctx context.Context, in ListUploadsInput) (UploadListing, error)
}

// Location names an object.
type Location struct {
	Bucket object.BucketID
	Key    string
}

// ChecksumAlgorithm is one of S3's additional checksums, by its S3 name.
type ChecksumAlgorithm string

// The algorithms.
const (
	CRC32     ChecksumAlgorithm = "CRC32"
	CRC32C    ChecksumAlgorithm = "CRC32C"
	CRC64NVME ChecksumAlgorithm = "CRC64NVME"
	SHA1      ChecksumAlgorithm = "SHA1"
	SHA256    ChecksumAlgorithm = "SHA256"
)

// Checksum is a value of an additional checksum.
type Checksum struct {
	Algorithm ChecksumAlgorithm // empty means none
	// Value is the raw digest (4, 8, 20 or 32 bytes).
	Value []byte
	// Composite says that Value is the checksum of the parts' checksums, of
	// which there were Parts.
	Composite bool
	Parts     int
}

// Metadata is what a client says about an object.
type Metadata struct {
	ContentType        string
	CacheControl       string
	ContentDisposition string
	ContentEncoding    string
	ContentLanguage    string
	Expires            string
	WebsiteRedirect    string
	StorageClass       string // as asked, for echo; empty is STANDARD
	// User holds x-amz-meta-* headers, names in lower case without the prefix.
	User map[string]string
}

// Info is what is known of an object.
type Info struct {
	Location
	Version  object.VersionID
	Size     int64
	Modified time.Time
	// ETag without quotes: hex MD5, or for uploads in parts "md5-n".
	ETag     string
	Checksum Checksum
	Metadata Metadata
	// PartCount is the number of parts of an upload in parts, else 0.
	PartCount int
	// Part describes the one part that was asked for by number.
	Part *PartInfo
	// Range is what a reader yields: offset and length. For a whole object 0
	// and Size.
	Offset, Length int64
}

// WriteConditions guard a write; the write is then linearizable on them.
type WriteConditions struct {
	// IfNoneMatchAny: only if no such object exists (If-None-Match: *).
	IfNoneMatchAny bool
	// IfMatch: only if the object exists and has this ETag ("*": any). Empty means none.
	IfMatch string
}

// IsZero reports whether there is no condition.
func (c WriteConditions) IsZero() bool { return c == WriteConditions{} }

// Body is the content of a Put or part. Its Reader must return an error, not
// io.EOF, when the content is truncated, and when a signature, checksum or
// trailer turns out wrong at the end. After io.EOF, Sums holds what the edge
// computed on the way.
type Body interface {
	io.Reader
	// Size is the content length if known, else -1.
	Size() int64
	// MD5 of everything read; valid after io.EOF.
	MD5() [16]byte
	// Checksum computed (and verified, where the client sent one); valid
	// after io.EOF. Zero when none was asked for.
	Checksum() Checksum
}

// PutInput is an object to store.
type PutInput struct {
	Location
	Body     Body
	Metadata Metadata
	If       WriteConditions
}

// ReadConditions are those of GET and HEAD and of copy sources (RFC 9110,
// section 13). Zero values mean none.
type ReadConditions struct {
	IfMatch           string // raw header value: list of ETags or *
	IfNoneMatch       string
	IfModifiedSince   time.Time
	IfUnmodifiedSince time.Time
}

// Range is a parsed Range header.
type Range struct {
	// First and Last are inclusive offsets. Suffix forms have First -1 and
	// Last the number of bytes from the end; open forms have Last -1.
	First, Last int64
}

// GetInput asks for an object or a piece of it.
type GetInput struct {
	Location
	Range *Range
	// PartNumber, 1 to 10,000, asks for one part; 0 for none.
	PartNumber int
	If         ReadConditions
	// HeadOnly asks for no reader.
	HeadOnly bool
}

// CopyInput is a copy. Metadata nil keeps the source's.
type CopyInput struct {
	Source   Location
	SourceIf ReadConditions
	Target   Location
	Metadata *Metadata
	If       WriteConditions
	// Checksum asks for another checksum algorithm than the source has.
	Checksum ChecksumAlgorithm
}

// ListInput asks for a page of a listing.
type ListInput struct {
	Bucket    object.BucketID
	Prefix    string
	Delimiter string
	// After is the key or common prefix after which to start, exclusive.
	After string
	// Limit is the most keys and prefixes together, 0 to 1000.
	Limit int
}

// Listing is a page. Objects carry Location, Size, Modified, ETag and
// checksum algorithm only.
type Listing struct {
	Objects  []Info
	Prefixes []string
	More     bool
	// Next is the last key or prefix of the page: the After of the next one.
	Next string
}

// CreateUploadInput starts an upload in parts.
type CreateUploadInput struct {
	Location
	Metadata Metadata
	Checksum ChecksumAlgorithm
	// FullObject asks for a full-object checksum instead of a composite one.
	FullObject bool
	// Initiator is the id of the key that started it.
	Initiator string
}

// PartInput is one part.
type PartInput struct {
	Location
	Upload object.VersionID
	Number int
	Body   Body
}

// PartCopyInput is one part taken from an object.
type PartCopyInput struct {
	Location
	Upload   object.VersionID
	Number   int
	Source   Location
	SourceIf ReadConditions
	Range    *Range
}

// PartInfo is a stored part.
type PartInfo struct {
	Number   int
	Size     int64
	ETag     string
	Modified time.Time
	Checksum Checksum
}

// CompletePart is a part as named by the client in CompleteMultipartUpload.
type CompletePart struct {
	Number   int
	ETag     string // without quotes
	Checksum []byte // raw; nil when the client named none
}

// CompleteInput ends an upload.
type CompleteInput struct {
	Location
	Upload object.VersionID
	Parts  []CompletePart
	If     WriteConditions
	// Checksum of the whole as the client states it; Algorithm empty means none.
	Checksum Checksum
	// Size the client states (x-amz-mp-object-size), -1 for none.
	Size int64
}

// ListPartsInput asks for a page of parts.
type ListPartsInput struct {
	Location
	Upload object.VersionID
	After  int // part number marker
	Limit  int
}

// PartListing is a page of parts.
type PartListing struct {
	Parts      []PartInfo
	More       bool
	Next       int
	Checksum   ChecksumAlgorithm
	FullObject bool
	Initiator  string
}

// ListUploadsInput asks for a page of unfinished uploads.
type ListUploadsInput struct {
	Bucket      object.BucketID
	Prefix      string
	Delimiter   string
	AfterKey    string
	AfterUpload string
	Limit       int
}

// Upload is an unfinished upload.
type Upload struct {
	Key       string
	ID        object.VersionID
	Started   time.Time
	Initiator string
	Checksum  ChecksumAlgorithm
	// FullObject as in CreateUploadInput.
	FullObject bool
}

// UploadListing is a page of uploads.
type UploadListing struct {
	Uploads    []Upload
	Prefixes   []string
	More       bool
	NextKey    string
	NextUpload string
}
