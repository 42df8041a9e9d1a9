package httpd

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// firstPause and longestPause bound how long the accepting of connections
	// rests after a failure that passes.
	firstPause   = 5 * time.Millisecond
	longestPause = time.Second
)

// listener hands out conns. A failure to accept that passes, as of a process
// with no file descriptor left, is waited out: it is no reason to end what is
// being served.
type listener struct {
	net.Listener
	log    *slog.Logger
	closed chan struct{}
	close  func()
}

func newListener(ln net.Listener, log *slog.Logger) *listener {
	closed := make(chan struct{})
	return &listener{Listener: ln, log: log, closed: closed, close: sync.OnceFunc(func() { close(closed) })}
}

// Accept implements net.Listener. Each run of failures is logged once.
func (l *listener) Accept() (net.Conn, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		c, err := l.Listener.Accept()
		if err == nil {
			return &conn{Conn: c}, nil
		}
		if !passes(err) {
			return nil, err
		}
		if pause == firstPause {
			l.log.Error("cannot accept connections for now; with \"too many open files\", raise the limit of the process (ulimit -n)",
				"address", l.Addr(), "error", err)
		}
		select {
		case <-time.After(pause):
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.close()
	return l.Listener.Close()
}

// passes reports errors of accept(2) that are not the listener's: of the
// connection that it was about, or of resources that come back.
func passes(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
		syscall.EINTR, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
