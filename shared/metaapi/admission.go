package metaapi

import (
	"context"

	"hangar/shared/fault"
)

// Admission is why somebody may do the operations of a context: the requests of
// a Client carry the revision of the control state that says so. A replica that
// knows of a later change of access refuses them, so that a quorum never takes
// part in what was let in by rights that have been withdrawn since. Safe for
// concurrent use.
type Admission interface {
	// Current returns the revision of the newest control state by which the
	// admission holds, at least atLeast; it waits for that as long as ctx lasts.
	// 0 is not checked by anybody. Errors: Unavailable, the wait was in vain; any
	// other says that the admission holds no more.
	Current(ctx context.Context, atLeast uint64) (uint64, error)
}

type admissionKey struct{}

// WithAdmission returns a context for operations that a may refuse. With nil
// they are the cluster's own work, which nobody refuses.
func WithAdmission(ctx context.Context, a Admission) context.Context {
	return context.WithValue(ctx, admissionKey{}, a)
}

// AdmissionOf is what WithAdmission was called with; nil for the cluster's own
// work.
func AdmissionOf(ctx context.Context) Admission {
	a, _ := ctx.Value(admissionKey{}).(Admission)
	return a
}

// admitted is the admission of one operation.
type admitted struct {
	by Admission // nil: the cluster's own work
	// revision is what the requests carry.
	revision uint64
	// wanted is the highest that a member asked for.
	wanted uint64
}

// admit begins an operation. Errors: those of Admission.
func admit(ctx context.Context) (a admitted, err error) {
	a.by = AdmissionOf(ctx)
	if a.by != nil {
		a.revision, err = a.by.Current(ctx, 0)
	}
	return a, err
}

// behind notes that a member asks for more.
func (a *admitted) behind(revision uint64) { a.wanted = max(a.wanted, revision) }

// renew asks for admission anew if a member wants that. Errors: those of
// Admission.
func (a *admitted) renew(ctx context.Context) (err error) {
	if a.by == nil || a.wanted <= a.revision {
		return nil
	}
	a.revision, err = a.by.Current(ctx, a.wanted)
	return err
}

// errBehind is what a member's refusal is reported as, should it be the last word.
var errBehind = fault.New(fault.Unavailable, "access was changed, and this process has not heard of it yet")
