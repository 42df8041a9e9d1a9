package blocks

import (
	"context"
	"errors"
	"slices"

	"hangar/services/blocks/internal/store"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/lifecycle"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/work"
)

const (
	// maxListed bounds the errors and the owners that are shown.
	maxListed = 1000
	// maxAsked bounds the owners of a block whose life is asked about.
	maxAsked = 64
	// maxNamed bounds the blocks of one order.
	maxNamed = 1000
)

// operator is what the node offers operators. Its requests are counted by the
// gate, as all others.
type operator struct {
	*work.Set
	service *Service
	gate    *gate
	store   *store.Store
	repair  *repair
}

var (
	_ nodeapi.Operator      = (*operator)(nil)
	_ nodeapi.BlockOperator = (*operator)(nil)
	_ nodeapi.Counter       = (*operator)(nil)
)

// serveOperator answers operators.
func (s *Service) serveOperator(g *lifecycle.Group, o *operator) error {
	stop, err := nodeapi.ServeOperator(s.deps.Server, service, s.node, o)
	if err != nil {
		return err
	}
	g.Defer("operator endpoint", func(context.Context) error { stop(); return nil })
	stopBlocks, err := nodeapi.ServeBlockOperator(s.deps.Server, service, s.node, o)
	if err != nil {
		return err
	}
	g.Defer("block operator endpoint", func(context.Context) error { stopBlocks(); return nil })
	stopCounting, err := nodeapi.ServeStatistics(s.deps.Server, service, s.node, o)
	if err != nil {
		return err
	}
	g.Defer("statistics endpoint", func(context.Context) error { stopCounting(); return nil })
	return nil
}

// Repair implements nodeapi.Operator.
func (o *operator) Repair(_ context.Context, r nodeapi.Repair) error {
	if err := o.gate.enter(); err != nil {
		return err
	}
	defer o.gate.leave()
	return o.repair.tasks.Repair(r)
}

// Snapshot implements nodeapi.Operator. What a block node knows besides the
// blocks it can learn again: from its replicas.
func (o *operator) Snapshot(context.Context) error {
	return fault.New(fault.NotImplemented, "the block service keeps no metadata of objects")
}

// BlockErrors implements nodeapi.BlockOperator.
func (o *operator) BlockErrors(context.Context) ([]nodeapi.BlockError, error) {
	if err := o.gate.enter(); err != nil {
		return nil, err
	}
	defer o.gate.leave()
	failures, err := o.repair.worker.Failures(object.Hash{}, maxListed)
	if err != nil {
		return nil, err
	}
	list := make([]nodeapi.BlockError, len(failures))
	for i, f := range failures {
		known, err := o.store.Describe(f.Hash, 0)
		if err != nil {
			return nil, err
		}
		list[i] = nodeapi.BlockError{
			Hash: f.Hash, References: known.References, Errors: int64(f.Tries),
			LastTry: f.Last, NextTry: f.Next, Message: f.Error,
		}
	}
	return list, nil
}

// BlockInfo implements nodeapi.BlockOperator. It asks the metadata whether the
// first owners live.
func (o *operator) BlockInfo(ctx context.Context, h object.Hash) (nodeapi.BlockInfo, error) {
	if err := o.gate.enter(); err != nil {
		return nodeapi.BlockInfo{}, err
	}
	defer o.gate.leave()
	known, err := o.store.Describe(h, maxListed)
	if err != nil {
		return nodeapi.BlockInfo{}, err
	}
	if !known.Present && known.References == 0 {
		return nodeapi.BlockInfo{}, fault.New(fault.NotFound, "no block %s", h)
	}
	info := nodeapi.BlockInfo{Hash: h, Present: known.Present, StoredBytes: known.StoredBytes, Owners: []nodeapi.BlockOwner{}}
	for i, owner := range known.Owners {
		b := nodeapi.BlockOwner{Bucket: owner.Bucket, Key: owner.Key, Version: owner.Version.String()}
		if owner.Part > 0 {
			b.Upload = owner.Version.String()
		}
		if i < maxAsked && o.service.deps.Verifier != nil {
			// No answer says nothing, and is no reason to show less.
			verdict, err := o.service.deps.Verifier.Verify(ctx, owner)
			b.Dead = err == nil && verdict == blockapi.Dead
		}
		info.Owners = append(info.Owners, b)
	}
	return info, nil
}

