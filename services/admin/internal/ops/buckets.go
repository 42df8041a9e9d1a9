package ops

import (
	"context"
	"errors"
	"strings"

	"hangar/shared/adminapi"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// ErrNoSuchObject is what an error is about when an object does not exist; it is
// wrapped in a *fault.Error.
var ErrNoSuchObject = errors.New("no such object")

// LocalAlias is a name for a key's own use, with rights for that key.
type LocalAlias struct {
	KeyID, Name string
	Allow       control.Permission
}

// CreateBucket makes a bucket with a global name, a local one, both or none.
func (o *Ops) CreateBucket(ctx context.Context, name string, local *LocalAlias) (*control.Bucket, Receipt, error) {
	in := control.NewBucket{Name: name}
	if local != nil {
		if err := o.localNameFree(ctx, *local); err != nil {
			return nil, Receipt{}, err
		}
		if local.Allow != (control.Permission{}) {
			in.Keys = map[string]control.Permission{local.KeyID: local.Allow}
		}
	}
	b, rev, err := o.store.CreateBucket(ctx, in)
	if err == nil && local != nil {
		rev, err = o.store.AddLocalAlias(ctx, b.ID, local.KeyID, local.Name)
	}
	receipt, err := o.done(ctx, rev, err)
	return b, receipt, err
}

// localNameFree looks before the bucket is made whether its local name can be
// given, so that a refusal leaves no bucket behind.
func (o *Ops) localNameFree(ctx context.Context, l LocalAlias) error {
	if err := control.ValidBucketName(l.Name); err != nil {
		return err
	}
	k, err := o.store.Key(ctx, l.KeyID)
	if err != nil {
		return err
	}
	id, ok := k.Aliases[l.Name]
	if !ok {
		return nil
	}
	if _, _, err := o.store.Bucket(ctx, id); err == nil {
		return fault.Wrap(fault.AlreadyExists, control.ErrNameTaken, "%q", l.Name)
	} else if !fault.Is(err, fault.NotFound) {
		return err
	}
	return nil
}

// Allow gives a key rights on a bucket.
func (o *Ops) Allow(ctx context.Context, id object.BucketID, keyID string, p control.Permission) (Receipt, error) {
	rev, err := o.store.Allow(ctx, id, keyID, p)
	return o.done(ctx, rev, err)
}

// Deny takes rights on a bucket from a key.
func (o *Ops) Deny(ctx context.Context, id object.BucketID, keyID string, p control.Permission) (Receipt, error) {
	rev, err := o.store.Deny(ctx, id, keyID, p)
	return o.done(ctx, rev, err)
}

// AddAlias gives a bucket a name: global when keyID is empty.
func (o *Ops) AddAlias(ctx context.Context, id object.BucketID, keyID, name string) (Receipt, error) {
	if keyID == "" {
		rev, err := o.store.AddAlias(ctx, id, name)
		return o.done(ctx, rev, err)
	}
	rev, err := o.store.AddLocalAlias(ctx, id, keyID, name)
	return o.done(ctx, rev, err)
}

// RemoveAlias takes a name from a bucket: global when keyID is empty.
func (o *Ops) RemoveAlias(ctx context.Context, id object.BucketID, keyID, name string) (Receipt, error) {
	if keyID == "" {
		rev, err := o.store.RemoveAlias(ctx, id, name)
		return o.done(ctx, rev, err)
	}
	rev, err := o.store.RemoveLocalAlias(ctx, id, keyID, name)
	return o.done(ctx, rev, err)
}

// DeleteBucket removes an empty bucket and its names. Writers are shut out
// first, everywhere, then the bucket is looked into: see the steps in package
// control. Errors: NotFound; NotEmpty; Conflict (a deletion is under way);
// Unavailable when some process did not confirm the mark or the bucket could
// not be looked into. After each of them the bucket takes writes again.
func (o *Ops) DeleteBucket(ctx context.Context, id object.BucketID) (Receipt, error) {
	mark, err := o.store.MarkDeleting(ctx, id, o.now())
	if err != nil {
		return Receipt{}, err
	}
	if err := o.shutOutAndLook(ctx, id, mark); err != nil {
		return Receipt{}, errors.Join(err, o.unmark(ctx, id, mark))
	}
	rev, err := o.store.Condemn(ctx, id, mark, o.now())
	receipt, err := o.done(ctx, rev, err)
	if err != nil {
		return Receipt{}, err
	}
	// The bucket is gone for everybody. What remains is tidying, which Sweep
	// does if it fails here.
	if _, err := o.store.Clear(ctx, o.View(), id); err != nil {
		o.log.WarnContext(ctx, "clearing up a deleted bucket", "bucket", id, "error", err)
	}
	return receipt, nil
}

func (o *Ops) shutOutAndLook(ctx context.Context, id object.BucketID, mark control.Revision) error {
	wait, cancel := context.WithTimeout(ctx, shutOutTimeout)
	defer cancel()
	if err := o.fleet.Barrier(wait, mark, true); err != nil {
		return fault.Wrap(fault.Unavailable, err, "not every process confirmed that the bucket takes no more writes; nothing was deleted")
	}
	if o.rows == nil {
		return fault.New(fault.Unavailable, "the bucket cannot be looked into: no metadata service")
	}
	for _, table := range []metaapi.Table{metaapi.Objects, metaapi.Uploads} {
		page, err := o.rows.Scan(ctx, metaapi.Range{Table: table, Bucket: id, Limit: 1})
		if err != nil {
			return fault.Wrap(fault.Unavailable, err, "the bucket cannot be looked into")
		}
		if len(page.Entries) > 0 {
			return fault.New(fault.NotEmpty, "bucket %s is not empty", id)
		}
	}
	return o.lookForItems(ctx, id)
}

// lookForItems refuses a bucket in which K2V items have values. Those that were
// deleted leave rows behind, which do not count.
func (o *Ops) lookForItems(ctx context.Context, id object.BucketID) error {
	r := metaapi.Range{Table: metaapi.Items, Bucket: id, Limit: metaapi.MaxScanLimit}
	for {
		page, err := o.rows.Scan(ctx, r)
		if err != nil {
			return fault.Wrap(fault.Unavailable, err, "the bucket cannot be looked into")
		}
		for _, e := range page.Entries {
			c, _, err := metaapi.ParseItemCounters(e.Head)
			if err != nil {
				return err
			}
			if c.Entries > 0 {
				return fault.New(fault.NotEmpty, "bucket %s is not empty: it has K2V items", id)
			}
			r.FromKey, r.FromSub, r.FromExcluded = e.Key, e.Sub, true
		}
		if !page.More {
			return nil
		}
	}
}

// unmark lets a bucket take writes again, also when ctx has ended.
func (o *Ops) unmark(ctx context.Context, id object.BucketID, mark control.Revision) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	rev, err := o.store.Unmark(ctx, id, mark, o.now())
	if err != nil {
		return err // Sweep tries again
	}
	_, err = o.settle(ctx, rev)
	return err
}

