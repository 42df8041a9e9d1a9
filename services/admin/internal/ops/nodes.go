package ops

import (
	"context"
	"slices"
	"sync"
	"time"

	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
)

// Words and limits of questions to nodes.
const (
	// AllNodes stands for every node that can answer where an operator names one.
	AllNodes = "*"
	// ThisNode stands for the node that serves the request.
	ThisNode = "self"

	// ServiceGateway and ServiceAdmin are the services that keep no data.
	ServiceGateway = "gateway"
	ServiceAdmin   = "admin"

	// askAtOnce bounds how many nodes are asked at the same time.
	askAtOnce = 16
	// QuickAnswer is how long a node is given to tell, SlowAnswer to do
	// something that takes its time.
	QuickAnswer = 10 * time.Second
	SlowAnswer  = 100 * time.Second
)

// The services that offer operators something: see nodeapi.Operator and
// nodeapi.BlockOperator.
var (
	EveryService     = []string{ServiceAdmin, ServiceBlocks, ServiceGateway, ServiceMeta}
	WithWorkers      = []string{ServiceAdmin, ServiceBlocks, ServiceMeta}
	StorageServices  = []string{ServiceBlocks, ServiceMeta}
	BlockServiceOnly = []string{ServiceBlocks}
)

// Answers are what several nodes answered to the same question.
type Answers[T any] struct {
	Success map[object.NodeID]T
	Failed  map[object.NodeID]error
}

// Question is put to nodes.
type Question struct {
	// Nodes is a node id, AllNodes or ThisNode.
	Nodes string
	// Services are those that can answer; AllNodes means theirs.
	Services []string
	// Timeout bounds how long one node is waited for.
	Timeout time.Duration
}

// Select returns the nodes that a question is for: with AllNodes those of its
// services that are up or have a role. One that nobody has heard of has no
// service. Errors: Invalid.
func (o *Ops) Select(q Question) ([]Node, error) {
	known := o.known()
	if q.Nodes == AllNodes {
		return slices.DeleteFunc(known, func(n Node) bool {
			return !slices.Contains(q.Services, n.Service) || !n.Up && o.role(n.ID) == nil
		}), nil
	}
	if q.Nodes == ThisNode {
		i := slices.IndexFunc(known, func(n Node) bool { return n.ID == o.self && n.Service == ServiceAdmin })
		if i < 0 { // it has not heard itself yet
			return []Node{{ID: o.self, Service: ServiceAdmin, Up: true}}, nil
		}
		return known[i : i+1], nil
	}
	id, err := object.ParseNodeID(q.Nodes)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "node: give a node id, %s or %s", AllNodes, ThisNode)
	}
	found := Node{ID: id}
	for _, n := range known {
		if n.ID == id && (found.Service == "" || slices.Contains(q.Services, n.Service)) {
			found = n
		}
	}
	return []Node{found}, nil
}

// known lists the nodes heard of and those that only have a role.
func (o *Ops) known() []Node {
	nodes, v := o.fleet.Nodes(), o.View()
	if v.Layout == nil {
		return nodes
	}
	for _, r := range v.Layout.Roles {
		if !slices.ContainsFunc(nodes, func(n Node) bool { return n.ID == r.Node }) {
			nodes = append(nodes, Node{ID: r.Node, Service: r.Service, Zone: r.Zone})
		}
	}
	return nodes
}

func (o *Ops) role(id object.NodeID) *control.Role {
	if l := o.View().Layout; l != nil {
		for i := range l.Roles {
			if l.Roles[i].Node == id {
				return &l.Roles[i]
			}
		}
	}
	return nil
}

// Ask puts a question to the operators of nodes, several at a time, and waits
// for all of them. With AllNodes, nodes that do not have what is asked for are
// left out, unless no node has it. Errors are about the question: Invalid.
func Ask[T any](ctx context.Context, o *Ops, q Question, do func(context.Context, nodeapi.Remote) (T, error)) (Answers[T], error) {
	nodes, err := o.Select(q)
	if err != nil {
		return Answers[T]{}, err
	}
	out := Answers[T]{Success: map[object.NodeID]T{}, Failed: map[object.NodeID]error{}}
	var mu sync.Mutex // guards out
	var wg sync.WaitGroup
	places := make(chan struct{}, askAtOnce)
	for _, n := range nodes {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			answer, err := askOne(ctx, o, n, q, do)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out.Failed[n.ID] = err
			} else {
				out.Success[n.ID] = answer
			}
		})
	}
	wg.Wait()
	if q.Nodes == AllNodes {
		out.leaveOut()
	}
	return out, nil
}

func askOne[T any](ctx context.Context, o *Ops, n Node, q Question, do func(context.Context, nodeapi.Remote) (T, error)) (answer T, err error) {
	switch {
	case n.Service == "":
		return answer, fault.New(fault.NotFound, "no node with this id was heard of")
	case !slices.Contains(q.Services, n.Service):
		return answer, fault.New(fault.NotImplemented, "a node of the %s service does not offer this", n.Service)
	case o.caller == nil:
		return answer, fault.New(fault.Unavailable, "this process reaches no nodes")
	}
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	answer, err = do(ctx, nodeapi.Remote{Caller: o.caller, Service: n.Service, Node: n.ID})
	if fault.Is(err, fault.Unavailable) && !n.Up {
		err = fault.Wrap(fault.Unavailable, err, "the node is down")
	}
	return answer, err
}

// leaveOut drops the nodes that do not have what was asked for.
func (a *Answers[T]) leaveOut() {
	lacking := map[object.NodeID]bool{}
	for id, err := range a.Failed {
		if fault.Is(err, fault.NotImplemented) {
			lacking[id] = true
		}
	}
	if len(lacking) == len(a.Success)+len(a.Failed) {
		return
	}
	for id := range lacking {
		delete(a.Failed, id)
	}
}
