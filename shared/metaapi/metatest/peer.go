package metatest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/register"
)

var _ metaapi.Peer = (*Replica)(nil)

// meet is admit for what peers ask, which adopts nothing.
func (r *Replica) meet(epoch uint64) (old bool, err error) {
	switch {
	case r.down != nil:
		return false, r.down
	case epoch > r.epoch:
		return false, fault.New(fault.Unavailable, "the node is at epoch %d", r.epoch)
	}
	return epoch < r.epoch, nil
}

// Digests implements metaapi.Peer.
func (r *Replica) Digests(_ context.Context, q metaapi.DigestsRequest) (reply metaapi.DigestsReply, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range q.Partitions {
		if int(p) >= 1<<layout.DefaultBits {
			return reply, fault.New(fault.Invalid, "partition %d", p)
		}
	}
	old, err := r.meet(q.Epoch)
	if reply.Epoch = r.epoch; err != nil || old {
		return metaapi.DigestsReply{Old: old, Epoch: r.epoch}, err
	}
	sums := map[uint16]metaapi.Digest{}
	for k, st := range r.rows {
		if !st.Tag.IsZero() {
			s := uint16(layout.OfRow(k.Bucket, k.Key, metaapi.SliceBits))
			sums[s] = sums[s].Plus(digestOf(k, st.Tag))
		}
	}
	for _, p := range q.Partitions {
		var in metaapi.Slices
		in.AddPartition(p, layout.DefaultBits)
		var whole metaapi.Digest
		in.Each(func(s uint16) { whole = whole.Plus(sums[s]) })
		reply.Partitions = append(reply.Partitions, whole)
	}
	q.Slices.Each(func(s uint16) { reply.Slices = append(reply.Slices, sums[s]) })
	return reply, nil
}

func digestOf(k metaapi.RowKey, tag register.Tag) metaapi.Digest {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %v", position(k), tag))
	return metaapi.Digest{
		Sum:  [2]uint64{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])},
		Rows: 1,
	}
}

// States implements metaapi.Peer.
func (r *Replica) States(_ context.Context, q metaapi.StatesRequest) (metaapi.StatesReply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := q.Check(); err != nil {
		return metaapi.StatesReply{}, err
	}
	old, err := r.meet(q.Epoch)
	if err != nil || old {
		return metaapi.StatesReply{Old: old, Epoch: r.epoch}, err
	}
	reply := metaapi.StatesReply{Epoch: r.epoch, Rows: make([]metaapi.RowState, len(q.Keys))}
	for i, k := range q.Keys {
		if st := r.rows[k]; st != nil {
			reply.Rows[i] = metaapi.RowState{Tag: st.Tag, Promised: st.Promised, Live: st.Value != nil}
		}
	}
	return reply, nil
}

// Forget implements metaapi.Peer.
func (r *Replica) Forget(_ context.Context, q metaapi.ForgetRequest) (metaapi.ForgetReply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := q.Check(); err != nil {
		return metaapi.ForgetReply{}, err
	}
	old, err := r.meet(q.Epoch)
	if err != nil || old {
		return metaapi.ForgetReply{Old: old, Epoch: r.epoch}, err
	}
	reply := metaapi.ForgetReply{Epoch: r.epoch, Done: make([]bool, len(q.Rows))}
	for i, f := range q.Rows {
		p := partition(f.Key)
		st := r.rows[f.Key]
		if st == nil {
			if f.Low.Compare(r.low[p]) <= 0 {
				reply.Done[i] = true
				continue
			}
			st = &register.State{}
		}
		got, change, low := register.Handle(st, r.low[p], register.Request{Kind: register.Forget, Row: register.Row{Tag: f.Tag}, Low: f.Low})
		if change == register.Forgotten {
			delete(r.rows, f.Key)
			delete(r.changes, f.Key)
			r.low[p] = low
		}
		reply.Done[i] = got.Code == register.Done
	}
	return reply, nil
}
