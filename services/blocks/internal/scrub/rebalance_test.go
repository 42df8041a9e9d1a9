package scrub

import (
	"testing"

	"hangar/services/blocks/internal/store"
)

func TestRebalanceCursors(t *testing.T) {
	r := store.Rebalanced{Segment: 3<<48 + 7, At: 1 << 30, MovedBytes: 1 << 50}
	if got := decodeRebalanced(encodeRebalanced(r)); got != r {
		t.Errorf("%+v", got)
	}
	for _, b := range [][]byte{nil, {1}, append([]byte{2}, encodeRebalanced(r)[1:]...), append(encodeRebalanced(r), 0)} {
		if got := decodeRebalanced(b); got != (store.Rebalanced{}) {
			t.Errorf("%x: %+v", b, got)
		}
	}
}
