package rpctest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/rpc"
)

func handlerDeadline(t *testing.T, p Pair) {
	got := make(chan time.Time, 1)
	serve(t, p.Servers[0], one(p).Subject, func(ctx context.Context, _ rpc.Message) (rpc.Message, error) {
		d, _ := ctx.Deadline()
		got <- d
		return rpc.Message{}, nil
	})
	ctx := within(t, 10*time.Second)
	if _, err := p.Client.Call(ctx, one(p), rpc.Message{}); err != nil {
		t.Fatal(err)
	}
	deadline, _ := ctx.Deadline()
	if early := deadline.Sub(<-got); early < 20*time.Millisecond || early > time.Second {
		t.Errorf("the handler's deadline is %v before the caller's", early)
	}
}

func handlerPanics(t *testing.T, p Pair) {
	serve(t, p.Servers[0], one(p).Subject, func(context.Context, rpc.Message) (rpc.Message, error) {
		panic("on purpose")
	})
	for range 2 {
		_, err := p.Client.Call(within(t, 5*time.Second), one(p), rpc.Message{})
		wantKind(t, err, fault.Internal)
	}
}

func large(t *testing.T, p Pair) {
	for i, s := range p.Servers {
		serve(t, s, subject, echo(i))
	}
	payload := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	answers := 0
	err := p.Client.Gather(within(t, 20*time.Second), all(p), rpc.Message{Payload: payload}, func(a rpc.Answer) bool {
		if a.Err != nil || !bytes.Equal(a.Payload, payload) {
			t.Errorf("%d bytes came back, %v", len(a.Payload), a.Err)
		}
		answers++
		return false
	})
	if err != nil || answers != 3 {
		t.Errorf("%d answers, %v", answers, err)
	}
}

func tooLarge(t *testing.T, p Pair) {
	full := make([]byte, rpc.MaxMessageBytes)
	serve(t, p.Servers[0], one(p).Subject, func(_ context.Context, m rpc.Message) (rpc.Message, error) {
		return rpc.Message{Head: make([]byte, len(m.Head)), Payload: full}, nil
	})
	// The largest request and answer pass.
	m, err := p.Client.Call(within(t, 20*time.Second), one(p), rpc.Message{Payload: full})
	if err != nil || len(m.Payload) != len(full) {
		t.Fatalf("%d bytes came back, %v", len(m.Payload), err)
	}
	_, err = p.Client.Call(within(t, 20*time.Second), one(p), rpc.Message{Head: []byte("x"), Payload: full})
	wantKind(t, err, fault.Invalid)
	_, err = p.Client.Call(within(t, 20*time.Second), one(p), rpc.Message{Head: make([]byte, 100<<10)})
	wantKind(t, err, fault.Internal)
}

func concurrent(t *testing.T, p Pair) {
	for i, s := range p.Servers {
		serve(t, s, subject, echo(i))
	}
	var callers sync.WaitGroup
	for c := range 16 {
		callers.Go(func() {
			for n := range 30 {
				want := fmt.Sprintf("%d/%d", c, n)
				answers := 0
				err := p.Client.Gather(within(t, 20*time.Second), all(p), rpc.Message{Head: []byte(want)}, func(a rpc.Answer) bool {
					if a.Err != nil || string(a.Head[1:]) != want {
						t.Errorf("%s: got %q, %v", want, a.Head, a.Err)
					}
					answers++
					return answers == 2
				})
				if err != nil {
					t.Errorf("%s: %v", want, err)
				}
			}
		})
	}
	callers.Wait()
}

// overloaded: one request is handled, one waits, the third is refused.
func overloaded(t *testing.T, p Pair) {
	started, release := make(chan struct{}, 3), make(chan struct{})
	serve(t, p.Servers[0], one(p).Subject, func(context.Context, rpc.Message) (rpc.Message, error) {
		started <- struct{}{}
		<-release
		return rpc.Message{}, nil
	})
	ctx := within(t, 20*time.Second)
	errs := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := p.Client.Call(ctx, one(p), rpc.Message{})
			errs <- err
		}()
	}
	// Whichever is refused answers while the others wait.
	wantKind(t, <-errs, fault.Overloaded)
	close(release)
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if len(started) != 2 {
		t.Errorf("handler ran %d times", len(started))
	}
}

