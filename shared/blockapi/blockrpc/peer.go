package blockrpc

import (
	"context"

	"google.golang.org/protobuf/proto"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockpb"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// maxPageEntries bounds what a page may hold, to keep a sender's mistake small.
const maxPageEntries = 1 << 16

// ServePeer offers p to the other nodes of the service, as node self.
func ServePeer(srv rpc.Server, self object.NodeID, p blockapi.Peer) (stop func(), err error) {
	s := peerServer{p}
	var stops []func()
	stop = func() { stopAll(stops) }
	for op, h := range map[string]rpc.Handler{opList: s.list, opDigests: s.digests, opConfirm: s.confirm} {
		one, err := srv.Handle(rpc.NodeSubject(service, op, self), h)
		if err != nil {
			stop()
			return nil, err
		}
		stops = append(stops, one)
	}
	return stop, nil
}

type peerServer struct{ peer blockapi.Peer }

func (s peerServer) list(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	var w blockpb.ListRequest
	if err := unmarshal(m.Head, &w); err != nil {
		return rpc.Message{}, err
	}
	span, err := spanFromWire(w.GetSpan())
	if err != nil {
		return rpc.Message{}, err
	}
	page, err := s.peer.List(ctx, blockapi.Listing{
		Epoch: w.GetEpoch(), Span: span, Complete: w.GetComplete(), Partition: layout.Partition(w.GetPartition()),
		After: w.GetAfter(), Bytes: w.GetBytes(),
	})
	if err != nil {
		return rpc.Message{}, err
	}
	head, err := marshal(&blockpb.ListAnswer{Page: entriesToWire(page.Entries), Next: page.Next})
	return rpc.Message{Head: head}, err
}

func (s peerServer) digests(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	var w blockpb.DigestRequest
	if err := unmarshal(m.Head, &w); err != nil {
		return rpc.Message{}, err
	}
	span, err := spanFromWire(w.GetSpan())
	if err != nil {
		return rpc.Message{}, err
	}
	d, err := s.peer.Digests(ctx, layout.Partition(w.GetPartition()), span, digestFromWire(w.GetKnown()))
	if err != nil {
		return rpc.Message{}, err
	}
	answer := &blockpb.DigestAnswer{All: digestToWire(d.All), Complete: d.Complete}
	for leaf, of := range d.Leaves {
		answer.Leaves = append(answer.Leaves, &blockpb.Leaf{Number: uint32(leaf), Digest: digestToWire(of)})
	}
	head, err := marshal(answer)
	return rpc.Message{Head: head}, err
}

func (s peerServer) confirm(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	var w blockpb.ConfirmRequest
	if err := unmarshal(m.Head, &w); err != nil {
		return rpc.Message{}, err
	}
	var from object.NodeID
	if err := fixed(from[:], w.GetFrom(), "node id"); err != nil {
		return rpc.Message{}, err
	}
	entries, err := entriesFromWire(w.GetPage())
	if err != nil {
		return rpc.Message{}, err
	}
	lacking, err := s.peer.Confirm(ctx, w.GetEpoch(), from, entries)
	if err != nil {
		return rpc.Message{}, err
	}
	answer := &blockpb.ConfirmAnswer{}
	for _, i := range lacking {
		answer.Lacking = append(answer.Lacking, uint32(i))
	}
	head, err := marshal(answer)
	return rpc.Message{Head: head}, err
}

// At is another node as a blockapi.Peer. Errors are those of the node, and
// Unavailable or Indeterminate when it does not answer.
func (c *Client) At(n object.NodeID) blockapi.Peer { return remotePeer{c, n} }

type remotePeer struct {
	client *Client
	node   object.NodeID
}

// List implements blockapi.Peer.
func (r remotePeer) List(ctx context.Context, l blockapi.Listing) (blockapi.Page, error) {
	var w blockpb.ListAnswer
	err := r.ask(ctx, opList, &blockpb.ListRequest{
		Epoch: l.Epoch, Span: spanToWire(l.Span), Complete: l.Complete, Partition: uint32(l.Partition), After: l.After, Bytes: l.Bytes,
	}, &w)
	if err != nil {
		return blockapi.Page{}, err
	}
	entries, err := entriesFromWire(w.GetPage())
	if len(w.GetNext()) == 0 {
		return blockapi.Page{Entries: entries}, err
	}
	return blockapi.Page{Entries: entries, Next: w.GetNext()}, err
}

// Digests implements blockapi.Peer.
func (r remotePeer) Digests(ctx context.Context, p layout.Partition, s blockapi.Span, known blockapi.Digest) (blockapi.Digests, error) {
	var w blockpb.DigestAnswer
	err := r.ask(ctx, opDigests, &blockpb.DigestRequest{Partition: uint32(p), Span: spanToWire(s), Known: digestToWire(known)}, &w)
	if err != nil {
		return blockapi.Digests{}, err
	}
	d := blockapi.Digests{All: digestFromWire(w.GetAll()), Complete: w.GetComplete(), Leaves: make(map[blockapi.Leaf]blockapi.Digest)}
	for _, leaf := range w.GetLeaves() {
		if leaf.GetNumber() > 1<<16-1 {
			return blockapi.Digests{}, fault.New(fault.Invalid, "leaf %d", leaf.GetNumber())
		}
		d.Leaves[blockapi.Leaf(leaf.GetNumber())] = digestFromWire(leaf.GetDigest())
	}
	return d, nil
}

// Confirm implements blockapi.Peer.
func (r remotePeer) Confirm(ctx context.Context, epoch uint64, from object.NodeID, entries []blockapi.Entry) (lacking []int, err error) {
	var w blockpb.ConfirmAnswer
	if err := r.ask(ctx, opConfirm, &blockpb.ConfirmRequest{Epoch: epoch, From: from[:], Page: entriesToWire(entries)}, &w); err != nil {
		return nil, err
	}
	for _, i := range w.GetLacking() {
		lacking = append(lacking, int(i))
	}
	return lacking, nil
}

func (r remotePeer) ask(ctx context.Context, op string, in, out proto.Message) error {
	head, err := marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.client.opts.AttemptTimeout)
	defer cancel()
	answer, err := r.client.caller.Call(ctx, target(op, 0, []object.NodeID{r.node}), rpc.Message{Head: head})
	if err != nil {
		return fault.Wrap(fault.KindOf(err), err, "node %s", r.node)
	}
	return unmarshal(answer.Head, out)
}

