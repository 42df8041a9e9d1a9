package register

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// sim is a deterministic discrete-event simulation: one seed, one history. It
// runs the real Handle and the real Coordinator in a world that loses,
// duplicates, delays and reorders messages, stops and starts processes, parts
// the network, sets clocks wrong and changes the layout. Time is in virtual
// microseconds.
type sim struct {
	rng    *rand.Rand
	now    int64
	seq    int
	events events
	mix    mix
	mut    mutation
	quiet  bool // no more faults

	replicas []*replica
	gateways []*gateway
	layouts  []*epoch // by epoch, from 1
	// The highest low mark that was written down, and the last joint epoch for
	// which one was.
	low       Tag
	lowsEpoch uint64
	records   []*record
	marks     int64 // orders calls and returns
	values    int
	live      int // clients at work
	driving   bool
	corrupt   string // first torn value seen

	loss, dup float64
	cut       bool
	side      map[any]bool
	oneWay    bool
}

// mix is what goes wrong in a run.
type mix struct {
	name                string
	loss, dup, reject   float64
	tail                bool // some messages take very long
	wildClocks          bool
	crash, bounce       bool // of replicas; bounce: short and often
	gatewayCrash        bool
	partition           bool
	layout, layoutFast  bool
	forget              bool
	clients, ops        int
	think               int64
	put, del, get       int // weights
	absent, match, apnd int
	repair              int
	calm                bool
}

// mutation switches a rule off; the checker must notice.
type mutation struct {
	name         string
	without      rule
	noPromise    bool // replicas accept below their promise
	noEpochFence bool // replicas answer requests of any epoch
	keepStale    bool // replicas that come back keep what they had
}

type event struct {
	at  int64
	seq int
	fn  func()
}

type events []event

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)   { *h = append(*h, x.(event)) }
func (h *events) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

func newSim(seed uint64, m mix, mut mutation) *sim {
	return &sim{
		rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), now: 1_000_000,
		mix: m, mut: mut, side: map[any]bool{}, loss: m.loss, dup: m.dup,
	}
}

func (s *sim) after(d int64, fn func()) {
	s.seq++
	heap.Push(&s.events, event{s.now + d, s.seq, fn})
}

// runWhile plays events until cond is false or nothing is left.
func (s *sim) runWhile(cond func() bool) {
	for len(s.events) > 0 && cond() {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.fn()
	}
}

func (s *sim) chance(p float64) bool      { return p > 0 && s.rng.Float64() < p }
func (s *sim) between(lo, hi int64) int64 { return lo + s.rng.Int64N(hi-lo+1) }

func (s *sim) delay() int64 {
	x := s.rng.Float64()
	switch {
	case s.mix.calm:
		return s.between(800, 1200)
	case s.quiet:
		return s.between(500, 2000)
	case x < 0.70:
		return s.between(300, 3000)
	case x < 0.93 || !s.mix.tail:
		return s.between(3000, 25_000)
	default:
		return s.between(25_000, 500_000)
	}
}

// send delivers a message from one process to another, or not, or twice.
func (s *sim) send(from, to any, deliver func()) {
	copies := 1
	switch {
	case s.quiet:
	case s.chance(s.loss):
		copies = 0
	case s.chance(s.dup):
		copies = 2
	}
	for range copies {
		s.after(s.delay(), func() {
			apart := s.cut && !s.quiet && s.side[from] != s.side[to]
			if !apart || s.oneWay && s.side[to] {
				deliver()
			}
		})
	}
}

// replica is one member's process and disk.
type replica struct {
	state    State
	low      Tag
	epoch    uint64
	up, gone bool
	since    uint64 // epoch since which it is a member; 0 when it is none
	stale    bool   // what it holds is from an earlier membership
}

// handle is what a metadata node does around Handle.
func (s *sim) handle(r *replica, q Request, wantBody bool) (Reply, bool) {
	if !s.admit(r, q.Epoch) {
		return Reply{Code: Old, Epoch: r.epoch}, true
	}
	if s.settle(r); r.since == 0 {
		return Reply{}, false
	}
	promised, low := r.state.Promised, r.low
	if s.mut.noPromise && q.Kind == Apply {
		r.state.Promised, low = Tag{}, Tag{}
	}
	reply, change, newLow := Handle(&r.state, low, q)
	if s.mut.noPromise && q.Kind == Apply {
		r.state.Promised = promised
	} else if change == Forgotten {
		r.low = newLow
	}
	if v := reply.Row.Value; v != nil && !wantBody {
		reply.Row.Value, reply.BodyOmitted = &Value{Head: v.Head}, true
	}
	return reply, true
}

// admit fences an epoch.
func (s *sim) admit(r *replica, epoch uint64) bool {
	if epoch < r.epoch && !s.mut.noEpochFence {
		return false
	}
	r.epoch = max(r.epoch, epoch)
	return true
}

// settle is what a node that has adopted an epoch does about its membership in
// it: what it holds from an earlier one is dropped, after a while, and it is a
// member once the low marks are known that were gathered when it joined.
func (s *sim) settle(r *replica) {
	e := s.layouts[r.epoch-1]
	joined, member := e.since[r]
	if r.since != 0 && (!member || joined != r.since) {
		r.since, r.stale = 0, true
		s.after(s.between(0, 5000), func() {
			r.stale = false
			if !s.mut.keepStale {
				r.state = State{}
			}
		})
	}
	if r.since == 0 && member && !r.stale && s.lowsEpoch >= joined {
		r.low, r.since = r.low.Max(s.low), joined
	}
}