// expiredInQueue tells a request that was begun too late from one that the
// broker delivered late: a server counts the budget from delivery, so on a busy
// machine it may rightly begin what its caller has given up.
func expiredInQueue(t *testing.T, p Pair) {
	const budget = 30 * time.Millisecond
	started, release := make(chan struct{}), make(chan struct{})
	serve(t, p.Servers[0], one(p).Subject, func(ctx context.Context, m rpc.Message) (rpc.Message, error) {
		left := time.Duration(1)
		if deadline, ok := ctx.Deadline(); ok {
			left = time.Until(deadline)
		}
		switch string(m.Head) {
		case "first":
			close(started)
			<-release
		case "short":
			if left <= 0 {
				t.Error("the handler ran after its caller's deadline")
			}
		}
		return rpc.Message{}, nil
	})
	first := make(chan error, 1)
	go func() {
		_, err := p.Client.Call(within(t, 20*time.Second), one(p), rpc.Message{Head: []byte("first")})
		first <- err
	}()
	<-started
	_, err := p.Client.Call(within(t, budget), one(p), rpc.Message{Head: []byte("short")})
	wantKind(t, err, fault.Indeterminate)
	// The server's own count, begun when the request arrived, ends as well.
	<-time.After(10 * budget)
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if _, err := p.Client.Call(within(t, 20*time.Second), one(p), rpc.Message{}); err != nil {
		t.Error(err)
	}
}

func publish(t *testing.T, p Pair) {
	got := make(chan string, len(p.Servers))
	for _, s := range p.Servers {
		serve(t, s, subject, func(_ context.Context, m rpc.Message) (rpc.Message, error) {
			got <- string(m.Head)
			return rpc.Message{}, errors.New("nobody hears of this")
		})
	}
	p.Client.Publish(t.Context(), subject, rpc.Message{Head: []byte("hint")})
	for range p.Servers {
		if head := <-got; head != "hint" {
			t.Errorf("got %q", head)
		}
	}
	p.Client.Publish(t.Context(), "hangar.test.nobody", rpc.Message{})
}

func stop(t *testing.T, p Pair) {
	end := serve(t, p.Servers[0], one(p).Subject, echo(0))
	if _, err := p.Client.Call(within(t, 5*time.Second), one(p), rpc.Message{}); err != nil {
		t.Fatal(err)
	}
	end()
	end()
	_, err := p.Client.Call(within(t, 2*time.Second), one(p), rpc.Message{})
	if err == nil {
		t.Error("a stopped handler answered")
	}
	serve(t, p.Servers[0], one(p).Subject, echo(1))
	if m, err := p.Client.Call(within(t, 5*time.Second), one(p), rpc.Message{}); err != nil || string(m.Head) != "1" {
		t.Errorf("after serving again: %q, %v", m.Head, err)
	}
}

func subjectsAreChecked(t *testing.T, p Pair) {
	serve(t, p.Servers[0], subject, echo(0))
	for _, s := range []string{"", "a.*", "a.>", "a b", subject} {
		_, err := p.Servers[0].Handle(s, echo(0))
		wantKind(t, err, fault.Invalid)
	}
}

// requestBytesAreTheCallersAgain: once Gather has returned, no handler reads
// the request, although one was still busy when the caller had heard enough.
func requestBytesAreTheCallersAgain(t *testing.T, p Pair) {
	var wrong atomic.Int32
	var late sync.WaitGroup
	late.Add(1)
	for i, s := range p.Servers {
		serve(t, s, subject, func(_ context.Context, m rpc.Message) (rpc.Message, error) {
			if i == 2 {
				defer late.Done()
				time.Sleep(20 * time.Millisecond) // the slow replica
				if string(m.Payload) != "before" {
					wrong.Add(1)
				}
			}
			return rpc.Message{}, nil
		})
	}
	payload := []byte("before")
	answers := 0
	err := p.Client.Gather(within(t, 5*time.Second), all(p), rpc.Message{Payload: payload}, func(rpc.Answer) bool {
		answers++
		return answers == 2
	})
	copy(payload, "after!")
	late.Wait()
	if err != nil || wrong.Load() != 0 {
		t.Errorf("%d handlers saw bytes that the caller had reused, %v", wrong.Load(), err)
	}
}