// RetryBlocks implements nodeapi.BlockOperator.
func (o *operator) RetryBlocks(ctx context.Context, hashes []object.Hash) (int64, error) {
	if err := o.gate.enter(); err != nil {
		return 0, err
	}
	defer o.gate.leave()
	n, err := o.repair.worker.Retry(ctx, hashes...)
	return int64(n), err
}

// PurgeBlocks implements nodeapi.BlockOperator. Nothing is purged that any
// replica can still read, nor while one of them does not answer: what is deleted
// then would only have seemed lost. Errors: Conflict and Unavailable for those
// cases, Invalid (none or too many named), NotFound (nothing here refers to one).
func (o *operator) PurgeBlocks(ctx context.Context, hashes []object.Hash) (p nodeapi.Purged, err error) {
	if err := o.gate.enter(); err != nil {
		return p, err
	}
	defer o.gate.leave()
	purger := o.service.deps.Purger
	switch {
	case len(hashes) == 0 || len(hashes) > maxNamed:
		return p, fault.New(fault.Invalid, "name 1 to %d blocks, not %d", maxNamed, len(hashes))
	case purger == nil:
		return p, fault.New(fault.NotImplemented, "this node cannot write metadata")
	}
	for _, h := range hashes { // all of them before anything is deleted
		if err := o.lost(ctx, h); err != nil {
			return p, err
		}
	}
	for _, h := range hashes {
		if err := o.purge(ctx, h, purger, &p); err != nil {
			return p, fault.Wrap(fault.KindOf(err), err, "after %d blocks", p.Blocks)
		}
		p.Blocks++
	}
	return p, nil
}

// lost is nil when no replica of a block can read it.
func (o *operator) lost(ctx context.Context, h object.Hash) error {
	known, err := o.store.Describe(h, 0)
	switch {
	case err != nil:
		return err
	case known.References == 0:
		return fault.New(fault.NotFound, "nothing here refers to block %s", h)
	}
	if good, err := o.store.Check(ctx, h); err != nil || good {
		return errors.Join(err, fault.New(fault.Conflict, "block %s is not lost: this node can read it", h))
	}
	ring := o.service.ring()
	if ring == nil {
		return fault.New(fault.Unavailable, "there is no layout yet")
	}
	for _, set := range ring.Sets(layout.OfHash(h, ring.Bits)) {
		for _, n := range set {
			if n == o.service.node {
				continue
			}
			b, err := o.repair.network.Fetch(ctx, ring.Epoch, []object.NodeID{n}, h)
			switch {
			case err == nil:
				o.repair.network.Recycle(b.Data)
				return fault.New(fault.Conflict, "block %s is not lost: node %s can read it", h, n)
			case !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Corrupt):
				return fault.Wrap(fault.Unavailable, err, "whether node %s can read block %s is not known: take it out of the layout first if it is gone for good", n, h)
			}
		}
	}
	return nil
}

// purge deletes what needs a block, and hints that it is gone.
func (o *operator) purge(ctx context.Context, h object.Hash, purger blockapi.Purger, p *nodeapi.Purged) error {
	var done []blockapi.Owner
	err := o.owners(ctx, h, func(owner blockapi.Owner) error {
		what, err := purger.Purge(ctx, owner)
		if err != nil {
			return err
		}
		switch what {
		case blockapi.PurgedObject:
			p.Objects++
			p.Versions++
		case blockapi.PurgedPart:
			p.Uploads++
		}
		p.References++
		done = append(done, owner)
		return nil
	})
	for _, owner := range done {
		released := blockapi.Released{Bucket: owner.Bucket, Key: owner.Key, Version: owner.Version, Manifest: owner.Manifest}
		o.store.Release(ctx, released)
		o.repair.network.Release(ctx, released)
	}
	return err
}

// owners calls visit for every owner of a block.
func (o *operator) owners(ctx context.Context, h object.Hash, visit func(blockapi.Owner) error) error {
	l := blockapi.Listing{Span: blockapi.One(h), Bytes: 64 << 10}
	for {
		page, err := o.store.List(ctx, l)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			for _, owner := range e.Owners {
				if err := visit(owner); err != nil {
					return err
				}
			}
		}
		if l.After = slices.Clone(page.Next); l.After == nil {
			return nil
		}
	}
}
