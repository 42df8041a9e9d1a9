package layout

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// MaxReplicationFactor bounds how many copies a cluster can keep.
const MaxReplicationFactor = 7

// Node is what placement knows of a node.
type Node struct {
	ID   object.NodeID
	Zone string
	// Capacity in bytes; only ratios matter. Nodes of capacity 0 get nothing.
	Capacity int64
}

// Input is what an assignment is computed from.
type Input struct {
	Bits              uint8
	ReplicationFactor int
	// ZoneRedundancy is the least number of zones each partition must span; 0
	// asks for as many as the nodes allow.
	ZoneRedundancy int
	Nodes          []Node
	// Previous is the ring to stay close to; nil for a first assignment.
	Previous *Ring
}

// Assignment is the outcome: which nodes hold each partition.
type Assignment struct {
	Nodes  []object.NodeID
	Assign [][]uint16
	// PartitionBytes is the largest size every partition may have at once, so
	// the usable capacity is PartitionBytes × partitions.
	PartitionBytes int64
	// Moves is how many replicas sit on a node that did not hold them before.
	Moves int
}

// Compute places every partition on ReplicationFactor different nodes in at
// least ZoneRedundancy zones, first such that partitions may be as large as
// possible, then such that as few replicas as possible move. It follows the
// method of "An optimal layout for Garage" (Auvolat, Reynaud; 2022): capacity
// by max flow, moves by cancelling negative cycles. The same input always
// gives the same result.
func Compute(in Input) (Assignment, error) {
	nodes, err := usable(&in)
	if err != nil {
		return Assignment{}, err
	}
	size, err := partitionSize(in, nodes)
	if err != nil {
		return Assignment{}, err
	}
	p := newPlacement(in, nodes, size)
	p.keepPrevious(in.Previous)
	if !p.g.augment(p.source, p.sink, p.wanted) {
		return Assignment{}, fault.New(fault.Internal, "layout: no assignment at the computed partition size")
	}
	p.g.cancelNegativeCycles()
	return p.result(size), nil
}

// usable validates in, resolves "as many zones as possible", and returns the
// nodes with capacity in a canonical order.
func usable(in *Input) ([]Node, error) {
	if in.Bits < 1 || in.Bits > MaxBits {
		return nil, fault.New(fault.Invalid, "layout: partition bits %d are not within 1 to %d", in.Bits, MaxBits)
	}
	if in.ReplicationFactor < 1 || in.ReplicationFactor > MaxReplicationFactor {
		return nil, fault.New(fault.Invalid, "layout: replication factor %d is not within 1 to %d", in.ReplicationFactor, MaxReplicationFactor)
	}
	var nodes []Node
	zones := map[string]bool{}
	for _, n := range in.Nodes {
		if n.Capacity > 0 {
			nodes = append(nodes, n)
			zones[n.Zone] = true
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), bytes.Compare(a.ID[:], b.ID[:]))
	})
	if len(nodes) < in.ReplicationFactor {
		return nil, fault.New(fault.Invalid, "layout: %d nodes with capacity are too few for %d copies", len(nodes), in.ReplicationFactor)
	}
	if in.ZoneRedundancy == 0 {
		in.ZoneRedundancy = min(in.ReplicationFactor, len(zones))
	}
	if in.ZoneRedundancy < 1 || in.ZoneRedundancy > in.ReplicationFactor {
		return nil, fault.New(fault.Invalid, "layout: zone redundancy %d is not within 1 to the replication factor %d", in.ZoneRedundancy, in.ReplicationFactor)
	}
	if in.ZoneRedundancy > len(zones) {
		return nil, fault.New(fault.Invalid, "layout: %d zones are too few for zone redundancy %d", len(zones), in.ZoneRedundancy)
	}
	return nodes, nil
}

// partitionSize finds the largest size s, in bytes, for which an assignment
// exists when node n may hold floor(capacity/s) partitions.
//
// All partitions are alike, so a fractional solution can be made symmetric,
// and flows with integral bounds that have a fractional solution have an
// integral one. Hence the min-cut conditions of a single averaged partition
// decide, without building the graph.
func partitionSize(in Input, nodes []Node) (int64, error) {
	parts := int64(1) << in.Bits
	var total int64
	for _, n := range nodes {
		total += n.Capacity / parts
	}
	lo, hi := int64(0), total/int64(in.ReplicationFactor)+2
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		if feasible(in, nodes, mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return 0, fault.New(fault.Invalid, "layout: capacities are too small for %d copies of %d partitions in %d zones", in.ReplicationFactor, parts, in.ZoneRedundancy)
	}
	return lo, nil
}

func feasible(in Input, nodes []Node, size int64) bool {
	parts := int64(1) << in.Bits
	spread, rest := int64(in.ZoneRedundancy), int64(in.ReplicationFactor-in.ZoneRedundancy)
	var distinct, extra, both int64 // min-cut sides: the spread replicas, the rest, all
	for i := 0; i < len(nodes); {
		var room int64 // what the zone can take
		zone := nodes[i].Zone
		for ; i < len(nodes) && nodes[i].Zone == zone; i++ {
			room += min(nodes[i].Capacity/size, parts)
		}
		distinct += min(room, parts)
		extra += min(room, rest*parts)
		both += min(room, (rest+1)*parts)
	}
	return distinct >= spread*parts && extra >= rest*parts && both >= (spread+rest)*parts
}

