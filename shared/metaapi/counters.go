package metaapi

import (
	"context"
	"sync"

	"hangar/shared/object"
	"hangar/shared/rpc"
)

// Counters implements Rows: of each partition, what one of its members says.
func (c *Client) Counters(ctx context.Context, t Table, b object.BucketID) (sum Counters, err error) {
	m, err := encodeCountersRequest(t, b)
	if err != nil {
		return sum, err
	}
	err = c.askNodes(ctx, (*placement).all, c.readOne(), func(ctx context.Context, p *placement, nodes []object.NodeID) error {
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

// addUp counts each partition once, as one of its old members has it.
func (p *placement) addUp(nodes []object.NodeID, found []PartitionCounters) (sum Counters) {
	by := make([]int, len(p.slots)) // 1 + the index of the node that is heard
	for i, n := range nodes {
		for _, pc := range found[i] {
			if int(pc.Partition) >= len(by) || by[pc.Partition] != 0 || !p.ring.Sets(pc.Partition)[0].Has(n) {
				continue
			}
			by[pc.Partition] = i + 1
			sum.Count += pc.Count
			sum.Bytes += pc.Bytes
		}
	}
	return sum
}
