package ops

import (
	"context"
	"time"

	"hangar/shared/control"
	"hangar/shared/fault"
)

// KeyChange is what an operator changes of a key; nil leaves as it is.
type KeyChange struct {
	Name              *string
	AllowCreateBucket *bool
	Expiration        *time.Time
	// NeverExpires takes the expiration away.
	NeverExpires bool
}

func (c KeyChange) apply(k *control.Key) error {
	if c.NeverExpires && c.Expiration != nil {
		return fault.New(fault.Invalid, "a key either expires or never expires")
	}
	if c.Name != nil {
		k.Name = *c.Name
	}
	if c.AllowCreateBucket != nil {
		k.AllowCreateBucket = *c.AllowCreateBucket
	}
	if c.Expiration != nil {
		k.Expiration = c.Expiration
	}
	if c.NeverExpires {
		k.Expiration = nil
	}
	return nil
}

// CreateKey makes a key with a generated id and secret.
func (o *Ops) CreateKey(ctx context.Context, c KeyChange) (*control.Key, Receipt, error) {
	k := control.Key{Created: o.now().UTC()}
	if err := c.apply(&k); err != nil {
		return nil, Receipt{}, err
	}
	made, rev, err := o.store.CreateKey(ctx, k)
	receipt, err := o.done(ctx, rev, err)
	return made, receipt, err
}

// ImportKey makes a key with an id and secret from elsewhere.
func (o *Ops) ImportKey(ctx context.Context, id, secret, name string) (*control.Key, Receipt, error) {
	v, err := o.store.Sync(ctx, o.mirror)
	if err != nil {
		return nil, Receipt{}, err
	}
	made, rev, err := o.store.ImportKey(ctx, v, control.Key{ID: id, Secret: secret, Name: name, Created: o.now().UTC()})
	receipt, err := o.done(ctx, rev, err)
	return made, receipt, err
}

// UpdateKey changes a key.
func (o *Ops) UpdateKey(ctx context.Context, id string, c KeyChange) (Receipt, error) {
	_, rev, err := o.store.UpdateKey(ctx, id, c.apply)
	return o.done(ctx, rev, err)
}

// DeleteKey removes a key and its rights.
func (o *Ops) DeleteKey(ctx context.Context, id string) (Receipt, error) {
	v, err := o.store.Sync(ctx, o.mirror)
	if err != nil {
		return Receipt{}, err
	}
	rev, err := o.store.DeleteKey(ctx, v, id)
	return o.done(ctx, rev, err)
}
