package register

// repairPatience is for how many Stragglers a repair waits for the members it is
// for once a quorum has answered. One that went down must not hold up the many
// rows behind for long.
const repairPatience = 100

// NewRepair returns a repair: a read that brings the row to every member that
// answers. It reads all members, and where one lacks the highest row it carries
// that row to them as a read's write-back does, with its tag and op unchanged.
// Members that refuse that, for a promise they gave, get it at a ballot. It
// never writes anything but a row that was there.
//
// It ends OK when a quorum holds the row; Result.Holders says which members are
// known to. The others may have been silent: nothing is known of them then.
func NewRepair(clock *Clock, t Timing) *Coordinator {
	return &Coordinator{intent: repair, clock: clock, timing: t}
}

// attended reports whether a repair has heard every member it is for.
func (c *Coordinator) attended() bool { return c.cfg.Wanted != 0 && c.cfg.Wanted&^c.heard == 0 }

// patience is straggler for a repair.
func (c *Coordinator) patience() Effect {
	e := c.straggler()
	e.Within *= repairPatience
	return e
}

// onCompare: the answers to a repair's read.
func (c *Coordinator) onCompare(over bool) Effect {
	held := c.answered(Held)
	if !c.cfg.quorum(held) {
		if over || c.cfg.blocked(c.heard&^held) {
			return c.lost()
		}
		return Effect{}
	}
	if !over && !c.attended() {
		return c.patience()
	}
	row, holders, whole := c.highest(held)
	switch {
	case holders == held:
		return c.repaired(row, holders)
	case whole:
		return c.carry(repairing, row)
	case c.rereads < 2:
		c.rereads++
		return c.read(holders.lowest())
	default:
		c.allBodies = true
		return c.lost()
	}
}

// onCarried: a quorum holds what a repair carried.
func (c *Coordinator) onCarried(done Set, over bool) Effect {
	c.result.Carried = true
	switch {
	case !over && !c.attended():
		return c.patience()
	case c.phase == repairing && c.answered(Refused) != 0:
		return c.lost() // it cannot take the row under this tag
	default:
		return c.repaired(c.req.Row, done)
	}
}

// onPromises: a quorum has promised a repair its ballot. The row found is
// written again at it unless all who promised hold it.
func (c *Coordinator) onPromises(row Row, holders Set, whole, over bool) Effect {
	switch {
	case !over && !c.attended():
		return c.patience()
	case holders == c.answered(Promised):
		return c.repaired(row, holders)
	case !whole:
		c.allBodies = true
		return c.pause(Effect{})
	}
	row.Tag = c.ballot
	return c.carry(recommitting, row)
}

func (c *Coordinator) repaired(row Row, holders Set) Effect {
	c.result.Holders = holders
	return c.finish(OK, row)
}

// readsOne reports whether the operation is a read that one answer ends.
func (c *Coordinator) readsOne() bool { return c.intent == get && c.cfg.ReadOne }

// enough reports whether good is enough to have written: a quorum, unless the
// layout lets a blind write do with less. That goes for every Apply of a blind
// write's own operation, also when it is carried to a ballot, and for nothing
// else: what others rest on (a base, a copy, a read's row) takes a quorum.
func (c *Coordinator) enough(good Set) bool {
	if c.intent == put && c.cfg.WriteOne {
		return c.cfg.one(good)
	}
	return c.cfg.quorum(good)
}

// onReadOne: the near member's answer ends a read that may be old, or after a
// little the best of those that came. Members that a change is still filling
// have no say.
func (c *Coordinator) onReadOne(over bool) Effect {
	held := c.answered(Held) & c.cfg.Sets[0]
	if held == 0 {
		if over {
			return c.lost()
		}
		return Effect{}
	}
	row, holders, whole := c.highest(held)
	switch {
	case !over && c.ask >= 0 && !c.heard.Has(c.ask) && c.cfg.Sets[0]&^c.heard != 0:
		return c.straggler()
	case whole:
		return c.finish(OK, row)
	case c.rereads < 2:
		c.rereads++
		return c.read(holders.lowest())
	default:
		c.allBodies = true
		return c.lost()
	}
}
