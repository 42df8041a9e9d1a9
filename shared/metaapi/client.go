package metaapi

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

const (
	// operationTimeout is the deadline of operations whose ctx has none.
	operationTimeout = 10 * time.Second
	// resendPause is how long to wait when a request could not leave.
	resendPause = 50 * time.Millisecond
	// shunTime is how long a member that was late with a body is not asked
	// for bodies.
	shunTime = time.Second
)

// Options tune a Client. The zero value is good.
type Options struct {
	// Near reports whether a node is to be preferred for what one node can
	// answer: it is in this process or zone. Nil means that none is.
	Near func(object.NodeID) bool
	// Timing of the protocol; register.DefaultTiming when zero.
	Timing register.Timing
	// ReadOne and WriteOne are asked at each operation whether it does with one
	// replica's word: see register.Config, and Client. Nil says no.
	ReadOne, WriteOne func() bool
}

// Client implements Rows: it runs the protocol of package register over rpc.
// Safe for concurrent use.
//
// While Options.ReadOne says so, Get takes one replica's answer and Scan one of
// each partition: they may miss writes, also the caller's own. While WriteOne
// says so, Put is durable at one replica of each set when it returns. Update
// always waits for quorums.
//
// Operations whose context has an Admission fail with its error once it holds no
// more; what a write then did is Indeterminate if some replicas took it.
type Client struct {
	caller rpc.Caller
	rings  Rings
	clock  *register.Clock
	near   func(object.NodeID) bool
	timing register.Timing
	// readOne and writeOne are those of the Options.
	readOne, writeOne func() bool

	placed  atomic.Pointer[placement]
	shunned sync.Map // object.NodeID → time.Time until which
}

var _ Rows = (*Client)(nil)

// NewClient returns the replicated table that the nodes of rings make up. One
// process has one clock.
func NewClient(caller rpc.Caller, rings Rings, clock *register.Clock, o Options) *Client {
	if o.Timing == (register.Timing{}) {
		o.Timing = register.DefaultTiming()
	}
	if o.Near == nil {
		o.Near = func(object.NodeID) bool { return false }
	}
	c := &Client{caller: caller, rings: rings, clock: clock, near: o.Near, timing: o.Timing, readOne: o.ReadOne, writeOne: o.WriteOne}
	for _, one := range []*func() bool{&c.readOne, &c.writeOne} {
		if *one == nil {
			*one = func() bool { return false }
		}
	}
	return c
}

// Get implements Rows.
func (c *Client) Get(ctx context.Context, key RowKey) (Row, error) {
	res, err := c.run(ctx, &key, register.NewGet(c.clock, c.timing))
	return Row{Tag: res.Row.Tag, Value: res.Row.Value}, err
}

// Put implements Rows.
func (c *Client) Put(ctx context.Context, key RowKey, value *Value) (Written, error) {
	res, err := c.run(ctx, &key, register.NewPut(c.clock, c.timing, value))
	return Written{Tag: res.Row.Tag, Replaced: res.Replaced}, err
}

// Update implements Rows.
func (c *Client) Update(ctx context.Context, key RowKey, decide Update) (Written, error) {
	res, err := c.run(ctx, &key, c.update(decide))
	return Written{Tag: res.Row.Tag, Replaced: res.Replaced}, err
}

// update is the coordinator of a conditional write.
func (c *Client) update(decide Update) *register.Coordinator {
	return register.NewUpdate(c.clock, c.timing, func(r register.Row) (*Value, error) {
		return decide(Row{Tag: r.Tag, Value: r.Value})
	})
}

// Recommit writes a row again, as it is, to a quorum of every replica set of
// the ring in force: how rows reach new members.
func (c *Client) Recommit(ctx context.Context, key RowKey) error {
	_, err := c.run(ctx, &key, register.NewRecommit(c.clock, c.timing))
	return err
}

// Repaired says what a Repair found.
type Repaired struct {
	// Tag of the row, zero when nobody ever wrote it.
	Tag register.Tag
	// Both says that the row was brought to both nodes that it was to be
	// brought to, or was there.
	Both bool
	// Carried says that the repair wrote the row to some members.
	Carried bool
}

