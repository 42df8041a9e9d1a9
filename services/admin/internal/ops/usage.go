package ops

import (
	"context"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// Usage is what the metadata service counts of a bucket. Items are those of K2V.
type Usage struct{ Objects, Uploads, Parts, Items metaapi.Counters }

// Usage counts a bucket.
func (o *Ops) Usage(ctx context.Context, id object.BucketID) (u Usage, err error) {
	if o.rows == nil {
		return u, fault.New(fault.Unavailable, "no metadata service")
	}
	for table, into := range map[metaapi.Table]*metaapi.Counters{
		metaapi.Objects: &u.Objects, metaapi.Uploads: &u.Uploads, metaapi.Parts: &u.Parts, metaapi.Items: &u.Items,
	} {
		if *into, err = o.rows.Counters(ctx, table, id); err != nil {
			return u, err
		}
	}
	return u, nil
}
