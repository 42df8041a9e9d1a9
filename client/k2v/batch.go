package k2v

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// Query selects items of one partition by their sort keys.
type Query struct {
	PartitionKey string
	// Prefix that sort keys must have; Start is the first sort key, and must
	// begin with Prefix, End the first one that is not selected any more. Empty
	// means no bound.
	Prefix, Start, End string
	// Single selects only the item with the sort key Start.
	Single bool

	// The rest is for ReadBatch and Items.

	// Reverse lists from high to low: Start is then the highest sort key.
	Reverse bool
	// Limit is the most items to return; 0: as many as the server gives.
	Limit int
	// ConflictsOnly selects items with several concurrent values.
	ConflictsOnly bool
	// Tombstones selects items that are deleted too.
	Tombstones bool
}

// One selects a single item.
func One(partition, sort string) Query {
	return Query{PartitionKey: partition, Start: sort, Single: true}
}

// Page is what a query of ReadBatch returned.
type Page struct {
	Items []Item
	// More says that there is more, from the sort key Next on.
	More bool
	Next string
}

// Insert is one write of a batch.
type Insert struct {
	PartitionKey, SortKey string
	// Token of what the write replaces; empty: nothing.
	Token Token
	Value []byte
	// Delete writes a deletion instead of Value.
	Delete bool
}

type wireQuery struct {
	PartitionKey  string  `json:"partitionKey"`
	Prefix        *string `json:"prefix,omitempty"`
	Start         *string `json:"start,omitempty"`
	End           *string `json:"end,omitempty"`
	Limit         *int    `json:"limit,omitempty"`
	Reverse       bool    `json:"reverse,omitempty"`
	SingleItem    bool    `json:"singleItem,omitempty"`
	ConflictsOnly bool    `json:"conflictsOnly,omitempty"`
	Tombstones    bool    `json:"tombstones,omitempty"`
}

type wireItem struct {
	SortKey string   `json:"sk"`
	Token   Token    `json:"ct"`
	Values  [][]byte `json:"v"`
}

type wireInsert struct {
	PartitionKey string  `json:"pk"`
	SortKey      string  `json:"sk"`
	Token        *Token  `json:"ct"`
	Value        *[]byte `json:"v"`
}

