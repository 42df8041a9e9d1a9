package adminclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
)

// hangUp takes connections, reads a little and closes them, until the test ends.
func hangUp(t *testing.T) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 100)) // whatever came
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestWithoutAnAnswerAChangeMayHaveBeenMade(t *testing.T) {
	lost := Client{Access{Endpoint: "http://" + hangUp(t), Token: "t"}, &http.Client{}}
	nobody := Client{Access{Endpoint: "http://127.0.0.1:1", Token: "t"}, &http.Client{}}
	for _, c := range []struct {
		name   string
		client Client
		method string
		maybe  bool
	}{
		{"a change", lost, http.MethodPost, true},
		{"a question", lost, http.MethodGet, false},
		{"a change that was never sent", nobody, http.MethodPost, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.client.Call(t.Context(), Request{Method: c.method, Operation: "CreateKey", Body: struct{}{}})
			e, ok := errors.AsType[*Error](err)
			if !ok || !e.Unreachable() || strings.Contains(e.Error(), "may have been done") != c.maybe {
				t.Errorf("got %v", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lost.Call(ctx, Request{Method: http.MethodGet, Operation: "ListKeys"}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestFailureIsOneLine(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{404, `{"code":"NoSuchBucket","message":"no such bucket"}`, "no such bucket"},
		{403, `{"code":"AccessDenied","message":"no"}`, "the admin token does not allow ListKeys"},
		{501, `{"message":"x"}`, "this cluster does not offer ListKeys"},
		{502, "<html>\nBad gateway", "ListKeys: status 502: <html>"},
	} {
		e := failure("ListKeys", c.status, []byte(c.body))
		if !strings.HasPrefix(e.Error(), c.want) || e.Status != c.status {
			t.Errorf("%d: %v", c.status, e)
		}
	}
}
