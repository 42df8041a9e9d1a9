package rpctest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// Run checks that the pairs which open makes keep rpc's contract. open passes
// o's bounds on to the servers.
func Run(t *testing.T, open func(t *testing.T, o rpc.Options) Pair) {
	for _, c := range []struct {
		name string
		o    rpc.Options
		run  func(t *testing.T, p Pair)
	}{
		{"CallReturnsTheAnswer", rpc.Options{}, callReturnsTheAnswer},
		{"CallKeepsTheKindOfErrors", rpc.Options{}, callKeepsTheKindOfErrors},
		{"CallOfAnyNode", rpc.Options{}, callOfAnyNode},
		{"CallWithoutListener", rpc.Options{}, callWithoutListener},
		{"CallTimesOut", rpc.Options{}, callTimesOut},
		{"CallIsCanceled", rpc.Options{}, callIsCanceled},
		{"CallOfOverCtxSendsNothing", rpc.Options{}, callOfOverCtxSendsNothing},
		{"GatherCollectsAll", rpc.Options{}, gatherCollectsAll},
		{"GatherStopsWhenDone", rpc.Options{}, gatherStopsWhenDone},
		{"GatherDropsStrangers", rpc.Options{}, gatherDropsStrangers},
		{"GatherReportsSilence", rpc.Options{}, gatherReportsSilence},
		{"GatherNobody", rpc.Options{}, gatherNobody},
		{"HandlerDeadline", rpc.Options{}, handlerDeadline},
		{"HandlerPanics", rpc.Options{}, handlerPanics},
		{"Large", rpc.Options{}, large},
		{"TooLarge", rpc.Options{}, tooLarge},
		{"Concurrent", rpc.Options{}, concurrent},
		{"Overloaded", rpc.Options{Workers: 1, Queue: 1}, overloaded},
		{"ExpiredInQueue", rpc.Options{Workers: 1, Queue: 8}, expiredInQueue},
		{"Publish", rpc.Options{}, publish},
		{"Stop", rpc.Options{}, stop},
		{"SubjectsAreChecked", rpc.Options{}, subjectsAreChecked},
		{"RequestBytesAreTheCallersAgain", rpc.Options{}, requestBytesAreTheCallersAgain},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t, c.o)) })
	}
}

const subject = "hangar.test.p.op.7"

func all(p Pair) rpc.Target { return rpc.Target{Subject: subject, Nodes: p.Nodes} }

// one is a target of the first server alone.
func one(p Pair) rpc.Target {
	return rpc.Target{Subject: rpc.NodeSubject("test", "op", p.Nodes[0]), Nodes: p.Nodes[:1]}
}

func serve(t *testing.T, s rpc.Server, subject string, h rpc.Handler) (stop func()) {
	t.Helper()
	stop, err := s.Handle(subject, h)
	if err != nil {
		t.Fatal(err)
	}
	return stop
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// echo answers with what it got, and the number of the server in front.
func echo(i int) rpc.Handler {
	return func(_ context.Context, m rpc.Message) (rpc.Message, error) {
		return rpc.Message{Head: append([]byte{byte('0' + i)}, m.Head...), Payload: bytes.Clone(m.Payload)}, nil
	}
}

func wantKind(t *testing.T, err error, k fault.Kind) {
	t.Helper()
	if !fault.Is(err, k) {
		t.Errorf("got error %v, want kind %v", err, k)
	}
}

func callReturnsTheAnswer(t *testing.T, p Pair) {
	serve(t, p.Servers[0], one(p).Subject, echo(0))
	for _, m := range []rpc.Message{
		{Head: []byte("head"), Payload: []byte("payload")},
		{Head: []byte("head")},
		{Payload: []byte("payload")},
		{},
	} {
		got, err := p.Client.Call(within(t, 5*time.Second), one(p), m)
		if err != nil || string(got.Head) != "0"+string(m.Head) || !bytes.Equal(got.Payload, m.Payload) {
			t.Errorf("sent %+v, got %+v, %v", m, got, err)
		}
	}
	// Without a deadline in ctx there is one all the same.
	if _, err := p.Client.Call(t.Context(), one(p), rpc.Message{}); err != nil {
		t.Error(err)
	}
}

func callKeepsTheKindOfErrors(t *testing.T, p Pair) {
	var answer error
	serve(t, p.Servers[0], one(p).Subject, func(context.Context, rpc.Message) (rpc.Message, error) {
		return rpc.Message{Head: []byte("ignored")}, answer
	})
	cause := errors.New("the cause")
	for _, c := range []struct {
		err  error
		kind fault.Kind
		text string
	}{
		{fault.New(fault.NotFound, "no %s", "thing"), fault.NotFound, "not found: no thing"},
		{fault.Wrap(fault.StorageFull, cause, "disk 1"), fault.StorageFull, "storage full: disk 1: the cause"},
		{fmt.Errorf("outer: %w", fault.New(fault.OldEpoch, "3")), fault.OldEpoch, "old epoch: 3"},
		{cause, fault.Internal, "internal: the cause"},
		// A handler stopped by its deadline may have done its work.
		{context.DeadlineExceeded, fault.Indeterminate, "indeterminate: context deadline exceeded"},
		{context.Canceled, fault.Indeterminate, "indeterminate: context canceled"},
	} {
		answer = c.err
		m, err := p.Client.Call(within(t, 5*time.Second), one(p), rpc.Message{})
		wantKind(t, err, c.kind)
		var f *fault.Error
		if !errors.As(err, &f) || err.Error() != c.text || m.Head != nil {
			t.Errorf("%v arrived as %v with %q", c.err, err, m.Head)
		}
	}
}

func callOfAnyNode(t *testing.T, p Pair) {
	any := rpc.AnySubject("test", "op")
	for i, s := range p.Servers {
		if _, err := s.HandleQueue(any, echo(i)); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for range 200 {
		m, err := p.Client.Call(within(t, 5*time.Second), rpc.Target{Subject: any}, rpc.Message{})
		if err != nil {
			t.Fatal(err)
		}
		seen[string(m.Head)] = true
	}
	if len(seen) != len(p.Servers) {
		t.Errorf("only servers %v were asked", seen)
	}
}

func callWithoutListener(t *testing.T, p Pair) {
	began := time.Now()
	_, err := p.Client.Call(within(t, 20*time.Second), one(p), rpc.Message{})
	wantKind(t, err, fault.Unavailable)
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("took %v to find that nobody listens", d)
	}
}

func callTimesOut(t *testing.T, p Pair) {
	serve(t, p.Servers[0], one(p).Subject, func(ctx context.Context, _ rpc.Message) (rpc.Message, error) {
		<-ctx.Done()
		return rpc.Message{}, ctx.Err()
	})
	_, err := p.Client.Call(within(t, 50*time.Millisecond), one(p), rpc.Message{})
	wantKind(t, err, fault.Indeterminate)
}

func callIsCanceled(t *testing.T, p Pair) {
	started := make(chan struct{})
	release := make(chan struct{})
	serve(t, p.Servers[0], one(p).Subject, func(ctx context.Context, _ rpc.Message) (rpc.Message, error) {
		close(started)
		select {
		case <-ctx.Done():
		case <-release:
		}
		return rpc.Message{}, nil
	})
	defer close(release)
	ctx, cancel := context.WithCancel(within(t, 20*time.Second))
	go func() {
		<-started
		cancel()
	}()
	_, err := p.Client.Call(ctx, one(p), rpc.Message{})
	wantKind(t, err, fault.Indeterminate)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not say that it was canceled", err)
	}
}

