package metaapi

import (
	"context"
	"sync"

	"hangar/shared/object"
	"hangar/shared/rpc"
)

// Counters implements Rows: of each partition, the most that some members say
// which are a majority.
func (c *Client) Counters(ctx context.Context, t Table, b object.BucketID) (sum Counters, err error) {
	m, err := encodeCountersRequest(t, b)
	if err != nil {
		return sum, err
	}
	err = c.askNodes(ctx, (*placement).all, c.readOne(), &admitted{}, func(ctx context.Context, p *placement, nodes []object.NodeID) error {
		found, err := c.askCounters(ctx, nodes, m)
		if err == nil {
			sum = p.addUp(nodes, found)
		}
		return err
	})
	return sum, err
}

// askCounters asks some nodes at once.
func (c *Client) askCounters(ctx context.Context, nodes []object.NodeID, m rpc.Message) ([]PartitionCounters, error) {
	found := make([]PartitionCounters, len(nodes))
	errs := make([]error, len(nodes))
	var asking sync.WaitGroup
	for i, n := range nodes {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, c.nodeTimeout())
			defer cancel()
			answer, err := c.caller.Call(ctx, nodeTarget(opCounters, n), m)
			if err == nil {
				found[i], err = decodeCounters(answer)
			}
			if err != nil {
				errs[i] = &lostNode{n, err}
			}
		})
	}
	asking.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// addUp counts each partition once, as that of its old members has it which has
// the most. Members that were heard are a majority, so a write that was
// acknowledged is known to one of them; what one has not yet heard of is a delete
// as often as a write, and a limit must not be passed for it.
func (p *placement) addUp(nodes []object.NodeID, found []PartitionCounters) (sum Counters) {
	most := make([]Counters, len(p.slots))
	for i, n := range nodes {
		for _, pc := range found[i] {
			if int(pc.Partition) < len(most) && p.ring.Sets(pc.Partition)[0].Has(n) {
				m := &most[pc.Partition]
				m.Count, m.Bytes = max(m.Count, pc.Count), max(m.Bytes, pc.Bytes)
			}
		}
	}
	for _, m := range most {
		sum.Count += m.Count
		sum.Bytes += m.Bytes
	}
	return sum
}
