package record

import (
	"context"
	"errors"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
)

// Purger implements blockapi.Purger over the metadata: conditional writes of the
// same rows that a Verifier judges by. Safe for concurrent use.
type Purger struct{ rows metaapi.Rows }

var _ blockapi.Purger = (*Purger)(nil)

// NewPurger returns a Purger.
func NewPurger(rows metaapi.Rows) *Purger { return &Purger{rows: rows} }

// Purge implements blockapi.Purger. Either row may be the one that needs the
// blocks: a completion may come between the two looks, so the object, into which
// a part goes, is looked at last.
func (p *Purger) Purge(ctx context.Context, o blockapi.Owner) (blockapi.PurgeResult, error) {
	deleted := blockapi.PurgedNothing
	if o.Part != 0 {
		row, err := p.rows.Get(ctx, UploadKey(o.Bucket, o.Key, o.Version))
		if err != nil {
			return deleted, err
		}
		if row.Value != nil {
			upload, err := DecodeUploadHead(row.Value.Head)
			if err != nil {
				return deleted, err
			}
			if upload.Completing() {
				return deleted, fault.New(fault.Conflict, "the upload of %q is being completed", o.Key)
			}
			gone, err := p.remove(ctx, PartKey(o.Bucket, o.Key, o.Version, int(o.Part)), func(v *metaapi.Value) (bool, error) {
				part, err := DecodePartHead(v.Head)
				return part.Manifest.ID == o.Manifest, err
			})
			if err != nil {
				return deleted, err
			}
			if gone {
				deleted = blockapi.PurgedPart
			}
		}
	}
	gone, err := p.remove(ctx, ObjectKey(o.Bucket, o.Key), func(v *metaapi.Value) (bool, error) {
		head, err := DecodeObjectHead(v.Head)
		if err != nil || head.Version != o.Version {
			return false, err
		}
		body, err := DecodeObjectBody(head, v.Body)
		return err == nil && body.RefersTo(o.Manifest, int(o.Part)), err
	})
	if gone {
		deleted = blockapi.PurgedObject
	}
	return deleted, err
}

// remove deletes a row if what it holds needs to go.
func (p *Purger) remove(ctx context.Context, key metaapi.RowKey, needs func(*metaapi.Value) (bool, error)) (gone bool, err error) {
	_, err = p.rows.Update(ctx, key, func(current metaapi.Row) (*metaapi.Value, error) {
		gone = false
		if current.Value == nil {
			return nil, errStays
		}
		need, err := needs(current.Value)
		if err != nil {
			return nil, err
		}
		if !need {
			return nil, errStays
		}
		gone = true
		return nil, nil
	})
	if errors.Is(err, errStays) {
		err = nil
	}
	return gone && err == nil, err
}

// errStays ends an update of a row that stays as it is.
var errStays = fault.New(fault.Precondition, "the row stays as it is")
