package blockrpc

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// The wait before asking again, doubled each time and randomised.
const minRetry, maxRetry = 10 * time.Millisecond, time.Second

// Put implements blockapi.Store.
//
// One replica: the content travels as the caller gave it and is waited for.
// Several: the content moves to a buffer of the client's, so that replicas
// slower than the quorum can be sent to after Put returned. Package rpc lets go
// of a payload when its call returns.
func (c *Client) Put(ctx context.Context, owner blockapi.Owner, plain []byte) (object.Hash, error) {
	if len(plain) == 0 || len(plain) > blockapi.MaxBlockBytes {
		return object.Hash{}, fault.New(fault.Invalid, "block of %d bytes: want 1 to %d", len(plain), blockapi.MaxBlockBytes)
	}
	if err := ctx.Err(); err != nil {
		return object.Hash{}, err
	}
	b, own := c.codec.Encode(plain)
	err := c.putEncoded(ctx, owner, b, own)
	if err != nil {
		return object.Hash{}, err
	}
	return b.Hash, nil
}

// putEncoded stores b. own says that b.Data is to be recycled.
func (c *Client) putEncoded(ctx context.Context, owner blockapi.Owner, b blockapi.Block, own bool) error {
	w := &write{client: c, what: "store block", owner: owner, block: b, own: own}
	if err := w.address(); err != nil {
		return err
	}
	var err error
	if len(w.quorum.nodes) > 1 {
		return w.start(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.WriteTimeout)
	defer cancel()
	w.run(ctx, func(verdict error) { err = verdict })
	return err
}

// write is one block on its way to its replicas.
type write struct {
	client *Client
	what   string
	owner  blockapi.Owner
	block  blockapi.Block
	// own says that the block's data is to be recycled in the end.
	own bool

	// What follows from the ring in force when the write was last addressed.
	place   place
	message rpc.Message
	quorum  *quorum
}

// address directs the write by the ring in force. What was acknowledged by an
// older one counts for nothing: its members may have left since.
func (w *write) address() error {
	at, err := w.client.place(w.block.Hash)
	if err != nil {
		return err
	}
	m, err := putToWire(at.epoch, w.owner, w.block)
	if err != nil {
		return err
	}
	w.place, w.message, w.quorum = at, m, newQuorum(at.sets, w.client.opts.WriteOne())
	return nil
}

// start sends the write and returns once a quorum has acknowledged it or
// cannot. The goroutine it starts goes on with the stragglers, and lets go of
// the payload.
func (w *write) start(ctx context.Context) error {
	c := w.client
	if !w.own {
		plain := w.block.Data
		w.block.Data = append(c.opts.Buffers.Get(len(plain))[:0], plain...)
		w.message.Payload, w.own = w.block.Data, true
	}
	sendCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.WriteTimeout)
	detach := context.AfterFunc(ctx, cancel)
	verdict := make(chan error, 1)
	c.sends.Go(func() {
		defer cancel()
		w.run(sendCtx, func(err error) {
			// From a quorum on the work no longer depends on the caller.
			detach()
			verdict <- err
		})
	})
	err := <-verdict
	if err != nil && ctx.Err() != nil {
		return fault.Wrap(fault.KindOf(ctx.Err()), ctx.Err(), "%s", w.what)
	}
	return err
}

// run sends to all replicas, again to those that stay silent, until all have
// answered or ctx ends, and anew when the ring changes. It calls decided exactly
// once.
func (w *write) run(ctx context.Context, decided func(error)) {
	c := w.client
	said := false
	var held int64
	settle := func() bool {
		switch q := w.quorum; {
		case said:
		case q.reached():
			// Over the budget the caller keeps waiting for all: that is the
			// backpressure of slow replicas.
			if n := int64(len(w.block.Data)); len(q.open()) > 0 {
				if !c.stragglers.TryAcquire(n) {
					return false
				}
				held = n
			}
			said = true
			decided(nil)
		case q.hopeless():
			said = true
			decided(q.err(w.what))
			return true
		}
		return len(w.quorum.open()) == 0
	}
	for retry := minRetry; ctx.Err() == nil && !settle(); retry = min(2*retry, maxRetry) {
		w.attempt(ctx, settle)
		if len(w.quorum.open()) > 0 && !pause(ctx, retry) {
			break
		}
		if !c.moved(w.place.epoch) {
			continue
		}
		if said || w.address() != nil {
			break // stragglers of an older ring are left to the repair
		}
		retry = minRetry / 2
	}
	if !said {
		if w.quorum.reached() {
			decided(nil)
		} else {
			decided(w.quorum.err(w.what))
		}
	}
	c.stragglers.Release(held)
	if w.own {
		c.opts.Buffers.Put(w.block.Data)
	}
}

// attempt sends once to every replica that is still open.
func (w *write) attempt(ctx context.Context, settle func() bool) {
	c, q := w.client, w.quorum
	ctx, cancel := context.WithTimeout(ctx, c.opts.AttemptTimeout)
	defer cancel()
	nodes := q.open()
	silent := slices.Clone(nodes)
	err := c.caller.Gather(ctx, target(opPut, w.place.partition, nodes), w.message, func(a rpc.Answer) bool {
		silent = slices.DeleteFunc(silent, func(n object.NodeID) bool { return n == a.From })
		if a.Err == nil {
			q.ack(a.From)
		} else {
			q.fail(a.From, a.Err)
		}
		return settle()
	})
	if err == nil || len(silent) == 0 {
		return
	}
	for _, n := range silent {
		q.fail(n, fault.Wrap(fault.Unavailable, err, "node %s did not answer", n))
		c.health.failed(n)
	}
}

// pause waits about d; false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
