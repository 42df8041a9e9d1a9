package metaapi

import (
	"hangar/shared/fault"
	"hangar/shared/metaapi/metapb"
	"hangar/shared/rpc"
)

func encodeInventoryRequest(q *InventoryRequest) (rpc.Message, error) {
	return marshal(&metapb.InventoryRequest{
		Epoch: q.Epoch, Slices: slicesToWire(&q.Slices), After: q.After,
		Limit: int32(q.Limit), MaxBytes: int32(q.MaxBytes),
	}, nil)
}

func decodeInventoryRequest(m rpc.Message) (q InventoryRequest, err error) {
	var w metapb.InventoryRequest
	if err := unmarshal(m, &w); err != nil {
		return q, err
	}
	q = InventoryRequest{Epoch: w.Epoch, After: w.After, Limit: int(w.Limit), MaxBytes: int(w.MaxBytes)}
	if q.Slices, err = slicesFromWire(w.Slices); err != nil {
		return q, err
	}
	return q, q.Check()
}

// Check is nil when the bounds of the request are in order. Errors: Invalid.
func (q *InventoryRequest) Check() error {
	if q.Limit < 1 || q.Limit > MaxScanRows || q.MaxBytes < 1 || q.MaxBytes > MaxInventoryBytes {
		return fault.New(fault.Invalid, "an inventory of %d rows and %d bytes", q.Limit, q.MaxBytes)
	}
	return nil
}

func encodeInventoryReply(r *InventoryReply) (rpc.Message, error) {
	w := metapb.InventoryReply{
		Old: r.Old, Epoch: r.Epoch, Next: r.Next, Done: r.Done, Total: r.Total,
		Rows: make([]*metapb.InventoryRow, len(r.Rows)),
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		w.Rows[i] = &metapb.InventoryRow{
			Table: uint32(row.Key.Table), Bucket: row.Key.Bucket[:], Key: []byte(row.Key.Key), Sub: []byte(row.Key.Sub),
			Tag: tagToWire(row.Tag), Promised: tagToWire(row.Promised), Live: row.Live, Size: row.Size,
		}
	}
	return marshal(&w, nil)
}

func decodeInventoryReply(m rpc.Message) (r InventoryReply, err error) {
	var w metapb.InventoryReply
	if err := unmarshal(m, &w); err != nil {
		return r, err
	}
	r = InventoryReply{
		Old: w.Old, Epoch: w.Epoch, Next: w.Next, Done: w.Done, Total: w.Total,
		Rows: make([]InventoryRow, len(w.Rows)),
	}
	for i, in := range w.Rows {
		row := InventoryRow{Live: in.Live, Size: in.Size}
		if row.Key.Table, row.Key.Bucket, err = tableFromWire(in.Table, in.Bucket); err != nil {
			return r, err
		}
		row.Key.Key, row.Key.Sub = string(in.Key), string(in.Sub)
		if row.Tag, err = tagFromWire(in.Tag); err != nil {
			return r, err
		}
		if row.Promised, err = tagFromWire(in.Promised); err != nil {
			return r, err
		}
		r.Rows[i] = row
	}
	return r, nil
}
