package metaapi

import (
	"errors"

	"hangar/shared/fault"
	"hangar/shared/metaapi/metapb"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

// Bounds of one message about many rows.
const (
	// MaxBatchRows is how many rows there are at most.
	MaxBatchRows = 128
	// maxBatchBytes is how much of heads and bodies the requests carry, if there
	// are several, and maxAnswerBytes the answers: what does not fit is read
	// on its own.
	maxBatchBytes  = 1 << 20
	maxAnswerBytes = 4 << 20
)

// rowMessage is a request in its wire form, without the body.
func rowMessage(k *RowKey, q *register.Request, from bodyFrom) (*metapb.RowRequest, []byte) {
	m := &metapb.RowRequest{
		Table: uint32(k.Table), Bucket: k.Bucket[:], Key: []byte(k.Key), Sub: []byte(k.Sub),
		Kind: uint32(q.Kind), Epoch: q.Epoch, Admitted: q.Admitted,
		Ballot: tagToWire(q.Ballot), AskOp: tagToWire(q.AskOp), Low: tagToWire(q.Low),
		BodyFromAll: from.all,
	}
	if !from.node.IsZero() {
		m.BodyFrom = from.node[:]
	}
	var body []byte
	m.Tag, m.Op, m.Value, body = rowToWire(q.Row)
	return m, body
}

// rowFromMessage returns what self is asked. The body is that of the request.
func rowFromMessage(self object.NodeID, w *metapb.RowRequest, body []byte) (k RowKey, q register.Request, err error) {
	if k.Table, k.Bucket, err = tableFromWire(w.Table, w.Bucket); err != nil {
		return k, q, err
	}
	k.Key, k.Sub = string(w.Key), string(w.Sub)
	q.Kind, q.Epoch, q.Admitted = register.Kind(w.Kind), w.Epoch, w.Admitted
	q.OmitBody = !w.BodyFromAll && string(w.BodyFrom) != string(self[:])
	if q.Kind < register.Read || q.Kind > register.Forget || w.Kind > 255 {
		return k, q, fault.New(fault.Invalid, "kind of request %d", w.Kind)
	}
	if q.Ballot, err = tagFromWire(w.Ballot); err != nil {
		return k, q, err
	}
	if q.AskOp, err = tagFromWire(w.AskOp); err != nil {
		return k, q, err
	}
	if q.Low, err = tagFromWire(w.Low); err != nil {
		return k, q, err
	}
	q.Row, err = rowFromWire(w.Tag, w.Op, w.Value, body)
	return k, q, err
}

// replyMessage is a reply in its wire form, without the body.
func replyMessage(r *register.Reply) (*metapb.RowReply, []byte) {
	m := &metapb.RowReply{
		Code: uint32(r.Code), Epoch: r.Epoch, Revision: r.Revision, BodyOmitted: r.BodyOmitted,
		Promise: tagToWire(r.Promise), High: tagToWire(r.High),
		Seen: r.Seen, SeenAt: tagToWire(r.SeenAt), Replaced: r.Replaced,
	}
	var body []byte
	m.Tag, m.Op, m.Value, body = rowToWire(r.Row)
	return m, body
}

// replyFromMessage reads a reply with its body.
func replyFromMessage(w *metapb.RowReply, body []byte) (r register.Reply, err error) {
	r = register.Reply{
		Code: register.Code(w.GetCode()), Epoch: w.GetEpoch(), Revision: w.GetRevision(), BodyOmitted: w.GetBodyOmitted(),
		Seen: w.GetSeen(), Replaced: w.GetReplaced(),
	}
	if r.Code < register.Held || r.Code > register.Behind || w.Code > 255 {
		return r, fault.New(fault.Invalid, "code of reply %d", w.GetCode())
	}
	if r.Promise, err = tagFromWire(w.Promise); err != nil {
		return r, err
	}
	if r.High, err = tagFromWire(w.High); err != nil {
		return r, err
	}
	if r.SeenAt, err = tagFromWire(w.SeenAt); err != nil {
		return r, err
	}
	r.Row, err = rowFromWire(w.Tag, w.Op, w.Value, body)
	return r, err
}

// cut takes the next n bytes of a payload.
func cut(payload *[]byte, n uint32) ([]byte, error) {
	if uint64(n) > uint64(len(*payload)) {
		return nil, fault.New(fault.Invalid, "a body of %d bytes, of which %d are there", n, len(*payload))
	}
	if n == 0 {
		return nil, nil
	}
	body := (*payload)[:n:n]
	*payload = (*payload)[n:]
	return body, nil
}

// decodeRowsRequest returns what self is asked. The bodies alias m.
func decodeRowsRequest(self object.NodeID, m rpc.Message) ([]RowRequest, error) {
	var w metapb.RowsRequest
	if err := unmarshal(m, &w); err != nil {
		return nil, err
	}
	if n := len(w.Rows); n == 0 || n > MaxBatchRows || len(w.BodyBytes) != n {
		return nil, fault.New(fault.Invalid, "%d rows and %d bodies", n, len(w.BodyBytes))
	}
	rows := make([]RowRequest, len(w.Rows))
	for i, in := range w.Rows {
		body, err := cut(&m.Payload, w.BodyBytes[i])
		if err == nil {
			rows[i].Key, rows[i].Request, err = rowFromMessage(self, in, body)
		}
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// encodeRowsReply leaves out what would make the message too large: then the
// coordinator reads those rows on their own.
func encodeRowsReply(rows []RowReply) (rpc.Message, error) {
	var w metapb.RowsReply
	var payload []byte
	size := 0
	for i := range rows {
		r := &rows[i]
		out := new(metapb.RowResult)
		w.Rows = append(w.Rows, out)
		if r.Err != nil {
			out.Fault, out.Message = 1+uint32(settledKind(r.Err)), r.Err.Error()
			continue
		}
		if v := r.Row.Value; v != nil {
			if size += len(v.Head) + len(v.Body); size > maxAnswerBytes && i > 0 {
				size -= len(v.Head) + len(v.Body)
				out.Fault, out.Message = 1+uint32(fault.Indeterminate), "there is no room for the answer"
				continue
			}
		}
		if size += len(r.Replaced); size > maxAnswerBytes {
			size -= len(r.Replaced)
			r.Replaced = nil // a hint
		}
		var body []byte
		out.Reply, body = replyMessage(&r.Reply)
		out.BodyBytes = uint32(len(body))
		payload = append(payload, body...)
	}
	return marshal(&w, payload)
}

// settledKind is the kind of an error; one that is nobody's word that nothing
// happened says that something may have.
func settledKind(err error) fault.Kind {
	var e *fault.Error
	kind := fault.KindOf(err)
	if !errors.As(err, &e) && (kind == fault.Canceled || kind == fault.Unavailable) {
		return fault.Indeterminate
	}
	return kind
}

// decodeRowsReply returns the answers to n requests. The bodies alias m.
func decodeRowsReply(m rpc.Message, n int) ([]RowReply, error) {
	var w metapb.RowsReply
	if err := unmarshal(m, &w); err != nil {
		return nil, err
	}
	if len(w.Rows) != n {
		return nil, fault.New(fault.Invalid, "%d answers to %d requests", len(w.Rows), n)
	}
	rows := make([]RowReply, n)
	for i, in := range w.Rows {
		if in.Fault != 0 {
			rows[i].Err = fault.New(fault.Kind(min(in.Fault-1, 255)), "%s", in.Message)
			continue
		}
		body, err := cut(&m.Payload, in.BodyBytes)
		if err == nil {
			rows[i].Reply, err = replyFromMessage(in.Reply, body)
		}
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}
