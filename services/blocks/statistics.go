package blocks

import (
	"context"

	"hangar/shared/nodeapi"
	"hangar/shared/object"
)

// Statistics implements nodeapi.Counter.
func (o *operator) Statistics(context.Context) (all nodeapi.Statistics, err error) {
	if err := o.gate.enter(); err != nil {
		return all, err
	}
	defer o.gate.leave()
	now, err := o.store.Usage()
	if err != nil {
		return all, err
	}
	failures, err := o.store.Failing(object.Hash{}, mostFailures)
	if err != nil {
		return all, err
	}
	all.Blocks = &nodeapi.BlockStatistics{
		Blocks: now.Blocks, LiveBytes: now.LiveBytes, DeadBytes: now.DeadBytes, Segments: int64(now.Segments), UnverifiedOwners: now.Queued,
		Wanted: o.store.Wanted(), Failing: int64(len(failures)), FailingMore: len(failures) == mostFailures,
		Comparing: nodeapi.Comparing{
			Rounds: o.repair.comparer.Rounds.Load(), Differing: o.repair.comparer.Found.Load(), Repaired: o.store.Counters().Repaired.Load(),
		},
	}
	return all, nil
}
