package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"hangar/services/admin/internal/openapi"
	"hangar/services/admin/internal/ops"
	"hangar/shared/control"
	"hangar/shared/object"
)

// operation is an entry of the table of operations: what the document says of
// it, and what serves it.
type operation struct {
	openapi.Operation
	// timeout bounds the whole request.
	timeout time.Duration
	serve   func(call) (any, error)
}

// nothing is a body that is not there.
type nothing struct{}

// read is an operation that only looks.
func read[Out any](name, tag, summary string, do func(call) (Out, error), params ...openapi.Parameter) operation {
	return operation{
		Operation: openapi.Operation{
			Name: name, Method: http.MethodGet, Path: "/v2/" + name, Tag: tag, Summary: summary,
			Parameters: params, Out: typeOf[Out](), Failures: failures(params),
		},
		timeout: requestTimeout,
		serve:   func(c call) (any, error) { return do(c) },
	}
}

// write is an operation that takes a body.
func write[In, Out any](name, tag, summary string, do func(call, In) (Out, error), params ...openapi.Parameter) operation {
	return operation{
		Operation: openapi.Operation{
			Name: name, Method: http.MethodPost, Path: "/v2/" + name, Tag: tag, Summary: summary,
			Parameters: params, In: typeOf[In](), Out: typeOf[Out](), Failures: failures(params),
		},
		timeout: requestTimeout,
		serve: func(c call) (any, error) {
			in, err := body[In](c)
			if err != nil {
				return nil, err
			}
			return do(c, in)
		},
	}
}

// slow gives an operation the time that nodes may take for it.
func slow(o operation) operation {
	o.timeout = ops.SlowAnswer + requestTimeout/3
	return o
}

func typeOf[T any]() reflect.Type {
	if t := reflect.TypeFor[T](); t != reflect.TypeFor[nothing]() {
		return t
	}
	return nil
}

// failures are the usual errors of an operation with such parameters.
func failures(params []openapi.Parameter) []int {
	for _, p := range params {
		if p.Name == "id" || p.Name == "bucketId" {
			return []int{http.StatusBadRequest, http.StatusNotFound}
		}
	}
	return []int{http.StatusBadRequest}
}

// call is one request to an operation.
type call struct {
	*fiber.Ctx
	ctx context.Context
	s   *Server
	// token is who asks, nil for the holder of the configured token, who may
	// everything.
	token *control.Token
}

// applied notes on the answer whether a change is applied everywhere.
func (c call) applied(r ops.Receipt) {
	if !r.Everywhere {
		c.Set(HeaderBarrier, "timeout")
	}
}

// handler serves one operation of the API: token, deadline, JSON, errors.
func (s *Server) handler(o operation) fiber.Handler {
	return func(c *fiber.Ctx) error {
		began := time.Now()
		err := s.run(c, o)
		if err != nil {
			err = s.fail(c, err)
		}
		s.requests.WithLabelValues(o.Name, strconv.Itoa(c.Response().StatusCode())).Inc()
		s.seconds.WithLabelValues(o.Name).Observe(time.Since(began).Seconds())
		return err
	}
}

func (s *Server) run(c *fiber.Ctx, o operation) error {
	token, err := s.admit(c, o.Name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	answer, err := o.serve(call{Ctx: c, ctx: ctx, s: s, token: token})
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	if o.Out == nil {
		return nil
	}
	return c.JSON(answer)
}

// body reads the JSON body of a request. An empty one counts as {}.
func body[T any](c call) (v T, err error) {
	b := c.Request().Body() // as sent: no Content-Encoding is undone
	if len(b) == 0 || typeOf[T]() == nil {
		return v, nil
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, invalid("the body is not the JSON this operation wants: " + err.Error())
	}
	return v, nil
}

// one returns the only one of several parameters that is given. names are what
// to give.
func one(c call, names ...string) (name, value string, err error) {
	for _, n := range names {
		v := c.Query(n)
		switch {
		case v == "":
		case name != "":
			return "", "", invalid("give only one of " + name + " and " + n)
		default:
			name, value = n, v
		}
	}
	if name == "" {
		return "", "", invalid("give " + names[0] + " or another way to find it: see the document of this API")
	}
	return name, value, nil
}

func parseBucket(id string) (object.BucketID, error) {
	b, err := object.ParseBucketID(id)
	if err != nil {
		return b, invalid(err.Error())
	}
	return b, nil
}
