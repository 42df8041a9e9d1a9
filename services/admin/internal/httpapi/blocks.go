package httpapi

import (
	"context"
	"time"

	"hangar/services/admin/internal/ops"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
)

type blockError struct {
	BlockHash      string `json:"blockHash"`
	RefCount       int64  `json:"refcount"`
	ErrorCount     int64  `json:"errorCount"`
	LastTrySecsAgo int64  `json:"lastTrySecsAgo"`
	NextTryInSecs  int64  `json:"nextTryInSecs"`
	// Message is an extension.
	Message string `json:"message,omitempty"`
}

func listBlockErrors(c call) (answers[[]blockError], error) {
	return ask(c, ops.BlockServiceOnly, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) ([]blockError, error) {
		list, err := r.BlockErrors(ctx)
		if err != nil {
			return nil, err
		}
		now, out := c.s.ops.Now(), []blockError{}
		for _, e := range list {
			out = append(out, blockError{
				e.Hash.String(), e.References, e.Errors, secondsBetween(e.LastTry, now), secondsBetween(now, e.NextTry), e.Message,
			})
		}
		return out, nil
	})
}

type whichBlock struct {
	BlockHash string `json:"blockHash"`
}

type blockInfo struct {
	BlockHash string         `json:"blockHash"`
	RefCount  int64          `json:"refcount"`
	Versions  []blockVersion `json:"versions"`
	// Extensions.
	Present     bool  `json:"present"`
	StoredBytes int64 `json:"storedBytes"`
}

type blockVersion struct {
	VersionID        string    `json:"versionId"`
	RefDeleted       bool      `json:"refDeleted"`
	VersionDeleted   bool      `json:"versionDeleted"`
	GarbageCollected bool      `json:"garbageCollected"`
	Backlink         *backlink `json:"backlink"`
}

// backlink has one of the two.
type backlink struct {
	Object *objectLink `json:"object,omitempty"`
	Upload *uploadLink `json:"upload,omitempty"`
}

type objectLink struct {
	BucketID object.BucketID `json:"bucketId"`
	Key      string          `json:"key"`
}

type uploadLink struct {
	UploadID               string          `json:"uploadId"`
	UploadDeleted          bool            `json:"uploadDeleted"`
	UploadGarbageCollected bool            `json:"uploadGarbageCollected"`
	BucketID               object.BucketID `json:"bucketId"`
	Key                    string          `json:"key"`
}

func getBlockInfo(c call, in whichBlock) (out answers[blockInfo], err error) {
	hash, err := object.ParseHash(in.BlockHash)
	if err != nil {
		return out, invalid(err.Error())
	}
	return ask(c, ops.BlockServiceOnly, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) (blockInfo, error) {
		info, err := r.BlockInfo(ctx, hash)
		return describeBlock(info), err
	})
}

// describeBlock counts an owner that is dead as a deleted version whose
// reference is still there: the sweep takes it away.
func describeBlock(b nodeapi.BlockInfo) blockInfo {
	out := blockInfo{
		BlockHash: b.Hash.String(), RefCount: int64(len(b.Owners)), Versions: []blockVersion{}, Present: b.Present, StoredBytes: b.StoredBytes,
	}
	for _, o := range b.Owners {
		v := blockVersion{VersionID: o.Version, VersionDeleted: o.Dead, Backlink: &backlink{}}
		if o.Upload == "" {
			v.Backlink.Object = &objectLink{o.Bucket, o.Key}
		} else {
			v.Backlink.Upload = &uploadLink{o.Upload, o.Dead, false, o.Bucket, o.Key}
		}
		out.Versions = append(out.Versions, v)
	}
	return out
}

func parseHashes(in []string) ([]object.Hash, error) {
	if err := tooMany(len(in)); err != nil {
		return nil, err
	}
	out := make([]object.Hash, 0, len(in))
	for _, text := range in {
		h, err := object.ParseHash(text)
		if err != nil {
			return nil, invalid(err.Error())
		}
		out = append(out, h)
	}
	return out, nil
}

type retryBlocks struct {
	All         bool     `json:"all,omitempty"`
	BlockHashes []string `json:"blockHashes,omitempty"`
}

type retriedBlocks struct {
	Count int64 `json:"count"`
}

func retryBlockResync(c call, in retryBlocks) (out answers[retriedBlocks], err error) {
	if in.All == (len(in.BlockHashes) > 0) {
		return out, invalid("give either all or blockHashes")
	}
	hashes, err := parseHashes(in.BlockHashes)
	if err != nil {
		return out, err
	}
	return ask(c, ops.BlockServiceOnly, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) (retriedBlocks, error) {
		n, err := r.RetryBlocks(ctx, hashes)
		return retriedBlocks{n}, err
	})
}

type purgedBlocks struct {
	BlocksPurged    int64 `json:"blocksPurged"`
	ObjectsDeleted  int64 `json:"objectsDeleted"`
	UploadsDeleted  int64 `json:"uploadsDeleted"`
	VersionsDeleted int64 `json:"versionsDeleted"`
	BlockRefsPurged int64 `json:"blockRefsPurged"`
}

func purgeBlocks(c call, in []string) (out answers[purgedBlocks], err error) {
	if len(in) == 0 {
		return out, invalid("name the blocks to be given up")
	}
	hashes, err := parseHashes(in)
	if err != nil {
		return out, err
	}
	return ask(c, ops.BlockServiceOnly, ops.SlowAnswer, func(ctx context.Context, r nodeapi.Remote) (purgedBlocks, error) {
		p, err := r.PurgeBlocks(ctx, hashes)
		return purgedBlocks{p.Blocks, p.Objects, p.Uploads, p.Versions, p.References}, err
	})
}

// olderThan is the body of CleanupIncompleteUploads.
type olderThan struct {
	BucketID      string `json:"bucketId"`
	OlderThanSecs *int64 `json:"olderThanSecs"`
}

type cleanedUp struct {
	UploadsDeleted int64 `json:"uploadsDeleted"`
}

func cleanupIncompleteUploads(c call, in olderThan) (out cleanedUp, err error) {
	id, err := parseBucket(in.BucketID)
	if err != nil {
		return out, err
	}
	const century = int64(100 * 365 * 24 * time.Hour / time.Second)
	if in.OlderThanSecs == nil || *in.OlderThanSecs < 0 {
		return out, invalid("give olderThanSecs, which is not negative")
	}
	out.UploadsDeleted, err = c.s.ops.CleanUploads(c.ctx, id, time.Duration(min(*in.OlderThanSecs, century))*time.Second)
	return out, err
}
