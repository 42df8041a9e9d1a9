package scrub

import (
	"context"
	"encoding/binary"
	"fmt"

	"hangar/services/blocks/internal/store"
	"hangar/shared/nodeapi"
	"hangar/shared/segment"
	"hangar/shared/work"
)

// rebalance moves some of what data directories have beyond their share to those
// that have less.
func (t *Tasks) rebalance(ctx context.Context, cursor []byte) (work.Step, error) {
	r, err := t.store.Rebalance(ctx, decodeRebalanced(cursor))
	if err != nil {
		return work.Step{}, err
	}
	progress := "100 %"
	if !r.Done {
		progress = fmt.Sprintf("%.1f %%", 100*float64(r.MovedBytes)/float64(max(r.MovedBytes+r.LeftBytes, 1)))
	}
	return work.Step{Cursor: encodeRebalanced(r), Progress: progress, Done: r.Done}, nil
}

func (t *Tasks) rebalanceNotes() []string {
	r := decodeRebalanced(t.tasks[nodeapi.RepairRebalance].Cursor())
	return []string{fmt.Sprintf("this run or the last: %d MiB moved", r.MovedBytes>>20)}
}

const rebalancedBytes = 1 + 3*8

func encodeRebalanced(r store.Rebalanced) []byte {
	b := append(make([]byte, 0, rebalancedBytes), cursorFormat)
	for _, n := range []uint64{uint64(r.Segment), uint64(r.At), uint64(r.MovedBytes)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// decodeRebalanced takes what it cannot read for a beginning.
func decodeRebalanced(b []byte) (r store.Rebalanced) {
	if len(b) != rebalancedBytes || b[0] != cursorFormat {
		return r
	}
	r.Segment = segment.ID(binary.BigEndian.Uint64(b[1:]))
	r.At = int64(binary.BigEndian.Uint64(b[9:]))
	r.MovedBytes = int64(binary.BigEndian.Uint64(b[17:]))
	return r
}
