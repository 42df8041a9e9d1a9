package content

import (
	"errors"
	"io"
	"os"

	"hangar/shared/fault"
)

// wire reads the raw body and makes its length exact: an end before
// Content-Length, which HTTP servers may pass off as a clean one, is an error.
type wire struct {
	src   io.Reader
	left  int64 // until Content-Length, if known
	known bool
}

func (w *wire) Read(p []byte) (int, error) {
	if w.src == nil {
		return 0, w.end()
	}
	n, err := w.src.Read(p)
	w.left -= int64(n)
	switch {
	case w.known && w.left < 0:
		return 0, invalid(ErrInvalidRequest, "the body is longer than Content-Length says")
	case err == io.EOF: //nolint:errorlint // only io.EOF itself is a clean end
		return n, w.end()
	case err != nil:
		return 0, broken(err)
	}
	return n, nil
}

func (w *wire) end() error {
	if w.known && w.left > 0 {
		return invalid(ErrIncompleteBody,
			"You did not provide the number of bytes specified by the Content-Length HTTP header")
	}
	return io.EOF
}

// broken names an error of the connection. No io.EOF remains within it that
// somebody might take for the end of the content.
func broken(err error) error {
	var known *fault.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return invalid(ErrIncompleteBody, "the body ended early")
	case errors.As(err, &known):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return invalid(ErrRequestTimeout, "Your socket connection to the server was not read from or written to "+
			"within the timeout period.")
	}
	return fault.Wrap(fault.Canceled, errors.Join(ErrIncompleteBody, err), "the connection broke")
}
