package metaapi

import (
	"context"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

// Peer is what one metadata node offers the others of a partition: enough to
// find where they differ, and to forget rows together. All methods are safe for
// concurrent use.
//
// Epochs: a request made in an older epoch than the node has adopted is
// answered Old, with nothing else. One made in a newer epoch is Unavailable, as
// is one about a partition that the node does not serve in that epoch.
//
// Errors: Unavailable, Overloaded, Invalid and StorageFull mean that nothing
// happened; any other leaves open whether something did.
type Peer interface {
	// Digests sums up the rows the node holds. Two nodes of a partition that
	// hold the same rows under the same tags have the same digests; rows that
	// were only promised do not count. All are of one moment.
	Digests(ctx context.Context, q DigestsRequest) (DigestsReply, error)
	// States says what the node has of some rows, without their values. All
	// are of one moment.
	States(ctx context.Context, q StatesRequest) (StatesReply, error)
	// Forget runs a Forget of package register on each of some rows, each
	// atomic by itself, and returns once what it did is on stable storage.
	Forget(ctx context.Context, q ForgetRequest) (ForgetReply, error)
}

// MaxPeerRows bounds the rows of a StatesRequest or ForgetRequest.
const MaxPeerRows = 256

// Digest is an order-independent sum over the states of rows. It adds up, so
// that a row's change is one subtraction and one addition.
type Digest struct {
	// Sum is taken word by word, with wrap-around.
	Sum [2]uint64
	// Rows is the number of rows summed.
	Rows uint64
}

// Plus is the digest of both.
func (d Digest) Plus(o Digest) Digest {
	return Digest{[2]uint64{d.Sum[0] + o.Sum[0], d.Sum[1] + o.Sum[1]}, d.Rows + o.Rows}
}

// Minus is the digest without o.
func (d Digest) Minus(o Digest) Digest {
	return Digest{[2]uint64{d.Sum[0] - o.Sum[0], d.Sum[1] - o.Sum[1]}, d.Rows - o.Rows}
}

// DigestsRequest asks for the digests of whole partitions and of slices.
type DigestsRequest struct {
	Epoch      uint64
	Partitions []layout.Partition
	Slices     Slices
}

// DigestsReply answers a DigestsRequest.
type DigestsReply struct {
	Old   bool
	Epoch uint64
	// Partitions has a digest for each of the request's, in their order, and
	// Slices for each of its slices, ascending.
	Partitions, Slices []Digest
}

// StatesRequest asks for the states of up to MaxPeerRows rows.
type StatesRequest struct {
	Epoch uint64
	Keys  []RowKey
}

// StatesReply answers a StatesRequest, in the order of its keys.
type StatesReply struct {
	Old   bool
	Epoch uint64
	Rows  []RowState
}

// RowState is what a node has of a row; zero when it has nothing.
type RowState struct {
	Tag, Promised register.Tag
	// Live is false for a delete marker and for a row that was never written.
	Live bool
}

// ForgetRequest asks to forget up to MaxPeerRows rows.
type ForgetRequest struct {
	Epoch uint64
	Rows  []ForgetRow
}

// ForgetRow is a row to forget: see register.Request. Tag is zero for one that
// was only promised.
type ForgetRow struct {
	Key      RowKey
	Tag, Low register.Tag
}

// ForgetReply answers a ForgetRequest, in the order of its rows.
type ForgetReply struct {
	Old   bool
	Epoch uint64
	// Done says that the row is gone. It is false where the row has changed
	// since, or has promised more than Low.
	Done []bool
}

// peerClient is a Peer over rpc.
type peerClient struct {
	caller rpc.Caller
	node   object.NodeID
}

// NewPeer returns node n over rpc. Errors besides a Peer's: Indeterminate when
// no answer came in time, Corrupt when it makes no sense.
func NewPeer(c rpc.Caller, n object.NodeID) Peer { return &peerClient{c, n} }

// ServePeer offers p as node self.
func ServePeer(srv rpc.Server, self object.NodeID, p Peer) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for op, h := range map[string]rpc.Handler{
		opDigests: serve(decodeDigestsRequest, p.Digests, encodeDigestsReply),
		opStates:  serve(decodeStatesRequest, p.States, encodeStatesReply),
		opForget:  serve(decodeForgetRequest, p.Forget, encodeForgetReply),
	} {
		s, err := srv.Handle(rpc.NodeSubject(service, op, self), h)
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, s)
	}
	return stop, nil
}

// serve is the handler of one operation.
func serve[Q, R any](decode func(rpc.Message) (Q, error), do func(context.Context, Q) (R, error), encode func(*R) (rpc.Message, error)) rpc.Handler {
	return func(ctx context.Context, m rpc.Message) (rpc.Message, error) {
		q, err := decode(m)
		if err != nil {
			return rpc.Message{}, err
		}
		r, err := do(ctx, q)
		if err != nil {
			return rpc.Message{}, err
		}
		return encode(&r)
	}
}

// ask is one operation of a peerClient.
func ask[Q, R any](ctx context.Context, p *peerClient, op string, q *Q, encode func(*Q) (rpc.Message, error), decode func(rpc.Message) (R, error)) (r R, err error) {
	m, err := encode(q)
	if err != nil {
		return r, err
	}
	answer, err := p.caller.Call(ctx, nodeTarget(op, p.node), m)
	if err != nil {
		return r, err
	}
	return decode(answer)
}

// Digests implements Peer.
func (p *peerClient) Digests(ctx context.Context, q DigestsRequest) (DigestsReply, error) {
	r, err := ask(ctx, p, opDigests, &q, encodeDigestsRequest, decodeDigestsReply)
	if err == nil && !r.Old && (len(r.Partitions) != len(q.Partitions) || len(r.Slices) != q.Slices.Len()) {
		err = p.senseless("digests")
	}
	return r, err
}

// States implements Peer.
func (p *peerClient) States(ctx context.Context, q StatesRequest) (StatesReply, error) {
	r, err := ask(ctx, p, opStates, &q, encodeStatesRequest, decodeStatesReply)
	if err == nil && !r.Old && len(r.Rows) != len(q.Keys) {
		err = p.senseless("states of rows")
	}
	return r, err
}

// Forget implements Peer.
func (p *peerClient) Forget(ctx context.Context, q ForgetRequest) (ForgetReply, error) {
	r, err := ask(ctx, p, opForget, &q, encodeForgetRequest, decodeForgetReply)
	if err == nil && !r.Old && len(r.Done) != len(q.Rows) {
		err = p.senseless("forgotten rows")
	}
	return r, err
}

func (p *peerClient) senseless(what string) error {
	return fault.New(fault.Corrupt, "node %s answers with another number of %s than it was asked for", p.node, what)
}
