package wire

import (
	"maps"
	"slices"
	"strings"
	"time"

	"hangar/services/admin/internal/ops"
	"hangar/shared/object"
	"hangar/shared/record"
)

// InspectedObject is the answer of InspectObject.
type InspectedObject struct {
	BucketID object.BucketID `json:"bucketId"`
	Key      string          `json:"key"`
	Versions []ObjectVersion `json:"versions"`
}

// ObjectVersion is a version of an object, or an upload of one.
type ObjectVersion struct {
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
	Blocks       []ObjectBlock `json:"blocks"`
	// BlocksOmitted is an extension: how many more blocks there are.
	BlocksOmitted int64 `json:"blocksOmitted,omitempty"`
}

// ObjectBlock is a block of an object.
type ObjectBlock struct {
	PartNumber int    `json:"partNumber"`
	Offset     int64  `json:"offset"`
	Hash       string `json:"hash"`
	Size       int64  `json:"size"`
}

// DescribeVersion writes a version.
func DescribeVersion(v ops.Version) ObjectVersion {
	out := ObjectVersion{
		UUID: v.ID.String(), Timestamp: v.Time, Uploading: v.Uploading, Inline: v.Inline, Size: v.Size,
		Headers: headers(v.Metadata), Blocks: []ObjectBlock{}, BlocksOmitted: v.Omitted,
	}
	if v.ETag != "" {
		out.ETag = &v.ETag
	}
	for _, b := range v.Blocks {
		out.Blocks = append(out.Blocks, ObjectBlock{b.Part, b.Offset, b.Hash.String(), b.Size})
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
