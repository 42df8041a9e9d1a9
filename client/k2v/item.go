package k2v

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Token says what of an item somebody has seen. It comes from the server and is
// opaque.
type Token string

// Unseen is the token of somebody who has seen nothing: polled with it, an item
// answers as soon as it has any value. (It is the encoding of an empty context.)
const Unseen Token = "AAAAAAAAAAA"

// Item is what is stored under a partition and a sort key.
type Item struct {
	PartitionKey, SortKey string
	// Token replaces what is in this item, given with a write.
	Token Token
	// Values that are there at the same time; more than one is a conflict. An
	// item that is deleted has none.
	Values [][]byte
	// Deleted says that there is a deletion: with values, one concurrent to
	// them.
	Deleted bool
}

// Conflict says that there are several concurrent values, or values and a
// deletion.
func (i Item) Conflict() bool {
	return len(i.Values) > 1 || len(i.Values) == 1 && i.Deleted
}

// Value is the one value of an item: ErrNotFound if it is deleted, ErrConflict
// if there are several. A deletion beside a single value is passed over.
func (i Item) Value() ([]byte, error) {
	switch len(i.Values) {
	case 0:
		return nil, &Error{Op: "Value", Kind: ErrNotFound}
	case 1:
		return i.Values[0], nil
	}
	return nil, &Error{Op: "Value", Kind: ErrConflict, Message: strconv.Itoa(len(i.Values)) + " of them: use Update or Resolve"}
}

// fill sets the values from their wire form, where nil is a deletion.
func (i *Item) fill(values [][]byte) {
	for _, v := range values {
		if v == nil {
			i.Deleted = true
		} else {
			i.Values = append(i.Values, v)
		}
	}
}

// ReadItem reads an item. An item that is deleted is no error: it has no values,
// and a token with which it can be written again. The error is ErrNotFound if
// nothing was ever written, or so long ago that the deletion is forgotten.
func (c *Client) ReadItem(ctx context.Context, partition, sort string) (Item, error) {
	const op = "ReadItem"
	if partition == "" {
		return Item{}, invalid(op, "the partition key is empty")
	}
	resp, err := c.do(ctx, request{
		op: op, method: http.MethodGet, partition: partition,
		query: url.Values{"sort_key": {sort}}, header: acceptBoth,
	})
	if err != nil {
		return Item{}, err
	}
	return readItem(op, partition, sort, resp)
}

var acceptBoth = map[string]string{"Accept": "application/octet-stream, application/json"}

func readItem(op, partition, sort string, resp response) (Item, error) {
	item := Item{PartitionKey: partition, SortKey: sort, Token: Token(resp.header.Get(tokenHeader))}
	switch {
	case item.Token == "":
		return Item{}, invalid(op, "the answer has no causality token: is this a K2V API?")
	case resp.status == http.StatusNoContent:
		item.Deleted = true
	case resp.header.Get("Content-Type") == "application/json":
		var values [][]byte
		if err := json.Unmarshal(resp.body, &values); err != nil {
			return Item{}, &Error{Op: op, Kind: ErrInvalid, Message: "the answer is none of K2V", Cause: err}
		}
		item.fill(values)
	default:
		item.Values = [][]byte{resp.body}
	}
	return item, nil
}

// InsertItem writes a value. With the token of a read it replaces what that
// read returned; with an empty one it replaces nothing, and stands beside what
// may be there.
func (c *Client) InsertItem(ctx context.Context, partition, sort string, token Token, value []byte) error {
	const op = "InsertItem"
	if partition == "" {
		return invalid(op, "the partition key is empty")
	}
	r := request{op: op, method: http.MethodPut, effect: repeatable, partition: partition, query: url.Values{"sort_key": {sort}}, body: value}
	if token != "" {
		r.header = map[string]string{tokenHeader: string(token)}
	}
	_, err := c.do(ctx, r)
	return err
}

// DeleteItem deletes what the read that returned token has seen of an item.
func (c *Client) DeleteItem(ctx context.Context, partition, sort string, token Token) error {
	const op = "DeleteItem"
	switch {
	case partition == "":
		return invalid(op, "the partition key is empty")
	case token == "":
		return invalid(op, "there is no token: what is deleted must have been read")
	}
	_, err := c.do(ctx, request{
		op: op, method: http.MethodDelete, effect: repeatable, partition: partition,
		query: url.Values{"sort_key": {sort}}, header: map[string]string{tokenHeader: string(token)},
	})
	return err
}

// PollItem waits up to timeout (whole seconds, 1 s to 10 min) until an item has
// something that token has not seen, and returns it. changed is false when the
// time has passed without. With Unseen it waits until the item exists.
func (c *Client) PollItem(ctx context.Context, partition, sort string, token Token, timeout time.Duration) (item Item, changed bool, err error) {
	return c.pollItem(ctx, partition, sort, token, timeout, false)
}

func (c *Client) pollItem(ctx context.Context, partition, sort string, token Token, timeout time.Duration, forever bool) (Item, bool, error) {
	const op = "PollItem"
	switch {
	case partition == "":
		return Item{}, false, invalid(op, "the partition key is empty")
	case token == "":
		return Item{}, false, invalid(op, "there is no token: give that of a read, or Unseen")
	}
	resp, err := c.do(ctx, request{
		op: op, method: http.MethodGet, partition: partition, header: acceptBoth, wait: timeout, forever: forever,
		query: url.Values{"sort_key": {sort}, "causality_token": {string(token)}, "timeout": {strconv.Itoa(seconds(timeout))}},
	})
	if err != nil || resp.status == http.StatusNotModified {
		return Item{}, false, err
	}
	item, err := readItem(op, partition, sort, resp)
	return item, err == nil, err
}

// seconds is a timeout as K2V wants it.
func seconds(d time.Duration) int {
	return int(min(max((d+time.Second-1)/time.Second, 1), 600))
}
