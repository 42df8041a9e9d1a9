package ops

import (
	"context"
	"time"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

const scanRows = 1000

func (o *Ops) needRows() error {
	if o.rows == nil {
		return fault.New(fault.Unavailable, "no metadata service")
	}
	return nil
}

// CleanUploads throws away unfinished uploads of a bucket that began longer ago
// than age, and returns how many. One that somebody is completing right now is
// left alone. Blocks and block lists of what went are collected as those of any
// version that is gone. After an error it may have thrown away some; it can be
// repeated.
func (o *Ops) CleanUploads(ctx context.Context, bucket object.BucketID, age time.Duration) (removed int64, err error) {
	if err := o.needRows(); err != nil {
		return 0, err
	}
	if _, _, err := o.store.Bucket(ctx, bucket); err != nil {
		return 0, err
	}
	uploads, before := record.Uploads{Rows: o.rows, Now: o.now}, o.now().Add(-age)
	r := metaapi.Range{Table: metaapi.Uploads, Bucket: bucket, Limit: scanRows}
	for {
		page, err := o.rows.Scan(ctx, r)
		if err != nil {
			return removed, err
		}
		for _, e := range page.Entries {
			done, err := dropUpload(ctx, uploads, bucket, e, before)
			if err != nil {
				return removed, err
			}
			if done {
				removed++
			}
			r.FromKey, r.FromSub, r.FromExcluded = e.Key, e.Sub, true
		}
		if !page.More || len(page.Entries) == 0 {
			return removed, nil
		}
	}
}

func dropUpload(ctx context.Context, uploads record.Uploads, bucket object.BucketID, e metaapi.Entry, before time.Time) (done bool, err error) {
	head, err := record.DecodeUploadHead(e.Head)
	if err != nil {
		return false, err
	}
	id, err := record.ParseUploadSub(e.Sub)
	if err != nil || head.Started.After(before) {
		return false, err
	}
	if head.CompletingUntil.After(uploads.Now()) {
		return false, nil
	}
	held, err := uploads.Hold(ctx, bucket, e.Key, id)
	if fault.Is(err, fault.NotFound) {
		return false, nil // it ended meanwhile
	}
	if err != nil {
		return false, err
	}
	return true, uploads.Remove(ctx, held)
}
