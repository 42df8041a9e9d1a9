package record

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// Whoever ends an upload (makes the object, or throws the parts away) holds it
// first: nobody else may end it for HoldTime, and the verifier counts all its
// manifests as alive. The holder gives up after EndTime; the difference allows
// for clocks that disagree.
const (
	EndTime  = 30 * time.Second
	HoldTime = 75 * time.Second

	// partRows is how many part rows a scan asks for, and partsAtOnce how many
	// are removed at the same time.
	partRows    = 1000
	partsAtOnce = 16
)

// Uploads ends unfinished uploads. Safe for concurrent use.
type Uploads struct {
	Rows metaapi.Rows
	Now  func() time.Time
}

// HeldUpload is an upload that its holder, and nobody else, is ending.
type HeldUpload struct {
	Bucket   object.BucketID
	Key      string
	ID       object.VersionID
	Head     UploadHead
	Metadata Metadata
}

// Hold takes an upload for the caller. Errors: NotFound (there is no such
// upload), Unavailable (somebody else holds it).
func (u Uploads) Hold(ctx context.Context, bucket object.BucketID, key string, id object.VersionID) (held HeldUpload, err error) {
	now := u.Now().Truncate(time.Millisecond) // as it is stored: GiveUp compares
	held.Bucket, held.Key, held.ID = bucket, key, id
	_, err = u.Rows.Update(ctx, UploadKey(bucket, key, id), func(current metaapi.Row) (*metaapi.Value, error) {
		if current.Value == nil {
			return nil, fault.New(fault.NotFound, "no upload %s", id)
		}
		var err error
		if held.Head, err = DecodeUploadHead(current.Value.Head); err != nil {
			return nil, err
		}
		if held.Head.CompletingUntil.After(now) {
			return nil, fault.New(fault.Unavailable, "the upload is being completed or aborted; try again")
		}
		if held.Metadata, err = DecodeUploadBody(current.Value.Body); err != nil {
			return nil, err
		}
		held.Head.CompletingUntil = now.Add(HoldTime)
		value := *current.Value
		value.Head = held.Head.Append(nil)
		return &value, nil
	})
	return held, err
}

// errNotHeld ends an attempt to give up what another holds by now.
var errNotHeld = errors.New("not held any more")

// GiveUp lets others end the upload.
func (u Uploads) GiveUp(ctx context.Context, held HeldUpload) error {
	_, err := u.Rows.Update(ctx, UploadKey(held.Bucket, held.Key, held.ID), func(current metaapi.Row) (*metaapi.Value, error) {
		if current.Value == nil {
			return nil, errNotHeld
		}
		head, err := DecodeUploadHead(current.Value.Head)
		if err != nil {
			return nil, err
		}
		if !head.CompletingUntil.Equal(held.Head.CompletingUntil) {
			return nil, errNotHeld
		}
		head.CompletingUntil = time.Time{}
		value := *current.Value
		value.Head = head.Append(nil)
		return &value, nil
	})
	if errors.Is(err, errNotHeld) {
		return nil
	}
	return err
}

// Remove removes the rows of a held upload. Its own goes after its parts': as
// long as it is there the rest can be found. A part whose row came between is
// removed here, one that comes later by its own request, which then finds the
// upload gone.
func (u Uploads) Remove(ctx context.Context, held HeldUpload) error {
	if err := u.removeParts(ctx, held); err != nil {
		return err
	}
	if _, err := u.Rows.Put(ctx, UploadKey(held.Bucket, held.Key, held.ID), nil); err != nil {
		return err
	}
	return u.removeParts(ctx, held)
}

func (u Uploads) removeParts(ctx context.Context, held HeldUpload) error {
	var failed error
	var numbers []int
	for number := range u.Parts(ctx, held.Bucket, held.Key, held.ID, 0, partRows, &failed) {
		numbers = append(numbers, number)
	}
	if failed != nil {
		return failed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	places := make(chan struct{}, partsAtOnce)
	for _, number := range numbers {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if _, err := u.Rows.Put(ctx, PartKey(held.Bucket, held.Key, held.ID, number), nil); err != nil {
				cancel(err) // the first one counts
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Parts yields the parts of an upload with numbers above after, in order, read
// in pages of up to hint rows. An error ends it and is left in *failed.
func (u Uploads) Parts(ctx context.Context, bucket object.BucketID, key string, id object.VersionID, after, hint int, failed *error) iter.Seq2[int, PartHead] {
	return func(yield func(int, PartHead) bool) {
		r := metaapi.Range{
			Table: metaapi.Parts, Bucket: bucket, Key: key,
			FromKey: key, FromSub: PartSub(id, after), FromExcluded: true,
			Limit: min(hint, partRows),
		}
		for {
			page, err := u.Rows.Scan(ctx, r)
			if err != nil {
				*failed = err
				return
			}
			for _, e := range page.Entries {
				number, ok := ParsePartSub(id, e.Sub)
				if !ok {
					return // the rows of this upload are neighbours
				}
				part, err := DecodePartHead(e.Head)
				if err != nil {
					*failed = err
					return
				}
				if !yield(number, part) {
					return
				}
				r.FromSub = e.Sub
			}
			if !page.More || len(page.Entries) == 0 {
				return
			}
		}
	}
}