// given is nil for what is not said.
func given[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func (q Query) wire() wireQuery {
	w := wireQuery{
		PartitionKey: q.PartitionKey, Prefix: given(q.Prefix), Start: given(q.Start), End: given(q.End), Limit: given(q.Limit),
		Reverse: q.Reverse, SingleItem: q.Single, ConflictsOnly: q.ConflictsOnly, Tombstones: q.Tombstones,
	}
	if q.Single {
		w.Start = &q.Start
	}
	return w
}

// bounds is a query for operations that know partition and bounds only.
func (q Query) bounds(op string) (wireQuery, error) {
	if q.Reverse || q.Limit != 0 || q.ConflictsOnly || q.Tombstones {
		return wireQuery{}, invalid(op, "Reverse, Limit, ConflictsOnly and Tombstones are for ReadBatch")
	}
	return q.wire(), nil
}

func items(partition string, wire []wireItem) []Item {
	out := make([]Item, len(wire))
	for i, w := range wire {
		out[i] = Item{PartitionKey: partition, SortKey: w.SortKey, Token: w.Token}
		out[i].fill(w.Values)
	}
	return out
}

// InsertBatch does several writes. It is no transaction: each is done on its
// own, and readers may see some before others. An error leaves open which were
// done: also when it is not ErrIndeterminate some may be, unless the request
// was refused as a whole.
func (c *Client) InsertBatch(ctx context.Context, inserts []Insert) error {
	const op = "InsertBatch"
	wire := make([]wireInsert, len(inserts))
	for i, in := range inserts {
		wire[i] = wireInsert{PartitionKey: in.PartitionKey, SortKey: in.SortKey, Token: given(in.Token)}
		if value := in.Value; !in.Delete {
			if value == nil {
				value = []byte{} // nil would be a deletion
			}
			wire[i].Value = &value
		}
	}
	_, err := c.post(ctx, request{op: op, effect: repeatable}, wire, nil)
	return err
}

// ReadBatch does several queries; the pages are in their order.
func (c *Client) ReadBatch(ctx context.Context, queries ...Query) ([]Page, error) {
	const op = "ReadBatch"
	wire := make([]wireQuery, len(queries))
	for i, q := range queries {
		wire[i] = q.wire()
	}
	var found []struct {
		Items     []wireItem `json:"items"`
		More      bool       `json:"more"`
		NextStart string     `json:"nextStart"`
	}
	if _, err := c.post(ctx, request{op: op, query: url.Values{"search": {""}}}, wire, &found); err != nil {
		return nil, err
	}
	if len(found) != len(queries) {
		return nil, invalid(op, "%d queries, but %d answers", len(queries), len(found))
	}
	pages := make([]Page, len(found))
	for i, f := range found {
		pages[i] = Page{items(queries[i].PartitionKey, f.Items), f.More, f.NextStart}
	}
	return pages, nil
}

// DeleteBatch deletes what the queries select, as it is when the server comes to
// it, and returns how many items each of them deleted. Of a query it takes
// PartitionKey, Prefix, Start, End and Single.
func (c *Client) DeleteBatch(ctx context.Context, queries ...Query) ([]int64, error) {
	const op = "DeleteBatch"
	wire := make([]wireQuery, len(queries))
	for i, q := range queries {
		var err error
		if wire[i], err = q.bounds(op); err != nil {
			return nil, err
		}
	}
	var deleted []struct {
		DeletedItems int64 `json:"deletedItems"`
	}
	if _, err := c.post(ctx, request{op: op, effect: once, query: url.Values{"delete": {""}}}, wire, &deleted); err != nil {
		return nil, err
	}
	if len(deleted) != len(queries) {
		return nil, invalid(op, "%d queries, but %d answers", len(queries), len(deleted))
	}
	counts := make([]int64, len(deleted))
	for i, d := range deleted {
		counts[i] = d.DeletedItems
	}
	return counts, nil
}

// Changes are items that changed, each at its newest state.
type Changes struct {
	Items []Item
	// Seen marks how far changes were seen, for a further PollRange on the same
	// range or one within it. It outlives server and client.
	Seen string
}

// PollRange waits up to timeout (whole seconds, 1 s to 10 min) until an item
// that q selects has changed since seen, and returns the changed ones. changed
// is false when the time has passed without. If seen is empty it returns at once
// what is there now, which may be nothing. Of q it takes PartitionKey, Prefix,
// Start and End.
func (c *Client) PollRange(ctx context.Context, q Query, seen string, timeout time.Duration) (found Changes, changed bool, err error) {
	return c.pollRange(ctx, q, seen, timeout, false)
}

func (c *Client) pollRange(ctx context.Context, q Query, seen string, timeout time.Duration, forever bool) (Changes, bool, error) {
	const op = "PollRange"
	b, err := q.bounds(op)
	switch {
	case err != nil:
		return Changes{}, false, err
	case q.PartitionKey == "":
		return Changes{}, false, invalid(op, "the partition key is empty")
	case q.Single:
		return Changes{}, false, invalid(op, "Single is not for ranges: use PollItem")
	}
	in := struct {
		Prefix     *string `json:"prefix,omitempty"`
		Start      *string `json:"start,omitempty"`
		End        *string `json:"end,omitempty"`
		Timeout    int     `json:"timeout"`
		SeenMarker *string `json:"seenMarker,omitempty"`
	}{b.Prefix, b.Start, b.End, seconds(timeout), given(seen)}
	var out struct {
		SeenMarker string     `json:"seenMarker"`
		Items      []wireItem `json:"items"`
	}
	resp, err := c.post(ctx, request{
		op: op, partition: q.PartitionKey, query: url.Values{"poll_range": {""}}, wait: timeout, forever: forever,
	}, in, &out)
	if err != nil || resp.status == http.StatusNotModified {
		return Changes{}, false, err
	}
	if out.SeenMarker == "" {
		return Changes{}, false, invalid(op, "the answer has no seen marker: is this a K2V API?")
	}
	return Changes{items(q.PartitionKey, out.Items), out.SeenMarker}, true, nil
}

// post sends in as JSON and reads the answer into out, if there is to be one.
func (c *Client) post(ctx context.Context, r request, in, out any) (response, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return response{}, &Error{Op: r.op, Kind: ErrInvalid, Cause: err}
	}
	r.method, r.body = http.MethodPost, body
	r.header = map[string]string{"Content-Type": "application/json"}
	resp, err := c.do(ctx, r)
	if err != nil || out == nil || resp.status != http.StatusOK {
		return resp, err
	}
	if err := json.Unmarshal(resp.body, out); err != nil {
		kind := ErrInvalid
		if r.effect != reads {
			kind = ErrIndeterminate
		}
		return response{}, &Error{Op: r.op, Kind: kind, Message: "the answer is none of K2V", Cause: err}
	}
	return resp, nil
}
