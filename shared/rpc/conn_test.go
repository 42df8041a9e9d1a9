package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"hangar/shared/fault"
	"hangar/shared/natsd"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNATS(t *testing.T) {
	s := rpctest.NATS(t)
	rpctest.Run(t, func(t *testing.T, o rpc.Options) rpctest.Pair {
		return rpctest.Connected(t, s, nil, o)
	})
}

func TestLane(t *testing.T) {
	s := rpctest.NATS(t)
	rpctest.Run(t, func(t *testing.T, o rpc.Options) rpctest.Pair {
		return rpctest.Connected(t, s, rpc.NewLane(), o)
	})
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, o rpc.Options) *rpc.Conn {
	t.Helper()
	o.Node = object.NewNodeID()
	c, err := rpc.Connect(within(t, 20*time.Second), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestServerRestart: a request that was waiting when the broker went away may
// have happened, one made meanwhile has not, one made later works.
func TestServerRestart(t *testing.T) {
	dir := t.TempDir()
	s, err := natsd.Start(natsd.Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	client, server := connect(t, rpc.Options{URL: u.String()}), connect(t, rpc.Options{URL: u.String()})
	again, never := make(chan struct{}, 10), make(chan struct{}, 10)
	defer server.OnReconnect(func() { again <- struct{}{} })()
	server.OnReconnect(func() { never <- struct{}{} })()
	to := rpc.Target{Subject: "hangar.test.n.op", Nodes: []object.NodeID{server.Node()}}
	started := make(chan struct{}, 2)
	release := make(chan struct{})
	if _, err := server.Handle(to.Subject, func(context.Context, rpc.Message) (rpc.Message, error) {
		started <- struct{}{}
		<-release
		return rpc.Message{}, nil
	}); err != nil {
		t.Fatal(err)
	}

	errs := make(chan error, 2)
	ctx := within(t, time.Minute)
	go func() {
		_, err := client.Call(ctx, to, rpc.Message{})
		errs <- err
	}()
	go func() {
		two := rpc.Target{Subject: to.Subject, Nodes: append(to.Nodes, object.NewNodeID())}
		answers := 0
		err := client.Gather(ctx, two, rpc.Message{}, func(a rpc.Answer) bool {
			answers++
			errs <- a.Err
			return answers == 2
		})
		if err != nil || answers != 2 {
			t.Errorf("gather: %d answers, %v", answers, err)
		}
	}()
	<-started
	<-started
	s.Shutdown()
	for range 3 {
		if err := <-errs; !fault.Is(err, fault.Indeterminate) {
			t.Errorf("waiting request: %v", err)
		}
	}
	began := time.Now()
	if _, err := client.Call(ctx, to, rpc.Message{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("request while disconnected: %v", err)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v to fail", d)
	}
	close(release)

	s, err = natsd.Start(natsd.Options{Dir: dir, Listen: u.Host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	for {
		_, err := client.Call(ctx, to, rpc.Message{})
		if err == nil {
			break
		}
		// Until both are connected again; at no time may it be anything else.
		if !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Indeterminate) {
			t.Fatalf("after the restart: %v", err)
		}
		if ctx.Err() != nil {
			t.Fatal("no call succeeds after the restart")
		}
	}
	select {
	case <-again:
	case <-ctx.Done():
		t.Error("nobody is told of the reconnection")
	}
	if len(never) > 0 {
		t.Error("one that stopped listening is told of the reconnection")
	}
}

func TestDrainFinishesWhatWasBegun(t *testing.T) {
	for name, lane := range map[string]*rpc.Lane{"NATS": nil, "lane": rpc.NewLane()} {
		t.Run(name, func(t *testing.T) {
			s := rpctest.NATS(t)
			client := rpctest.Connect(t, s, rpc.Options{Lane: lane})
			server := rpctest.Connect(t, s, rpc.Options{Lane: lane})
			to := rpc.Target{Subject: "hangar.test.n.op", Nodes: []object.NodeID{server.Node()}}
			started, release := make(chan struct{}), make(chan struct{})
			if _, err := server.Handle(to.Subject, func(context.Context, rpc.Message) (rpc.Message, error) {
				close(started)
				<-release
				return rpc.Message{Head: []byte("done")}, nil
			}); err != nil {
				t.Fatal(err)
			}
			var calls sync.WaitGroup
			calls.Go(func() {
				m, err := client.Call(within(t, 20*time.Second), to, rpc.Message{})
				if err != nil || string(m.Head) != "done" {
					t.Errorf("begun before the drain: %q, %v", m.Head, err)
				}
			})
			<-started
			calls.Go(func() {
				if err := server.Drain(within(t, 20*time.Second)); err != nil {
					t.Error(err)
				}
			})
			// Refused once the drain has begun; until then it waits in vain.
			for {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				_, err := client.Call(ctx, rpc.Target{Subject: "hangar.test.other", Nodes: to.Nodes}, rpc.Message{})
				cancel()
				if _, herr := server.Handle("hangar.test.late", nil); fault.Is(herr, fault.Unavailable) {
					break
				}
				if err == nil {
					t.Fatal("nobody serves this")
				}
			}
			close(release)
			calls.Wait()
			if _, err := client.Call(within(t, 5*time.Second), to, rpc.Message{}); !fault.Is(err, fault.Unavailable) {
				t.Errorf("after the drain: %v", err)
			}
		})
	}
}

func TestCloseEndsHandlersAndCalls(t *testing.T) {
	s := rpctest.NATS(t)
	client, server := rpctest.Connect(t, s, rpc.Options{}), rpctest.Connect(t, s, rpc.Options{})
	to := rpc.Target{Subject: "hangar.test.n.op", Nodes: []object.NodeID{server.Node()}}
	started := make(chan struct{})
	ended := false
	if _, err := server.Handle(to.Subject, func(ctx context.Context, _ rpc.Message) (rpc.Message, error) {
		close(started)
		<-ctx.Done()
		ended = true
		return rpc.Message{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		_, err := client.Call(within(t, time.Minute), to, rpc.Message{})
		failed <- err
	}()
	<-started
	server.Close()
	if !ended {
		t.Error("Close did not wait for the handler")
	}
	client.Close()
	if err := <-failed; !fault.Is(err, fault.Indeterminate) {
		t.Errorf("waiting call: %v", err)
	}
	if _, err := client.Call(t.Context(), to, rpc.Message{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after Close: %v", err)
	}
	if err := client.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestFlood: far more than a stuck server can hold; each request is answered
// or refused, none is dropped.
func TestFlood(t *testing.T) {
	s := rpctest.NATS(t)
	client := rpctest.Connect(t, s, rpc.Options{})
	server := rpctest.Connect(t, s, rpc.Options{Workers: 4, Queue: 500, QueueBytes: 16 << 20})
	to := rpc.Target{Subject: "hangar.test.n.op", Nodes: []object.NodeID{server.Node()}}
	release := make(chan struct{})
	if _, err := server.Handle(to.Subject, func(context.Context, rpc.Message) (rpc.Message, error) {
		<-release
		return rpc.Message{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	const calls = 150
	payload := bytes.Repeat([]byte("x"), 1<<20)
	errs := make(chan error, calls)
	ctx := within(t, time.Minute)
	for range calls {
		go func() {
			_, err := client.Call(ctx, to, rpc.Message{Payload: payload})
			errs <- err
		}()
	}
	refused := 0
	for range calls - 15 { // 15 of 1 MiB and their envelopes fit
		if err := <-errs; !fault.Is(err, fault.Overloaded) {
			t.Fatalf("after %d: %v", refused, err)
		}
		refused++
	}
	close(release)
	for range 15 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestTraceFollowsTheRequest(t *testing.T) {
	for name, lane := range map[string]*rpc.Lane{"NATS": nil, "lane": rpc.NewLane()} {
		t.Run(name, func(t *testing.T) {
			spans := tracetest.NewSpanRecorder()
			tracers := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
			s := rpctest.NATS(t)
			client := rpctest.Connect(t, s, rpc.Options{Lane: lane})
			server := rpctest.Connect(t, s, rpc.Options{Lane: lane, Tracer: tracers})
			to := rpc.Target{
				Subject: rpc.NodeSubject("test", "op", server.Node()), Nodes: []object.NodeID{server.Node()},
			}
			if _, err := server.Handle(to.Subject, func(context.Context, rpc.Message) (rpc.Message, error) {
				return rpc.Message{}, fault.New(fault.NotFound, "x")
			}); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Call(t.Context(), to, rpc.Message{}); !fault.Is(err, fault.NotFound) {
				t.Fatal(err)
			}
			if n := len(spans.Started()); n != 0 {
				t.Fatalf("%d spans without a trace", n)
			}
			ctx, root := tracers.Tracer("test").Start(t.Context(), "root")
			if _, err := client.Call(ctx, to, rpc.Message{}); !fault.Is(err, fault.NotFound) {
				t.Fatal(err)
			}
			root.End()
			if len(spans.Started()) != 3 {
				t.Fatalf("%d spans", len(spans.Started()))
			}
			ask, got := spans.Started()[1], spans.Started()[2]
			if ask.Name() != "ask test.op" || ask.Parent().SpanID() != root.SpanContext().SpanID() || len(ask.Events()) != 1 {
				t.Errorf("span %q of %v, want a child of %v with one answer", ask.Name(), ask.Parent(), root.SpanContext())
			}
			if got.Name() != "test.op" || got.Parent().SpanID() != ask.SpanContext().SpanID() ||
				got.SpanContext().TraceID() != root.SpanContext().TraceID() {
				t.Errorf("span %q of %v, want a child of %v", got.Name(), got.Parent(), ask.SpanContext())
			}
			if d := got.Status().Description; d != "not found" {
				t.Errorf("its status is %q", d)
			}
		})
	}
}

func TestTraceHeaderIsW3C(t *testing.T) {
	s := rpctest.NATS(t)
	client := rpctest.Connect(t, s, rpc.Options{})
	raw := rpctest.Connect(t, s, rpc.Options{}).NATS()
	sub, err := raw.SubscribeSync("hangar.test.n.op")
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Flush(); err != nil {
		t.Fatal(err)
	}
	ctx, root := sdk.NewTracerProvider().Tracer("test").Start(t.Context(), "root")
	defer root.End()
	client.Publish(t.Context(), sub.Subject, rpc.Message{})
	client.Publish(ctx, sub.Subject, rpc.Message{})
	for _, want := range []bool{false, true} {
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		h := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(ctx, h)
		if v := m.Header["traceparent"]; (len(v) == 1 && v[0] == h["traceparent"]) != want || (len(m.Header) > 0) != want {
			t.Errorf("headers %v", m.Header)
		}
	}
}

func TestMalformedRequestIsRefused(t *testing.T) {
	s := rpctest.NATS(t)
	server := rpctest.Connect(t, s, rpc.Options{})
	if _, err := server.Handle("hangar.test.n.op", nil); err != nil {
		t.Fatal(err)
	}
	m, err := rpctest.Connect(t, s, rpc.Options{}).NATS().Request("hangar.test.n.op", []byte("not ours"), 5*time.Second)
	if err != nil || len(m.Data) < 2 || m.Data[1] != byte(fault.Invalid)+1 {
		t.Errorf("answer %v, %v", m, err)
	}
}

func TestConnectErrors(t *testing.T) {
	began := time.Now()
	_, err := rpc.Connect(within(t, 300*time.Millisecond), rpc.Options{URL: "nats://127.0.0.1:1"})
	if err == nil || !strings.Contains(err.Error(), "nats://127.0.0.1:1") {
		t.Errorf("no server: %v", err)
	}
	s, serr := natsd.Start(natsd.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Users: []natsd.User{{Name: "u", Password: "p"}}})
	if serr != nil {
		t.Fatal(serr)
	}
	t.Cleanup(s.Shutdown)
	_, err = rpc.Connect(within(t, time.Minute), rpc.Options{URL: s.ClientURL(), User: "u", Password: "wrong"})
	if !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("wrong password: %v", err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
	connect(t, rpc.Options{URL: s.ClientURL(), User: "u", Password: "p"})
}
