package blockrpc

import (
	"context"
	"errors"
	"slices"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockpb"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

const (
	// maxRings is how many rings a read looks through while the layout changes.
	maxRings = 4
	// ringPoll is how often a read looks for the ring that a node spoke of.
	ringPoll = 10 * time.Millisecond
)

// Get implements blockapi.Store. Replicas are asked best first; the next one
// is asked when one fails or takes unusually long, and the first good answer
// wins. A read that finds nothing looks again when the ring changed meanwhile:
// the block may have moved.
func (c *Client) Get(ctx context.Context, h object.Hash) ([]byte, error) {
	for range maxRings - 1 {
		at, err := c.place(h)
		if err != nil {
			return nil, err
		}
		plain, errs := c.getAt(ctx, at, h)
		if len(errs) == 0 {
			return plain, nil
		}
		if !c.movesOn(ctx, at.epoch, errs) {
			return nil, combine(h, errs)
		}
	}
	at, err := c.place(h)
	if err != nil {
		return nil, err
	}
	plain, errs := c.getAt(ctx, at, h)
	if len(errs) > 0 {
		return nil, combine(h, errs)
	}
	return plain, nil
}

// getAt reads from the replicas of one ring.
func (c *Client) getAt(ctx context.Context, at place, h object.Hash) ([]byte, []error) {
	got, errs := c.fetch(ctx, at.epoch, members(at.sets), h)
	if len(errs) > 0 {
		return nil, errs
	}
	if got.own {
		c.opts.Buffers.Put(got.block.Data)
	}
	return got.plain, nil
}

// movesOn reports whether another ring than that of epoch is worth a look. One
// that a node has adopted already is waited for.
func (c *Client) movesOn(ctx context.Context, epoch uint64, errs []error) bool {
	behind := slices.ContainsFunc(errs, func(err error) bool { return fault.Is(err, fault.OldEpoch) })
	for deadline := time.Now().Add(c.opts.AttemptTimeout); behind && time.Now().Before(deadline); {
		if c.moved(epoch) {
			break
		}
		if !pause(ctx, ringPoll) {
			return false
		}
	}
	return c.moved(epoch) && ctx.Err() == nil
}

// Fetch reads a block from one of nodes as it is stored there, verified against
// its hash. The caller owns the Data; Recycle takes it. Errors are those of
// blockapi.Store.Get.
func (c *Client) Fetch(ctx context.Context, epoch uint64, nodes []object.NodeID, h object.Hash) (blockapi.Block, error) {
	if len(nodes) == 0 {
		return blockapi.Block{}, fault.New(fault.Unavailable, "block %s: no node to ask", h)
	}
	got, errs := c.fetch(ctx, epoch, slices.Clone(nodes), h)
	if len(errs) > 0 {
		return blockapi.Block{}, combine(h, errs)
	}
	if got.own {
		c.opts.Buffers.Put(got.plain)
	}
	got.block.Hashed = true
	return got.block, nil
}

// fetched is a block and its content; own says that they are two buffers.
type fetched struct {
	block blockapi.Block
	plain []byte
	own   bool
}

// fetch asks nodes, best first. It reorders them. Without errors it succeeded.
func (c *Client) fetch(ctx context.Context, epoch uint64, nodes []object.NodeID, h object.Hash) (fetched, []error) {
	hedge := c.health.order(nodes)
	m, err := getToWire(epoch, h)
	if err != nil {
		return fetched{}, []error{err}
	}
	if len(nodes) == 1 {
		got, err := c.getFrom(ctx, nodes[0], h, m)
		if err != nil {
			return fetched{}, []error{err}
		}
		return got, nil
	}
	return c.race(ctx, h, m, nodes, hedge)
}

// race asks nodes in order until one answers well.
func (c *Client) race(ctx context.Context, h object.Hash, m rpc.Message, nodes []object.NodeID, hedge time.Duration) (fetched, []error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		got fetched
		err error
	}
	outcomes := make(chan outcome, len(nodes))
	asked, running := 0, 0
	ask := func() {
		node := nodes[asked]
		asked++
		running++
		c.sends.Go(func() {
			got, err := c.getFrom(ctx, node, h, m)
			outcomes <- outcome{got, err}
		})
	}
	ask()
	timer := time.NewTimer(hedge)
	defer timer.Stop()
	var errs []error
	for running > 0 {
		select {
		case o := <-outcomes:
			if o.err == nil {
				return o.got, nil
			}
			running--
			errs = append(errs, o.err)
			if ctx.Err() == nil && asked < len(nodes) {
				ask()
			}
		case <-timer.C:
			if asked < len(nodes) && c.health.mayHedge() {
				ask()
				timer.Reset(hedge)
			}
		case <-ctx.Done():
			return fetched{}, []error{ctx.Err()}
		}
	}
	return fetched{}, errs
}

// getFrom asks one node and verifies what it says.
func (c *Client) getFrom(ctx context.Context, node object.NodeID, h object.Hash, m rpc.Message) (fetched, error) {
	attempt, cancel := context.WithTimeout(ctx, c.opts.AttemptTimeout)
	defer cancel()
	start := time.Now()
	answer, err := c.caller.Call(attempt, target(opGet, 0, []object.NodeID{node}), m)
	if err != nil {
		switch fault.KindOf(err) {
		case fault.NotFound, fault.Corrupt, fault.OldEpoch:
			c.health.answered(node, time.Since(start))
		default:
			if ctx.Err() == nil { // else the caller stopped waiting
				c.health.failed(node)
			}
		}
		return fetched{}, err
	}
	c.health.answered(node, time.Since(start))
	b, err := gotFromWire(h, answer)
	if err != nil {
		return fetched{}, err
	}
	b.Hashed = answer.Near // the node has just checked it
	plain, own, err := c.codec.Decode(b)
	if err != nil {
		c.opts.Buffers.Put(answer.Payload)
		return fetched{}, fault.Wrap(fault.Corrupt, err, "node %s", node)
	}
	return fetched{b, plain, own}, nil
}

func getToWire(epoch uint64, h object.Hash) (rpc.Message, error) {
	head, err := marshal(&blockpb.GetRequest{Hash: h[:], Epoch: epoch})
	return rpc.Message{Head: head}, err
}

func gotFromWire(h object.Hash, m rpc.Message) (blockapi.Block, error) {
	var w blockpb.GetAnswer
	if err := unmarshal(m.Head, &w); err != nil {
		return blockapi.Block{}, err
	}
	return blockFromWire(h[:], w.GetPlainBytes(), w.GetEncoding(), m.Payload)
}

// combine makes one error of those of all replicas. A block is only NotFound
// when every replica said so.
func combine(h object.Hash, errs []error) error {
	all := errors.Join(errs...)
	kind := fault.NotFound
	for _, err := range errs {
		switch fault.KindOf(err) {
		case fault.NotFound:
		case fault.Corrupt:
			if kind == fault.NotFound {
				kind = fault.Corrupt
			}
		case fault.Canceled:
			return err
		default:
			kind = fault.Unavailable
		}
	}
	return fault.Wrap(kind, all, "block %s: no good answer from %d replicas", h, len(errs))
}
