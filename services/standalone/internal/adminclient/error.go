package adminclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// Error is an operation that failed.
type Error struct {
	Operation string
	// Status of HTTP; 0 when there was no answer.
	Status int
	// Code is the API's, such as NoSuchBucket; may be empty.
	Code string
	// Message says what is wrong.
	Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unreachable says that the operation may succeed when it is tried again: there
// was no answer, or one that says so.
func (e *Error) Unreachable() bool {
	return e.Status == 0 || e.Status == http.StatusServiceUnavailable || e.Status == http.StatusBadGateway || e.Status == http.StatusGatewayTimeout
}

// Refused says that the token does not allow the operation.
func (e *Error) Refused() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
}

// Missing says that what the operation is about does not exist.
func (e *Error) Missing() bool { return e.Status == http.StatusNotFound }

// failure reads an error answer.
func failure(op string, status int, body []byte) *Error {
	e := &Error{Operation: op, Status: status}
	var said struct{ Code, Message string }
	if json.Unmarshal(body, &said) == nil {
		e.Code, e.Message = said.Code, said.Message
	}
	switch {
	case e.Refused():
		e.Message = fmt.Sprintf("the admin token does not allow %s: give another one with --token or HANGAR_ADMIN_TOKEN", op)
	case status == http.StatusNotImplemented:
		e.Message = fmt.Sprintf("this cluster does not offer %s: it may run an older version", op)
	case e.Message == "":
		e.Message = fmt.Sprintf("%s: status %d: %.200s", op, status, bytes.TrimSpace(body))
	}
	return e
}

// unanswered says why there is no answer, and what may have happened.
func (c *Client) unanswered(ctx context.Context, r Request, err error) error {
	e := &Error{Operation: r.Operation}
	dial, ok := errors.AsType[*net.OpError](err)
	switch sent := !ok || dial.Op != "dial"; {
	case sent && r.Method == http.MethodPost:
		e.Message = fmt.Sprintf("no answer from the Admin API at %s: %v; what was asked may have been done: look before you repeat it", c.Endpoint, cause(err))
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		e.Message = fmt.Sprintf("cannot reach the Admin API at %s: %v", c.Endpoint, cause(err))
	}
	return e
}

// cause is what went wrong with a request, without its address, which is named
// already.
func cause(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
