// Package leftovers removes rows that rare crashes left behind and nothing
// refers to: claims of streams that ended long ago, parts of uploads that are
// gone, uploads into buckets that are gone, block lists of dead versions. Objects
// are never touched, whatever bucket they are in: should the control state have
// been restored from an old copy, buckets may be missing that are none the less
// somebody's.
//
// Each partition is tidied by the first of its members, out of what that holds
// itself; each row is judged by a read at a quorum, as any gateway's. So it is
// safe beside everything else, and may be repeated.
package leftovers

import (
	"context"
	"time"

	"hangar/services/meta/internal/table"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/record"
)

const (
	// pageRows is how many rows are judged at a time.
	pageRows = 128
	// age is how old a row must be by its own clock to be judged by time: those
	// who write have other clocks, and may still be at work.
	age = 48 * time.Hour
)

// Tidier removes left-overs.
type Tidier struct {
	Self  object.NodeID
	Table *table.Table
	Ring  func() *layout.Ring
	Rows  metaapi.Rows
	// HasBucket reports whether a bucket exists, or is being deleted.
	HasBucket func(object.BucketID) bool
	Now       func() time.Time
}

// Tidy looks at a page of rows from at on, in the tables from first to last, and
// returns how many it removed, where to go on and whether that was the end. A row
// that could not be judged ends it; it may be repeated. Errors: those of Rows and
// of the table.
func (t *Tidier) Tidy(ctx context.Context, at table.Cursor, first, last metaapi.Table) (removed int64, next table.Cursor, end bool, err error) {
	ring := t.Ring()
	if ring == nil {
		return 0, at, false, fault.New(fault.Unavailable, "no layout is known yet")
	}
	page, next, end, err := t.Table.Live(at, first, last, pageRows)
	if err != nil {
		return 0, at, false, err
	}
	for _, row := range page {
		if set := ring.Sets(layout.OfRow(row.Key.Bucket, row.Key.Key, ring.Bits))[0]; len(set) == 0 || set[0] != t.Self {
			continue
		}
		gone, err := t.judge(ctx, row)
		if err != nil {
			return removed, at, false, err
		}
		if gone {
			removed++
		}
	}
	return removed, next, end, nil
}

// judge removes a row that is a left-over, and reports whether it was.
func (t *Tidier) judge(ctx context.Context, row table.LiveRow) (removed bool, err error) {
	key := row.Key
	var left bool
	switch key.Table {
	case metaapi.Uploads:
		left, err = t.upload(row)
	case metaapi.Parts:
		var upload object.VersionID
		if len(key.Sub) < len(upload) {
			return false, fault.New(fault.Corrupt, "a part's row of %d bytes", len(key.Sub))
		}
		copy(upload[:], key.Sub)
		if _, part := record.ParsePartSub(upload, key.Sub); !part {
			return t.claim(ctx, key)
		}
		var of metaapi.Row
		of, err = t.Rows.Get(ctx, record.UploadKey(key.Bucket, key.Key, upload))
		left = of.Value == nil
	case metaapi.Manifests:
		left, err = t.manifest(ctx, row)
	}
	if err != nil || !left {
		return false, err
	}
	_, err = t.Rows.Put(ctx, key, nil)
	return err == nil, err
}

// upload reports whether an upload can never be completed. Its id is never used
// again, and a bucket that is gone never returns.
func (t *Tidier) upload(row table.LiveRow) (left bool, err error) {
	head, err := record.DecodeUploadHead(row.Head)
	return err == nil && !t.HasBucket(row.Key.Bucket) && t.Now().Sub(head.Started) > age, err
}

// claim removes a claim that ended long ago.
func (t *Tidier) claim(ctx context.Context, key metaapi.RowKey) (removed bool, err error) {
	_, err = t.Rows.Update(ctx, key, func(current metaapi.Row) (*metaapi.Value, error) {
		if removed = current.Value != nil; !removed {
			return nil, nil
		}
		claim, err := record.DecodeClaim(current.Value.Head)
		if err != nil {
			return nil, err
		}
		if removed = t.Now().Sub(claim.Until) > age; !removed {
			return current.Value, nil
		}
		return nil, nil
	})
	return removed && err == nil, err
}

// manifest reports whether a page of a block list is of a version that is dead.
func (t *Tidier) manifest(ctx context.Context, row table.LiveRow) (left bool, err error) {
	id, _, err := record.ParseManifestKey(row.Key.Key)
	if err != nil {
		return false, err
	}
	head, err := record.DecodeManifestHead(row.Head)
	if err != nil || t.Now().Sub(head.Written) < age {
		return false, err
	}
	verdict, err := record.NewVerifier(t.Rows, t.Now).Verify(ctx, blockapi.Owner{
		Bucket: row.Key.Bucket, Key: head.Key, Version: head.Version, Manifest: id, Part: int32(head.Part),
	})
	return verdict == blockapi.Dead, err
}
