package ops

import (
	"context"
	"sync"

	"hangar/shared/control"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

// Statistics sum the cluster up.
type Statistics struct {
	Buckets int
	// Objects of all buckets; nil when they could not be counted in time.
	Objects *metaapi.Counters
	// DataAvailable and MetaAvailable are how many bytes more can be written
	// before some node is full; nil when that of no node is known.
	DataAvailable, MetaAvailable *int64
	// Incomplete says that the room of some nodes is not known.
	Incomplete bool
}

// countAtOnce bounds how many buckets are counted at the same time.
const countAtOnce = 16

// Statistics looks at all buckets and nodes, until ctx ends.
func (o *Ops) Statistics(ctx context.Context) Statistics {
	v := o.View()
	s := Statistics{Buckets: len(v.Buckets())}
	if sum, err := o.countAll(ctx, v.Buckets()); err == nil {
		s.Objects = &sum
	} else {
		o.log.WarnContext(ctx, "counting all buckets", "error", err)
	}
	if v.Layout == nil {
		return s
	}
	free := map[object.NodeID]int64{}
	for _, n := range o.fleet.Nodes() {
		if n.Up && n.TotalBytes > 0 {
			free[n.ID] = n.AvailableBytes
		}
	}
	s.DataAvailable = s.room(&v.Layout.Blocks, free)
	s.MetaAvailable = s.room(&v.Layout.Meta, free)
	return s
}

// room is how much fits into a ring: partitions fill evenly, so the node with
// the least room for each of its partitions decides.
func (s *Statistics) room(ring *layout.Ring, free map[object.NodeID]int64) (all *int64) {
	held, _ := PartitionUse(ring, nil)
	for n, partitions := range held {
		have, ok := free[n]
		if !ok {
			s.Incomplete = true
			continue
		}
		if fits := have / int64(max(partitions, 1)) * int64(len(ring.Assign)); all == nil || fits < *all {
			all = &fits
		}
	}
	return all
}

func (o *Ops) countAll(ctx context.Context, buckets []*control.Bucket) (sum metaapi.Counters, err error) {
	if err := o.needRows(); err != nil {
		return sum, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // guards sum
	var wg sync.WaitGroup
	places := make(chan struct{}, countAtOnce)
	for _, b := range buckets {
		if ctx.Err() != nil {
			break
		}
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			c, err := o.rows.Counters(ctx, metaapi.Objects, b.ID)
			if err != nil {
				cancel(err) // the first one counts
				return
			}
			mu.Lock()
			defer mu.Unlock()
			sum.Count += c.Count
			sum.Bytes += c.Bytes
		})
	}
	wg.Wait()
	return sum, context.Cause(ctx)
}
