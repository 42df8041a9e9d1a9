package metaapi

import (
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi/metapb"
	"hangar/shared/rpc"
)

// The operations that nodes ask each other.
const (
	opDigests = "digests"
	opStates  = "states"
	opForget  = "forget"
)

func encodeDigestsRequest(q *DigestsRequest) (rpc.Message, error) {
	w := metapb.DigestsRequest{Epoch: q.Epoch, Partitions: make([]uint32, len(q.Partitions)), Slices: slicesToWire(&q.Slices)}
	for i, p := range q.Partitions {
		w.Partitions[i] = uint32(p)
	}
	return marshal(&w, nil)
}

func decodeDigestsRequest(m rpc.Message) (q DigestsRequest, err error) {
	var w metapb.DigestsRequest
	if err := unmarshal(m, &w); err != nil {
		return q, err
	}
	if len(w.Partitions) > 1<<layout.MaxBits {
		return q, fault.New(fault.Invalid, "digests of %d partitions", len(w.Partitions))
	}
	q = DigestsRequest{Epoch: w.Epoch, Partitions: make([]layout.Partition, len(w.Partitions))}
	for i, p := range w.Partitions {
		if p >= 1<<layout.MaxBits {
			return q, fault.New(fault.Invalid, "partition %d", p)
		}
		q.Partitions[i] = layout.Partition(p)
	}
	q.Slices, err = slicesFromWire(w.Slices)
	return q, err
}

func digestsToWire(ds []Digest) []uint64 {
	w := make([]uint64, 0, 3*len(ds))
	for _, d := range ds {
		w = append(w, d.Sum[0], d.Sum[1], d.Rows)
	}
	return w
}

func digestsFromWire(w []uint64) ([]Digest, error) {
	if len(w)%3 != 0 || len(w) > 3<<layout.MaxBits {
		return nil, fault.New(fault.Invalid, "digests of %d numbers", len(w))
	}
	ds := make([]Digest, len(w)/3)
	for i := range ds {
		ds[i] = Digest{Sum: [2]uint64{w[3*i], w[3*i+1]}, Rows: w[3*i+2]}
	}
	return ds, nil
}

func encodeDigestsReply(r *DigestsReply) (rpc.Message, error) {
	return marshal(&metapb.DigestsReply{
		Old: r.Old, Epoch: r.Epoch, Partitions: digestsToWire(r.Partitions), Slices: digestsToWire(r.Slices),
	}, nil)
}

func decodeDigestsReply(m rpc.Message) (r DigestsReply, err error) {
	var w metapb.DigestsReply
	if err := unmarshal(m, &w); err != nil {
		return r, err
	}
	r = DigestsReply{Old: w.Old, Epoch: w.Epoch}
	if r.Partitions, err = digestsFromWire(w.Partitions); err != nil {
		return r, err
	}
	r.Slices, err = digestsFromWire(w.Slices)
	return r, err
}

func rowNameToWire(k *RowKey) *metapb.RowName {
	return &metapb.RowName{Table: uint32(k.Table), Bucket: k.Bucket[:], Key: []byte(k.Key), Sub: []byte(k.Sub)}
}

func rowNameFromWire(w *metapb.RowName) (k RowKey, err error) {
	k.Table, k.Bucket, err = tableFromWire(w.GetTable(), w.GetBucket())
	k.Key, k.Sub = string(w.GetKey()), string(w.GetSub())
	return k, err
}

// checkPeerRows bounds the rows of one request.
func checkPeerRows(n int) error {
	if n > MaxPeerRows {
		return fault.New(fault.Invalid, "a request for %d rows", n)
	}
	return nil
}

// Check is nil when the bounds of the request are in order. Errors: Invalid.
func (q *StatesRequest) Check() error { return checkPeerRows(len(q.Keys)) }

// Check is nil when the bounds of the request are in order. Errors: Invalid.
func (q *ForgetRequest) Check() error { return checkPeerRows(len(q.Rows)) }

