package ops

import (
	"context"
	"slices"
	"time"

	"hangar/shared/control"
	"hangar/shared/fault"
)

// TokenChange is what an operator changes of an admin token; nil leaves as it is.
type TokenChange struct {
	Name       *string
	Expiration *time.Time
	// NeverExpires takes the expiration away.
	NeverExpires bool
	// Scope replaces the operations that the token may call.
	Scope *[]string
}

func (c TokenChange) apply(t *control.Token) error {
	if c.NeverExpires && c.Expiration != nil {
		return fault.New(fault.Invalid, "a token either expires or never expires")
	}
	if c.Name != nil {
		t.Name = *c.Name
	}
	if c.Expiration != nil {
		t.Expiration = c.Expiration
	}
	if c.NeverExpires {
		t.Expiration = nil
	}
	if c.Scope != nil {
		t.Scope = *c.Scope
	}
	return nil
}

// mayGrant refuses to let a caller make a token that may more, or longer, than
// the caller's own. A nil caller holds everything.
func mayGrant(caller, t *control.Token) error {
	if caller == nil {
		return nil
	}
	beyond := func(operation string) bool { return !caller.Allows(operation) }
	if slices.ContainsFunc(t.Scope, beyond) {
		return fault.New(fault.Denied, "a token cannot give away operations that are not in its own scope")
	}
	if caller.Expiration != nil && (t.Expiration == nil || t.Expiration.After(*caller.Expiration)) {
		return fault.New(fault.Denied, "a token that expires cannot make one outlive it")
	}
	return nil
}

// CreateToken makes an admin token and returns its secret, which is kept
// nowhere. caller is the token of who asks, nil when that holds everything.
// Without a scope the new token may all that the caller may. Errors: Denied.
func (o *Ops) CreateToken(ctx context.Context, caller *control.Token, c TokenChange) (secret string, t *control.Token, r Receipt, err error) {
	next := control.Token{Name: "token made " + o.now().UTC().Format("2006-01-02 15:04"), Scope: []string{"*"}}
	if caller != nil {
		next.Scope, next.Expiration = caller.Scope, caller.Expiration
	}
	if err := c.apply(&next); err != nil {
		return "", nil, r, err
	}
	if err := mayGrant(caller, &next); err != nil {
		return "", nil, r, err
	}
	secret, t, rev, err := o.store.CreateToken(ctx, next)
	r, err = o.done(ctx, rev, err)
	return secret, t, r, err
}

// UpdateToken changes an admin token. Errors: Denied also when the token as it
// was may more than the caller.
func (o *Ops) UpdateToken(ctx context.Context, caller *control.Token, id string, c TokenChange) (*control.Token, Receipt, error) {
	t, rev, err := o.store.UpdateToken(ctx, id, func(t *control.Token) error {
		if caller != nil && caller.ID != t.ID {
			if err := mayGrant(caller, t); err != nil {
				return err
			}
		}
		if err := c.apply(t); err != nil {
			return err
		}
		return mayGrant(caller, t)
	})
	r, err := o.done(ctx, rev, err)
	return t, r, err
}

// DeleteToken revokes an admin token.
func (o *Ops) DeleteToken(ctx context.Context, id string) (Receipt, error) {
	rev, err := o.store.DeleteToken(ctx, id)
	return o.done(ctx, rev, err)
}
