package register

import "time"

// Action is what a Coordinator wants done.
type Action uint8

// The actions.
const (
	// Wait: nothing to do until the next event. When Effect.Within is not
	// zero, the round ends with Timeout that much later at the latest.
	Wait Action = iota
	// Send: the round before is over; send Effect.Request to every member,
	// hand in what they answer, and call Timeout after Effect.Within.
	Send
	// Pause: the round before is over; call Resume with the layout then in
	// force: as soon as its epoch reaches Effect.Epoch if that is set, else
	// after a random part of Effect.Within; after Effect.Within in any case.
	Pause
	// Finish: Result says how it ended.
	Finish
)

// Whom Effect.BodyFrom names besides single members.
const (
	// Nobody is asked for a body.
	Nobody = -1
	// Everybody is asked for bodies.
	Everybody = -2
)

// Effect is what to do next.
type Effect struct {
	Do Action
	// Round numbers the round trips; answers are handed in with it.
	Round int
	// Request of a Send, valid until the Coordinator's next step.
	Request *Request
	// BodyFrom is the member to answer a Send with its row's body; the others
	// may leave it out. Or Nobody, or Everybody.
	BodyFrom int
	Within   time.Duration
	Epoch    uint64
}

// Status is how an operation ended.
type Status uint8

// The ends of an operation.
const (
	// Pending: it has not.
	Pending Status = iota
	// OK: done; for writes, durable at a quorum.
	OK
	// Declined: decide returned Result.Err; nothing was written.
	Declined
	// Rejected: too many members refused to do any work; nothing happened.
	Rejected
	// Unavailable: no quorum answered in time; nothing happened.
	Unavailable
	// Indeterminate: it may or may not have happened, now or later.
	Indeterminate
)

// Result is the end of an operation.
type Result struct {
	Status Status
	// Row is what was read, or written, for OK.
	Row Row
	// Replaced holds the distinct heads that members reported as replaced by
	// the operation's own value. A hint: see Reply.Replaced.
	Replaced [][]byte
	// Err is the error of decide, for Declined.
	Err error
	// Holders are the members known to hold Row, for a repair that is OK.
	// Carried says that the repair wrote the row somewhere.
	Holders Set
	Carried bool
}

// Timing bounds the waits of a Coordinator.
type Timing struct {
	// Round is how long a round may take.
	Round time.Duration
	// Straggler is how long to wait for an answer that would save a round,
	// once a quorum has answered.
	Straggler time.Duration
	// BackOff is the first pause before a further attempt; it doubles up to
	// 64 times.
	BackOff time.Duration
	// Layout is how long to wait for a layout that members know already.
	Layout time.Duration
}

// DefaultTiming suits nodes that are up to some 200 ms apart.
func DefaultTiming() Timing {
	return Timing{
		Round:     time.Second,
		Straggler: 5 * time.Millisecond,
		BackOff:   2 * time.Millisecond,
		Layout:    time.Second,
	}
}

type phase uint8

const (
	unbegun phase = iota
	writing
	reading
	repairing
	preparing
	recommitting
	applying
	pausing
	finished
)

type intent uint8

const (
	get intent = iota
	put
	update
	recommit
	repair
)

// rule is a rule of the protocol that a test may switch off.
type rule uint8

const (
	ruleWriteBack rule = 1 << iota
	ruleCommittedBase
	ruleFate
	// rulePromise is the replica's.
	rulePromise
)

// Coordinator carries one client operation through the protocol. It is a
// state machine without I/O, clock or randomness: Start begins it, each event
// returns what to do next. It is not safe for concurrent use.
type Coordinator struct {
	intent  intent
	timing  Timing
	clock   *Clock
	value   *Value // what is to be written
	decide  func(Row) (*Value, error)
	without rule

	cfg   Config
	phase phase
	begun bool
	tries int    // rounds lost
	high  Tag    // above everything heard
	epoch uint64 // highest that a member answered Old with

	// The current round.
	round    int
	req      Request
	ask      int // BodyFrom
	replies  []Reply
	space    [3]Reply
	heard    Set // answered or failed
	mute     Set // failed
	idle     Set // of those, the ones that surely did nothing
	refusing Set // of those, the ones that will not
	hurried  bool

	// The own operation, once an Apply of it was sent.
	op    Tag
	sent  bool
	first uint64 // epoch of the first Apply

	applies int // Applies of it so far

	ballot    Tag
	mine      bool // the row being re-committed is the own operation's
	decided   bool // value was decided on the row that baseOp wrote
	baseOp    Tag
	rereads   int
	allBodies bool // the near member's body was not enough
	result    Result
}

// NewGet returns a linearizable read.
func NewGet(clock *Clock, t Timing) *Coordinator {
	return &Coordinator{without: lifted, intent: get, clock: clock, timing: t}
}

