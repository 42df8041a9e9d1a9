package membership

import (
	"context"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
)

var _ metaapi.Peer = (*Members)(nil)

// settled is nil once an epoch is settled and, if that is the one in force,
// every slice in q is served. An older epoch is the table's to refuse.
func (m *Members) settled(ctx context.Context, epoch uint64, q *metaapi.Slices) error {
	s, err := m.at(ctx, epoch, requestPatience)
	if err != nil || epoch != s.epoch {
		return err
	}
	q.Each(func(slice uint16) {
		if p := layout.Partition(slice >> (metaapi.SliceBits - m.bits)); !s.serves(p) && err == nil {
			err = fault.New(fault.Unavailable, "partition %d is not served here", p)
		}
	})
	return err
}

// Digests implements metaapi.Peer.
func (m *Members) Digests(ctx context.Context, q metaapi.DigestsRequest) (metaapi.DigestsReply, error) {
	in := q.Slices
	for _, p := range q.Partitions {
		if int(p) >= 1<<m.bits {
			return metaapi.DigestsReply{}, fault.New(fault.Invalid, "partition %d of %d", p, 1<<m.bits)
		}
		in.AddPartition(p, m.bits)
	}
	if err := m.settled(ctx, q.Epoch, &in); err != nil {
		return metaapi.DigestsReply{}, err
	}
	return m.table.Digests(ctx, q)
}

// States implements metaapi.Peer.
func (m *Members) States(ctx context.Context, q metaapi.StatesRequest) (metaapi.StatesReply, error) {
	var in metaapi.Slices
	for i := range q.Keys {
		in.Add(sliceOf(&q.Keys[i]))
	}
	if err := m.settled(ctx, q.Epoch, &in); err != nil {
		return metaapi.StatesReply{}, err
	}
	return m.table.States(ctx, q)
}

// Forget implements metaapi.Peer.
func (m *Members) Forget(ctx context.Context, q metaapi.ForgetRequest) (metaapi.ForgetReply, error) {
	var in metaapi.Slices
	for i := range q.Rows {
		in.Add(sliceOf(&q.Rows[i].Key))
	}
	if err := m.settled(ctx, q.Epoch, &in); err != nil {
		return metaapi.ForgetReply{}, err
	}
	return m.table.Forget(ctx, q)
}

func sliceOf(k *metaapi.RowKey) uint16 {
	return uint16(layout.OfRow(k.Bucket, k.Key, metaapi.SliceBits))
}
