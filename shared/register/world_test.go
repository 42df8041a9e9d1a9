package register

import (
	"errors"
	"fmt"
)

type opKind int

const (
	opPut opKind = iota
	opDelete
	opGet
	opPutIfAbsent
	opPutIfMatch
	opAppend
	opDeleteIfMatch
	opRepair
)

// record is one client operation of the history.
type record struct {
	kind      opKind
	client    int
	value     string // to write or append
	match     string
	call, ret int64
	status    Status
	read      string
	rounds    int
	op        *operation
}

var errCondition = errors.New("condition false")

func timing(s *sim) Timing {
	t := DefaultTiming()
	t.Round = 60_000_000 // ns: 60 ms of virtual time, well below the budgets
	return t
}

func newValue(text string) *Value { return &Value{Head: []byte(text), Body: []byte("body of " + text)} }

// text is what a row says; a head without its own body is a torn value.
func (s *sim) text(v *Value) string {
	if v == nil {
		return ""
	}
	if string(v.Body) != "body of "+string(v.Head) && s.corrupt == "" {
		s.corrupt = fmt.Sprintf("head %q with body %q", v.Head, v.Body)
	}
	return string(v.Head)
}

func (s *sim) fresh() string {
	s.values++
	return fmt.Sprint("v", s.values)
}

func (s *sim) coordinator(g *gateway, r *record) *Coordinator {
	conditional := func(holds func(cur string) bool, next func(cur string) *Value) *Coordinator {
		return NewUpdate(g.clock, timing(s), func(row Row) (*Value, error) {
			cur := s.text(row.Value)
			if !holds(cur) {
				return nil, errCondition
			}
			return next(cur), nil
		})
	}
	switch r.kind {
	case opPut:
		return NewPut(g.clock, timing(s), newValue(r.value))
	case opDelete:
		return NewPut(g.clock, timing(s), nil)
	case opGet:
		return NewGet(g.clock, timing(s))
	case opRepair:
		return NewRepair(g.clock, timing(s))
	case opAppend:
		return conditional(func(string) bool { return true },
			func(cur string) *Value { return newValue(cur + "+" + r.value) })
	case opDeleteIfMatch:
		return conditional(func(cur string) bool { return cur == r.match }, func(string) *Value { return nil })
	default: // opPutIfAbsent has nothing to match
		return conditional(func(cur string) bool { return cur == r.match },
			func(string) *Value { return newValue(r.value) })
	}
}

// run starts one operation and reports its end.
func (s *sim) run(g *gateway, r *record, budget int64, done func()) {
	s.marks++
	r.call = s.marks
	s.records = append(s.records, r)
	r.op = s.start(g, s.coordinator(g, r), budget, func(o *operation) {
		s.marks++
		res := o.c.Result()
		r.ret, r.status, r.rounds = s.marks, res.Status, o.rounds
		switch {
		case res.Status != OK:
		case r.kind == opGet:
			r.read = s.text(res.Row.Value)
		case r.kind == opRepair && res.Row.Value != nil: // maybe without its body
			r.read = string(res.Row.Value.Head)
		}
		done()
	})
}

func (s *sim) pick() opKind {
	m := &s.mix
	weights := []int{opPut: m.put, opDelete: m.del, opGet: m.get, opPutIfAbsent: m.absent, opPutIfMatch: m.match, opAppend: m.apnd, opDeleteIfMatch: m.match / 2, opRepair: m.repair}
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := s.rng.IntN(sum)
	for k, w := range weights {
		if n < w {
			return opKind(k)
		}
		n -= w
	}
	return opGet
}

// client runs its operations one after the other.
func (s *sim) client(id, left int, known string) {
	if left == 0 {
		s.live--
		return
	}
	s.after(s.between(1, s.mix.think), func() {
		g := s.gateways[s.rng.IntN(len(s.gateways))]
		if !g.up {
			s.client(id, left, known)
			return
		}
		r := &record{client: id, kind: s.pick()}
		switch r.kind {
		case opPutIfMatch, opDeleteIfMatch:
			if known == "" {
				r.kind = opGet
				break
			}
			r.match, r.value = known, s.fresh()
		case opPut, opPutIfAbsent, opAppend:
			r.value = s.fresh()
		}
		s.run(g, r, s.between(80_000, 700_000), func() {
			if r.status == OK {
				switch r.kind {
				case opGet:
					known = r.read
				case opDelete, opDeleteIfMatch:
					known = ""
				case opPut, opPutIfAbsent, opPutIfMatch:
					known = r.value
				}
			}
			s.client(id, left-1, known)
		})
	})
}

