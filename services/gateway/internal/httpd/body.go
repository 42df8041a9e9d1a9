package httpd

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// Body reads the body of a request as it was sent, transfer coding removed. It
// fails with ErrTruncated or ErrBodyTimeout where fasthttp would report a clean
// end or a bare network error. Used by one goroutine at a time.
type Body struct {
	src io.Reader
	// want is the declared length, -1 when the transfer coding tells the end.
	want, got int64
	deadline  deadline
	err       error
}

func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	b.deadline.read()
	n, err := b.src.Read(p)
	b.got += int64(n)
	switch {
	case b.want >= 0 && b.got == b.want:
		err = io.EOF
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && b.want < 0:
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrBodyTimeout
	default:
		// A fixed length not reached, a chunk cut short or badly framed, a
		// reset connection: the body is not what was announced.
		err = ErrTruncated
	}
	b.err = err
	return n, err
}

// Count is how many bytes have been read.
func (b *Body) Count() int64 { return b.got }

// left is how much of the body is unread; -1 when nobody knows.
func (b *Body) left() int64 {
	switch {
	case b == nil || errors.Is(b.err, io.EOF):
		return 0
	case b.want < 0 || b.err != nil:
		return -1
	}
	return b.want - b.got
}

// deadline moves a connection's deadlines along while bytes flow. Moving one
// costs a timer operation, so it is done at most once a second.
type deadline struct {
	conn  net.Conn
	stall time.Duration
	armed time.Time
}

func (d *deadline) read() {
	if at, ok := d.next(); ok {
		// A failure shows in the read that follows.
		_ = d.conn.SetReadDeadline(at)
	}
}

func (d *deadline) write() {
	if at, ok := d.next(); ok {
		_ = d.conn.SetWriteDeadline(at)
	}
}

func (d *deadline) next() (time.Time, bool) {
	if d.conn == nil {
		return time.Time{}, false
	}
	now := time.Now()
	if now.Sub(d.armed) < min(time.Second, d.stall/4) {
		return time.Time{}, false
	}
	d.armed = now
	return now.Add(d.stall), true
}
