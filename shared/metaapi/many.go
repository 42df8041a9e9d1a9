package metaapi

import (
	"context"
	"sync"
	"time"

	"hangar/shared/fault"
	"hangar/shared/metaapi/metapb"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

// manyAtOnce is how many messages about rows are on their way at once for one
// GetMany or UpdateMany, and how many rows are finished on their own.
const manyAtOnce = 32

// roundPerRow is how much longer than for one row a round may take for each.
const roundPerRow = 10 * time.Millisecond

var _ ItemRows = (*Client)(nil)

// GetMany implements ItemRows.
func (c *Client) GetMany(ctx context.Context, keys []RowKey) []Got {
	ops := make([]*operation, len(keys))
	for i := range keys {
		ops[i] = &operation{Client: c, key: &keys[i], co: register.NewGet(c.clock, c.timing)}
	}
	c.runMany(ctx, ops)
	got := make([]Got, len(ops))
	for i, o := range ops {
		row := o.result.Row
		got[i] = Got{Row: Row{Tag: row.Tag, Value: row.Value}, Err: o.failed}
	}
	return got
}

// UpdateMany implements ItemRows.
func (c *Client) UpdateMany(ctx context.Context, changes []Change) []Changed {
	ops := make([]*operation, len(changes))
	once := make([]*operation, 0, len(changes))
	keys := make(map[RowKey]bool, len(changes))
	for i := range changes {
		o := &operation{Client: c, key: &changes[i].Key, co: c.update(changes[i].Decide)}
		if ops[i] = o; keys[*o.key] {
			o.failed = fault.New(fault.Invalid, "a row is changed twice at once")
			continue
		}
		keys[*o.key] = true
		once = append(once, o)
	}
	c.runMany(ctx, once)
	changed := make([]Changed, len(ops))
	for i, o := range ops {
		changed[i] = Changed{Written: Written{Tag: o.result.Row.Tag, Replaced: o.result.Replaced}, Err: o.failed}
	}
	return changed
}

// runMany carries operations to their ends and sets result and failed of each.
// Those on rows of one partition go through their rounds together, as long as
// they have rounds in common; what is left of one then is done on its own.
func (c *Client) runMany(ctx context.Context, ops []*operation) {
	if len(ops) == 0 {
		return
	}
	first := ops[0]
	if err := first.begin(ctx); err != nil {
		for _, o := range ops {
			o.failed = err
		}
		return
	}
	p := c.place()
	groups := map[*slot][]*operation{}
	var alone []*operation
	for _, o := range ops {
		o.admitted, o.deadline = first.admitted, first.deadline
		if o.want = o.co.Start(o.locateIn(p)); o.want.Do == register.Send {
			groups[o.slot] = append(groups[o.slot], o)
		} else {
			alone = append(alone, o)
		}
	}
	var mu sync.Mutex
	var running sync.WaitGroup
	room := make(chan struct{}, manyAtOnce)
	for _, group := range groups {
		for len(group) > 0 {
			n := min(len(group), MaxBatchRows)
			b := &batch{Client: c, slot: group[0].slot, ops: group[:n]}
			group = group[n:]
			room <- struct{}{}
			running.Go(func() {
				defer func() { <-room }()
				left := b.run(ctx)
				mu.Lock()
				defer mu.Unlock()
				alone = append(alone, left...)
			})
		}
	}
	running.Wait()
	for _, o := range alone {
		room <- struct{}{}
		running.Go(func() {
			defer func() { <-room }()
			o.result, o.failed = o.carry(ctx, o.want)
		})
	}
	running.Wait()
}

// batch is operations on rows of one partition that share their messages.
type batch struct {
	*Client
	slot *slot
	ops  []*operation

	// The exchange under way.
	sent      []*operation
	began     time.Time
	heard     register.Set
	straggler *time.Timer
	cancel    context.CancelFunc
}

// run goes through rounds while operations have them in common, and returns the
// operations that have not come to their end.
func (b *batch) run(ctx context.Context) (left []*operation) {
	for len(b.ops) > 0 {
		if b.ops[0].over(ctx) {
			return append(left, b.ops...)
		}
		var next []*operation
		for rest := b.ops; len(rest) > 0; {
			b.sent, rest = take(rest)
			if !b.exchange(ctx) {
				left = append(left, b.sent...)
				continue
			}
			for _, o := range b.sent {
				switch o.want.Do {
				case register.Send:
					next = append(next, o)
				case register.Finish:
					o.result = o.co.Result()
					o.failed = o.outcome(ctx, o.result)
				default:
					left = append(left, o)
				}
			}
		}
		b.ops = next
	}
	return left
}

// take splits off as many operations as one message may carry requests.
func take(ops []*operation) (now, later []*operation) {
	size := 0
	for i, o := range ops {
		if v := o.want.Request.Row.Value; v != nil {
			size += len(v.Head) + len(v.Body)
		}
		if i > 0 && size > maxBatchBytes {
			return ops[:i], ops[i:]
		}
	}
	return ops, nil
}

// exchange is one round trip: each operation then wants something else. It
// reports whether the message left; if not the operations want it still.
func (b *batch) exchange(ctx context.Context) bool {
	m, err := b.encode()
	if err != nil {
		return false
	}
	ctx, b.cancel = b.sent[0].within(ctx, b.sent[0].want.Within+time.Duration(len(b.sent))*roundPerRow)
	defer b.cancel()
	for _, o := range b.sent {
		o.sent, o.next, o.hurried = o.want, register.Effect{}, false
	}
	b.began, b.heard, b.straggler = time.Now(), 0, nil
	target := rpc.Target{Subject: rpc.PartitionSubject(service, opRows, b.slot.part), Nodes: b.slot.target.Nodes}
	err = b.caller.Gather(ctx, target, m, b.hear)
	if b.straggler != nil {
		b.straggler.Stop()
	}
	if stayed(err) && b.heard == 0 {
		for _, o := range b.sent {
			o.err = err
		}
		return false
	}
	for _, o := range b.sent {
		if o.next.Do == register.Wait {
			if from := o.sent.BodyFrom; from >= 0 && !b.heard.Has(from) {
				b.shun(b.slot.target.Nodes[from])
			}
			o.next = o.co.Timeout(o.sent.Round)
		}
		o.want = o.next
	}
	return true
}

// encode makes one message of the requests.
func (b *batch) encode() (rpc.Message, error) {
	var w metapb.RowsRequest
	var payload []byte
	for _, o := range b.sent {
		o.want.Request.Admitted = o.admitted.revision
		m, body := rowMessage(o.key, o.want.Request, o.bodyFrom(o.want))
		w.Rows = append(w.Rows, m)
		w.BodyBytes = append(w.BodyBytes, uint32(len(body)))
		payload = append(payload, body...)
	}
	return marshal(&w, payload)
}

// hear takes the answer of one member, and reports whether the exchange is over.
func (b *batch) hear(a rpc.Answer) (done bool) {
	member := b.slot.index(a.From)
	if member < 0 {
		return false
	}
	b.heard |= b.slot.set(a.From)
	var rows []RowReply
	err := a.Err
	if err == nil {
		if rows, err = decodeRowsReply(a.Message, len(b.sent)); err != nil {
			err = fault.Wrap(fault.Internal, err, "the answer of node %v", a.From) // it may have done all
		}
	}
	done, late := true, true
	var patience time.Duration
	for i, o := range b.sent {
		if o.next.Do != register.Wait {
			continue
		}
		var e register.Effect
		if err != nil {
			e = o.reply(o.sent.Round, member, nil, err)
		} else {
			e = o.reply(o.sent.Round, member, &rows[i].Reply, rows[i].Err)
		}
		if e.Do != register.Wait {
			o.next = e
			continue
		}
		done = false
		o.hurried = o.hurried || e.Within > 0
		patience = max(patience, e.Within)
		late = late && o.hurried
	}
	if !done && late && b.straggler == nil {
		// As for one row; those that wait have what they need.
		b.straggler = time.AfterFunc(max(patience, time.Since(b.began)/2), b.cancel)
	}
	return done
}
