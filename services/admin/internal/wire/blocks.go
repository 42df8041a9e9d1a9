package wire

import (
	"hangar/shared/nodeapi"
	"hangar/shared/object"
)

// BlockError is a block that could not be brought to where it belongs.
type BlockError struct {
	BlockHash      string `json:"blockHash"`
	RefCount       int64  `json:"refcount"`
	ErrorCount     int64  `json:"errorCount"`
	LastTrySecsAgo int64  `json:"lastTrySecsAgo"`
	NextTryInSecs  int64  `json:"nextTryInSecs"`
	// Message is an extension.
	Message string `json:"message,omitempty"`
}

// WhichBlock is the body of GetBlockInfo.
type WhichBlock struct {
	BlockHash string `json:"blockHash"`
}

// BlockInfo says who refers to a block on a node.
type BlockInfo struct {
	BlockHash string         `json:"blockHash"`
	RefCount  int64          `json:"refcount"`
	Versions  []BlockVersion `json:"versions"`
	// Extensions.
	Present     bool  `json:"present"`
	StoredBytes int64 `json:"storedBytes"`
}

// BlockVersion is an owner of a block.
type BlockVersion struct {
	VersionID        string    `json:"versionId"`
	RefDeleted       bool      `json:"refDeleted"`
	VersionDeleted   bool      `json:"versionDeleted"`
	GarbageCollected bool      `json:"garbageCollected"`
	Backlink         *Backlink `json:"backlink"`
}

// Backlink has one of the two.
type Backlink struct {
	Object *ObjectLink `json:"object,omitempty"`
	Upload *UploadLink `json:"upload,omitempty"`
}

// ObjectLink names an object that needs a block.
type ObjectLink struct {
	BucketID object.BucketID `json:"bucketId"`
	Key      string          `json:"key"`
}

// UploadLink names an unfinished upload that needs a block.
type UploadLink struct {
	UploadID               string          `json:"uploadId"`
	UploadDeleted          bool            `json:"uploadDeleted"`
	UploadGarbageCollected bool            `json:"uploadGarbageCollected"`
	BucketID               object.BucketID `json:"bucketId"`
	Key                    string          `json:"key"`
}

// DescribeBlock counts an owner that is dead as a deleted version whose
// reference is still there: the sweep takes it away.
func DescribeBlock(b nodeapi.BlockInfo) BlockInfo {
	out := BlockInfo{
		BlockHash: b.Hash.String(), RefCount: int64(len(b.Owners)), Versions: []BlockVersion{}, Present: b.Present, StoredBytes: b.StoredBytes,
	}
	for _, o := range b.Owners {
		v := BlockVersion{VersionID: o.Version, VersionDeleted: o.Dead, Backlink: &Backlink{}}
		if o.Upload == "" {
			v.Backlink.Object = &ObjectLink{o.Bucket, o.Key}
		} else {
			v.Backlink.Upload = &UploadLink{o.Upload, o.Dead, false, o.Bucket, o.Key}
		}
		out.Versions = append(out.Versions, v)
	}
	return out
}

// RetryBlocks is the body of RetryBlockResync.
type RetryBlocks struct {
	All         bool     `json:"all,omitempty"`
	BlockHashes []string `json:"blockHashes,omitempty"`
}

// RetriedBlocks says how many blocks are tried again.
type RetriedBlocks struct {
	Count int64 `json:"count"`
}

// PurgedBlocks says what went with blocks that were given up.
type PurgedBlocks struct {
	BlocksPurged    int64 `json:"blocksPurged"`
	ObjectsDeleted  int64 `json:"objectsDeleted"`
	UploadsDeleted  int64 `json:"uploadsDeleted"`
	VersionsDeleted int64 `json:"versionsDeleted"`
	BlockRefsPurged int64 `json:"blockRefsPurged"`
}

// OlderThan is the body of CleanupIncompleteUploads.
type OlderThan struct {
	BucketID      string `json:"bucketId"`
	OlderThanSecs *int64 `json:"olderThanSecs"`
}

// CleanedUp says how many uploads were thrown away.
type CleanedUp struct {
	UploadsDeleted int64 `json:"uploadsDeleted"`
}
