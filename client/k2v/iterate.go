package k2v

import (
	"context"
	"errors"
	"iter"
)

// pageSize is how many items or partition keys an iterator asks for at a time.
const pageSize = 500

// Items iterates over the items that q selects, page by page. It ends with the
// first error. Items written while it runs may be seen or not; none that is
// there all the time is left out.
func (c *Client) Items(ctx context.Context, q Query) iter.Seq2[Item, error] {
	return pages(q.Limit, q.Start, func(start string, limit int) ([]Item, bool, string, error) {
		q.Start, q.Limit = start, limit
		if q.Single {
			q.Limit = 0 // the server wants none
		}
		found, err := c.ReadBatch(ctx, q)
		if err != nil {
			return nil, false, "", err
		}
		return found[0].Items, found[0].More, found[0].Next, nil
	})
}

// Partitions iterates over the partition keys that q selects, page by page. It
// ends with the first error.
func (c *Client) Partitions(ctx context.Context, q IndexQuery) iter.Seq2[Partition, error] {
	return pages(q.Limit, q.Start, func(start string, limit int) ([]Partition, bool, string, error) {
		q.Start, q.Limit = start, limit
		found, err := c.ReadIndex(ctx, q)
		return found.Partitions, found.More, found.Next, err
	})
}

// pages iterates over what read returns from start on, up to limit in all, 0
// for everything. A page that is too large is asked for again with fewer on it.
func pages[T any](limit int, start string, read func(start string, limit int) (page []T, more bool, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		left, size, start := limit, pageSize, start
		for {
			if limit > 0 {
				size = min(size, left)
			}
			page, more, next, err := read(start, size)
			if errors.Is(err, ErrTooLarge) && size > 1 {
				size /= 2
				continue
			}
			if err != nil {
				yield(zero, err)
				return
			}
			for _, v := range page {
				if !yield(v, nil) {
					return
				}
			}
			left -= len(page)
			switch {
			case !more || limit > 0 && left <= 0:
				return
			case next == "" || next == start:
				yield(zero, invalid("list", "the server says that there is more, but not where"))
				return
			}
			start = next
		}
	}
}