// Repair brings a row, whatever it is, to two members of its partition that
// differ, and sends it to the others too: see register.NewRepair. from is that
// of the two which is thought to hold it. It waits for quorums whatever the
// Options say. Errors are those of Get; what was carried stays then, and is
// right.
func (c *Client) Repair(ctx context.Context, key RowKey, from, with object.NodeID) (Repaired, error) {
	o := &operation{Client: c, key: &key, co: register.NewRepair(c.clock, c.timing), from: from, with: with}
	res, err := o.run(ctx)
	if err != nil {
		return Repaired{}, err
	}
	wanted := o.slot.set(from) | o.slot.set(with)
	return Repaired{Tag: res.Row.Tag, Both: wanted.Len() == 2 && wanted&^res.Holders == 0, Carried: res.Carried}, nil
}

// place returns what follows from the ring in force. It never goes back to an
// older ring: an operation that was sent in one epoch must not be judged by the
// members of the one before.
func (c *Client) place() *placement {
	for {
		ring, p := c.rings.Ring(), c.placed.Load()
		if p != nil && (p.ring == ring || epochOf(ring) < epochOf(p.ring)) {
			return p
		}
		if next := newPlacement(ring, c.near); c.placed.CompareAndSwap(p, next) {
			return next
		}
	}
}

// operation is one run of a Coordinator.
type operation struct {
	*Client
	key      *RowKey
	co       *register.Coordinator
	deadline time.Time
	slot     *slot
	err      error // the last that a member gave
	admitted admitted
	// from and with are whom a repair is for; zero otherwise.
	from, with object.NodeID

	// The exchange under way.
	sent      register.Effect
	next      register.Effect
	bodyCame  bool // from the member that was asked for it
	began     time.Time
	straggler *time.Timer
	cancel    context.CancelFunc

	// Of operations that share their rounds: what the coordinator wants,
	// whether it has what it needs and waits for what would save a round, and
	// how it ended.
	want    register.Effect
	hurried bool
	result  register.Result
	failed  error
}

// run carries an operation on a row to its end.
func (c *Client) run(ctx context.Context, key *RowKey, co *register.Coordinator) (register.Result, error) {
	o := &operation{Client: c, key: key, co: co}
	return o.run(ctx)
}

// run carries the operation to its end.
func (o *operation) run(ctx context.Context) (register.Result, error) {
	if err := o.begin(ctx); err != nil {
		return register.Result{}, err
	}
	return o.carry(ctx, o.co.Start(o.locate()))
}

// begin has the operation admitted and bounds it in time.
func (o *operation) begin(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return fault.Wrap(fault.KindOf(err), err, "before anything was sent")
	}
	if o.admitted, err = admit(ctx); err != nil {
		return err
	}
	var ok bool
	if o.deadline, ok = ctx.Deadline(); !ok {
		o.deadline = time.Now().Add(operationTimeout)
	}
	return nil
}

// carry does what the coordinator wants, from e on, until its end.
func (o *operation) carry(ctx context.Context, e register.Effect) (register.Result, error) {
	co := o.co
	for e.Do != register.Finish {
		switch {
		case o.over(ctx):
			e = co.Expire()
		case e.Do == register.Send:
			e = o.round(ctx, e)
		case e.Do == register.Pause:
			o.pause(ctx, e)
			if err := o.renew(ctx); err != nil {
				return register.Result{}, o.denied(err)
			}
			e = co.Resume(o.locate())
		default:
			return register.Result{}, fault.New(fault.Internal, "the coordinator waits for nothing")
		}
	}
	res := co.Result()
	return res, o.outcome(ctx, res)
}

