package k2v

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What an operation may end in, for errors.Is. Only ErrIndeterminate leaves
// open whether it was done.
var (
	// ErrNotFound: the item does not exist, or is deleted.
	ErrNotFound = errors.New("no such item")
	// ErrNoBucket: the bucket does not exist.
	ErrNoBucket = errors.New("no such bucket")
	// ErrConflict: the item has several concurrent values where one is wanted.
	ErrConflict = errors.New("several concurrent values")
	// ErrDenied: the key is unknown, or may not do this.
	ErrDenied = errors.New("denied")
	// ErrInvalid: the request can never succeed as it is.
	ErrInvalid = errors.New("invalid request")
	// ErrTooLarge: a request is larger than the server takes, or an answer than
	// Options.MaxResponse allows.
	ErrTooLarge = errors.New("too large")
	// ErrUnavailable: no server could be reached, or it was too busy; nothing
	// was done. It may work later.
	ErrUnavailable = errors.New("unavailable")
	// ErrIndeterminate: a write that may or may not have been done.
	ErrIndeterminate = errors.New("it is not known whether the write was done")
)

// Error is an operation that failed.
type Error struct {
	// Op is the operation, such as InsertItem.
	Op string
	// Status of HTTP; 0 when there was no answer.
	Status int
	// Code is the server's, such as NoSuchKey; may be empty.
	Code string
	// Message is what the server said; may be empty.
	Message string
	// Kind is one of the errors above.
	Kind error
	// Cause is why there was no answer; may be nil.
	Cause error

	// after is how long the server asks to wait; 0: it does not say.
	after time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op + ": " + e.Kind.Error())
	switch {
	case e.Cause != nil:
		b.WriteString(": " + e.Cause.Error())
	case e.Status != 0:
		fmt.Fprintf(&b, " (%d", e.Status)
		if e.Code != "" {
			b.WriteString(" " + e.Code)
		}
		b.WriteByte(')')
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// Unwrap returns Kind and Cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

func invalid(op, format string, args ...any) error {
	return &Error{Op: op, Kind: ErrInvalid, Message: fmt.Sprintf(format, args...)}
}

// answered makes an error of an answer that is none of those an operation wants.
func answered(r request, status int, header http.Header, body []byte) *Error {
	e := &Error{Op: r.op, Status: status}
	var said struct{ Code, Message string }
	if json.Unmarshal(body, &said) == nil {
		e.Code, e.Message = said.Code, said.Message
	}
	e.Kind = kind(r, status, e.Code)
	if s, err := strconv.Atoi(header.Get("Retry-After")); err == nil && s > 0 {
		e.after = time.Duration(min(s, int(maxAsked/time.Second))) * time.Second
	}
	return e
}

// kind says what follows from a status. SlowDown is what a server says before it
// does anything, RequestTimeout when a body did not come.
func kind(r request, status int, code string) error {
	switch {
	case status == http.StatusNotFound && code == "NoSuchBucket":
		return ErrNoBucket
	case status == http.StatusNotFound && code == "NoSuchKey":
		return ErrNotFound
	case status == http.StatusConflict && code == "OperationAborted":
		return ErrNoBucket // it is being deleted
	case status == http.StatusConflict:
		return ErrConflict
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrDenied
	case status == http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout,
		status == http.StatusInsufficientStorage, code == "SlowDown", code == "RequestTimeout":
		return ErrUnavailable
	case status < 500, status == http.StatusNotImplemented:
		return ErrInvalid
	case r.effect != reads:
		return ErrIndeterminate
	}
	return ErrUnavailable
}
