package coordinator

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"hangar/shared/control"
	"hangar/shared/layout"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

const (
	modelBits    = 2
	modelCopies  = 3
	modelNodes   = 6
	modelDrivers = 2
)

// model is a cluster whose layout changes while messages are lost, nodes and
// drivers restart, nodes die, and the operator aborts and skips.
type model struct {
	rng     *rand.Rand
	layout  control.Layout // the record
	nodes   map[string][]*modelNode
	drivers []*modelDriver
	acked   map[string][]map[int]bool // by service and partition: what must never be lost
	forgot  []register.Tag            // by partition: highest low mark acknowledged
	item    int
	log     []string
}

// modelNode is one storage node. All it has is durable.
type modelNode struct {
	id    object.NodeID
	epoch uint64
	down  bool
	dead  bool
	items []map[int]bool
	lows  []register.Tag
	// got holds the partitions of rows gained in epoch.
	got map[layout.Partition]bool
	// held are the partitions of blocks that it is or was a member of.
	held map[layout.Partition]modelHeld
}

// modelHeld says since when a block node is a member, and whether it lacks
// nothing that a majority had acknowledged before.
type modelHeld struct {
	since    uint64
	complete bool
}

type modelDriver struct {
	view control.Layout // may be old
	seen map[string]*Seen
}

func newModel(seed uint64) *model {
	m := &model{
		rng: rand.New(rand.NewPCG(seed, 7)), nodes: map[string][]*modelNode{}, acked: map[string][]map[int]bool{},
		forgot: make([]register.Tag, 1<<modelBits),
	}
	for s, service := range control.StorageServices {
		for i := range modelNodes {
			n := &modelNode{lows: make([]register.Tag, 1<<modelBits), got: map[layout.Partition]bool{}, held: map[layout.Partition]modelHeld{}}
			n.id[0], n.id[1] = byte(s+1), byte(i+1)
			for range 1 << modelBits {
				n.items = append(n.items, map[int]bool{})
			}
			m.nodes[service] = append(m.nodes[service], n)
		}
		for range 1 << modelBits {
			m.acked[service] = append(m.acked[service], map[int]bool{})
		}
	}
	for range modelDrivers {
		m.drivers = append(m.drivers, &modelDriver{seen: map[string]*Seen{}})
	}
	m.apply()
	return m
}

func (m *model) assignment(service string) (a layout.Assignment) {
	for _, n := range m.nodes[service] {
		a.Nodes = append(a.Nodes, n.id)
	}
	for range 1 << modelBits {
		var set []uint16
		for _, i := range m.rng.Perm(modelNodes) {
			if len(set) < modelCopies && !m.nodes[service][i].dead {
				set = append(set, uint16(i))
			}
		}
		a.Assign = append(a.Assign, set)
	}
	return a
}

func (m *model) apply() {
	next, err := m.layout.Begin(control.Placement{
		Bits: modelBits, Meta: m.assignment(control.ServiceMeta), Blocks: m.assignment(control.ServiceBlocks),
	}, time.Unix(1, 0))
	if err == nil {
		m.layout = next
	}
}

// write changes the record as a compare-and-set does.
func (m *model) write(change func(*control.Layout) error) bool {
	b, err := json.Marshal(m.layout)
	if err != nil {
		panic(err)
	}
	var next control.Layout
	if err := json.Unmarshal(b, &next); err != nil {
		panic(err)
	}
	if change(&next) != nil {
		return false
	}
	m.layout = next
	return true
}

func (m *model) node(service string, id object.NodeID) *modelNode {
	return m.nodes[service][id[1]-1]
}

// quorum calls do on members of each set of p until a majority of each took
// part; ok tells who may. It reports whether there was one.
func (m *model) quorum(service string, sets []layout.ReplicaSet, ok func(*modelNode) bool, do func(*modelNode)) bool {
	took := map[object.NodeID]bool{}
	for _, set := range sets {
		have := 0
		for _, i := range m.rng.Perm(len(set)) {
			if n := m.node(service, set[i]); !n.down && !n.dead && ok(n) && m.rng.IntN(10) > 0 {
				if took[n.id] = true; have < set.Majority() || m.rng.IntN(2) == 0 {
					do(n)
					have++
				}
			}
		}
		if have < set.Majority() {
			return false
		}
	}
	return true
}

