package httpapi

import (
	"errors"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"hangar/services/admin/internal/ops"
	"hangar/services/admin/internal/wire"
	"hangar/shared/control"
	"hangar/shared/fault"
)

// apiError is an error with the code that the API gives it.
type apiError struct {
	status int
	code   string
	msg    string
}

func (e *apiError) Error() string { return e.code + ": " + e.msg }

var accessDenied = &apiError{http.StatusForbidden, "AccessDenied", "a valid bearer token for this operation is needed"}

func invalid(msg string) error {
	return &apiError{http.StatusBadRequest, "InvalidRequest", msg}
}

// specific is the table of what errors are about, most specific first.
var specific = []struct {
	about  error
	status int
	code   string
}{
	{control.ErrNoSuchBucket, http.StatusNotFound, "NoSuchBucket"},
	{control.ErrNoSuchKey, http.StatusNotFound, "NoSuchAccessKey"},
	{control.ErrNoSuchToken, http.StatusNotFound, "NoSuchAdminToken"},
	{ops.ErrNoSuchObject, http.StatusNotFound, "NoSuchKey"},
	{control.ErrNameTaken, http.StatusConflict, "BucketAlreadyExists"},
	{control.ErrKeyExists, http.StatusConflict, "KeyAlreadyExists"},
	{control.ErrInvalidBucketName, http.StatusBadRequest, "InvalidBucketName"},
}

// general is the table of kinds.
var general = map[fault.Kind]struct {
	status int
	code   string
}{
	fault.NotFound:       {http.StatusNotFound, "NotFound"},
	fault.AlreadyExists:  {http.StatusConflict, "AlreadyExists"},
	fault.Precondition:   {http.StatusPreconditionFailed, "PreconditionFailed"},
	fault.Invalid:        {http.StatusBadRequest, "InvalidRequest"},
	fault.Denied:         {http.StatusForbidden, "AccessDenied"},
	fault.Unavailable:    {http.StatusServiceUnavailable, "ServiceUnavailable"},
	fault.Indeterminate:  {http.StatusServiceUnavailable, "ServiceUnavailable"},
	fault.Overloaded:     {http.StatusServiceUnavailable, "SlowDown"},
	fault.StorageFull:    {http.StatusInsufficientStorage, "InsufficientStorage"},
	fault.NotImplemented: {http.StatusNotImplemented, "NotImplemented"},
	fault.Conflict:       {http.StatusConflict, "Conflict"},
	fault.NotEmpty:       {http.StatusConflict, "BucketNotEmpty"},
}

// classify turns any error into one of the API.
func classify(err error) *apiError {
	var api *apiError
	if errors.As(err, &api) {
		return api
	}
	var fe *fiber.Error
	if errors.As(err, &fe) {
		return &apiError{fe.Code, "InvalidRequest", fe.Message}
	}
	for _, s := range specific {
		if errors.Is(err, s.about) {
			return &apiError{s.status, s.code, message(err)}
		}
	}
	if g, ok := general[fault.KindOf(err)]; ok {
		return &apiError{g.status, g.code, message(err)}
	}
	return &apiError{http.StatusInternalServerError, "InternalError", "an internal error occurred; the log of the admin service says more"}
}

// message is what an error says to people: the outermost message and, where
// there is one, what it is about.
func message(err error) string {
	var f *fault.Error
	if !errors.As(err, &f) {
		return err.Error()
	}
	var inner *fault.Error
	switch {
	case f.Err == nil || f.Msg == "":
		return f.Error()
	case errors.As(f.Err, &inner):
		return f.Msg + ": " + message(inner)
	default:
		return f.Err.Error() + ": " + f.Msg
	}
}

// fail answers with an error. It is also Fiber's handler of its own errors.
func (s *Server) fail(c *fiber.Ctx, err error) error {
	e := classify(err)
	if e.status >= http.StatusInternalServerError && e.status != http.StatusNotImplemented {
		s.log.ErrorContext(c.UserContext(), "admin request failed", "method", c.Method(), "path", c.Path(), "error", err)
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	return c.Status(e.status).JSON(wire.ErrorBody{Code: e.code, Message: e.msg, Region: s.ops.View().Cluster.Region, Path: c.Path()})
}