// Sweep clears away condemned buckets and takes back the marks of deletions
// that nobody carries on with. Should a slow deletion lose its mark to it, that
// deletion fails with Conflict: Condemn wants the mark untouched.
func (o *Ops) Sweep(ctx context.Context) error {
	v := o.View()
	var errs []error
	for _, b := range v.Deleted() {
		if _, err := o.store.Clear(ctx, v, b.ID); err != nil {
			errs = append(errs, err)
		}
	}
	for _, b := range v.Buckets() {
		if b.State != control.BucketDeleting || o.now().Sub(b.StateSince) < abandonedAfter {
			continue
		}
		fresh, rev, err := o.store.Bucket(ctx, b.ID)
		if err == nil && fresh.State == control.BucketDeleting && fresh.StateSince.Equal(b.StateSince) {
			_, err = o.store.Unmark(ctx, b.ID, rev, o.now())
		}
		if err != nil && !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Conflict) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// S3Buckets is Ops as gateways use it.
type S3Buckets struct{ *Ops }

var _ adminapi.Buckets = S3Buckets{}

// Create implements adminapi.Buckets.
func (s S3Buckets) Create(ctx context.Context, keyID, name string) (object.BucketID, error) {
	k, err := s.store.Key(ctx, keyID)
	if err != nil {
		return object.BucketID{}, err
	}
	if !k.AllowCreateBucket || k.Expired(s.now()) {
		return object.BucketID{}, fault.New(fault.Denied, "key %s may not create buckets", keyID)
	}
	if err := s.localNameFree(ctx, LocalAlias{KeyID: keyID, Name: name}); err != nil {
		return object.BucketID{}, err
	}
	b, rev, err := s.store.CreateBucket(ctx, control.NewBucket{
		Name: name,
		Keys: map[string]control.Permission{keyID: control.AllPermissions},
	})
	if _, err := s.done(ctx, rev, err); err != nil {
		return object.BucketID{}, err
	}
	return b.ID, nil
}

// Delete implements adminapi.Buckets.
func (s S3Buckets) Delete(ctx context.Context, keyID string, id object.BucketID) error {
	k, err := s.store.Key(ctx, keyID)
	if err != nil {
		return err
	}
	b, _, err := s.store.Bucket(ctx, id)
	if err != nil {
		return err
	}
	if !b.Keys[keyID].Owner || k.Expired(s.now()) {
		return fault.New(fault.Denied, "key %s does not own the bucket", keyID)
	}
	_, err = s.DeleteBucket(ctx, id)
	return err
}

// BucketChange is what an operator changes of a bucket; what is nil, or not set,
// stays as it is.
type BucketChange struct {
	// Website, if set, replaces how the bucket is served; nil inside ends that.
	Website **control.Website
	// Quotas, if set, replace both.
	Quotas *Quotas
}

// Quotas bound a bucket; nil means that it is not bounded.
type Quotas struct{ MaxBytes, MaxObjects *int64 }

// maxDocument bounds the names of a site's documents, in bytes.
const maxDocument = object.MaxKeyBytes

func (c BucketChange) check() error {
	if c.Quotas != nil {
		for _, q := range []*int64{c.Quotas.MaxBytes, c.Quotas.MaxObjects} {
			if q != nil && *q < 0 {
				return fault.New(fault.Invalid, "a quota is not negative")
			}
		}
	}
	if c.Website == nil || *c.Website == nil {
		return nil
	}
	w := **c.Website
	switch {
	case w.IndexDocument == "":
		return fault.New(fault.Invalid, "a site needs an index document")
	case strings.Contains(w.IndexDocument, "/"):
		return fault.New(fault.Invalid, "the index document is a name in each folder, without slashes")
	case len(w.IndexDocument) > maxDocument || len(w.ErrorDocument) > maxDocument:
		return fault.New(fault.Invalid, "a document's name has at most %d bytes", maxDocument)
	}
	return nil
}

// UpdateBucket changes a bucket, field by field: what another administrator
// changes at the same time in other fields stays.
func (o *Ops) UpdateBucket(ctx context.Context, id object.BucketID, c BucketChange) (Receipt, error) {
	if err := c.check(); err != nil {
		return Receipt{}, err
	}
	_, rev, err := o.store.UpdateBucket(ctx, id, func(b *control.Bucket) error {
		if c.Website != nil {
			b.Website = *c.Website
		}
		if c.Quotas != nil {
			b.MaxBytes, b.MaxObjects = c.Quotas.MaxBytes, c.Quotas.MaxObjects
		}
		return nil
	})
	return o.done(ctx, rev, err)
}