// client writes an item, or raises a low mark, under the ring of some epoch.
func (m *model) client() {
	service, p := control.StorageServices[m.rng.IntN(2)], layout.Partition(m.rng.IntN(1<<modelBits))
	l := m.drivers[m.rng.IntN(len(m.drivers))].view // old as it may be
	if l.Version == 0 {
		return
	}
	ring, item := l.Ring(service), m.item
	m.item++
	serves := func(n *modelNode) bool {
		if n.epoch > ring.Epoch {
			return false
		}
		n.adopt(ring.Epoch)
		joined, _ := ring.JoinedAt(p, n.id)
		return service != control.ServiceMeta || joined < ring.Epoch || m.marked(n, p, ring)
	}
	mark := register.Tag{Time: int64(item)}
	forget := service == control.ServiceMeta && m.rng.IntN(3) == 0
	done := m.quorum(service, ring.Sets(p), serves, func(n *modelNode) {
		if forget {
			n.lows[p] = n.lows[p].Max(mark)
		} else {
			n.items[p][item] = true
		}
	})
	switch {
	case !done:
	case forget:
		m.forgot[p] = mark
	default:
		m.acked[service][p][item] = true
	}
}

// marked lets a joining node take the low mark of the record, if it is there.
func (m *model) marked(n *modelNode, p layout.Partition, ring *layout.Ring) bool {
	if m.layout.MetaLowsEpoch < ring.Epoch {
		return false
	}
	n.lows[p] = n.lows[p].Max(m.layout.MetaLows[p])
	return true
}

func (n *modelNode) adopt(epoch uint64) {
	if epoch > n.epoch {
		n.epoch, n.got = epoch, map[layout.Partition]bool{}
	}
}

var errLost = errors.New("lost")

// adoptAsked is what a node does when asked to adopt.
func (m *model) adoptAsked(service string, id object.NodeID, epoch uint64) (a nodeapi.Adopted, err error) {
	n, ring := m.node(service, id), m.layout.Ring(service)
	if n.down || n.dead || epoch > ring.Epoch || m.rng.IntN(8) == 0 {
		return a, errLost
	}
	n.adopt(epoch)
	a = nodeapi.Adopted{Epoch: n.epoch, Marks: map[layout.Partition]json.RawMessage{}}
	for p := range ring.Assign {
		part := layout.Partition(p)
		if joined, member := ring.JoinedAt(part, n.id); !member || joined == ring.Epoch {
			continue
		}
		if a.Marks[part], err = json.Marshal(n.lows[p]); err != nil {
			panic(err)
		}
	}
	return a, m.answer()
}

// answer loses some answers.
func (m *model) answer() error {
	if m.rng.IntN(8) == 0 {
		return errLost
	}
	return nil
}

// transferAsked is what a node does with an order: some of it at a time.
func (m *model) transferAsked(service string, id object.NodeID, t nodeapi.Transfer) (p nodeapi.Progress, err error) {
	n, ring := m.node(service, id), m.layout.Ring(service)
	if n.down || n.dead || n.epoch != t.Epoch || ring.Epoch != t.Epoch || m.rng.IntN(8) == 0 {
		return p, errLost
	}
	p.Epoch = t.Epoch
	for _, part := range t.Partitions {
		if m.rng.IntN(2) == 0 && !m.complete(service, n, ring, part) {
			m.bring(service, n, ring, part)
		}
		if m.complete(service, n, ring, part) {
			p.Done = append(p.Done, part)
		} else {
			p.Error = "not yet"
		}
	}
	return p, m.answer()
}

// complete reports whether n has brought a partition that it gained.
func (m *model) complete(service string, n *modelNode, ring *layout.Ring, p layout.Partition) bool {
	if service == control.ServiceMeta {
		return n.got[p]
	}
	return m.follow(n, ring, p).complete
}

// follow is what a block node remembers of a partition: who is there since the
// first ring has missed nothing.
func (m *model) follow(n *modelNode, ring *layout.Ring, p layout.Partition) modelHeld {
	since, member := ring.JoinedAt(p, n.id)
	was, known := n.held[p]
	if member && (!known || was.since != since) {
		n.held[p] = modelHeld{since, !known && since <= 1}
	}
	return n.held[p]
}

// bring copies a partition as the two services do. Rows are read from any
// majority of the old set, whatever its members have adopted: the fence of the
// driver has to be enough.
func (m *model) bring(service string, n *modelNode, ring *layout.Ring, p layout.Partition) {
	if service == control.ServiceBlocks {
		m.fill(n, ring, p)
		return
	}
	sets, all := ring.Sets(p), map[int]bool{}
	anyone := func(*modelNode) bool { return true }
	adopted := func(n *modelNode) bool { return n.epoch == ring.Epoch }
	if m.quorum(service, sets[:1], anyone, func(n *modelNode) { maps.Copy(all, n.items[p]) }) {
		n.got[p] = m.quorum(service, sets, func(n *modelNode) bool { return adopted(n) && m.marked(n, p, ring) },
			func(n *modelNode) { maps.Copy(n.items[p], all) })
	}
}