// placement is the flow network of an assignment:
//
//	source → partition (spread | rest) → (partition, zone) → node → sink
type placement struct {
	in           Input
	nodes        []Node
	zoneOf       []int // node → zone
	zones        int
	parts        int
	wanted       int
	g            *network
	source, sink int
	// hold[p][n] is the edge from (p, zone of n) to n.
	hold [][]int
	// spread[p][z] and rest[p][z] are the edges into (p, z).
	spread, rest       [][]int
	toSpread, toRest   []int // edges source → partition
	toSink             []int
	previous           [][]bool
	spreadCap, restCap int
}

func newPlacement(in Input, nodes []Node, size int64) *placement {
	p := &placement{in: in, nodes: nodes, parts: 1 << in.Bits}
	for i := range nodes {
		if i == 0 || nodes[i].Zone != nodes[i-1].Zone {
			p.zones++
		}
		p.zoneOf = append(p.zoneOf, p.zones-1)
	}
	p.spreadCap = in.ZoneRedundancy
	p.restCap = in.ReplicationFactor - in.ZoneRedundancy
	p.wanted = in.ReplicationFactor * p.parts
	p.source, p.sink = 0, 1
	vertex := 2 + len(nodes) // then 2 per partition, then parts × zones
	at := func(part, zone int) int { return vertex + 2*p.parts + part*p.zones + zone }
	p.g = newNetwork(vertex + 2*p.parts + p.parts*p.zones)
	p.previous = heldBefore(in.Previous, nodes, p.parts)
	for i, n := range nodes {
		p.toSink = append(p.toSink, p.g.edge(2+i, p.sink, int(min(n.Capacity/size, int64(p.parts))), 0))
	}
	// Edges are laid in a shuffled (but fixed) order: otherwise neighbouring
	// partitions would all fall on the same few nodes and a lost node could
	// only be rebuilt from those.
	rng := rand.New(rand.NewPCG(1, uint64(p.parts)))
	for part := range p.parts {
		plus, minus := vertex+2*part, vertex+2*part+1
		p.toSpread = append(p.toSpread, p.g.edge(p.source, plus, p.spreadCap, 0))
		p.toRest = append(p.toRest, p.g.edge(p.source, minus, p.restCap, 0))
		spread, rest, hold := make([]int, p.zones), make([]int, p.zones), make([]int, len(nodes))
		for _, z := range rng.Perm(p.zones) {
			spread[z] = p.g.edge(plus, at(part, z), 1, 0)
			rest[z] = p.g.edge(minus, at(part, z), p.restCap, 0)
		}
		for _, n := range rng.Perm(len(nodes)) {
			cost := 0
			if p.previous[part][n] {
				cost = -1
			}
			hold[n] = p.g.edge(at(part, p.zoneOf[n]), 2+n, 1, cost)
		}
		p.spread, p.rest, p.hold = append(p.spread, spread), append(p.rest, rest), append(p.hold, hold)
	}
	return p
}

// heldBefore says, per partition and index into nodes, who held it.
func heldBefore(prev *Ring, nodes []Node, parts int) [][]bool {
	held := make([][]bool, parts)
	for i := range held {
		held[i] = make([]bool, len(nodes))
	}
	if prev == nil {
		return held
	}
	index := make(map[object.NodeID]int, len(nodes))
	for i, n := range nodes {
		index[n.ID] = i
	}
	for part := range min(parts, len(prev.Assign)) {
		for _, a := range prev.Assign[part] {
			if i, ok := index[prev.Nodes[a]]; ok {
				held[part][i] = true
			}
		}
	}
	return held
}

// keepPrevious starts the flow from as much of the previous assignment as
// bounds allow, so that little is left to find.
func (p *placement) keepPrevious(prev *Ring) {
	if prev == nil {
		return
	}
	for part := range p.parts {
		for n := range p.nodes {
			if !p.previous[part][n] || p.g.left(p.toSink[n]) == 0 {
				continue
			}
			z := p.zoneOf[n]
			switch {
			case p.g.left(p.toSpread[part]) > 0 && p.g.left(p.spread[part][z]) > 0:
				p.g.push(p.toSpread[part], p.spread[part][z], p.hold[part][n], p.toSink[n])
			case p.g.left(p.toRest[part]) > 0 && p.g.left(p.rest[part][z]) > 0:
				p.g.push(p.toRest[part], p.rest[part][z], p.hold[part][n], p.toSink[n])
			}
		}
	}
}

func (p *placement) result(size int64) Assignment {
	a := Assignment{PartitionBytes: size, Assign: make([][]uint16, p.parts)}
	for _, n := range p.nodes {
		a.Nodes = append(a.Nodes, n.ID)
	}
	for part := range p.parts {
		for n := range p.nodes {
			if p.g.left(p.hold[part][n]) > 0 {
				continue // not used
			}
			a.Assign[part] = append(a.Assign[part], uint16(n))
			if !p.previous[part][n] {
				a.Moves++
			}
		}
	}
	return a
}
