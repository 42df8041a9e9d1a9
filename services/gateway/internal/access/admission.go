package access

import (
	"context"
	"sync/atomic"
	"time"

	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// Source is where control state comes from.
type Source struct {
	// View is the newest that this process knows.
	View func() Directory
	// Await returns once View shows a revision, or with ctx's error. Nil is for
	// a directory without revisions, which nobody is ahead of.
	Await func(ctx context.Context, revision control.Revision) error
}

// mostGrants is how many buckets a request is about: that of the object, and of
// the one it is copied from.
const mostGrants = 2

// Admission is what one request was let in by. It can be asked again later, by
// newer control state: the same key must have the same rights on the same
// buckets. Grants are taken by one goroutine, before the operations that rest on
// them; Current is safe for concurrent use.
type Admission struct {
	from   Source
	now    func() time.Time
	view   Directory // by which it was given
	key    *control.Key
	grants [mostGrants]grant
	n      int
	// held is the newest revision by which the admission was found to hold.
	held atomic.Uint64
}

// grant is a right that was given.
type grant struct {
	name string
	need Need
	id   object.BucketID
}

var _ metaapi.Admission = (*Admission)(nil)

// Admit lets in the valid key called id by a view of from. Errors: those of Key.
func (a *Admission) Admit(from Source, now func() time.Time, view Directory, id string) (*control.Key, error) {
	k, err := Key(view, id, now())
	if err != nil {
		return nil, err
	}
	a.from, a.now, a.view, a.key = from, now, view, k
	revision, _ := view.AsOf()
	a.held.Store(revision)
	return k, nil
}

// Bucket gives a right on a bucket, as function Bucket does.
func (a *Admission) Bucket(name string, need Need) (*control.Bucket, error) {
	b, err := Bucket(a.view, a.key, name, need)
	if err != nil {
		return nil, err
	}
	if a.n == mostGrants {
		return nil, fault.New(fault.Internal, "a request about more than %d buckets", mostGrants)
	}
	a.grants[a.n] = grant{name, need, b.ID}
	a.n++
	return b, nil
}

// Settle says that no more grants follow: an admission that is kept for long
// then keeps no old control state alive.
func (a *Admission) Settle() { a.view = nil }

// Current implements metaapi.Admission. What speaks against the admission is
// Denied, and says what the edge would have said.
func (a *Admission) Current(ctx context.Context, atLeast control.Revision) (control.Revision, error) {
	v := a.from.View()
	revision, changed := v.AsOf()
	if revision < atLeast {
		if a.from.Await == nil {
			return 0, fault.New(fault.Unavailable, "this process does not learn of changes of access")
		}
		if err := a.from.Await(ctx, atLeast); err != nil {
			return 0, fault.Wrap(fault.Unavailable, err, "access was changed, and this process has not heard of it yet")
		}
		v = a.from.View()
		revision, changed = v.AsOf()
	}
	held := a.held.Load()
	if changed <= held && held <= revision {
		return revision, nil // nothing that it rests on has changed since
	}
	if err := a.check(v); err != nil {
		return 0, fault.Wrap(fault.Denied, err, "")
	}
	a.held.Store(revision) // that of another goroutine is as good
	return revision, nil
}

// check asks again for all that was given.
func (a *Admission) check(v Directory) error {
	k, err := Key(v, a.key.ID, a.now())
	if err != nil {
		return err
	}
	if k.Secret != a.key.Secret {
		return fault.New(fault.Denied, "the key is another one")
	}
	for _, g := range a.grants[:a.n] {
		b, err := Bucket(v, k, g.name, g.need)
		if err != nil {
			return err
		}
		if b.ID != g.id {
			return fault.Wrap(fault.NotFound, ErrNoSuchBucket, "bucket %q is another one", g.name)
		}
	}
	return nil
}
