package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// The messages are JSON: they are small and rare. Fields are only ever added.
type (
	createRequest struct {
		KeyID string `json:"keyId"`
		Name  string `json:"name"`
	}
	createAnswer struct {
		Bucket object.BucketID `json:"bucket"`
	}
	deleteRequest struct {
		KeyID  string          `json:"keyId"`
		Bucket object.BucketID `json:"bucket"`
	}
	empty struct{}
)

// maxRequest bounds a request, in bytes.
const maxRequest = 4 << 10

const service = "admin"

const (
	opCreate = "create-bucket"
	opDelete = "delete-bucket"
)

// Serve answers requests of gateways with b until stop is called. Any one of
// the admin processes that serve gets each request.
func Serve(srv rpc.Server, b Buckets) (stop func(), err error) {
	stopCreate, err := srv.HandleQueue(rpc.AnySubject(service, opCreate), handler(
		func(ctx context.Context, q createRequest) (createAnswer, error) {
			id, err := b.Create(ctx, q.KeyID, q.Name)
			return createAnswer{Bucket: id}, err
		}))
	if err != nil {
		return nil, err
	}
	stopDelete, err := srv.HandleQueue(rpc.AnySubject(service, opDelete), handler(
		func(ctx context.Context, q deleteRequest) (empty, error) {
			return empty{}, b.Delete(ctx, q.KeyID, q.Bucket)
		}))
	if err != nil {
		stopCreate()
		return nil, err
	}
	return func() { stopCreate(); stopDelete() }, nil
}

func handler[Q, A any](do func(context.Context, Q) (A, error)) rpc.Handler {
	return func(ctx context.Context, m rpc.Message) (rpc.Message, error) {
		q, err := decode[Q](m.Head)
		if err != nil {
			return rpc.Message{}, err
		}
		a, err := do(ctx, q)
		if err != nil {
			return rpc.Message{}, err
		}
		head, err := json.Marshal(a)
		return rpc.Message{Head: head}, fault.Wrap(fault.Internal, err, "encode answer")
	}
}

func decode[T any](b []byte) (v T, err error) {
	if len(b) > maxRequest {
		return v, fault.New(fault.Invalid, "admin message of %d bytes", len(b))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&v); err != nil {
		return v, fault.Wrap(fault.Invalid, err, "admin message")
	}
	if d.More() {
		return v, fault.Wrap(fault.Invalid, errors.New("trailing data"), "admin message")
	}
	return v, nil
}

// Client is Buckets as offered by whichever admin process is free.
type Client struct{ caller rpc.Caller }

var _ Buckets = (*Client)(nil)

// NewClient makes a client. Its errors are those of Buckets, and Unavailable
// when no admin process answers, Indeterminate when one did not in time.
func NewClient(c rpc.Caller) *Client { return &Client{c} }

// Create implements Buckets.
func (c *Client) Create(ctx context.Context, keyID, name string) (object.BucketID, error) {
	a, err := call[createAnswer](ctx, c.caller, opCreate, createRequest{keyID, name})
	return a.Bucket, err
}

// Delete implements Buckets.
func (c *Client) Delete(ctx context.Context, keyID string, bucket object.BucketID) error {
	_, err := call[empty](ctx, c.caller, opDelete, deleteRequest{keyID, bucket})
	return err
}

// callTimeout is for zones far apart: deleting a bucket takes some twenty ways
// from zone to zone, most of them in the control state.
const callTimeout = 25 * time.Second

func call[A any](ctx context.Context, c rpc.Caller, op string, request any) (a A, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	head, err := json.Marshal(request)
	if err != nil {
		return a, fault.Wrap(fault.Invalid, err, "encode request")
	}
	if len(head) > maxRequest {
		return a, fault.New(fault.Invalid, "the request is too long")
	}
	m, err := c.Call(ctx, rpc.Target{Subject: rpc.AnySubject(service, op)}, rpc.Message{Head: head})
	if err != nil {
		return a, err
	}
	if a, err = decode[A](m.Head); err != nil {
		return a, fault.Wrap(fault.Indeterminate, err, "answer of the admin service")
	}
	return a, nil
}
