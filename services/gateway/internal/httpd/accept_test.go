package httpd

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// exhausted fails to accept a number of times first.
type exhausted struct {
	net.Listener
	left int
	err  error
}

func (l *exhausted) Accept() (net.Conn, error) {
	if l.left > 0 {
		l.left--
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", l.err)}
	}
	return l.Listener.Accept()
}

// answer is a handler that answers everything.
type answer struct{}

func (answer) Serve(context.Context, *Request) *Response {
	return &Response{Status: http.StatusNoContent}
}
func (answer) Expect(context.Context, *Request) *Response { return nil }
func (answer) Fail(*Request, Problem) *Response           { return &Response{Status: http.StatusTeapot} }

// TestNoDescriptorLeft: a server outlives the time when it can accept nothing,
// and says so once.
func TestNoDescriptorLeft(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := New(Config{Grace: time.Second}, answer{}, slog.New(slog.NewTextHandler(&log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, &exhausted{Listener: ln, left: 5, err: syscall.EMFILE}) }()
	resp, err := http.Get("http://" + ln.Addr().String()) //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("status %d", resp.StatusCode)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if n := strings.Count(log.String(), "cannot accept"); n != 1 {
		t.Errorf("%d lines say so:\n%s", n, log.String())
	}
}

// TestAcceptFails: what does not pass ends the accepting, and so does closing,
// also in the middle of a rest.
func TestAcceptFails(t *testing.T) {
	broken := newListener(&exhausted{left: 1, err: syscall.EBADF}, slog.New(slog.DiscardHandler))
	if _, err := broken.Accept(); !errors.Is(err, syscall.EBADF) {
		t.Errorf("got %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := newListener(&exhausted{Listener: silent{}, left: 1 << 30, err: syscall.ENFILE}, slog.New(slog.DiscardHandler))
		ended := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

// silent is a listener that nobody connects to.
type silent struct{ net.Listener }

func (silent) Close() error   { return nil }
func (silent) Addr() net.Addr { return &net.TCPAddr{} }
