package table_test

import (
	"context"
	"fmt"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/register"
)

func TestPeer(t *testing.T) {
	metatest.RunPeer(t, func(t *testing.T) metatest.PeerReplica { return fresh(t) })
}

// TestPeerEpochs: nothing is told or forgotten in an epoch that is not the
// node's, and none is adopted by being asked.
func TestPeerEpochs(t *testing.T) {
	n := fresh(t)
	ctx := context.Background()
	n.apply(t, objectKey("a"), tag(1), nil)
	if err := n.Adopt(ctx, 5); err != nil {
		t.Fatal(err)
	}
	ask := func(epoch uint64) (old bool, err error) {
		t.Helper()
		d, err1 := n.Digests(ctx, metaapi.DigestsRequest{Epoch: epoch, Partitions: []layout.Partition{0}})
		s, err2 := n.States(ctx, metaapi.StatesRequest{Epoch: epoch, Keys: []metaapi.RowKey{objectKey("a")}})
		f, err3 := n.Forget(ctx, metaapi.ForgetRequest{Epoch: epoch, Rows: []metaapi.ForgetRow{{Key: objectKey("a"), Tag: tag(1), Low: tag(1)}}})
		if d.Old != s.Old || d.Old != f.Old || fault.KindOf(err1) != fault.KindOf(err2) || fault.KindOf(err1) != fault.KindOf(err3) {
			t.Errorf("epoch %d: %+v, %v; %+v, %v; %+v, %v", epoch, d, err1, s, err2, f, err3)
		}
		return d.Old, err1
	}
	if old, err := ask(4); err != nil || !old {
		t.Errorf("in an old epoch: %v, %v", old, err)
	}
	if _, err := ask(6); !fault.Is(err, fault.Unavailable) || n.Epoch() != 5 {
		t.Errorf("in an epoch to come: %v; at epoch %d", err, n.Epoch())
	}
	if r := n.handle(t, objectKey("a"), register.Request{Kind: register.Read, Epoch: 5}); r.Row.Tag != tag(1) {
		t.Errorf("the row is gone: %+v", r)
	}
	if old, err := ask(5); err != nil || old {
		t.Errorf("in the epoch: %v, %v", old, err)
	}
	n.verify(t)
}

// TestDigests: partitions are the sums of their slices, follow the rows and
// their tags, and are the same where these are.
func TestDigests(t *testing.T) {
	a, b := fresh(t), fresh(t)
	digests := func(n *node) (whole, sum metaapi.Digest) {
		t.Helper()
		var q metaapi.DigestsRequest
		for p := range layout.Partition(1 << bits) {
			q.Partitions = append(q.Partitions, p)
			q.Slices.AddPartition(p, bits)
		}
		r, err := n.Digests(context.Background(), q)
		if err != nil || len(r.Partitions) != 1<<bits || len(r.Slices) != 1<<metaapi.SliceBits {
			t.Fatalf("%d and %d digests, %v", len(r.Partitions), len(r.Slices), err)
		}
		for i, d := range r.Partitions {
			whole = whole.Plus(d)
			for _, s := range r.Slices[i<<(metaapi.SliceBits-bits) : (i+1)<<(metaapi.SliceBits-bits)] {
				d = d.Minus(s)
			}
			if d != (metaapi.Digest{}) {
				t.Fatalf("partition %d is not the sum of its slices", i)
			}
		}
		for _, s := range r.Slices {
			sum = sum.Plus(s)
		}
		return whole, sum
	}
	for i := range 100 {
		a.apply(t, objectKey(fmt.Sprint(i)), tag(int64(i+1)), value("h", ""))
		b.apply(t, objectKey(fmt.Sprint(99-i)), tag(int64(100-i)), value("h", ""))
	}
	x, _ := digests(a)
	if y, _ := digests(b); x != y || x.Rows != 100 {
		t.Errorf("the same rows: %+v and %+v", x, y)
	}
	b.apply(t, objectKey("5"), tag(500), nil)
	if y, _ := digests(b); x == y || y.Rows != 100 {
		t.Errorf("another tag: %+v and %+v", x, y)
	}
}
