package httpd

import (
	"errors"
	"io"
	"sync"
)

// errLong: a stream offered more than it had announced.
var errLong = errors.New("response stream is longer than announced")

// copyBytes is the size of the pieces a response is sent in when its stream
// cannot write itself.
const copyBytes = 128 << 10

// stream sends exactly left bytes of src, moving the write deadline along. Its
// Close is the one moment that follows the last byte of a response, so whatever
// a request holds is given back there. Used by one goroutine.
type stream struct {
	src      io.ReadCloser
	left     int64
	sent     int64
	deadline deadline
	copies   *sync.Pool
	err      error
	done     func(sent int64, err error)
}

// Read serves callers that do not know WriteTo.
func (s *stream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := s.src.Read(p)
	s.account(n)
	s.deadline.write()
	if err != nil && s.left > 0 {
		s.err = short(err)
		return n, s.err
	}
	return n, nil
}

// WriteTo implements io.WriterTo.
func (s *stream) WriteTo(w io.Writer) (int64, error) {
	out := &limited{s: s, w: w}
	if from, ok := s.src.(io.WriterTo); ok {
		_, s.err = from.WriteTo(out)
	} else {
		buf := s.copies.Get().(*[copyBytes]byte)
		_, s.err = io.CopyBuffer(out, io.LimitReader(s.src, s.left), buf[:])
		s.copies.Put(buf)
	}
	if s.err == nil && s.left > 0 {
		s.err = io.ErrUnexpectedEOF
	}
	return s.sent, s.err
}

func (s *stream) account(n int) {
	s.sent += int64(n)
	s.left -= int64(n)
}

func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Close implements io.Closer; fasthttp calls it after the last byte and when
// it gives up. Only the first call does anything.
func (s *stream) Close() error {
	if s.done == nil {
		return nil
	}
	err := s.src.Close()
	if s.err == nil && s.left > 0 {
		s.err = io.ErrClosedPipe
	}
	s.done(s.sent, s.err)
	s.done = nil
	return err
}

// limited is the writer a stream's source writes itself to.
type limited struct {
	s *stream
	w io.Writer
}

func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) > l.s.left {
		return 0, errLong
	}
	l.s.deadline.write()
	n, err := l.w.Write(p)
	l.s.account(n)
	return n, err
}