// fill makes n complete once all other members in force that are not declared
// dead listed what they have, or a majority of complete ones did: n must not be
// one of that majority itself.
func (m *model) fill(n *modelNode, ring *layout.Ring, p layout.Partition) {
	set, listed, complete := ring.Sets(p)[0], 0, 0
	var sources []object.NodeID
	for _, id := range set {
		if id != n.id && (m.layout.Change == nil || !slices.Contains(m.layout.Change.Skip, id)) {
			sources = append(sources, id)
		}
	}
	for _, i := range m.rng.Perm(len(sources)) {
		from := m.node(control.ServiceBlocks, sources[i])
		if from.down || from.dead || m.rng.IntN(10) == 0 {
			continue
		}
		maps.Copy(n.items[p], from.items[p])
		if listed++; m.follow(from, ring, p).complete {
			complete++
		}
		if !set.Has(n.id) && complete >= set.Majority() {
			break
		}
	}
	if held := m.follow(n, ring, p); listed == len(sources) || !set.Has(n.id) && complete >= set.Majority() {
		n.held[p] = modelHeld{held.since, true}
	}
}

// drive lets a driver take a step: everything it may do, in random order.
func (m *model) drive(d *modelDriver) {
	if m.rng.IntN(3) > 0 {
		d.view = m.layout
	}
	l := &d.view
	if !l.Joint() {
		return
	}
	for _, service := range control.StorageServices {
		ring := l.Ring(service)
		if !ring.Joint() {
			continue
		}
		if d.seen[service] == nil || d.seen[service].Epoch != ring.Epoch {
			d.seen[service] = NewSeen(ring.Epoch)
		}
		seen := d.seen[service]
		plan := Decide(service, ring, l.MetaLowsEpoch, l.Change.Skip, seen)
		for _, n := range plan.Adopt {
			if a, err := m.adoptAsked(service, n, ring.Epoch); err != nil {
				seen.Failed(n, err)
			} else {
				seen.Adopted(n, a)
			}
		}
		for _, n := range slices.SortedFunc(maps.Keys(plan.Orders), compareNodes) { // so that a seed repeats itself
			parts := plan.Orders[n]
			if p, err := m.transferAsked(service, n, nodeapi.Transfer{Epoch: ring.Epoch, Partitions: parts}); err != nil {
				seen.Failed(n, err)
			} else {
				seen.Moved(n, parts, p)
			}
		}
		if plan.Marks != nil {
			m.write(func(l *control.Layout) error { return l.TakeLows(ring.Epoch, plan.Marks) })
		}
		if plan.End && m.write(func(l *control.Layout) error { return l.EndRing(service, ring.Epoch) }) {
			m.log = append(m.log, fmt.Sprintf("%s ends epoch %d", service, ring.Epoch))
		}
	}
}

// upset does what an operator or fate may do.
func (m *model) upset() {
	service := control.StorageServices[m.rng.IntN(2)]
	n := m.nodes[service][m.rng.IntN(modelNodes)]
	switch m.rng.IntN(14) {
	case 0, 1:
		n.down = true
	case 2, 3, 4:
		n.down = false
	case 5:
		m.drivers[m.rng.IntN(modelDrivers)] = &modelDriver{seen: map[string]*Seen{}, view: m.layout}
	case 6:
		if m.rng.IntN(4) == 0 {
			m.write(func(l *control.Layout) error { return l.Abort(l.Version) })
			m.log = append(m.log, "abort")
		}
	case 7:
		if n.down && (service == control.ServiceMeta || !m.another(n)) {
			m.skip(n)
		}
	case 8:
		if m.layout.Blocks.Joint() { // a block node dies for good, one per service at most
			if b := m.nodes[control.ServiceBlocks][m.rng.IntN(modelNodes)]; !m.another(b) && m.rng.IntN(10) == 0 {
				b.dead = true
				m.log = append(m.log, "death of "+b.id.String())
			}
		}
	case 9, 10: // who has not got everything yet needs no order
		ring := &m.layout.Blocks
		b, p := m.nodes[control.ServiceBlocks][m.rng.IntN(modelNodes)], layout.Partition(m.rng.IntN(1<<modelBits))
		if _, member := ring.JoinedAt(p, b.id); member && !b.down && !b.dead && !m.follow(b, ring, p).complete {
			m.fill(b, ring, p)
		}
	default:
		m.apply()
	}
}

// another reports whether a block node besides n is dead, or was declared dead
// and lacks something: three copies outlive the loss of one, not of two.
func (m *model) another(n *modelNode) bool {
	return slices.ContainsFunc(m.nodes[control.ServiceBlocks], func(other *modelNode) bool {
		return other != n && (other.dead || m.short(other))
	})
}

