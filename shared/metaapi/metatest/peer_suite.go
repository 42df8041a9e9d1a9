package metatest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/register"
)

// PeerReplica is a node as coordinators and as its peers see it.
type PeerReplica interface {
	metaapi.Replica
	metaapi.Peer
}

// RunPeer is the conformance suite of metaapi.Peer. fresh returns an empty node
// that holds every partition of a cluster with the default number of them.
func RunPeer(t *testing.T, fresh func(t *testing.T) PeerReplica) {
	t.Run("Digests", func(t *testing.T) { testDigests(t, fresh(t), fresh(t)) })
	t.Run("States", func(t *testing.T) { testStates(t, fresh(t)) })
	t.Run("Forget", func(t *testing.T) { testPeerForget(t, fresh(t)) })
	t.Run("Epochs", func(t *testing.T) { testPeerEpochs(t, fresh(t)) })
	t.Run("Bounds", func(t *testing.T) { testPeerBounds(t, fresh(t)) })
}

// digests are those of all partitions and of all slices.
func digests(t *testing.T, r metaapi.Peer) (parts, all []metaapi.Digest) {
	t.Helper()
	q := metaapi.DigestsRequest{Epoch: 1}
	for p := range layout.Partition(1 << layout.DefaultBits) {
		q.Partitions = append(q.Partitions, p)
		q.Slices.AddPartition(p, layout.DefaultBits)
	}
	reply, err := r.Digests(context.Background(), q)
	if err != nil || reply.Old || len(reply.Partitions) != len(q.Partitions) || len(reply.Slices) != 1<<metaapi.SliceBits {
		t.Fatalf("%d and %d digests: %v", len(reply.Partitions), len(reply.Slices), err)
	}
	return reply.Partitions, reply.Slices
}

func testDigests(t *testing.T, a, b PeerReplica) {
	for i := range 50 {
		apply(t, a, objectKey(fmt.Sprint(i)), int64(i+1), value("a", ""))
		apply(t, b, objectKey(fmt.Sprint(49-i)), int64(50-i), value("b", "whatever the value"))
	}
	handle(t, b, objectKey("only promised"), register.Request{Kind: register.Prepare, Ballot: tag(100)})
	parts, all := digests(t, a)
	rows := uint64(0)
	for p, d := range parts {
		rows += d.Rows
		run := len(all) / len(parts)
		for _, s := range all[p*run : (p+1)*run] {
			d = d.Minus(s)
		}
		if d != (metaapi.Digest{}) {
			t.Fatalf("partition %d is not the sum of its slices", p)
		}
	}
	others, _ := digests(t, b)
	if rows != 50 || !slices.Equal(parts, others) {
		t.Fatalf("%d rows, or nodes with the same tags differ", rows)
	}
	apply(t, b, objectKey("7"), 60, nil)
	if others, _ = digests(t, b); slices.Equal(parts, others) {
		t.Fatal("a newer tag makes no difference")
	}
	k := objectKey("7")
	apply(t, a, k, 60, nil)
	for _, r := range []PeerReplica{a, b} {
		forget(t, r, metaapi.ForgetRow{Key: k, Tag: tag(60), Low: tag(60)}, true)
	}
	parts, _ = digests(t, a)
	if others, _ = digests(t, b); !slices.Equal(parts, others) {
		t.Fatal("a forgotten row counts")
	}
}

func states(t *testing.T, r metaapi.Peer, keys ...metaapi.RowKey) []metaapi.RowState {
	t.Helper()
	reply, err := r.States(context.Background(), metaapi.StatesRequest{Epoch: 1, Keys: keys})
	if err != nil || reply.Old || len(reply.Rows) != len(keys) {
		t.Fatalf("%+v, %v", reply, err)
	}
	return reply.Rows
}

