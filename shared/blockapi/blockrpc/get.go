package blockrpc

import (
	"context"
	"errors"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockpb"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// Get implements blockapi.Store. Replicas are asked best first; the next one
// is asked when one fails or takes unusually long, and the first good answer
// wins.
func (c *Client) Get(ctx context.Context, h object.Hash) ([]byte, error) {
	_, sets, err := c.place(h)
	if err != nil {
		return nil, err
	}
	nodes := members(sets)
	hedge := c.health.order(nodes)
	m, err := getToWire(h)
	if err != nil {
		return nil, err
	}
	if len(nodes) == 1 {
		plain, err := c.getFrom(ctx, nodes[0], h, m)
		if err != nil {
			return nil, combine(h, []error{err})
		}
		return plain, nil
	}
	return c.race(ctx, h, m, nodes, hedge)
}

// race asks nodes in order until one answers well.
func (c *Client) race(ctx context.Context, h object.Hash, m rpc.Message, nodes []object.NodeID, hedge time.Duration) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		plain []byte
		err   error
	}
	outcomes := make(chan outcome, len(nodes))
	asked, running := 0, 0
	ask := func() {
		node := nodes[asked]
		asked++
		running++
		c.sends.Go(func() {
			plain, err := c.getFrom(ctx, node, h, m)
			outcomes <- outcome{plain, err}
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
				return o.plain, nil
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
			return nil, ctx.Err()
		}
	}
	return nil, combine(h, errs)
}

// getFrom asks one node and verifies what it says.
func (c *Client) getFrom(ctx context.Context, node object.NodeID, h object.Hash, m rpc.Message) ([]byte, error) {
	attempt, cancel := context.WithTimeout(ctx, c.opts.AttemptTimeout)
	defer cancel()
	start := time.Now()
	answer, err := c.caller.Call(attempt, target(opGet, 0, []object.NodeID{node}), m)
	if err != nil {
		switch fault.KindOf(err) {
		case fault.NotFound, fault.Corrupt:
			c.health.answered(node, time.Since(start))
		default:
			if ctx.Err() == nil { // else the caller stopped waiting
				c.health.failed(node)
			}
		}
		return nil, err
	}
	c.health.answered(node, time.Since(start))
	b, err := gotFromWire(h, answer)
	if err != nil {
		return nil, err
	}
	b.Hashed = answer.Near // the node has just checked it
	plain, own, err := c.codec.Decode(b)
	if own || err != nil {
		c.opts.Buffers.Put(answer.Payload)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Corrupt, err, "node %s", node)
	}
	return plain, nil
}

func getToWire(h object.Hash) (rpc.Message, error) {
	head, err := marshal(&blockpb.GetRequest{Hash: h[:]})
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
