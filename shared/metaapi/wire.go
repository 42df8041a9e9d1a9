package metaapi

import (
	"google.golang.org/protobuf/proto"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi/metapb"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

// The operations of the metadata service's subjects.
const (
	service     = "meta"
	opRow       = "row"
	opRows      = "rows"
	opScan      = "scan"
	opCounters  = "counters"
	opIndex     = "index"
	opInventory = "inventory"
)

// bodyFrom says who answers with the body: one node, everybody, or nobody.
type bodyFrom struct {
	node object.NodeID
	all  bool
}

func marshal(m proto.Message, payload []byte) (rpc.Message, error) {
	head, err := proto.Marshal(m)
	if err != nil {
		return rpc.Message{}, fault.Wrap(fault.Internal, err, "encoding %T", m)
	}
	return rpc.Message{Head: head, Payload: payload}, nil
}

func unmarshal(m rpc.Message, into proto.Message) error {
	return fault.Wrap(fault.Invalid, proto.Unmarshal(m.Head, into), "decoding %T", into)
}

func tagToWire(t register.Tag) *metapb.Tag {
	if t.IsZero() {
		return nil
	}
	return &metapb.Tag{Time: t.Time, Node: t.Node, Seq: uint32(t.Seq)}
}

func tagFromWire(t *metapb.Tag) (register.Tag, error) {
	return newTag(t.GetTime(), t.GetNode(), t.GetSeq())
}

func newTag(time int64, node uint64, seq uint32) (register.Tag, error) {
	if time < 0 || time > register.MaxTime || seq > 1 {
		return register.Tag{}, fault.New(fault.Invalid, "tag %d.%x.%d", time, node, seq)
	}
	return register.Tag{Time: time, Node: node, Seq: uint8(seq)}, nil
}

func rowToWire(r register.Row) (tag, op *metapb.Tag, v *metapb.Value, body []byte) {
	tag = tagToWire(r.Tag)
	if r.Op != r.Tag {
		op = tagToWire(r.Op)
	}
	if r.Value != nil {
		v = &metapb.Value{Head: r.Value.Head, Count: r.Value.Count, Bytes: r.Value.Bytes}
		body = r.Value.Body
	}
	return tag, op, v, body
}

func rowFromWire(tag, op *metapb.Tag, v *metapb.Value, body []byte) (r register.Row, err error) {
	if r.Tag, err = tagFromWire(tag); err != nil {
		return r, err
	}
	r.Op = r.Tag
	if op != nil {
		if r.Op, err = tagFromWire(op); err != nil {
			return r, err
		}
	}
	if v != nil {
		r.Value = &register.Value{Head: v.Head, Body: body, Count: v.Count, Bytes: v.Bytes}
	}
	return r, nil
}

// encodeRowRequest leaves the body where it is: the message must be sent
// before the caller may change it.
func encodeRowRequest(k *RowKey, q *register.Request, from bodyFrom) (rpc.Message, error) {
	return marshal(rowMessage(k, q, from))
}

// decodeRowRequest returns what self is asked. The body aliases m.
func decodeRowRequest(self object.NodeID, m rpc.Message) (k RowKey, q register.Request, err error) {
	var w metapb.RowRequest
	if err := unmarshal(m, &w); err != nil {
		return k, q, err
	}
	return rowFromMessage(self, &w, m.Payload)
}

func tableFromWire(table uint32, bucket []byte) (t Table, b object.BucketID, err error) {
	if table == 0 || table > 255 || len(bucket) != len(b) {
		return t, b, fault.New(fault.Invalid, "table %d with a bucket id of %d bytes", table, len(bucket))
	}
	return Table(table), object.BucketID(bucket), nil
}

func encodeRowReply(r *register.Reply) (rpc.Message, error) { return marshal(replyMessage(r)) }

func decodeRowReply(m rpc.Message, r *register.Reply) (err error) {
	var w metapb.RowReply
	if err := unmarshal(m, &w); err != nil {
		return err
	}
	*r, err = replyFromMessage(&w, m.Payload)
	return err
}

func encodeScanRequest(q *ScanRequest) (rpc.Message, error) {
	return marshal(&metapb.ScanRequest{
		Epoch: q.Epoch, Admitted: q.Admitted, Table: uint32(q.Table), Bucket: q.Bucket[:], Prefix: []byte(q.Prefix),
		Key: []byte(q.Key), Delimiter: []byte(q.Delimiter), FromKey: []byte(q.FromKey),
		FromSub: []byte(q.FromSub), Limit: int32(q.Limit), MaxBytes: int32(q.MaxBytes),
		UntilSub: []byte(q.UntilSub), Reverse: q.Reverse,
		Changes: q.Changes, Incarnation: q.Incarnation, After: q.After,
	}, nil)
}

func decodeScanRequest(m rpc.Message) (q ScanRequest, err error) {
	var w metapb.ScanRequest
	if err := unmarshal(m, &w); err != nil {
		return q, err
	}
	q = ScanRequest{
		Epoch: w.Epoch, Admitted: w.Admitted, Prefix: string(w.Prefix), Key: string(w.Key), Delimiter: string(w.Delimiter),
		FromKey: string(w.FromKey), FromSub: string(w.FromSub), Limit: int(w.Limit), MaxBytes: int(w.MaxBytes),
		UntilSub: string(w.UntilSub), Reverse: w.Reverse,
		Changes: w.Changes, Incarnation: w.Incarnation, After: w.After,
	}
	if q.Table, q.Bucket, err = tableFromWire(w.Table, w.Bucket); err != nil {
		return q, err
	}
	return q, q.Check()
}

func encodeScanReply(r *ScanReply) (rpc.Message, error) {
	w := metapb.ScanReply{
		Old: r.Old, Behind: r.Behind, Epoch: r.Epoch, Exhausted: r.Exhausted, Incarnation: r.Incarnation, Last: r.Last,
	}
	rows := make([]metapb.ScanRow, len(r.Rows))
	w.Rows = make([]*metapb.ScanRow, len(r.Rows))
	for i := range r.Rows {
		row, out := &r.Rows[i], &rows[i]
		out.Key, out.Sub, out.Head = []byte(row.Key), []byte(row.Sub), row.Head
		out.Time, out.Node, out.Seq = row.Tag.Time, row.Tag.Node, uint32(row.Tag.Seq)
		out.Deleted, out.Folded, out.Change = row.Deleted, row.Folded, row.Change
		w.Rows[i] = out
	}
	return marshal(&w, nil)
}

// decodeScanReply reads a page whose rows ascend, or descend.
func decodeScanReply(m rpc.Message, reverse bool) (r ScanReply, err error) {
	var w metapb.ScanReply
	if err := unmarshal(m, &w); err != nil {
		return r, err
	}
	r = ScanReply{
		Old: w.Old, Behind: w.Behind, Epoch: w.Epoch, Exhausted: w.Exhausted, Rows: make([]ScanRow, len(w.Rows)),
		Incarnation: w.Incarnation, Last: w.Last,
	}
	for i, in := range w.Rows {
		tag, err := newTag(in.Time, in.Node, in.Seq)
		if err != nil {
			return r, err
		}
		row := ScanRow{Key: string(in.Key), Sub: string(in.Sub), Tag: tag, Deleted: in.Deleted, Folded: in.Folded, Head: in.Head, Change: in.Change}
		if i > 0 && directed(compare(row.Key, row.Sub, r.Rows[i-1].Key, r.Rows[i-1].Sub), reverse) <= 0 {
			return r, fault.New(fault.Corrupt, "a node's rows are out of order")
		}
		r.Rows[i] = row
	}
	return r, nil
}

func encodeCountersRequest(t Table, b object.BucketID) (rpc.Message, error) {
	return marshal(&metapb.CountersRequest{Table: uint32(t), Bucket: b[:]}, nil)
}

func decodeCountersRequest(m rpc.Message) (Table, object.BucketID, error) {
	var w metapb.CountersRequest
	if err := unmarshal(m, &w); err != nil {
		return 0, object.BucketID{}, err
	}
	return tableFromWire(w.Table, w.Bucket)
}

func encodeCounters(c PartitionCounters) (rpc.Message, error) {
	w := metapb.CountersReply{Partitions: make([]*metapb.PartitionCounter, len(c))}
	for i, p := range c {
		w.Partitions[i] = &metapb.PartitionCounter{Partition: uint32(p.Partition), Count: p.Count, Bytes: p.Bytes}
	}
	return marshal(&w, nil)
}

func decodeCounters(m rpc.Message) (PartitionCounters, error) {
	var w metapb.CountersReply
	if err := unmarshal(m, &w); err != nil {
		return nil, err
	}
	c := make(PartitionCounters, len(w.Partitions))
	for i, p := range w.Partitions {
		if p.Partition >= 1<<layout.MaxBits {
			return nil, fault.New(fault.Invalid, "partition %d", p.Partition)
		}
		c[i] = PartitionCounter{Partition: layout.Partition(p.Partition), Counters: Counters{Count: p.Count, Bytes: p.Bytes}}
	}
	return c, nil
}

func encodeIndexRequest(q *IndexRequest) (rpc.Message, error) {
	return marshal(&metapb.IndexRequest{
		Epoch: q.Epoch, Admitted: q.Admitted, Table: uint32(q.Table), Bucket: q.Bucket[:],
		From: []byte(q.From), Until: []byte(q.Until), Reverse: q.Reverse, Limit: int32(q.Limit),
	}, nil)
}

func decodeIndexRequest(m rpc.Message) (q IndexRequest, err error) {
	var w metapb.IndexRequest
	if err := unmarshal(m, &w); err != nil {
		return q, err
	}
	q = IndexRequest{
		Epoch: w.Epoch, Admitted: w.Admitted,
		From: string(w.From), Until: string(w.Until), Reverse: w.Reverse, Limit: int(w.Limit),
	}
	if q.Table, q.Bucket, err = tableFromWire(w.Table, w.Bucket); err != nil {
		return q, err
	}
	return q, q.Check()
}

func encodeIndexReply(r *IndexReply) (rpc.Message, error) {
	w := metapb.IndexReply{Old: r.Old, Behind: r.Behind, Epoch: r.Epoch, Exhausted: r.Exhausted}
	for _, e := range r.Rows {
		w.Rows = append(w.Rows, &metapb.IndexRow{
			Key: []byte(e.Key), Entries: uint64(e.Entries), Conflicts: uint64(e.Conflicts),
			Values: uint64(e.Values), Bytes: uint64(e.Bytes),
		})
	}
	return marshal(&w, nil)
}

// decodeIndexReply reads a page whose Keys ascend, or descend.
func decodeIndexReply(m rpc.Message, reverse bool) (r IndexReply, err error) {
	var w metapb.IndexReply
	if err := unmarshal(m, &w); err != nil {
		return r, err
	}
	r = IndexReply{Old: w.Old, Behind: w.Behind, Epoch: w.Epoch, Exhausted: w.Exhausted}
	for i, in := range w.Rows {
		e := IndexEntry{Key: string(in.Key), ItemCounters: ItemCounters{
			Entries: int64(in.Entries), Conflicts: int64(in.Conflicts), Values: int64(in.Values), Bytes: int64(in.Bytes),
		}}
		if i > 0 && directed(compare(e.Key, "", r.Rows[i-1].Key, ""), reverse) <= 0 {
			return r, fault.New(fault.Corrupt, "a node's index is out of order")
		}
		r.Rows = append(r.Rows, e)
	}
	return r, nil
}
