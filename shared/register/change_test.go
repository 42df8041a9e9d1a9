package register

import "slices"

// The change of the replica set and the collecting of delete markers, as
// protocol.md has them. Their real drivers live elsewhere; the simulation
// needs them because they are what the fences and marks are for.

// ask sends one message to every member of e and hands over who answered,
// after a while or when all have.
func (s *sim) ask(from any, e *epoch, do func(i int, r *replica) bool, then func(answered Set)) {
	var got Set
	over := false
	end := func() {
		if !over {
			over = true
			then(got)
		}
	}
	for i, r := range e.members {
		s.send(from, r, func() {
			if r.up && do(i, r) {
				s.send(r, from, func() {
					got |= 1 << i
					if got.Len() == len(e.members) {
						end()
					}
				})
			}
		})
	}
	s.after(30_000, end)
}

// adopted asks until a quorum has adopted e, then goes on with the lows. Of the
// first set only those count that serve the row.
func (s *sim) adopted(g *gateway, e *epoch, then func(low Tag)) {
	lows := make([]Tag, len(e.members))
	c := e.config(0)
	s.ask(g, e, func(i int, r *replica) bool {
		r.epoch = max(r.epoch, e.number)
		s.settle(r)
		lows[i] = r.low
		return r.since != 0 || !c.Sets[0].Has(i)
	}, func(answered Set) {
		if !c.quorum(answered) {
			s.after(5000, func() { s.adopted(g, e, then) })
			return
		}
		var low Tag
		for i := range lows {
			if answered.Has(i) && c.Sets[0].Has(i) {
				low = low.Max(lows[i])
			}
		}
		then(low)
	})
}

// drive carries out some changes of the replica set. Some of them are taken
// back, before or after the rows were copied.
func (s *sim) drive(g *gateway, changes int) {
	if changes == 0 || s.quiet {
		s.driving = false
		return
	}
	wait := s.between(5000, 150_000)
	if s.mix.layoutFast {
		wait = s.between(100, 20_000)
	}
	s.after(wait, func() {
		old := s.layouts[len(s.layouts)-1]
		s.adopted(g, old, func(Tag) {
			next := s.nextSet(old.sets[0])
			joint := s.publish(old.sets[0], next)
			if s.chance(0.1) {
				s.publish(old.sets[0])
				s.drive(g, changes-1)
				return
			}
			s.adopted(g, joint, func(low Tag) {
				s.low, s.lowsEpoch = s.low.Max(low), joint.number
				s.copyRow(g, joint, func() {
					if s.chance(0.1) {
						next = old.sets[0]
					}
					last := s.publish(next)
					s.retire(g, old, last)
					s.drive(g, changes-1)
				})
			})
		})
	})
}

// nextSet keeps some of a set and fills it up with replicas that were members
// before, and new ones.
func (s *sim) nextSet(set []*replica) (next []*replica) {
	for _, r := range set {
		if !r.gone && s.chance(0.6) {
			next = append(next, r)
		}
	}
	for _, r := range s.replicas {
		if len(next) < len(set) && !r.gone && !slices.Contains(set, r) && s.chance(0.5) {
			next = append(next, r)
		}
	}
	return append(next, s.newReplicas(len(set)-len(next))...)
}

func (s *sim) copyRow(g *gateway, joint *epoch, then func()) {
	g.learn(joint)
	s.start(g, NewRecommit(g.clock, timing(s)), 2_000_000, func(o *operation) {
		if o.c.Result().Status == OK {
			then()
			return
		}
		s.copyRow(g, joint, then)
	})
}

// retire switches off what left, once the last epoch is adopted.
func (s *sim) retire(g *gateway, old, last *epoch) {
	if s.chance(0.5) {
		return
	}
	s.adopted(g, last, func(Tag) {
		for _, r := range old.members {
			if last.index(r) < 0 && s.layouts[len(s.layouts)-1].index(r) < 0 {
				r.up, r.gone = false, true
			}
		}
	})
}

// scrub now and then forgets a deleted row that every member holds alike.
func (s *sim) scrub(g *gateway) {
	if s.quiet {
		return
	}
	s.after(s.between(2000, 30_000), func() {
		e := s.layouts[len(s.layouts)-1]
		if len(e.sets) > 1 {
			s.scrub(g)
			return
		}
		rows := make([]Reply, len(e.members))
		s.ask(g, e, func(i int, r *replica) bool {
			var ok bool
			rows[i], ok = s.handle(r, Request{Kind: Read, Epoch: e.number}, false)
			return ok && rows[i].Code == Held
		}, func(answered Set) {
			low := rows[0].Promise
			same := answered.Len() == len(rows) // a marker, or never written at all
			for i := range rows {
				low = low.Max(rows[i].Promise)
				same = same && rows[i].Row.Value == nil && rows[i].Row.Tag == rows[0].Row.Tag
			}
			if !same || rows[0].Row.Tag.Max(low).IsZero() {
				s.scrub(g)
				return
			}
			q := Request{Kind: Forget, Epoch: e.number, Row: Row{Tag: rows[0].Row.Tag}, Low: low}
			reach := ^Set(0)
			if s.chance(0.3) { // it dies before it has told everybody
				reach = Set(s.rng.IntN(1 << len(e.members)))
			}
			s.ask(g, e, func(i int, r *replica) bool {
				if reach.Has(i) {
					s.handle(r, q, false)
				}
				return true
			}, func(Set) { s.scrub(g) })
		})
	})
}