// renew asks for admission anew if a member wants that. When there is no time
// for it the operation is over.
func (o *operation) renew(ctx context.Context) error {
	ctx, cancel := o.within(ctx, operationTimeout)
	defer cancel()
	err := o.admitted.renew(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// denied ends the operation of somebody who is not admitted any more.
func (o *operation) denied(err error) error {
	o.co.Expire()
	if o.co.Result().Status == register.Indeterminate {
		// The cause is for people only: it says nothing of what happened.
		return fault.New(fault.Indeterminate, "whether the row was written is not known; it may not be tried again: %v", err)
	}
	return err
}

// over reports whether the caller waits no longer.
func (o *operation) over(ctx context.Context) bool {
	return ctx.Err() != nil || !time.Now().Before(o.deadline)
}

// within bounds ctx by d and by the operation's deadline.
func (o *operation) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, min(d, time.Until(o.deadline)))
}

// locate looks the row up in the ring in force.
func (o *operation) locate() register.Config { return o.locateIn(o.place()) }

// locateIn looks the row up in a ring.
func (o *operation) locateIn(p *placement) register.Config {
	o.slot = p.slot(o.key)
	cfg := o.slot.config
	cfg.Near = o.pickNear(p, o.slot.target.Nodes)
	if i := o.slot.index(o.from); i >= 0 {
		cfg.Near = i
	}
	cfg.Wanted = o.slot.set(o.from) | o.slot.set(o.with)
	cfg.ReadOne, cfg.WriteOne = o.readOne(), o.writeOne()
	return cfg
}

// pickNear chooses who is asked for bodies: a near node if one is a member,
// else any that was not late of late.
func (c *Client) pickNear(p *placement, nodes []object.NodeID) int {
	if len(nodes) < 2 {
		return 0
	}
	start := rand.IntN(len(nodes))
	for i, n := range nodes {
		if p.near[n] {
			start = i
		}
	}
	for i := range nodes {
		i = (start + i) % len(nodes)
		until, ok := c.shunned.Load(nodes[i])
		if !ok {
			return i
		}
		if time.Now().After(until.(time.Time)) {
			c.shunned.Delete(nodes[i])
			return i
		}
	}
	return start
}

// shun lets others than n be asked for a while.
func (c *Client) shun(n object.NodeID) { c.shunned.Store(n, time.Now().Add(shunTime)) }

// down returns the nodes that are shunned now.
func (c *Client) down() map[object.NodeID]bool {
	down := map[object.NodeID]bool{}
	c.shunned.Range(func(n, until any) bool {
		if time.Now().Before(until.(time.Time)) {
			down[n.(object.NodeID)] = true
		}
		return true
	})
	return down
}

// nodeTimeout is how long one node may take for a page or its counters.
func (c *Client) nodeTimeout() time.Duration { return 2 * c.timing.Round }