// NewPut returns a blind write of v, which may be nil to delete.
func NewPut(clock *Clock, t Timing, v *Value) *Coordinator {
	return &Coordinator{without: lifted, intent: put, clock: clock, timing: t, value: v}
}

// NewUpdate returns a conditional write. decide is given the committed row and
// returns the new value, or an error that ends the operation with nothing
// written. It is called once per base that the operation finds.
func NewUpdate(clock *Clock, t Timing, decide func(Row) (*Value, error)) *Coordinator {
	return &Coordinator{without: lifted, intent: update, clock: clock, timing: t, decide: decide}
}

// NewRecommit returns a copy: the row, whatever it is, is written again at a
// new ballot, to a quorum of every set of the epoch.
func NewRecommit(clock *Clock, t Timing) *Coordinator {
	return &Coordinator{without: lifted, intent: recommit, clock: clock, timing: t}
}

// Result returns how the operation ended.
func (c *Coordinator) Result() Result { return c.result }

// Start begins the operation under the layout in force.
func (c *Coordinator) Start(cfg Config) Effect { return c.Resume(cfg) }

// Resume ends a Pause.
func (c *Coordinator) Resume(cfg Config) Effect {
	if c.phase != unbegun && c.phase != pausing {
		return Effect{}
	}
	c.cfg = cfg
	if len(cfg.Sets) == 0 {
		c.phase = pausing
		return Effect{Do: Pause, Epoch: cfg.Epoch + 1, Within: c.timing.Layout}
	}
	switch {
	case c.begun && c.readsOne() && c.allBodies:
		return c.read(Everybody)
	case c.begun && !c.readsOne():
		return c.prepare()
	}
	c.begun = true
	switch c.intent {
	case get, repair:
		return c.read(cfg.Near)
	case put:
		op := c.clock.Next(Tag{})
		return c.apply(writing, Row{Tag: op, Op: op, Value: c.value})
	default:
		return c.prepare()
	}
}

// Answer hands in what a member replied in a round. Answers of rounds that are
// over, and second answers, change nothing.
func (c *Coordinator) Answer(round, member int, r *Reply) Effect {
	if !c.hear(round, member) {
		return Effect{}
	}
	c.replies[member] = *r
	for _, t := range [...]Tag{r.Row.Tag, r.Promise, r.High} {
		c.high = c.high.Max(t)
	}
	c.clock.See(c.high)
	switch {
	case r.Code == Old:
		c.epoch = max(c.epoch, r.Epoch)
	case r.Code == Done && len(r.Replaced) > 0 && (c.phase == writing || c.phase == applying):
		c.replaced(r.Replaced)
	}
	return c.progress(false)
}

// Failure is why a member gives no answer.
type Failure uint8

// The failures. Absent and Refusing say that the member surely did nothing and
// will not, which rests on a transport that delivers a request at most once.
const (
	// Silent: it may have done what it was asked.
	Silent Failure = iota
	// Absent: the request did not reach it; another may.
	Absent
	// Refusing: it declined to do any work, and will decline again.
	Refusing
)

// Fail hands in that a member gives no answer in a round.
func (c *Coordinator) Fail(round, member int, why Failure) Effect {
	if !c.hear(round, member) {
		return Effect{}
	}
	c.mute |= 1 << member
	if why != Silent {
		c.idle |= 1 << member
	}
	if why == Refusing {
		c.refusing |= 1 << member
	}
	return c.progress(false)
}

// Timeout ends a round.
func (c *Coordinator) Timeout(round int) Effect {
	if round != c.round || c.phase == pausing || c.phase == finished {
		return Effect{}
	}
	return c.progress(true)
}

// Expire ends the operation: its deadline has passed or its caller has left.
func (c *Coordinator) Expire() Effect {
	switch {
	case c.phase == finished:
		return Effect{Do: Finish}
	case c.sent:
		return c.finish(Indeterminate, Row{})
	default:
		return c.finish(Unavailable, Row{})
	}
}

// hear notes that a member has said its word, and reports whether it counts.
func (c *Coordinator) hear(round, member int) bool {
	if round != c.round || c.phase == pausing || c.phase == finished || c.phase == unbegun ||
		member < 0 || member >= c.cfg.Members || c.heard.Has(member) {
		return false
	}
	c.heard |= 1 << member
	return true
}

func (c *Coordinator) replaced(head []byte) {
	for _, h := range c.result.Replaced {
		if string(h) == string(head) {
			return
		}
	}
	c.result.Replaced = append(c.result.Replaced, head)
}

// send opens a round with c.req.
func (c *Coordinator) send(p phase, ask int) Effect {
	c.phase, c.ask = p, ask
	c.round++
	c.req.Epoch = c.cfg.Epoch
	c.heard, c.mute, c.idle, c.refusing, c.hurried = 0, 0, 0, 0, false
	if c.cfg.Members <= len(c.space) {
		c.replies = c.space[:c.cfg.Members]
		clear(c.replies)
	} else {
		c.replies = make([]Reply, c.cfg.Members)
	}
	return Effect{Do: Send, Round: c.round, Request: &c.req, BodyFrom: ask, Within: c.timing.Round}
}