// play is the whole run: clients among faults, then peace and a few reads.
func (s *sim) play() {
	n := 3
	if !s.mix.calm && s.chance(0.2) {
		n = []int{1, 4, 5}[s.rng.IntN(3)]
	}
	s.lowsEpoch = 1 // nothing was ever forgotten
	s.publish(s.newReplicas(n))
	for range 4 { // the last one belongs to the layout driver
		g := &gateway{s: s, epoch: s.layouts[0]}
		g.restart()
		s.gateways = append(s.gateways, g)
	}
	driver := s.gateways[3]
	s.gateways = s.gateways[:3]
	for c := range s.mix.clients {
		s.live++
		s.client(c, s.mix.ops, "")
	}
	if !s.mix.calm {
		s.after(s.between(1000, 30_000), s.fault)
	}
	if s.mix.layout {
		s.driving = true
		s.drive(driver, 1+s.rng.IntN(5))
	}
	if s.mix.forget {
		s.scrub(driver)
	}
	limit := s.now + 60_000_000
	s.runWhile(func() bool { return s.live > 0 && s.now < limit })
	s.quiet, s.cut = true, false
	for _, r := range s.replicas {
		r.up = !r.gone
	}
	s.live = 1
	s.lastReads(3)
	s.runWhile(func() bool { return s.live > 0 })
	s.live = 1
	s.after(1_000_000, func() { s.lastRepair(s.gateways[0]) }) // when the last late message has come
	s.runWhile(func() bool { return s.live > 0 })
}

// lastRepair makes the members of a layout at rest alike, as anti-entropy does
// in the end.
func (s *sim) lastRepair(g *gateway) {
	e := s.layouts[len(s.layouts)-1]
	if len(e.sets) > 1 {
		s.live = 0
		return
	}
	for _, m := range e.members {
		m.epoch = e.number
		s.settle(m)
		if m.since == 0 { // it drops what is stale first
			s.after(1000, func() { s.lastRepair(g) })
			return
		}
	}
	g.learn(e)
	r := &record{client: 91, kind: opRepair}
	s.run(g, r, 2_000_000, func() {
		s.live = 0
		for _, m := range e.members {
			if m.state.Tag != e.members[0].state.Tag {
				s.corrupt = fmt.Sprintf("members differ after a repair that ended %d", r.status)
			}
		}
	})
}

func (s *sim) lastReads(n int) {
	if n == 0 {
		s.live = 0
		return
	}
	g := s.gateways[n-1]
	if !g.up {
		s.after(1000, func() { s.lastReads(n) })
		return
	}
	s.run(g, &record{client: 90, kind: opGet}, 2_000_000, func() { s.lastReads(n - 1) })
}

func (s *sim) newReplicas(n int) (rs []*replica) {
	for range n {
		r := &replica{up: true}
		s.replicas = append(s.replicas, r)
		rs = append(rs, r)
	}
	return rs
}

// fault lets one thing go wrong and comes again.
func (s *sim) fault() {
	if s.quiet {
		return
	}
	m := &s.mix
	next := s.between(3000, 60_000)
	cur := s.layouts[len(s.layouts)-1]
	switch n := s.rng.IntN(5); {
	case m.bounce || n == 0 && m.crash:
		r := cur.members[s.rng.IntN(len(cur.members))]
		down := s.between(1000, 120_000)
		if m.bounce {
			down, next = s.between(100, 3000), s.between(200, 6000)
		}
		if r.up {
			r.up = false
			s.after(down, func() { r.up = !r.gone })
		}
	case n == 1 && m.partition:
		s.cut, s.oneWay = true, s.chance(0.5)
		for _, r := range s.replicas {
			s.side[r] = s.chance(0.5)
		}
		for _, g := range s.gateways {
			s.side[g] = s.chance(0.5)
		}
		s.after(s.between(5000, 150_000), func() { s.cut = false })
	case n == 2 && m.gatewayCrash:
		if g := s.gateways[s.rng.IntN(len(s.gateways))]; g.up {
			g.crash()
		}
	case n == 3 && m.wildClocks:
		s.setClock(s.gateways[s.rng.IntN(len(s.gateways))])
	case n == 4:
		s.loss, s.dup = m.loss*float64(s.rng.IntN(4)), m.dup*float64(s.rng.IntN(3))
	}
	s.after(next, s.fault)
}
