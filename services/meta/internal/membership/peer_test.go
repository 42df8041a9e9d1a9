package membership_test

import (
	"testing"

	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
)

// TestPeer: a member of everything answers its peers like any other; requests of an epoch to come wait
// for its layout, and in vain.
func TestPeer(t *testing.T) {
	metatest.RunPeer(t, func(t *testing.T) metatest.PeerReplica { return &eager{start(t, t.TempDir())} })
}

// TestPeersAreToldOfWhatIsServed: nothing is told, or forgotten, of a partition
// that the node does not serve.
func TestPeersAreToldOfWhatIsServed(t *testing.T) {
	n := start(t, t.TempDir())
	l := &control.Layout{Meta: *metatest.EvenRing(1, 1, self, other)} // the even ones
	n.follow(t, l)
	served := map[bool]int{}
	for i := range 40 {
		k := key(i)
		p := layout.OfRow(k.Bucket, k.Key, bits)
		mine := p%2 == 0
		served[mine]++
		_, err1 := n.Digests(ctx, metaapi.DigestsRequest{Epoch: 1, Partitions: []layout.Partition{p}})
		_, err2 := n.States(ctx, metaapi.StatesRequest{Epoch: 1, Keys: []metaapi.RowKey{k}})
		_, err3 := n.Forget(ctx, metaapi.ForgetRequest{Epoch: 1, Rows: []metaapi.ForgetRow{{Key: k, Low: tag(5)}}})
		for _, err := range []error{err1, err2, err3} {
			if mine && err != nil || !mine && !fault.Is(err, fault.Unavailable) {
				t.Errorf("partition %d: %v", p, err)
			}
		}
		if low := n.table.Low(p); mine == low.IsZero() {
			t.Errorf("the low mark of partition %d is %v", p, low)
		}
	}
	if served[true] == 0 || served[false] == 0 {
		t.Fatalf("%v", served)
	}
	var both metaapi.Slices
	both.AddPartition(0, bits)
	both.AddPartition(1, bits)
	if _, err := n.Digests(ctx, metaapi.DigestsRequest{Epoch: 1, Slices: both}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("slices of which some are served: %v", err)
	}
}
