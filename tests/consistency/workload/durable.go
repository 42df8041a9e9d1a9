package workload

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Object is an object whose content follows from its name.
type Object struct{ key, value string }

// NewObject returns the object at key that client writes as its number-th.
func NewObject(key string, client, number, size int) Object {
	if size == 0 {
		return Object{key: key}
	}
	return Object{key, valueName(client, number, size)}
}

// content of the object; the empty one has no name in it.
func (o Object) content() []byte {
	if o.value == "" {
		return nil
	}
	return contentOf(o.value)
}

// PutObject writes an object; nil says that it was acknowledged.
func (c *Client) PutObject(ctx context.Context, o Object) error {
	a, err := c.do(ctx, request{method: http.MethodPut, key: o.key, body: o.content()})
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%s: answered %d %s", o.key, a.status, a.note())
	}
	return err
}

// ReadBack reads an object whole and compares it. It tries again while the
// gateway fails, until ctx ends; an answer that is wrong is wrong at once.
func (c *Client) ReadBack(ctx context.Context, o Object) error {
	for {
		a, err := c.do(ctx, request{method: http.MethodGet, key: o.key})
		if err != nil {
			return err
		}
		switch {
		case a.status == http.StatusOK && string(a.body) == string(o.content()):
			return nil
		case a.status == http.StatusOK:
			return fmt.Errorf("%s: %d bytes of %d, which differ", o.key, len(a.body), len(o.content()))
		case a.status != 0 && a.status < http.StatusInternalServerError:
			return fmt.Errorf("%s (%d bytes): answered %d %s", o.key, len(o.content()), a.status, a.note())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s (%d bytes): cannot be read: %d %s", o.key, len(o.content()), a.status, a.note())
		case <-time.After(200 * time.Millisecond): // another process
		}
	}
}
