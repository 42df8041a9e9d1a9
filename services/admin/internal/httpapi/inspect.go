package httpapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hangar/services/admin/internal/ops"
	"hangar/shared/object"
	"hangar/shared/record"
)

type inspectedObject struct {
	BucketID object.BucketID `json:"bucketId"`
	Key      string          `json:"key"`
	Versions []objectVersion `json:"versions"`
}

type objectVersion struct {
	UUID         string        `json:"uuid"`
	Timestamp    time.Time     `json:"timestamp"`
	Encrypted    bool          `json:"encrypted"`
	Uploading    bool          `json:"uploading"`
	Aborted      bool          `json:"aborted"`
	DeleteMarker bool          `json:"deleteMarker"`
	Inline       bool          `json:"inline"`
	Size         *int64        `json:"size"`
	ETag         *string       `json:"etag"`
	Headers      [][2]string   `json:"headers"`
	Blocks       []objectBlock `json:"blocks"`
	// BlocksOmitted is an extension: how many more blocks there are.
	BlocksOmitted int64 `json:"blocksOmitted,omitempty"`
}

type objectBlock struct {
	PartNumber int    `json:"partNumber"`
	Offset     int64  `json:"offset"`
	Hash       string `json:"hash"`
	Size       int64  `json:"size"`
}

func inspectObject(c call) (out inspectedObject, err error) {
	id, err := parseBucket(c.Query("bucketId"))
	if err != nil {
		return out, err
	}
	key := c.Query("key")
	if key == "" || len(key) > object.MaxKeyBytes {
		return out, invalid(fmt.Sprintf("give a key, of at most %d bytes", object.MaxKeyBytes))
	}
	versions, err := c.s.ops.Inspect(c.ctx, id, key)
	if err != nil {
		return out, err
	}
	out = inspectedObject{BucketID: id, Key: key, Versions: []objectVersion{}}
	for _, v := range versions {
		out.Versions = append(out.Versions, describeVersion(v))
	}
	return out, nil
}

func describeVersion(v ops.Version) objectVersion {
	out := objectVersion{
		UUID: v.ID.String(), Timestamp: v.Time, Uploading: v.Uploading, Inline: v.Inline, Size: v.Size,
		Headers: headers(v.Metadata), Blocks: []objectBlock{}, BlocksOmitted: v.Omitted,
	}
	if v.ETag != "" {
		out.ETag = &v.ETag
	}
	for _, b := range v.Blocks {
		out.Blocks = append(out.Blocks, objectBlock{b.Part, b.Offset, b.Hash.String(), b.Size})
	}
	return out
}

// headers writes metadata as the headers of S3 that it came in.
func headers(m record.Metadata) [][2]string {
	out := [][2]string{}
	for _, h := range [][2]string{
		{"content-type", m.ContentType}, {"cache-control", m.CacheControl}, {"content-disposition", m.ContentDisposition},
		{"content-encoding", m.ContentEncoding}, {"content-language", m.ContentLanguage}, {"expires", m.Expires},
		{"x-amz-website-redirect-location", m.WebsiteRedirect}, {"x-amz-storage-class", m.StorageClass},
	} {
		if h[1] != "" {
			out = append(out, h)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.User)) {
		out = append(out, [2]string{"x-amz-meta-" + strings.ToLower(name), m.User[name]})
	}
	return out
}
