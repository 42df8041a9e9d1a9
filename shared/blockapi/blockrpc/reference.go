package blockrpc

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockpb"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// maxReferenceCalls is how many groups of blocks are referenced at once.
const maxReferenceCalls = 8

// errMoved says that the ring changed before a quorum was reached.
var errMoved = errors.New("the layout changed meanwhile")

// Reference implements blockapi.Store. Blocks that live on the same nodes
// share requests. When the ring changes under way it begins again.
func (c *Client) Reference(ctx context.Context, owner blockapi.Owner, hashes []object.Hash) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.WriteTimeout)
	defer cancel()
	for {
		if err := c.referenceOnce(ctx, owner, hashes); !errors.Is(err, errMoved) {
			return err
		}
	}
}

func (c *Client) referenceOnce(ctx context.Context, owner blockapi.Owner, hashes []object.Hash) error {
	groups, err := c.group(hashes)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(maxReferenceCalls)
	for _, group := range groups {
		for chunk := range slices.Chunk(group.hashes, MaxReferences) {
			g.Go(func() error { return c.referenceGroup(ctx, owner, group, chunk) })
		}
	}
	return g.Wait()
}

// placed is blocks that have the same replica sets.
type placed struct {
	place  // of one of them: the nodes of the group listen to its partition
	hashes []object.Hash
}

func (c *Client) group(hashes []object.Hash) (map[string]*placed, error) {
	groups := make(map[string]*placed)
	ring, err := c.current()
	if err != nil && len(hashes) > 0 {
		return nil, err
	}
	for _, h := range hashes {
		at, err := placeIn(ring, h)
		if err != nil {
			return nil, err
		}
		var id []byte
		for _, s := range at.sets {
			id = append(id, byte(len(s)))
			for _, n := range s {
				id = append(id, n[:]...)
			}
		}
		g := groups[string(id)]
		if g == nil {
			g = &placed{place: at}
			groups[string(id)] = g
		}
		g.hashes = append(g.hashes, h)
	}
	return groups, nil
}

// referenceGroup references hashes at their nodes until each has a quorum. A
// request with an old node's answer missing is sent again: it is idempotent.
func (c *Client) referenceGroup(ctx context.Context, owner blockapi.Owner, g *placed, hashes []object.Hash) error {
	head, err := marshal(&blockpb.ReferenceRequest{
		Owner: ownerToWire(owner), Hashes: hashesToWire(hashes), Epoch: g.epoch,
	})
	if err != nil {
		return err
	}
	r := references{all: newQuorum(g.sets, c.opts.WriteOne()), lacking: make(map[object.Hash][]object.NodeID)}
	for retry := minRetry; ; retry = min(2*retry, maxRetry) {
		attempt, cancel := context.WithTimeout(ctx, c.opts.AttemptTimeout)
		nodes := r.all.open()
		err := c.caller.Gather(attempt, target(opReference, g.partition, nodes), rpc.Message{Head: head}, func(a rpc.Answer) bool {
			r.take(a)
			return r.reached()
		})
		cancel()
		switch {
		case r.reached():
			return nil
		case c.moved(g.epoch):
			return errMoved
		case len(r.all.open()) == 0 || r.all.hopeless():
			return r.err()
		case !pause(ctx, retry):
			if err != nil && len(r.all.failed) == 0 {
				return fault.Wrap(fault.Unavailable, err, "reference blocks")
			}
			return r.err()
		}
	}
}

// references counts answers to one request: per node, and per block a node lacks.
type references struct {
	all     *quorum
	lacking map[object.Hash][]object.NodeID
}

func (r *references) take(a rpc.Answer) {
	var w blockpb.ReferenceAnswer
	err := a.Err
	if err == nil {
		err = unmarshal(a.Head, &w)
	}
	var missing []object.Hash
	if err == nil {
		missing, err = hashesFromWire(w.GetMissing())
	}
	if err != nil {
		r.all.fail(a.From, err)
		return
	}
	for _, h := range missing {
		if !slices.Contains(r.lacking[h], a.From) {
			r.lacking[h] = append(r.lacking[h], a.From)
		}
	}
	r.all.ack(a.From)
}

// reached reports whether every block is referenced at enough members of each set.
func (r *references) reached() bool {
	if !r.all.reached() {
		return false
	}
	for _, lackers := range r.lacking {
		for _, s := range r.all.sets {
			if count(s, r.all.acked)-count(s, lackers) < r.all.need(s) {
				return false
			}
		}
	}
	return true
}

func (r *references) err() error {
	if !r.all.reached() {
		return r.all.err("reference blocks")
	}
	return fault.New(fault.NotFound, "%d blocks are not held by a quorum of their replicas", len(r.lacking))
}