func encodeStatesRequest(q *StatesRequest) (rpc.Message, error) {
	w := metapb.StatesRequest{Epoch: q.Epoch, Rows: make([]*metapb.RowName, len(q.Keys))}
	for i := range q.Keys {
		w.Rows[i] = rowNameToWire(&q.Keys[i])
	}
	return marshal(&w, nil)
}

func decodeStatesRequest(m rpc.Message) (q StatesRequest, err error) {
	var w metapb.StatesRequest
	if err := unmarshal(m, &w); err != nil {
		return q, err
	}
	if err := checkPeerRows(len(w.Rows)); err != nil {
		return q, err
	}
	q = StatesRequest{Epoch: w.Epoch, Keys: make([]RowKey, len(w.Rows))}
	for i, row := range w.Rows {
		if q.Keys[i], err = rowNameFromWire(row); err != nil {
			return q, err
		}
	}
	return q, nil
}

func encodeStatesReply(r *StatesReply) (rpc.Message, error) {
	w := metapb.StatesReply{Old: r.Old, Epoch: r.Epoch, Rows: make([]*metapb.RowState, len(r.Rows))}
	for i, row := range r.Rows {
		w.Rows[i] = &metapb.RowState{Tag: tagToWire(row.Tag), Promised: tagToWire(row.Promised), Live: row.Live}
	}
	return marshal(&w, nil)
}

func decodeStatesReply(m rpc.Message) (r StatesReply, err error) {
	var w metapb.StatesReply
	if err := unmarshal(m, &w); err != nil {
		return r, err
	}
	r = StatesReply{Old: w.Old, Epoch: w.Epoch, Rows: make([]RowState, len(w.Rows))}
	for i, row := range w.Rows {
		r.Rows[i].Live = row.GetLive()
		if r.Rows[i].Tag, err = tagFromWire(row.GetTag()); err != nil {
			return r, err
		}
		if r.Rows[i].Promised, err = tagFromWire(row.GetPromised()); err != nil {
			return r, err
		}
	}
	return r, nil
}

func encodeForgetRequest(q *ForgetRequest) (rpc.Message, error) {
	w := metapb.ForgetRequest{Epoch: q.Epoch, Rows: make([]*metapb.ForgetRow, len(q.Rows))}
	for i := range q.Rows {
		row := &q.Rows[i]
		w.Rows[i] = &metapb.ForgetRow{Row: rowNameToWire(&row.Key), Tag: tagToWire(row.Tag), Low: tagToWire(row.Low)}
	}
	return marshal(&w, nil)
}

func decodeForgetRequest(m rpc.Message) (q ForgetRequest, err error) {
	var w metapb.ForgetRequest
	if err := unmarshal(m, &w); err != nil {
		return q, err
	}
	if err := checkPeerRows(len(w.Rows)); err != nil {
		return q, err
	}
	q = ForgetRequest{Epoch: w.Epoch, Rows: make([]ForgetRow, len(w.Rows))}
	for i, in := range w.Rows {
		row := &q.Rows[i]
		if row.Key, err = rowNameFromWire(in.GetRow()); err != nil {
			return q, err
		}
		if row.Tag, err = tagFromWire(in.GetTag()); err != nil {
			return q, err
		}
		if row.Low, err = tagFromWire(in.GetLow()); err != nil {
			return q, err
		}
	}
	return q, nil
}

func encodeForgetReply(r *ForgetReply) (rpc.Message, error) {
	return marshal(&metapb.ForgetReply{Old: r.Old, Epoch: r.Epoch, Done: r.Done}, nil)
}

func decodeForgetReply(m rpc.Message) (ForgetReply, error) {
	var w metapb.ForgetReply
	if err := unmarshal(m, &w); err != nil {
		return ForgetReply{}, err
	}
	return ForgetReply{Old: w.Old, Epoch: w.Epoch, Done: w.Done}, nil
}
