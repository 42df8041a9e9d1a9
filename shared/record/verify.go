package record

import (
	"context"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
)

// Verifier implements blockapi.Verifier over the metadata. Safe for concurrent
// use.
//
// A Dead verdict is final. A quorum read alone could not give one: a write
// whose coordinator died may sit at a minority of replicas, unseen by that
// quorum, and surface with a later read, when the blocks it names are gone and
// the value it hides was whole. So before it says Dead the verifier rewrites
// the rows it judged by, with what they hold: that either surfaces such a
// write, and the owner lives, or leaves it behind for ever.
//
// What is still on its way is not covered by that: writers that take less than
// the block service's grace period need nothing, longer ones hold a claim.
type Verifier struct {
	rows metaapi.Rows
	now  func() time.Time
}

var _ blockapi.Verifier = (*Verifier)(nil)

// NewVerifier returns a Verifier. now is the wall clock, by which claims of
// streams that died expire.
func NewVerifier(rows metaapi.Rows, now func() time.Time) *Verifier {
	return &Verifier{rows: rows, now: now}
}

// Verify implements blockapi.Verifier. With an error the verdict is Unknown.
func (v *Verifier) Verify(ctx context.Context, o blockapi.Owner) (blockapi.Verdict, error) {
	// The order matters: a stream gives up its claim, and a completion its
	// part rows, only after the object's row is written.
	checks := []func(context.Context, blockapi.Owner, readRow) (bool, error){v.claimed}
	if o.Part != 0 {
		checks = append(checks, v.part)
	}
	checks = append(checks, v.object)
	for _, read := range []readRow{v.rows.Get, v.settle} {
		for _, check := range checks {
			alive, err := check(ctx, o, read)
			if err != nil {
				return blockapi.Unknown, err
			}
			if alive {
				return blockapi.Alive, nil
			}
		}
	}
	return blockapi.Dead, nil
}

type readRow func(context.Context, metaapi.RowKey) (metaapi.Row, error)

// settle reads a row and leaves every older write to it behind for ever.
func (v *Verifier) settle(ctx context.Context, key metaapi.RowKey) (row metaapi.Row, err error) {
	_, err = v.rows.Update(ctx, key, func(current metaapi.Row) (*metaapi.Value, error) {
		row = current
		return current.Value, nil
	})
	return row, err
}

// claimed reports whether a stream under way claims the owner's manifest.
func (v *Verifier) claimed(ctx context.Context, o blockapi.Owner, _ readRow) (bool, error) {
	row, err := v.rows.Get(ctx, ClaimKey(o.Bucket, o.Key, o.Manifest))
	if err != nil || row.Value == nil {
		return false, err
	}
	claim, err := DecodeClaim(row.Value.Head)
	return v.now().Before(claim.Until), err
}

// part reports whether an unfinished upload holds the owner's manifest. All of
// an upload that somebody is completing is held: its part rows may have been
// read already, and be replaced before the object's row is written.
//
// The part's row is read first: a completion that saw another state of it holds
// the upload by then, or has written or given up the object's row.
func (v *Verifier) part(ctx context.Context, o blockapi.Owner, read readRow) (bool, error) {
	partRow, err := read(ctx, PartKey(o.Bucket, o.Key, o.Version, int(o.Part)))
	if err != nil {
		return false, err
	}
	row, err := v.rows.Get(ctx, UploadKey(o.Bucket, o.Key, o.Version))
	if err != nil || row.Value == nil {
		return false, err
	}
	upload, err := DecodeUploadHead(row.Value.Head)
	if err != nil || upload.Completing() {
		return err == nil, err
	}
	if partRow.Value == nil {
		return false, nil
	}
	part, err := DecodePartHead(partRow.Value.Head)
	return part.Manifest.ID == o.Manifest, err
}

// object reports whether the object's row refers to the owner's manifest.
func (v *Verifier) object(ctx context.Context, o blockapi.Owner, read readRow) (bool, error) {
	row, err := read(ctx, ObjectKey(o.Bucket, o.Key))
	if err != nil || row.Value == nil {
		return false, err
	}
	head, err := DecodeObjectHead(row.Value.Head)
	if err != nil || head.Version != o.Version {
		return false, err
	}
	body, err := DecodeObjectBody(head, row.Value.Body)
	if err != nil {
		return false, fault.Wrap(fault.KindOf(err), err, "object %s", o.Key)
	}
	return body.RefersTo(o.Manifest, int(o.Part)), nil
}
