package ops

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/layout"
)

// BootstrapInput is what a cluster starts with.
type BootstrapInput struct {
	Region            string
	ReplicationFactor int
	// PartitionBits defaults to layout.DefaultBits.
	PartitionBits uint8
	// Consistency of a new cluster; empty means consistent.
	Consistency control.Consistency
	// Roles of the nodes there are. None leaves the layout to the operator.
	Roles []control.Role
	// AccessKey and SecretKey of the first key. Both empty: one is generated
	// if there is no key at all, unless LeaveKeys is set.
	AccessKey, SecretKey string
	LeaveKeys            bool
	// Bucket to create, with all rights for the first key; may be empty.
	Bucket string
}

// Bootstrapped says what there is after Bootstrap, and what it made.
type Bootstrapped struct {
	Cluster control.Cluster
	// Key is the key named in the input, or the generated one; nil when there
	// were keys already and none was named.
	Key *control.Key
	// MadeCluster, MadeLayout, MadeKey and MadeBucket tell what was not there.
	MadeCluster, MadeLayout, MadeKey, MadeBucket bool
}

// Bootstrap creates what a new cluster lacks and leaves alone what is there,
// so that it may run at every start, also in several processes at once.
func (o *Ops) Bootstrap(ctx context.Context, in BootstrapInput) (out Bootstrapped, err error) {
	v, err := o.store.Sync(ctx, o.mirror)
	if err != nil {
		return out, err
	}
	if err := o.bootCluster(ctx, v, in, &out); err != nil {
		return out, err
	}
	if err := o.bootLayout(ctx, in, &out); err != nil {
		return out, err
	}
	if err := o.bootKey(ctx, v, in, &out); err != nil {
		return out, err
	}
	if err := o.bootBucket(ctx, in, &out); err != nil {
		return out, err
	}
	_, err = o.store.Sync(ctx, o.mirror)
	return out, err
}

func (o *Ops) bootCluster(ctx context.Context, v *control.View, in BootstrapInput, out *Bootstrapped) (err error) {
	out.MadeCluster = v.Cluster.ID == ""
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails on the platforms Go supports
	c := control.Cluster{
		ID: hex.EncodeToString(id), Region: in.Region, ReplicationFactor: in.ReplicationFactor,
		PartitionBits: in.PartitionBits, Created: o.now().UTC(), Consistency: in.Consistency,
	}
	if c.PartitionBits == 0 {
		c.PartitionBits = layout.DefaultBits
	}
	var rev control.Revision
	if out.Cluster, rev, err = o.store.CreateCluster(ctx, c); err != nil {
		return err
	}
	return o.mirror.WaitRevision(ctx, rev)
}

func (o *Ops) bootLayout(ctx context.Context, in BootstrapInput, out *Bootstrapped) error {
	current, _, err := o.store.Layout(ctx)
	if err != nil || current != nil || len(in.Roles) == 0 {
		return err
	}
	var changes control.StagedLayout
	for _, r := range in.Roles {
		c := control.RoleChange{Node: r.Node, Role: &r}
		if err := o.completeRole(nil, &c); err != nil {
			return err
		}
		changes.Changes = append(changes.Changes, c)
	}
	p, err := o.place(&control.Layout{}, &changes)
	if err != nil {
		return err
	}
	_, staged, err := o.store.Staged(ctx)
	if err != nil {
		return err
	}
	_, err = o.store.ApplyLayout(ctx, p.Layout, 0, staged)
	if fault.Is(err, fault.Conflict) {
		return nil // another process was faster
	}
	out.MadeLayout = err == nil
	return err
}

func (o *Ops) bootKey(ctx context.Context, v *control.View, in BootstrapInput, out *Bootstrapped) (err error) {
	k := control.Key{ID: in.AccessKey, Secret: in.SecretKey, Name: "default", AllowCreateBucket: true, Created: o.now().UTC()}
	switch {
	case (in.AccessKey == "") != (in.SecretKey == ""):
		return fault.New(fault.Invalid, "a default access key needs its secret key, and the other way round")
	case in.AccessKey == "" && (in.LeaveKeys || len(v.Keys()) > 0):
		return nil
	case in.AccessKey == "":
		out.Key, _, err = o.store.CreateKey(ctx, k)
		out.MadeKey = err == nil
		return err
	}
	out.Key, _, err = o.store.ImportKey(ctx, v, k)
	if out.MadeKey = err == nil; err == nil || !errors.Is(err, control.ErrKeyExists) && !fault.Is(err, fault.AlreadyExists) {
		return err
	}
	if out.Key, err = o.store.Key(ctx, in.AccessKey); err != nil {
		return err
	}
	if out.Key.Secret != in.SecretKey {
		return fault.New(fault.Invalid, "access key %s exists with another secret key", in.AccessKey)
	}
	return nil
}

func (o *Ops) bootBucket(ctx context.Context, in BootstrapInput, out *Bootstrapped) error {
	if in.Bucket == "" || out.Key == nil {
		return nil
	}
	_, _, err := o.store.CreateBucket(ctx, control.NewBucket{
		Name: in.Bucket,
		Keys: map[string]control.Permission{out.Key.ID: control.AllPermissions},
	})
	if errors.Is(err, control.ErrNameTaken) {
		return nil
	}
	out.MadeBucket = err == nil
	return err
}