func (o *operation) pause(ctx context.Context, e register.Effect) {
	if e.Within == 0 {
		return
	}
	ctx, cancel := o.within(ctx, e.Within)
	defer cancel()
	if e.Epoch > 0 {
		o.rings.Await(ctx, e.Epoch)
		return
	}
	sleep(ctx, rand.N(e.Within))
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// round sends one request to all members and hands in their answers until the
// coordinator wants something else.
func (o *operation) round(ctx context.Context, e register.Effect) register.Effect {
	from := o.bodyFrom(e)
	e.Request.Admitted = o.admitted.revision
	m, err := encodeRowRequest(o.key, e.Request, from)
	if err != nil {
		return o.unsent(e, err)
	}
	err = o.gather(ctx, e, m)
	for stayed(err) && fault.Is(err, fault.Unavailable) && !o.over(ctx) {
		o.err = err // it did not leave: the same round may be tried again
		sleep(ctx, resendPause)
		err = o.gather(ctx, e, m)
	}
	switch {
	case o.next.Do != register.Wait:
		return o.next
	case stayed(err):
		return o.unsent(e, err)
	case o.over(ctx):
		return o.co.Expire()
	}
	if e.BodyFrom >= 0 && !o.bodyCame {
		o.shun(from.node)
	}
	return o.co.Timeout(e.Round)
}

// bodyFrom is who is to answer a request with the body.
func (o *operation) bodyFrom(e register.Effect) (from bodyFrom) {
	switch e.BodyFrom {
	case register.Everybody:
		from.all = true
	case register.Nobody:
	default:
		from.node = o.slot.target.Nodes[e.BodyFrom]
	}
	return from
}

// stayed reports that an error of Gather means that nothing was sent, rather
// than that time was up.
func stayed(err error) bool {
	return err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// gather is one exchange; o.next is what the coordinator wants after it.
func (o *operation) gather(ctx context.Context, e register.Effect, m rpc.Message) error {
	ctx, o.cancel = o.within(ctx, e.Within)
	defer o.cancel()
	o.sent, o.next, o.bodyCame, o.straggler = e, register.Effect{}, false, nil
	o.began = time.Now()
	err := o.caller.Gather(ctx, o.slot.target, m, o.hear)
	if o.straggler != nil {
		o.straggler.Stop()
	}
	return err
}

// hear takes one answer, and reports whether the exchange is over.
func (o *operation) hear(a rpc.Answer) (done bool) {
	i := o.slot.index(a.From)
	o.bodyCame = o.bodyCame || i == o.sent.BodyFrom
	o.next = o.answer(o.sent.Round, i, a)
	if o.next.Do == register.Wait && o.next.Within > 0 {
		// What it would save is a round: of the quorum's time, half is well
		// spent where the way is long and no two answers take the same time.
		o.straggler = time.AfterFunc(max(o.next.Within, time.Since(o.began)/2), o.cancel)
	}
	return o.next.Do != register.Wait
}

// answer hands in what one member said.
func (o *operation) answer(round, member int, a rpc.Answer) register.Effect {
	var reply register.Reply
	if a.Err == nil {
		if err := decodeRowReply(a.Message, &reply); err != nil {
			o.err = err
			return o.co.Fail(round, member, register.Silent)
		}
	}
	return o.reply(round, member, &reply, a.Err)
}

// reply hands in the reply of one member, or its error.
func (o *operation) reply(round, member int, reply *register.Reply, err error) register.Effect {
	if err != nil {
		o.err = err
		return o.co.Fail(round, member, failure(err))
	}
	if reply.Code == register.Behind {
		o.admitted.behind(reply.Revision)
		o.err = errBehind
		return o.co.Fail(round, member, register.Absent)
	}
	return o.co.Answer(round, member, reply)
}

// failure says what follows for a row from a member's error.
func failure(err error) register.Failure {
	switch fault.KindOf(err) {
	case fault.Unavailable:
		return register.Absent
	case fault.Overloaded, fault.StorageFull, fault.Invalid, fault.Denied, fault.NotImplemented:
		return register.Refusing
	default:
		return register.Silent
	}
}

// unsent ends a round that could not be sent at all, and never will be.
func (o *operation) unsent(e register.Effect, err error) register.Effect {
	o.err = err
	next := register.Effect{}
	for i := range o.slot.target.Nodes {
		if next = o.co.Fail(e.Round, i, register.Refusing); next.Do != register.Wait {
			break
		}
	}
	return next
}

// outcome turns the end of an operation into an error.
func (o *operation) outcome(ctx context.Context, res register.Result) error {
	cause := o.err
	if errors.Is(ctx.Err(), context.Canceled) {
		cause = ctx.Err()
	}
	switch res.Status {
	case register.OK:
		return nil
	case register.Declined:
		return res.Err
	case register.Rejected:
		return fault.Wrap(fault.KindOf(o.err), o.err, "too many metadata nodes refused")
	case register.Indeterminate:
		return lost(fault.Indeterminate, cause, "whether the row was written is not known")
	default:
		if errors.Is(ctx.Err(), context.Canceled) {
			return fault.Wrap(fault.Canceled, ctx.Err(), "waiting for metadata nodes")
		}
		return lost(fault.Unavailable, cause, "too few metadata nodes answered in time")
	}
}

// lost makes an error of kind k with a cause, if one is known.
func lost(k fault.Kind, cause error, msg string) error {
	if cause == nil {
		return fault.New(k, "%s", msg)
	}
	return fault.Wrap(k, cause, "%s", msg)
}
