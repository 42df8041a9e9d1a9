package blockrpc

import (
	"context"
	"sync"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockpb"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// Endpoint offers a Node to Clients. Safe for concurrent use.
type Endpoint struct {
	srv  rpc.Server
	self object.NodeID
	node blockapi.Node

	mu         sync.Mutex
	stops      []func()                      // of the node's own subjects
	partitions map[layout.Partition][]func() // of the partitions it serves
}

// Serve answers requests to the node self and hints to the whole service.
// Follow says which partitions it answers for besides.
func Serve(srv rpc.Server, self object.NodeID, n blockapi.Node) (*Endpoint, error) {
	e := &Endpoint{srv: srv, self: self, node: n, partitions: make(map[layout.Partition][]func())}
	subjects := map[string]rpc.Handler{
		rpc.NodeSubject(service, opPut, self):       e.put,
		rpc.NodeSubject(service, opGet, self):       e.get,
		rpc.NodeSubject(service, opReference, self): e.reference,
		rpc.ServiceSubject(service, opRelease):      e.release,
	}
	for subject, h := range subjects {
		stop, err := srv.Handle(subject, h)
		if err != nil {
			e.Close()
			return nil, err
		}
		e.stops = append(e.stops, stop)
	}
	return e, nil
}

// Follow makes the endpoint answer for exactly the partitions that ring gives
// its node. Call it at the start and whenever the ring changes.
func (e *Endpoint) Follow(ring *layout.Ring) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ring == nil {
		return nil
	}
	for i := range len(ring.Assign) {
		p := layout.Partition(i)
		_, have := e.partitions[p]
		want := e.holds(ring, p)
		switch {
		case want && !have:
			if err := e.join(p); err != nil {
				return err
			}
		case have && !want:
			stopAll(e.partitions[p])
			delete(e.partitions, p)
		}
	}
	return nil
}

func (e *Endpoint) holds(ring *layout.Ring, p layout.Partition) bool {
	for _, set := range ring.Sets(p) {
		if set.Has(e.self) {
			return true
		}
	}
	return false
}

// join subscribes to a partition. The caller holds mu.
func (e *Endpoint) join(p layout.Partition) error {
	for op, h := range map[string]rpc.Handler{opPut: e.put, opReference: e.reference} {
		stop, err := e.srv.Handle(rpc.PartitionSubject(service, op, p), h)
		if err != nil {
			stopAll(e.partitions[p])
			delete(e.partitions, p)
			return err
		}
		e.partitions[p] = append(e.partitions[p], stop)
	}
	return nil
}

// Close stops answering. Requests that were received are still answered.
func (e *Endpoint) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	stopAll(e.stops)
	for _, stops := range e.partitions {
		stopAll(stops)
	}
	e.stops = nil
	clear(e.partitions)
}

func stopAll(stops []func()) {
	for _, stop := range stops {
		stop()
	}
}

func (e *Endpoint) put(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	epoch, owner, b, err := putFromWire(m)
	if err != nil {
		return rpc.Message{}, err
	}
	b.Hashed = m.Near // the client hashed what it sends
	return rpc.Message{}, e.node.Put(ctx, epoch, owner, b)
}

func (e *Endpoint) get(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	var w blockpb.GetRequest
	var h object.Hash
	if err := unmarshal(m.Head, &w); err != nil {
		return rpc.Message{}, err
	}
	if err := fixed(h[:], w.GetHash(), "hash"); err != nil {
		return rpc.Message{}, err
	}
	b, err := e.node.Get(ctx, h)
	if now := e.node.Epoch(); fault.Is(err, fault.NotFound) && w.GetEpoch() < now {
		// The block may have moved: the caller needs the newer ring.
		return rpc.Message{}, fault.Wrap(fault.OldEpoch, err, "asked by epoch %d of %d", w.GetEpoch(), now)
	}
	if err != nil {
		return rpc.Message{}, err
	}
	head, err := marshal(&blockpb.GetAnswer{PlainBytes: b.PlainBytes, Encoding: uint32(b.Encoding)})
	return rpc.Message{Head: head, Payload: b.Data}, err
}

func (e *Endpoint) reference(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	var w blockpb.ReferenceRequest
	if err := unmarshal(m.Head, &w); err != nil {
		return rpc.Message{}, err
	}
	owner, err := ownerFromWire(w.GetOwner())
	if err != nil {
		return rpc.Message{}, err
	}
	hashes, err := hashesFromWire(w.GetHashes())
	if err != nil {
		return rpc.Message{}, err
	}
	missing, err := e.node.Reference(ctx, w.GetEpoch(), owner, hashes)
	if err != nil {
		return rpc.Message{}, err
	}
	head, err := marshal(&blockpb.ReferenceAnswer{Missing: hashesToWire(missing)})
	return rpc.Message{Head: head}, err
}

func (e *Endpoint) release(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	r, err := releaseFromWire(m)
	if err != nil {
		return rpc.Message{}, fault.Wrap(fault.Invalid, err, "hint")
	}
	e.node.Release(ctx, r)
	return rpc.Message{}, nil
}