func testStates(t *testing.T, r PeerReplica) {
	live, dead, promised, both := objectKey("live"), objectKey("dead"), objectKey("promised"), objectKey("both")
	apply(t, r, live, 1, value("h", ""))
	apply(t, r, dead, 2, nil)
	apply(t, r, both, 3, value("h", ""))
	for _, k := range []metaapi.RowKey{promised, both} {
		handle(t, r, k, register.Request{Kind: register.Prepare, Ballot: tag(9)})
	}
	want := []metaapi.RowState{
		{Tag: tag(3), Promised: tag(9), Live: true}, {}, {Tag: tag(2)}, {Tag: tag(1), Live: true}, {Promised: tag(9)}, {Tag: tag(2)},
	}
	if got := states(t, r, both, objectKey("never"), dead, live, promised, dead); !slices.Equal(got, want) {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	if got := states(t, r); len(got) != 0 {
		t.Fatalf("of no rows: %+v", got)
	}
}

func forget(t *testing.T, r metaapi.Peer, row metaapi.ForgetRow, done bool) {
	t.Helper()
	reply, err := r.Forget(context.Background(), metaapi.ForgetRequest{Epoch: 1, Rows: []metaapi.ForgetRow{row}})
	if err != nil || reply.Old || len(reply.Done) != 1 || reply.Done[0] != done {
		t.Fatalf("forgetting %+v: %+v, %v", row, reply, err)
	}
}

func testPeerForget(t *testing.T, r PeerReplica) {
	k := objectKey("k")
	apply(t, r, k, 10, value("h", "body"))
	forget(t, r, metaapi.ForgetRow{Key: k, Tag: tag(10), Low: tag(90)}, false) // live
	apply(t, r, k, 20, nil)
	forget(t, r, metaapi.ForgetRow{Key: k, Tag: tag(19), Low: tag(90)}, false) // written since
	forget(t, r, metaapi.ForgetRow{Key: k, Low: tag(90)}, false)               // thought never written
	handle(t, r, k, register.Request{Kind: register.Prepare, Ballot: tag(30)})
	forget(t, r, metaapi.ForgetRow{Key: k, Tag: tag(20), Low: tag(29)}, false) // promised since
	if got := states(t, r, k); got[0] != (metaapi.RowState{Tag: tag(20), Promised: tag(30)}) {
		t.Fatalf("%+v after Forgets that were refused", got)
	}
	forget(t, r, metaapi.ForgetRow{Key: k, Tag: tag(20), Low: tag(40)}, true)
	forget(t, r, metaapi.ForgetRow{Key: k, Tag: tag(20), Low: tag(40)}, true) // gone
	if got := states(t, r, k); got[0] != (metaapi.RowState{}) {
		t.Fatalf("%+v after a Forget", got)
	}
	wantCode(t, apply(t, r, k, 39, value("late", "")), register.Refused)
	wantCode(t, handle(t, r, k, register.Request{Kind: register.Prepare, Ballot: tag(39)}), register.Refused)
	late := handle(t, r, k, register.Request{Kind: register.Prepare, Ballot: tag(50), AskOp: tag(10)})
	if !late.Seen {
		t.Fatalf("an operation that may be of the forgotten row counts as never seen: %+v", late)
	}
	forget(t, r, metaapi.ForgetRow{Key: k, Low: tag(49)}, false) // only promised, and more
	forget(t, r, metaapi.ForgetRow{Key: k, Low: tag(50)}, true)
	wantCode(t, apply(t, r, k, 49, value("below the promise", "")), register.Refused)
	wantCode(t, apply(t, r, k, 60, value("again", "")), register.Done)
	forget(t, r, metaapi.ForgetRow{Key: k, Tag: tag(20), Low: tag(40)}, false) // a late message
	if got := states(t, r, k); got[0] != (metaapi.RowState{Tag: tag(60), Live: true}) {
		t.Fatalf("%+v after a late Forget", got)
	}
}

func testPeerEpochs(t *testing.T, r PeerReplica) {
	ctx, k := context.Background(), objectKey("k")
	apply(t, r, k, 1, nil)
	ask := func(epoch uint64) (old [3]bool, errs [3]error) {
		d, err := r.Digests(ctx, metaapi.DigestsRequest{Epoch: epoch, Partitions: []layout.Partition{0}})
		old[0], errs[0] = d.Old, err
		s, err := r.States(ctx, metaapi.StatesRequest{Epoch: epoch, Keys: []metaapi.RowKey{k}})
		old[1], errs[1] = s.Old, err
		f, err := r.Forget(ctx, metaapi.ForgetRequest{Epoch: epoch, Rows: []metaapi.ForgetRow{{Key: k, Tag: tag(1), Low: tag(1)}}})
		old[2], errs[2] = f.Old, err
		return old, errs
	}
	if _, errs := ask(2); !fault.Is(errs[0], fault.Unavailable) || !fault.Is(errs[1], fault.Unavailable) || !fault.Is(errs[2], fault.Unavailable) {
		t.Fatalf("in an epoch to come: %v", errs)
	}
	wantCode(t, handle(t, r, k, register.Request{Kind: register.Read, Epoch: 1}), register.Held) // not adopted
	handle(t, r, k, register.Request{Kind: register.Read, Epoch: 2})
	if old, errs := ask(1); old != [3]bool{true, true, true} || errs != [3]error{} {
		t.Fatalf("in an old epoch: %v, %v", old, errs)
	}
	if got := handle(t, r, k, register.Request{Kind: register.Read, Epoch: 2}); got.Row.Tag != tag(1) {
		t.Fatalf("the row is %+v", got.Row)
	}
	if old, errs := ask(2); old != [3]bool{} || errs != [3]error{} {
		t.Fatalf("in the epoch: %v, %v", old, errs)
	}
}

func testPeerBounds(t *testing.T, r PeerReplica) {
	ctx := context.Background()
	apply(t, r, objectKey("k"), 1, nil)
	many := slices.Repeat([]metaapi.RowKey{objectKey("k")}, metaapi.MaxPeerRows+1)
	states(t, r, many[1:]...)
	if _, err := r.States(ctx, metaapi.StatesRequest{Epoch: 1, Keys: many}); !fault.Is(err, fault.Invalid) {
		t.Errorf("states of %d rows: %v", len(many), err)
	}
	rows := slices.Repeat([]metaapi.ForgetRow{{Key: objectKey("k"), Tag: tag(1), Low: tag(1)}}, len(many))
	if _, err := r.Forget(ctx, metaapi.ForgetRequest{Epoch: 1, Rows: rows}); !fault.Is(err, fault.Invalid) {
		t.Errorf("forgetting %d rows: %v", len(rows), err)
	}
	q := metaapi.DigestsRequest{Epoch: 1, Partitions: []layout.Partition{1 << layout.DefaultBits}}
	if _, err := r.Digests(ctx, q); !fault.Is(err, fault.Invalid) {
		t.Errorf("a partition that there is not: %v", err)
	}
}
