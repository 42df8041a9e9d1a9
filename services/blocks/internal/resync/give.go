package resync

import (
	"context"
	"errors"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/lifecycle"
	"hangar/shared/object"
)

// giveBytes bounds the references that are given up in one commit.
const giveBytes = 16 << 10

// give drops what the node holds of partitions that it is no member of, each
// reference once all members have confirmed that they hold it. What they lack
// they fetch from here, or have found to be dead: then the hint that they send
// has it collected here. Either way a later pass is done. The error says that
// something is left.
func (m *Mover) give(ctx context.Context, ring *layout.Ring) error {
	var errs []error
	adopted := false
	for i := range ring.Partitions() {
		p := layout.Partition(i)
		members, member := others(ring, p, m.Self)
		if member || len(members) == 0 {
			continue
		}
		span := blockapi.PartitionSpan(p, ring.Bits)
		d, err := m.Store.Digests(ctx, p, span, blockapi.Digest{})
		if err != nil {
			return err
		}
		if d.All.Refs == 0 {
			continue
		}
		if !adopted { // what is dropped is decided by this epoch
			if _, err := m.Store.Adopt(ctx, ring.Epoch); err != nil {
				return err
			}
			adopted = true
		}
		if err := m.givePartition(ctx, ring.Epoch, members, span); err != nil {
			errs = append(errs, fault.Wrap(fault.KindOf(err), err, "giving up partition %d", p))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}

func (m *Mover) givePartition(ctx context.Context, epoch uint64, members []object.NodeID, span blockapi.Span) error {
	l := blockapi.Listing{Span: span, Bytes: giveBytes}
	left := 0
	for {
		began := time.Now()
		page, err := m.Store.List(ctx, l)
		if err != nil {
			return err
		}
		lacking, err := m.confirm(ctx, epoch, members, page.Entries)
		if err != nil {
			return err
		}
		left += len(lacking)
		given := except(page.Entries, lacking)
		if err := m.Store.Give(ctx, epoch, given); err != nil {
			return err
		}
		if err := m.Store.ForgetOwners(ctx, ownersOf(given)); err != nil {
			return err
		}
		for _, e := range given {
			m.Given.Add(int64(len(e.Owners)))
		}
		if l.After = page.Next; l.After == nil {
			break
		}
		// Nobody waits for this: it rests in any case.
		took := time.Since(began)
		if err := errors.Join(lifecycle.Sleep(ctx, took), m.work.Rest(ctx, took)); err != nil {
			return err
		}
	}
	if left > 0 {
		return fault.New(fault.Unavailable, "%d references are not yet held by all members", left)
	}
	return nil
}

// confirm asks all members; it returns what some of them lack.
func (m *Mover) confirm(ctx context.Context, epoch uint64, members []object.NodeID, entries []blockapi.Entry) (map[int]bool, error) {
	lacking := make(map[int]bool)
	if len(entries) == 0 {
		return lacking, nil
	}
	for _, n := range members {
		some, err := m.Network.At(n).Confirm(ctx, epoch, m.Self, entries)
		if err != nil {
			return nil, err
		}
		for _, i := range some {
			lacking[i] = true
		}
	}
	return lacking, nil
}

// ownersOf lists the owners in entries once each.
func ownersOf(entries []blockapi.Entry) (owners []blockapi.Owner) {
	seen := make(map[blockapi.Owner]bool)
	for _, e := range entries {
		for _, o := range e.Owners {
			if !seen[o] {
				seen[o] = true
				owners = append(owners, o)
			}
		}
	}
	return owners
}