// short reports whether n was declared dead and lacks something since.
func (m *model) short(n *modelNode) bool {
	if m.layout.Change != nil && slices.Contains(m.layout.Change.Skip, n.id) {
		return true
	}
	for p := range layout.Partition(1 << modelBits) {
		// Who gains something at present lacks it without anybody's fault.
		joined, member := m.layout.Blocks.JoinedAt(p, n.id)
		if member && (joined < m.layout.Blocks.Epoch || !m.layout.Blocks.Joint()) && !m.follow(n, &m.layout.Blocks, p).complete {
			return true
		}
	}
	return false
}

// skip declares n dead, unless that may lose blocks; false says so.
func (m *model) skip(n *modelNode) bool {
	if !m.layout.Blocks.Joint() {
		return true
	}
	if Risk(&m.layout.Blocks, append(slices.Clone(m.layout.Change.Skip), n.id)) != nil {
		return false
	}
	if m.write(func(l *control.Layout) error { return l.Skip(l.Version, []object.NodeID{n.id}) }) {
		m.log = append(m.log, "skip "+n.id.String())
	}
	return true
}

// check asserts that whatever was acknowledged can be found.
func (m *model) check() error {
	for p := range 1 << modelBits {
		part := layout.Partition(p)
		sets := m.layout.Meta.Sets(part)
		for item := range m.acked[control.ServiceMeta][p] {
			if !m.found(sets, func(n *modelNode) bool { return n.items[p][item] }) {
				return fmt.Errorf("row %d of partition %d is lost", item, p)
			}
		}
		if !m.found(sets, func(n *modelNode) bool { return m.low(n, part).Compare(m.forgot[p]) >= 0 }) {
			return fmt.Errorf("the low mark of partition %d fell below %v", p, m.forgot[p])
		}
		for item := range m.acked[control.ServiceBlocks][p] {
			if err := m.blockFound(part, item); err != nil {
				return err
			}
		}
	}
	return nil
}

// low is the mark by which a node will serve p.
func (m *model) low(n *modelNode, p layout.Partition) register.Tag {
	joined, _ := m.layout.Meta.JoinedAt(p, n.id)
	if joined > 1 && m.layout.MetaLowsEpoch >= joined {
		return n.lows[p].Max(m.layout.MetaLows[p])
	}
	return n.lows[p]
}

// found reports whether a majority of one of the sets has it, so that each
// read meets it.
func (m *model) found(sets []layout.ReplicaSet, has func(*modelNode) bool) bool {
	for _, set := range sets {
		have := 0
		for _, id := range set {
			if has(m.node(control.ServiceMeta, id)) {
				have++
			}
		}
		if have >= set.Majority() {
			return true
		}
	}
	return false
}

func (m *model) blockFound(p layout.Partition, item int) error {
	for _, set := range m.layout.Blocks.Sets(p) {
		for _, id := range set {
			if m.node(control.ServiceBlocks, id).items[p][item] {
				return nil
			}
		}
	}
	return fmt.Errorf("block %d of partition %d has no copy", item, p)
}

func TestModel(t *testing.T) {
	seeds := uint64(400)
	if testing.Short() {
		seeds = 40
	}
	ends, aborts := 0, 0
	for seed := range seeds {
		m := newModel(seed)
		for step := range 600 {
			switch k := m.rng.IntN(10); {
			case k < 4:
				m.client()
			case k < 9:
				m.drive(m.drivers[m.rng.IntN(modelDrivers)])
			default:
				m.upset()
			}
			if err := m.check(); err != nil {
				t.Fatalf("seed %d, step %d: %v\n%v", seed, step, err, m.log)
			}
		}
		// Once everything but the dead is well, the change ends.
		for _, n := range slices.Concat(m.nodes[control.ServiceMeta], m.nodes[control.ServiceBlocks]) {
			n.down = false
			if n.dead && !m.skip(n) { // too many are skipped already: there is only the way back
				m.write(func(l *control.Layout) error { return l.Abort(l.Version) })
			}
		}
		for step := 0; m.layout.Joint(); step++ {
			m.drive(m.drivers[step%modelDrivers])
			if step > 2000 {
				t.Fatalf("seed %d: the change does not end: %+v", seed, Decide("blocks", &m.layout.Blocks, 0, m.layout.Change.Skip, m.drivers[0].seen["blocks"]))
			}
		}
		if err := m.check(); err != nil {
			t.Fatalf("seed %d, at the end: %v\n%v", seed, err, m.log)
		}
		ends += len(slices.DeleteFunc(slices.Clone(m.log), func(s string) bool { return s == "abort" }))
		for _, s := range m.log {
			if s == "abort" {
				aborts++
			}
		}
	}
	if ends < int(seeds) || aborts < int(seeds)/10 {
		t.Errorf("only %d rings ended and %d changes were aborted: the model is too tame", ends, aborts)
	}
}
