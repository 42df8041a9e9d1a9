package httpd

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// waits is a handler whose every request waits, and takes a while to answer when
// it is over.
type waits struct {
	answer
	began chan struct{}
}

func (w waits) Serve(context.Context, *Request) *Response {
	return &Response{Park: &Park{
		Until: time.Now().Add(time.Hour),
		Start: func(func()) { close(w.began) },
		Resume: func(ctx context.Context, _ bool) *Response {
			select {
			case <-ctx.Done():
				return &Response{Status: http.StatusServiceUnavailable}
			case <-time.After(200 * time.Millisecond): // the work of the answer
				return &Response{Status: http.StatusNotModified}
			}
		},
		End: func(bool) {},
	}}
}

// TestWhoWaitsHasItsGrace: a stopping server lets a request that waited finish
// its answer, although no connection of the server's own is left.
func TestWhoWaitsHasItsGrace(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := waits{began: make(chan struct{})}
	s := New(Config{Grace: time.Minute}, h, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	served, status := make(chan error, 1), make(chan int, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	go func() {
		resp, err := http.Get("http://" + ln.Addr().String()) //nolint:noctx // ends with the server
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-h.began
	cancel()
	if got := <-status; got != http.StatusNotModified {
		t.Errorf("status %d", got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
