package register

// onRead: a quorum that agrees on the highest tag answers the read; otherwise
// the highest row is written back, so that a later read cannot miss it.
func (c *Coordinator) onRead(over bool) Effect {
	held := c.answered(Held)
	if !c.cfg.quorum(held) {
		if over || c.cfg.blocked(c.heard&^held) {
			return c.lost()
		}
		return Effect{}
	}
	row, holders, whole := c.highest(held)
	agreed := c.cfg.quorum(holders) || c.without&ruleWriteBack != 0
	switch {
	case agreed && whole:
		return c.finish(OK, row)
	case !over && (!agreed || !c.heard.Has(c.ask)):
		return c.straggler()
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

// onPrepare: with a quorum of promises, nothing below the ballot can commit
// any more, and what might have been committed is among the answers.
func (c *Coordinator) onPrepare(over bool) Effect {
	promised := c.answered(Promised)
	if !c.cfg.quorum(promised) {
		if over || c.cfg.blocked(c.heard&^promised) {
			return c.lost()
		}
		return Effect{}
	}
	row, holders, whole := c.highest(promised)
	committed := c.cfg.quorum(holders)
	if c.intent == repair {
		return c.onPromises(row, holders, whole, over)
	}
	mine := c.sent && row.Op == c.op
	dead := c.sent && !mine && c.dead()
	if c.without&ruleFate != 0 {
		mine, dead = false, true
	}
	needsBase := c.intent != put
	if !over {
		if c.sent && !mine && !dead && !c.undecidable() {
			return Effect{} // a further answer may decide it
		}
		if !mine && needsBase && (!committed || !whole) {
			return c.straggler()
		}
	}
	switch {
	case mine && committed:
		return c.finish(OK, row)
	case mine:
		c.mine = true
		return c.carry(recommitting, Row{Tag: c.ballot, Op: row.Op, Value: c.value})
	case c.sent && !dead && (c.undecidable() || c.heard&^c.mute == 1<<c.cfg.Members-1):
		return c.finish(Indeterminate, Row{})
	case c.sent && !dead:
		return c.lost()
	case needsBase && !whole:
		c.allBodies = true
		return c.pause(Effect{})
	}
	return c.onBase(row, committed)
}

// onBase: the own operation does not exist below the ballot. Whatever rests on
// the row found needs it committed first; a blind write does not.
func (c *Coordinator) onBase(row Row, committed bool) Effect {
	if c.intent == put {
		return c.write()
	}
	if c.intent == recommit || !committed && c.without&ruleCommittedBase == 0 {
		row.Tag = c.ballot
		return c.carry(recommitting, row)
	}
	return c.build(row)
}

// build ends a read or a copy, or decides a conditional write, on a committed base.
func (c *Coordinator) build(base Row) Effect {
	if c.intent != update {
		return c.finish(OK, base)
	}
	// A minority may still hold an earlier attempt of this operation that was
	// decided on the same base and could be carried on by others. So the same
	// base always gets the same value.
	if !c.decided || c.baseOp != base.Op {
		v, err := c.decide(base)
		if err != nil {
			c.result.Err = err
			return c.finish(Declined, base)
		}
		c.value, c.decided, c.baseOp = v, true, base.Op
	}
	return c.write()
}

// write proposes the own value at the ballot.
func (c *Coordinator) write() Effect {
	op := c.op
	if !c.sent {
		op = c.ballot
	}
	row := Row{Tag: c.ballot, Op: op, Value: c.value}
	row.Tag.Seq = 1
	return c.apply(applying, row)
}

// dead reports whether the own operation was never and will never be visible.
// The question is open to one epoch besides that of the first Apply: with more
// in between, members may have come and gone that held it.
func (c *Coordinator) dead() bool {
	_, unseen := c.witnesses()
	return c.adjacent() && c.cfg.dead(unseen)
}

// undecidable reports whether no answer that is still missing could make the
// own operation dead: what has seen it once has seen it for ever.
func (c *Coordinator) undecidable() bool {
	seen, _ := c.witnesses()
	return !c.adjacent() || !c.cfg.dead(^seen)
}

// adjacent reports whether the epoch is that of the first Apply or the next.
func (c *Coordinator) adjacent() bool {
	return c.cfg.Epoch == c.first || c.cfg.Epoch == c.first+1
}

// witnesses are the members that promised and that have, and have not, seen
// the own operation.
func (c *Coordinator) witnesses() (seen, unseen Set) {
	for i := range c.replies {
		switch r := &c.replies[i]; {
		case r.Code != Promised:
		case r.Seen:
			seen |= 1 << i
		default:
			unseen |= 1 << i
		}
	}
	return seen, unseen
}