func spanToWire(s blockapi.Span) *blockpb.Span {
	return &blockpb.Span{First: s.First[:], Last: s.Last[:]}
}

func spanFromWire(w *blockpb.Span) (s blockapi.Span, err error) {
	if err := fixed(s.First[:], w.GetFirst(), "hash"); err != nil {
		return s, err
	}
	return s, fixed(s.Last[:], w.GetLast(), "hash")
}

func digestToWire(d blockapi.Digest) *blockpb.Digest {
	return &blockpb.Digest{SumHigh: d.Sum[0], SumLow: d.Sum[1], Refs: d.Refs, Blocks: d.Blocks, Bytes: d.Bytes}
}

func digestFromWire(w *blockpb.Digest) blockapi.Digest {
	return blockapi.Digest{
		Sum: [2]uint64{w.GetSumHigh(), w.GetSumLow()}, Refs: w.GetRefs(), Blocks: w.GetBlocks(), Bytes: w.GetBytes(),
	}
}

// entriesToWire names each owner once.
func entriesToWire(entries []blockapi.Entry) *blockpb.Page {
	w := &blockpb.Page{}
	number := make(map[blockapi.Owner]uint32)
	for i := range entries {
		e := &entries[i]
		to := &blockpb.Entry{Hash: e.Hash[:], StoredBytes: e.StoredBytes}
		for _, o := range e.Owners {
			n, known := number[o]
			if !known {
				n = uint32(len(w.Owners))
				number[o] = n
				w.Owners = append(w.Owners, ownerToWire(o))
			}
			to.Owners = append(to.Owners, n)
		}
		w.Entries = append(w.Entries, to)
	}
	return w
}

func entriesFromWire(w *blockpb.Page) ([]blockapi.Entry, error) {
	if len(w.GetEntries()) > maxPageEntries {
		return nil, fault.New(fault.Invalid, "page of %d entries", len(w.GetEntries()))
	}
	owners := make([]blockapi.Owner, len(w.GetOwners()))
	for i, o := range w.GetOwners() {
		var err error
		if owners[i], err = ownerFromWire(o); err != nil {
			return nil, err
		}
	}
	entries := make([]blockapi.Entry, len(w.GetEntries()))
	for i, from := range w.GetEntries() {
		e := &entries[i]
		e.StoredBytes = from.GetStoredBytes()
		if err := fixed(e.Hash[:], from.GetHash(), "hash"); err != nil {
			return nil, err
		}
		for _, n := range from.GetOwners() {
			if int(n) >= len(owners) {
				return nil, fault.New(fault.Invalid, "owner %d of %d", n, len(owners))
			}
			e.Owners = append(e.Owners, owners[n])
		}
	}
	return entries, nil
}
