package metatest

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// Network is an in-memory rpc.Caller that reaches the servers of its nodes.
type Network struct {
	mu       sync.Mutex
	handlers map[string]map[object.NodeID]rpc.Handler // guarded by mu
	cut      map[object.NodeID]bool                   // guarded by mu
	loss     float64                                  // guarded by mu
	calls    int                                      // guarded by mu
	running  sync.WaitGroup                           // handlers
}

// NewNetwork returns a network without nodes.
func NewNetwork() *Network {
	return &Network{handlers: map[string]map[object.NodeID]rpc.Handler{}, cut: map[object.NodeID]bool{}}
}

// Cut makes a node unreachable, or reachable again.
func (n *Network) Cut(node object.NodeID, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[node] = cut
}

// Lose makes requests and answers get lost with a probability.
func (n *Network) Lose(loss float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = loss
}

// Calls is how many times Gather and Call were used.
func (n *Network) Calls() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls
}

// Settle waits until no request is on its way.
func (n *Network) Settle() { n.running.Wait() }

// server is the rpc.Server of one node.
type server struct {
	n    *Network
	node object.NodeID
}

// Server returns the server side of a node.
func (n *Network) Server(node object.NodeID) rpc.Server { return &server{n, node} }

func (s *server) Handle(subject string, h rpc.Handler) (stop func(), err error) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.n.handlers[subject] == nil {
		s.n.handlers[subject] = map[object.NodeID]rpc.Handler{}
	}
	s.n.handlers[subject][s.node] = h
	return func() {
		s.n.mu.Lock()
		defer s.n.mu.Unlock()
		delete(s.n.handlers[subject], s.node)
	}, nil
}

func (s *server) HandleQueue(string, rpc.Handler) (stop func(), err error) {
	return nil, fault.New(fault.NotImplemented, "queue groups")
}

// route returns the handler of a node, nil when it cannot be reached, and
// whether the request and the answer get through.
func (n *Network) route(subject string, node object.NodeID) (h rpc.Handler, there, back bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[node] {
		return nil, false, false
	}
	lost := func() bool { return n.loss > 0 && rand.Float64() < n.loss }
	return n.handlers[subject][node], !lost(), !lost()
}

// Gather implements rpc.Caller.
func (n *Network) Gather(ctx context.Context, t rpc.Target, m rpc.Message, each func(rpc.Answer) bool) error {
	n.mu.Lock()
	n.calls++
	n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	m.Payload = slices.Clone(m.Payload) // the receiver of a request does not own it
	answers := make(chan rpc.Answer, len(t.Nodes))
	for _, node := range t.Nodes {
		h, there, back := n.route(t.Subject, node)
		if h == nil || !there {
			continue
		}
		n.running.Go(func() {
			ctx, cancel := detach(ctx)
			defer cancel()
			answer, err := h(ctx, m)
			if back {
				answers <- rpc.Answer{From: node, Message: answer, Err: err}
			}
		})
	}
	for range t.Nodes {
		select {
		case a := <-answers:
			if each(a) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// detach keeps the deadline of the caller, who cannot call a request back.
func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	ctx = context.WithoutCancel(ctx)
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline)
}

// Call implements rpc.Caller.
func (n *Network) Call(ctx context.Context, t rpc.Target, m rpc.Message) (rpc.Message, error) {
	var got rpc.Answer
	err := n.Gather(ctx, t, m, func(a rpc.Answer) bool {
		got = a
		return true
	})
	if err != nil {
		return rpc.Message{}, fault.Wrap(fault.Indeterminate, err, "no answer in time")
	}
	return got.Message, got.Err
}

// Publish implements rpc.Caller: the hint is lost.
func (n *Network) Publish(context.Context, string, rpc.Message) {}

// Rings is a metaapi.Rings that a test sets.
type Rings struct {
	mu      sync.Mutex
	ring    *layout.Ring  // guarded by mu
	changed chan struct{} // guarded by mu; closed by the next Set
}

// NewRings returns rings that start with ring, which may be nil.
func NewRings(ring *layout.Ring) *Rings { return &Rings{ring: ring, changed: make(chan struct{})} }

// Set puts ring in force.
func (r *Rings) Set(ring *layout.Ring) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring = ring
	close(r.changed)
	r.changed = make(chan struct{})
}

// Ring implements metaapi.Rings.
func (r *Rings) Ring() *layout.Ring {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ring
}

// Await implements metaapi.Rings.
func (r *Rings) Await(ctx context.Context, epoch uint64) {
	for {
		r.mu.Lock()
		ring, changed := r.ring, r.changed
		r.mu.Unlock()
		if ring != nil && ring.Epoch >= epoch {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

var (
	_ rpc.Caller      = (*Network)(nil)
	_ metaapi.Rings   = (*Rings)(nil)
	_ metaapi.Replica = (*Replica)(nil)
	_ metaapi.Rows    = (*Rows)(nil)
)

// EvenRing spreads the partitions over nodes, rf to each, in turn.
func EvenRing(epoch uint64, rf int, nodes ...object.NodeID) *layout.Ring {
	return &layout.Ring{Epoch: epoch, Bits: layout.DefaultBits, Nodes: nodes, Assign: EvenAssignment(rf, len(nodes))}
}

// EvenAssignment is that of EvenRing for some number of nodes.
func EvenAssignment(rf, nodes int) [][]uint16 {
	assign := make([][]uint16, 1<<layout.DefaultBits)
	for p := range assign {
		for i := range rf {
			assign[p] = append(assign[p], uint16((p+i)%nodes))
		}
	}
	return assign
}