func (c *Coordinator) read(from int) Effect {
	c.req = Request{Kind: Read}
	return c.send(reading, from)
}

// apply sends the own operation's value.
func (c *Coordinator) apply(p phase, row Row) Effect {
	if !c.sent {
		c.op, c.sent, c.first = row.Op, true, c.cfg.Epoch
	}
	c.applies++
	c.req = Request{Kind: Apply, Row: row}
	return c.send(p, Nobody)
}

// carry sends a row that exists already: a write-back or a re-commit.
func (c *Coordinator) carry(p phase, row Row) Effect {
	c.req = Request{Kind: Apply, Row: row}
	return c.send(p, Nobody)
}

// prepare opens a ballot.
func (c *Coordinator) prepare() Effect {
	c.ballot, c.mine = c.clock.Next(c.high), false
	c.req = Request{Kind: Prepare, Ballot: c.ballot}
	if c.sent {
		c.req.AskOp = c.op
	}
	switch {
	case c.intent == put:
		return c.send(preparing, Nobody)
	case c.allBodies:
		return c.send(preparing, Everybody)
	default:
		return c.send(preparing, c.cfg.Near)
	}
}

// progress looks at the round after each event. over says that no further
// answer is waited for.
func (c *Coordinator) progress(over bool) Effect {
	over = over || c.heard.Len() == c.cfg.Members
	switch c.phase {
	case reading:
		switch {
		case c.intent == repair:
			return c.onCompare(over)
		case c.readsOne():
			return c.onReadOne(over)
		}
		return c.onRead(over)
	case preparing:
		return c.onPrepare(over)
	case writing, applying, repairing, recommitting:
		return c.onApply(over)
	default:
		return Effect{}
	}
}

func (c *Coordinator) onApply(over bool) Effect {
	done := c.answered(Done)
	if !c.enough(done) {
		untouched := c.firstApply() && c.heard == c.idle // then all count
		if over || !c.enough(^(c.heard&^done)) && !untouched {
			return c.lost()
		}
		return Effect{}
	}
	if c.intent == repair {
		return c.onCarried(done, over)
	}
	if c.phase == recommitting && !c.mine {
		return c.build(c.req.Row)
	}
	return c.finish(OK, c.req.Row)
}

// answered returns the members that answered with code.
func (c *Coordinator) answered(code Code) (s Set) {
	for i := range c.replies {
		if c.replies[i].Code == code {
			s |= 1 << i
		}
	}
	return s
}

// highest returns, among the members in from, the row with the highest tag,
// who holds it, and whether its value is whole.
func (c *Coordinator) highest(from Set) (row Row, holders Set, whole bool) {
	for i := range c.replies {
		r := &c.replies[i]
		if !from.Has(i) || r.Row.Tag.Less(row.Tag) {
			continue
		}
		if holders == 0 || row.Tag.Less(r.Row.Tag) {
			row, holders, whole = r.Row, 0, false
		}
		holders |= 1 << i
		if !whole && !r.BodyOmitted {
			row, whole = r.Row, true
		}
	}
	return row, holders, whole
}

// straggler waits a little for answers that may still come.
func (c *Coordinator) straggler() Effect {
	if c.hurried {
		return Effect{}
	}
	c.hurried = true
	return Effect{Do: Wait, Round: c.round, Within: c.timing.Straggler}
}

// firstApply reports whether the round carries the only Apply of the own
// operation so far.
func (c *Coordinator) firstApply() bool {
	return (c.phase == writing || c.phase == applying) && c.applies == 1
}

// lost gives up a round and plans the next.
func (c *Coordinator) lost() Effect {
	if c.firstApply() && c.idle.Len() == c.cfg.Members {
		c.sent, c.applies = false, 0 // no member took the only Apply there was
	}
	if c.cfg.blocked(c.refusing) {
		if c.sent {
			return c.finish(Indeterminate, Row{})
		}
		return c.finish(Rejected, Row{})
	}
	c.tries++
	if c.epoch > c.cfg.Epoch {
		return c.pause(Effect{Epoch: c.epoch, Within: c.timing.Layout})
	}
	if c.tries == 1 {
		return c.pause(Effect{})
	}
	return c.pause(Effect{Within: c.timing.BackOff << min(c.tries-2, 6)})
}

func (c *Coordinator) pause(e Effect) Effect {
	c.phase = pausing
	e.Do = Pause
	return e
}

func (c *Coordinator) finish(s Status, row Row) Effect {
	c.phase = finished
	c.result.Status, c.result.Row = s, row
	return Effect{Do: Finish}
}
