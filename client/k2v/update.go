package k2v

import (
	"bytes"
	"context"
	"errors"
	"slices"
)

// Resolver makes one value of the concurrent values of an item. Values is empty
// when there is no item. Instead of a value it may return ErrKeep or ErrDelete.
type Resolver func(values [][]byte) ([]byte, error)

var (
	// ErrKeep is what a Resolver returns to leave the item as it is.
	ErrKeep = errors.New("keep the item")
	// ErrDelete is what a Resolver returns to delete the item.
	ErrDelete = errors.New("delete the item")
)

// Update reads an item, has resolve make one value of what it holds, and writes
// that in its place. An error of resolve ends it, and nothing is written.
//
// It takes no lock. If somebody else writes at the same time the item holds both
// values afterwards, and the next Update gets both: resolve should make the
// same of them in whatever order it meets them. If the outcome of the write is
// unknown, the same value is written again, so that resolve is not applied to
// its own result; if it remains unknown, the error is ErrIndeterminate.
func (c *Client) Update(ctx context.Context, partition, sort string, resolve Resolver) error {
	item, err := c.ReadItem(ctx, partition, sort)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return c.replace(ctx, partition, sort, item, resolve)
}

func (c *Client) replace(ctx context.Context, partition, sort string, item Item, resolve Resolver) error {
	value, err := resolve(item.Values)
	switch {
	case errors.Is(err, ErrKeep):
		return nil
	case errors.Is(err, ErrDelete):
		if len(item.Values) == 0 {
			return nil
		}
		return c.DeleteItem(ctx, partition, sort, item.Token)
	case err != nil:
		return err
	}
	return c.InsertItem(ctx, partition, sort, item.Token, value)
}

// Resolve is Update for items in conflict only: any other is left as it is.
func (c *Client) Resolve(ctx context.Context, item Item, resolve Resolver) error {
	if !item.Conflict() {
		return nil
	}
	return c.replace(ctx, item.PartitionKey, item.SortKey, item, resolve)
}

// Largest is a Resolver that takes the value that sorts last by its bytes: for
// values that begin with a version or a time of fixed width, the newest.
func Largest(values [][]byte) ([]byte, error) {
	if len(values) == 0 {
		return nil, ErrKeep
	}
	return slices.MaxFunc(values, bytes.Compare), nil
}

// Union is a Resolver for values that are sets of lines: it takes every line of
// any of them once, sorted. A line that one writer removed and another did not
// comes back.
func Union(values [][]byte) ([]byte, error) {
	if len(values) == 0 {
		return nil, ErrKeep
	}
	var lines [][]byte
	for _, v := range values {
		for line := range bytes.Lines(v) {
			lines = append(lines, bytes.TrimSuffix(line, []byte("\n")))
		}
	}
	slices.SortFunc(lines, bytes.Compare)
	lines = slices.CompactFunc(lines, bytes.Equal)
	if len(lines) == 0 {
		return []byte{}, nil
	}
	return append(bytes.Join(lines, []byte("\n")), '\n'), nil
}

// Settle is a Resolver that has r settle conflicts, and then changes the one
// value; change is given nil when there is no item.
func Settle(r Resolver, change func(value []byte) ([]byte, error)) Resolver {
	return func(values [][]byte) ([]byte, error) {
		switch len(values) {
		case 0:
			return change(nil)
		case 1:
			return change(values[0])
		}
		value, err := r(values)
		if err != nil {
			return nil, err
		}
		return change(value)
	}
}
