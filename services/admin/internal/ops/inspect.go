package ops

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

// mostBlocks bounds how many blocks an inspection lists.
const mostBlocks = 10_000

// Version is one version of an object, or an upload that may become one.
type Version struct {
	ID        object.VersionID
	Time      time.Time
	Uploading bool
	Inline    bool
	// Size is nil and ETag empty for an upload.
	Size     *int64
	ETag     string
	Metadata record.Metadata
	Blocks   []Block
	// Omitted counts blocks that are not listed, for there are too many.
	Omitted int64
}

// Block is a piece of a version. Offset is within its part; the part is 0 for
// what was not uploaded in parts.
type Block struct {
	Part         int
	Offset, Size int64
	Hash         object.Hash
}

// Inspect looks into the rows of an object: its version, and uploads under way
// for that key. Errors: NotFound (neither).
func (o *Ops) Inspect(ctx context.Context, bucket object.BucketID, key string) (versions []Version, err error) {
	if err := o.needRows(); err != nil {
		return nil, err
	}
	if _, _, err := o.store.Bucket(ctx, bucket); err != nil {
		return nil, err
	}
	row, err := o.rows.Get(ctx, record.ObjectKey(bucket, key))
	if err != nil {
		return nil, err
	}
	room := int64(mostBlocks)
	if row.Value != nil {
		v, err := o.inspectObject(ctx, bucket, row.Value, &room)
		if err != nil {
			return nil, err
		}
		versions = append(versions, v)
	}
	page, err := o.rows.Scan(ctx, metaapi.Range{Table: metaapi.Uploads, Bucket: bucket, Key: key, Limit: scanRows})
	if err != nil {
		return nil, err
	}
	for _, e := range page.Entries {
		v, err := o.inspectUpload(ctx, bucket, e, &room)
		if err != nil {
			return nil, err
		}
		versions = append(versions, v)
	}
	if len(versions) == 0 {
		return nil, fault.Wrap(fault.NotFound, ErrNoSuchObject, "%q", key)
	}
	return versions, nil
}

func (o *Ops) inspectObject(ctx context.Context, bucket object.BucketID, value *metaapi.Value, room *int64) (v Version, err error) {
	head, err := record.DecodeObjectHead(value.Head)
	if err != nil {
		return v, err
	}
	body, err := record.DecodeObjectBody(head, value.Body)
	if err != nil {
		return v, err
	}
	v = Version{
		ID: head.Version, Time: head.Modified, Size: &head.Size, ETag: etag(head),
		Metadata: body.Metadata, Inline: body.Kind == record.Inline,
	}
	switch body.Kind {
	case record.Listed:
		v.add(0, body.Manifest, body.Hashes, 0, room)
	case record.Paged:
		err = o.addManifest(ctx, &v, bucket, 0, body.Manifest, room)
	case record.InParts:
		for _, p := range body.Parts {
			if err := o.addManifest(ctx, &v, bucket, p.Number, p.Manifest, room); err != nil {
				return v, err
			}
		}
	}
	return v, err
}

func (o *Ops) inspectUpload(ctx context.Context, bucket object.BucketID, e metaapi.Entry, room *int64) (v Version, err error) {
	head, err := record.DecodeUploadHead(e.Head)
	if err != nil {
		return v, err
	}
	id, err := record.ParseUploadSub(e.Sub)
	if err != nil {
		return v, err
	}
	v = Version{ID: id, Time: head.Started, Uploading: true}
	var failed error
	for number, part := range (record.Uploads{Rows: o.rows, Now: o.now}).Parts(ctx, bucket, e.Key, id, 0, scanRows, &failed) {
		if !part.Blocks {
			continue // its content is in the manifest's row
		}
		if err := o.addManifest(ctx, &v, bucket, number, part.Manifest, room); err != nil {
			return v, err
		}
	}
	return v, failed
}

// addManifest reads the pages of a manifest as long as there is room. A page
// that is missing belongs to a version that was replaced meanwhile.
func (o *Ops) addManifest(ctx context.Context, v *Version, bucket object.BucketID, part int, m record.Manifest, room *int64) error {
	for page := range m.Pages() {
		if *room == 0 {
			v.Omitted += m.Blocks() - int64(page*m.PageBlocks)
			return nil
		}
		row, err := o.rows.Get(ctx, record.ManifestKey(bucket, m.ID, page))
		if err != nil {
			return err
		}
		if row.Value == nil {
			return fault.New(fault.Unavailable, "the object changed while it was looked at; look again")
		}
		p, err := record.DecodePage(row.Value.Body)
		if err != nil {
			return err
		}
		v.add(part, m, p.Hashes, int64(page*m.PageBlocks), room)
	}
	return nil
}

// add lists hashes, which are those of m from block first on.
func (v *Version) add(part int, m record.Manifest, hashes record.Hashes, first int64, room *int64) {
	for i := range hashes.Len() {
		if *room == 0 {
			v.Omitted += int64(hashes.Len() - i)
			return
		}
		*room--
		offset := (first + int64(i)) * m.BlockBytes
		v.Blocks = append(v.Blocks, Block{part, offset, min(m.BlockBytes, m.Size-offset), hashes.At(i)})
	}
}

// etag writes an object's ETag as S3 shows it, without quotes.
func etag(h record.ObjectHead) string {
	if h.Parts > 0 {
		return fmt.Sprintf("%s-%d", hex.EncodeToString(h.MD5[:]), h.Parts)
	}
	return hex.EncodeToString(h.MD5[:])
}
