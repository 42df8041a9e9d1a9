package table

import (
	"context"
	"slices"

	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/metaapi"
	"hangar/shared/register"
)

var _ metaapi.Peer = (*Table)(nil)

// forgetGroup is how many rows are forgotten in one update.
const forgetGroup = 64

// meet compares the epoch of a peer's request with this node's. Nothing is
// adopted: a peer that is ahead asks again.
func (t *Table) meet(epoch uint64) (old bool, fence uint64, err error) {
	fence = t.fence.Load()
	if epoch > t.adopted.Load() {
		return false, fence, fault.New(fault.Unavailable, "the node is at epoch %d, not %d yet", t.adopted.Load(), epoch)
	}
	return epoch < fence, fence, nil
}

// Digests implements metaapi.Peer. It knows nothing of membership: every slice
// is taken to be served.
func (t *Table) Digests(ctx context.Context, q metaapi.DigestsRequest) (reply metaapi.DigestsReply, err error) {
	if err := t.enter(); err != nil {
		return reply, err
	}
	defer t.leave()
	for _, p := range q.Partitions {
		if int(p) >= 1<<t.bits {
			return reply, fault.New(fault.Invalid, "partition %d of %d", p, 1<<t.bits)
		}
	}
	err = t.store.View(func(r kv.Reader) error {
		old, fence, err := t.meet(q.Epoch)
		if err != nil || old {
			reply = metaapi.DigestsReply{Old: old, Epoch: fence}
			return err
		}
		reply.Epoch = q.Epoch
		s := summer{ctx: ctx, from: r}
		for _, p := range q.Partitions {
			var in metaapi.Slices
			in.AddPartition(p, t.bits)
			var whole metaapi.Digest
			in.Each(func(slice uint16) { whole = whole.Plus(s.of(slice)) })
			reply.Partitions = append(reply.Partitions, whole)
		}
		q.Slices.Each(func(slice uint16) { reply.Slices = append(reply.Slices, s.of(slice)) })
		return s.err
	})
	return reply, err
}

// summer reads digests until its first error. They are looked up one by one: a
// walk would pass every version that a busy slice left behind.
type summer struct {
	ctx  context.Context
	from getter
	err  error
}

func (s *summer) of(slice uint16) (d metaapi.Digest) {
	if s.err == nil {
		s.err = s.ctx.Err()
	}
	if s.err == nil {
		d, s.err = digest(s.from, record.DigestKey(slice))
	}
	return d
}

// States implements metaapi.Peer. It knows nothing of membership.
func (t *Table) States(_ context.Context, q metaapi.StatesRequest) (reply metaapi.StatesReply, err error) {
	if err := q.Check(); err != nil {
		return reply, err
	}
	if err := t.enter(); err != nil {
		return reply, err
	}
	defer t.leave()
	err = t.store.View(func(r kv.Reader) error {
		old, fence, err := t.meet(q.Epoch)
		if err != nil || old {
			reply = metaapi.StatesReply{Old: old, Epoch: fence}
			return err
		}
		reply = metaapi.StatesReply{Epoch: q.Epoch, Rows: make([]metaapi.RowState, len(q.Keys))}
		for i, key := range q.Keys {
			row, err := load(r, record.RowKey(key))
			if err != nil {
				return err
			}
			reply.Rows[i] = metaapi.RowState{Tag: row.Tag, Promised: row.Promised, Live: row.Value != nil}
		}
		return nil
	})
	return reply, err
}

// Forget implements metaapi.Peer. It knows nothing of membership.
func (t *Table) Forget(ctx context.Context, q metaapi.ForgetRequest) (reply metaapi.ForgetReply, err error) {
	if err := q.Check(); err != nil {
		return reply, err
	}
	if err := t.enter(); err != nil {
		return reply, err
	}
	defer t.leave()
	reply = metaapi.ForgetReply{Epoch: q.Epoch}
	for rows := range slices.Chunk(q.Rows, forgetGroup) {
		done := make([]bool, len(rows))
		old, fence := false, uint64(0)
		err := t.writer.Update(ctx, func(tx *kv.Tx) (err error) {
			if old, fence, err = t.meet(q.Epoch); err != nil || old {
				return err
			}
			for i := range rows {
				if done[i], err = t.forget(tx, q.Epoch, &rows[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return metaapi.ForgetReply{}, err
		}
		if old {
			return metaapi.ForgetReply{Old: true, Epoch: fence}, nil
		}
		reply.Done = append(reply.Done, done...)
	}
	return reply, nil
}

// forget runs on the committer's goroutine.
func (t *Table) forget(tx *kv.Tx, epoch uint64, f *metaapi.ForgetRow) (done bool, err error) {
	slice := record.Slice(f.Key.Bucket, f.Key.Key)
	rk := record.RowKey(f.Key)
	row, err := load(tx, rk)
	if err != nil {
		return false, err
	}
	if row.IsZero() && f.Low.Compare(t.low(t.partition(slice))) <= 0 {
		return true, nil // gone already, and nothing to raise
	}
	q := register.Request{Kind: register.Forget, Epoch: epoch, Row: register.Row{Tag: f.Tag}, Low: f.Low}
	reply, _, err := t.change(tx, change{key: f.Key, row: rk, slice: slice, q: q})
	return reply.Code == register.Done, err
}

// RepairMark returns what SaveRepairMark last kept, the zero mark when there is
// none.
func (t *Table) RepairMark() (m record.RepairMark, err error) {
	if err := t.enter(); err != nil {
		return m, err
	}
	defer t.leave()
	err = t.store.View(func(r kv.Reader) error {
		b, found, err := r.Get(record.RepairKey())
		if err != nil || !found {
			return err
		}
		m, err = record.DecodeRepair(b)
		return err
	})
	return m, err
}

// SaveRepairMark keeps m durably; the zero mark removes what was kept.
func (t *Table) SaveRepairMark(ctx context.Context, m record.RepairMark) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	return t.writer.Update(ctx, func(tx *kv.Tx) error {
		if m.Peer.IsZero() {
			tx.Delete(record.RepairKey())
		} else {
			tx.Set(record.RepairKey(), record.EncodeRepair(m))
		}
		return nil
	})
}