// epoch is a published layout of the one row there is.
type epoch struct {
	number  uint64
	sets    [][]*replica
	members []*replica
	since   map[*replica]uint64 // when each became a member without a break since
}

func (s *sim) publish(sets ...[]*replica) *epoch {
	e := &epoch{number: uint64(len(s.layouts)) + 1, sets: sets, since: map[*replica]uint64{}}
	for _, set := range sets {
		for _, r := range set {
			if e.index(r) >= 0 {
				continue
			}
			e.members = append(e.members, r)
			e.since[r] = e.number
			if e.number == 1 {
				continue
			}
			if since, ok := s.layouts[e.number-2].since[r]; ok {
				e.since[r] = since
			}
		}
	}
	s.layouts = append(s.layouts, e)
	for _, g := range s.gateways { // the watch, slow and not always there
		if s.chance(0.7) {
			s.after(s.between(100, 40_000), func() { g.learn(e) })
		}
	}
	return e
}

func (e *epoch) index(r *replica) int {
	for i, m := range e.members {
		if m == r {
			return i
		}
	}
	return -1
}

func (e *epoch) config(near int) Config {
	c := Config{Epoch: e.number, Members: len(e.members), Near: near % len(e.members)}
	for _, set := range e.sets {
		var bits Set
		for _, r := range set {
			bits |= 1 << e.index(r)
		}
		c.Sets = append(c.Sets, bits)
	}
	return c
}

// gateway is a coordinator's process. Nothing of it survives a restart.
type gateway struct {
	s      *sim
	clock  *Clock
	offset int64
	epoch  *epoch
	up     bool
	ops    map[*operation]struct{}
	near   int
}

func (g *gateway) restart() {
	g.up = true
	g.ops = map[*operation]struct{}{}
	g.s.setClock(g)
	coarse := int64(1)
	if !g.s.mix.calm {
		coarse = []int64{1, 1, 1000, 20_000}[g.s.rng.IntN(4)]
	}
	g.clock = NewClock(g.s.rng.Uint64(), func() time.Time {
		t := g.s.now + g.offset
		return time.UnixMicro(t - t%coarse)
	})
	g.near = g.s.rng.IntN(8)
}

func (g *gateway) learn(e *epoch) {
	if g.epoch.number < e.number {
		g.epoch = e
	}
}

func (g *gateway) crash() {
	g.up = false
	for _, o := range g.inOrder() {
		o.step(o.c.Expire())
	}
	g.s.after(g.s.between(100, 30_000), g.restart)
}

// inOrder lists the operations as they began: maps have no order of their own.
func (g *gateway) inOrder() (ops []*operation) {
	for _, r := range g.s.records {
		if _, ok := g.ops[r.op]; ok && r.op != nil {
			ops = append(ops, r.op)
		}
	}
	return ops
}

func (s *sim) setClock(g *gateway) {
	scale := int64(500)
	if s.mix.wildClocks {
		scale = []int64{1000, 20_000, 300_000, 5_000_000, 3_600_000_000}[s.rng.IntN(5)]
	}
	g.offset = s.between(-scale, scale)
}

// operation drives one Coordinator.
type operation struct {
	g      *gateway
	c      *Coordinator
	epoch  *epoch
	rounds int
	done   func(*operation)
}

func (s *sim) start(g *gateway, c *Coordinator, budget int64, done func(*operation)) *operation {
	c.without = s.mut.without
	o := &operation{g: g, c: c, epoch: g.epoch, done: done}
	g.ops[o] = struct{}{}
	s.after(0, func() { o.step(c.Start(g.epoch.config(g.near))) })
	s.after(budget, func() {
		if o.done != nil {
			o.step(c.Expire())
		}
	})
	return o
}

func (o *operation) step(e Effect) {
	s, g := o.g.s, o.g
	if o.done == nil {
		return
	}
	switch e.Do {
	case Wait:
		if e.Within > 0 {
			s.after(e.Within.Microseconds(), func() { o.step(o.c.Timeout(e.Round)) })
		}
	case Send:
		o.send(e)
		s.after(e.Within.Microseconds(), func() { o.step(o.c.Timeout(e.Round)) })
	case Pause:
		d := int64(0)
		if e.Within > 0 {
			d = s.between(0, e.Within.Microseconds())
		}
		if e.Epoch > 0 {
			d = s.between(300, 4000)
		}
		s.after(d, func() {
			if e.Epoch > 0 || s.chance(0.3) {
				g.learn(s.layouts[len(s.layouts)-1])
			}
			o.epoch = g.epoch
			o.step(o.c.Resume(g.epoch.config(g.near)))
		})
	case Finish:
		done := o.done
		o.done = nil
		delete(g.ops, o)
		done(o)
	}
}

func (o *operation) send(e Effect) {
	s, g := o.g.s, o.g
	o.rounds++
	q := *e.Request
	for i, r := range o.epoch.members {
		failure := Silent // the same for every copy of the message
		if !s.quiet && s.chance(s.mix.reject) {
			failure = []Failure{Absent, Refusing}[s.rng.IntN(2)]
		}
		handled := false
		s.send(g, r, func() {
			if !r.up {
				return
			}
			var reply Reply
			ok := false
			if failure == Silent {
				reply, ok = s.handle(r, q, e.BodyFrom == i || e.BodyFrom == Everybody)
				if !ok && handled {
					return // the first copy has the say
				}
				if handled = true; !ok {
					failure = Absent // it serves nothing of the row yet
				}
			}
			s.send(r, g, func() {
				if ok {
					o.step(o.c.Answer(e.Round, i, &reply))
				} else {
					o.step(o.c.Fail(e.Round, i, failure))
				}
			})
		})
	}
}
