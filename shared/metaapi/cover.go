package metaapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/rpc"
)

// coverPause is how long to wait before nodes that failed are asked again.
const coverPause = 100 * time.Millisecond

// oldRing says that a node has left the epoch of a request.
type oldRing struct{ epoch uint64 }

func (e *oldRing) Error() string { return fmt.Sprintf("the layout is at epoch %d", e.epoch) }

// behindNode says that a node wants to see a newer admission.
type behindNode struct{ revision uint64 }

func (e *behindNode) Error() string { return errBehind.Error() }
func (e *behindNode) Unwrap() error { return errBehind }

// lostNode says that a node gave no answer that is of use.
type lostNode struct {
	node object.NodeID
	err  error
}

func (e *lostNode) Error() string { return fmt.Sprintf("node %v: %v", e.node, e.err) }
func (e *lostNode) Unwrap() error { return e.err }

func nodeTarget(op string, n object.NodeID) rpc.Target {
	return rpc.Target{Subject: rpc.NodeSubject(service, op, n), Nodes: []object.NodeID{n}}
}

// askNodes calls f with nodes that cover the partitions that parts names (see
// need for one), with others in place of those that f lost, in the ring of a
// newer epoch when f met one, and admitted anew when f met a node that wants
// that, until f succeeds, fails otherwise, or time is up.
func (c *Client) askNodes(ctx context.Context, parts func(*placement) []layout.Partition,
	one bool, a *admitted, f func(context.Context, *placement, []object.NodeID) error,
) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, operationTimeout)
		defer cancel()
	}
	lost := map[object.NodeID]bool{}
	var last error
	for {
		if err := ctx.Err(); err != nil {
			if last == nil {
				last = err
			}
			return fault.Wrap(fault.KindOf(err), last, "the metadata nodes did not answer in time")
		}
		p := c.place()
		if len(p.slots) == 0 {
			last = fault.New(fault.Unavailable, "no layout is known yet")
			c.awaitRing(ctx, p.epoch()+1)
			continue
		}
		nodes, err := c.covering(p, parts(p), lost, one)
		if err != nil {
			if k := fault.KindOf(last); last != nil && failure(last) == register.Refusing {
				return fault.Wrap(k, last, "too few metadata nodes are willing")
			}
			if last == nil {
				last = err
			}
			clear(lost)
			sleep(ctx, coverPause)
			continue
		}
		err = f(ctx, p, nodes)
		var old *oldRing
		var gone *lostNode
		var behind *behindNode
		switch {
		case errors.As(err, &behind):
			last = err
			a.behind(behind.revision)
			if err := a.renew(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		case errors.As(err, &old):
			c.awaitRing(ctx, old.epoch)
		case errors.As(err, &gone) && ctx.Err() == nil:
			last = gone.err
			c.shun(gone.node)
			lost[gone.node] = true
		case ctx.Err() != nil:
			last = err
		default:
			return err
		}
	}
}

func (c *Client) awaitRing(ctx context.Context, epoch uint64) {
	ctx, cancel := context.WithTimeout(ctx, c.timing.Layout)
	defer cancel()
	c.rings.Await(ctx, epoch)
}

// covering chooses whom to ask about parts, without the lost, and without the
// shunned if that is possible.
func (c *Client) covering(p *placement, parts []layout.Partition, lost map[object.NodeID]bool, one bool) ([]object.NodeID, error) {
	down := c.down()
	if len(down) == 0 && len(lost) == 0 && len(parts) == len(p.slots) {
		return p.cover[index(one)]()
	}
	for n := range lost {
		down[n] = true
	}
	if nodes, err := coverFor(p.ring, parts, p.near, down, one); err == nil {
		return nodes, nil
	}
	return coverFor(p.ring, parts, p.near, lost, one)
}

// all is every partition of the ring.
func (p *placement) all() []layout.Partition {
	parts := make([]layout.Partition, len(p.slots))
	for i := range parts {
		parts[i] = layout.Partition(i)
	}
	return parts
}

// index picks the choice for listings of one replica, or of a quorum.
func index(one bool) int {
	if one {
		return 1
	}
	return 0
}

// need is how many members of the i-th set of a partition are asked: a
// majority of each or, for a listing that may be old, one of the first, which
// no change is still filling.
func need(i int, set layout.ReplicaSet, one bool) int {
	switch {
	case !one:
		return set.Majority()
	case i == 0:
		return 1
	default:
		return 0
	}
}

// cover chooses few nodes, without those that are down, that hold a majority
// of each replica set of each of parts. Those that are near come first
// if they help.
func cover(ring *layout.Ring, parts []layout.Partition, near, down map[object.NodeID]bool) ([]object.NodeID, error) {
	return coverFor(ring, parts, near, down, false)
}

// coverFor is cover with as many members of each of parts as need says.
func coverFor(ring *layout.Ring, parts []layout.Partition, near, down map[object.NodeID]bool, one bool) ([]object.NodeID, error) {
	var sets []layout.ReplicaSet
	var missing []int
	for _, part := range parts {
		for i, set := range ring.Sets(part) {
			sets = append(sets, set)
			missing = append(missing, need(i, set, one))
		}
	}
	var chosen []object.NodeID
	for {
		gain := map[object.NodeID]int{}
		lacks := false
		for i, set := range sets {
			if missing[i] == 0 {
				continue
			}
			lacks = true
			for _, n := range set {
				gain[n]++
			}
		}
		if !lacks {
			return chosen, nil
		}
		for _, n := range chosen {
			delete(gain, n)
		}
		best, most := object.NodeID{}, 0
		for _, n := range ring.Nodes { // in a fixed order
			g := gain[n]
			if near[n] && g > 0 {
				g += len(sets)
			}
			if !down[n] && g > most {
				best, most = n, g
			}
		}
		if most == 0 {
			return nil, fault.New(fault.Unavailable, "too few metadata nodes are there to cover every partition")
		}
		chosen = append(chosen, best)
		for i, set := range sets {
			if missing[i] > 0 && set.Has(best) {
				missing[i]--
			}
		}
	}
}