func callOfOverCtxSendsNothing(t *testing.T, p Pair) {
	var calls atomic.Int32
	serve(t, p.Servers[0], one(p).Subject, func(context.Context, rpc.Message) (rpc.Message, error) {
		calls.Add(1)
		return rpc.Message{}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Client.Call(ctx, one(p), rpc.Message{})
	wantKind(t, err, fault.Canceled)
	err = p.Client.Gather(ctx, one(p), rpc.Message{}, func(rpc.Answer) bool { return true })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("gather: %v", err)
	}
	// A later request arrives after an earlier one.
	if _, err := p.Client.Call(within(t, 5*time.Second), one(p), rpc.Message{}); err != nil {
		t.Fatal(err)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("handler ran %d times", n)
	}
}

func gatherCollectsAll(t *testing.T, p Pair) {
	for i, s := range p.Servers {
		serve(t, s, subject, func(ctx context.Context, m rpc.Message) (rpc.Message, error) {
			if i == 1 {
				return rpc.Message{}, fault.New(fault.Corrupt, "sector")
			}
			return echo(i)(ctx, m)
		})
	}
	heads := map[object.NodeID]string{}
	err := p.Client.Gather(within(t, 5*time.Second), all(p), rpc.Message{Head: []byte("x")}, func(a rpc.Answer) bool {
		if a.Err != nil {
			wantKind(t, a.Err, fault.Corrupt)
		}
		heads[a.From] = string(a.Head)
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"0x", "", "2x"} {
		if got, ok := heads[p.Nodes[i]]; !ok || got != want {
			t.Errorf("node %d: %q, %v", i, got, ok)
		}
	}
}

func gatherStopsWhenDone(t *testing.T, p Pair) {
	for i, s := range p.Servers {
		serve(t, s, subject, echo(i))
	}
	calls := 0
	err := p.Client.Gather(within(t, 5*time.Second), all(p), rpc.Message{}, func(rpc.Answer) bool {
		calls++
		return calls == 2
	})
	if err != nil || calls != 2 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func gatherDropsStrangers(t *testing.T, p Pair) {
	for i, s := range p.Servers {
		serve(t, s, subject, echo(i))
	}
	two := rpc.Target{Subject: subject, Nodes: p.Nodes[1:]}
	var from []object.NodeID
	err := p.Client.Gather(within(t, 5*time.Second), two, rpc.Message{}, func(a rpc.Answer) bool {
		from = append(from, a.From)
		return false
	})
	if err != nil || len(from) != 2 || slices.Contains(from, p.Nodes[0]) {
		t.Errorf("answers from %v, %v", from, err)
	}
}

// gatherReportsSilence: one node answers, two exist and do not.
func gatherReportsSilence(t *testing.T, p Pair) {
	serve(t, p.Servers[0], subject, echo(0))
	answers := 0
	err := p.Client.Gather(within(t, 100*time.Millisecond), all(p), rpc.Message{}, func(rpc.Answer) bool {
		answers++
		return false
	})
	if !errors.Is(err, context.DeadlineExceeded) || answers != 1 {
		t.Errorf("%d answers, %v", answers, err)
	}
}

func gatherNobody(t *testing.T, p Pair) {
	answers := 0
	err := p.Client.Gather(within(t, 20*time.Second), all(p), rpc.Message{}, func(a rpc.Answer) bool {
		wantKind(t, a.Err, fault.Unavailable)
		answers++
		return false
	})
	if err != nil || answers != 3 {
		t.Errorf("%d answers, %v", answers, err)
	}
	err = p.Client.Gather(t.Context(), rpc.Target{Subject: subject}, rpc.Message{}, func(rpc.Answer) bool { return true })
	wantKind(t, err, fault.Unavailable)
}
