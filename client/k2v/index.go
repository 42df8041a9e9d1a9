package k2v

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
)

// IndexQuery selects partition keys; its fields mean for these what those of a
// Query mean for sort keys.
type IndexQuery struct {
	Prefix, Start, End string
	Reverse            bool
	Limit              int
}

// Partition is a partition key with what is stored under it. The figures lag a
// little behind writes.
type Partition struct {
	Key string `json:"pk"`
	// Entries are items with at least one value, Conflicts those of them with
	// several.
	Entries   int64 `json:"entries"`
	Conflicts int64 `json:"conflicts"`
	Values    int64 `json:"values"`
	// Bytes of all values.
	Bytes int64 `json:"bytes"`
}

// IndexPage is what ReadIndex returned.
type IndexPage struct {
	Partitions []Partition
	// More says that there is more, from the partition key Next on.
	More bool
	Next string
}

// ReadIndex lists partition keys that have items.
func (c *Client) ReadIndex(ctx context.Context, q IndexQuery) (IndexPage, error) {
	const op = "ReadIndex"
	query := url.Values{}
	for name, value := range map[string]string{"prefix": q.Prefix, "start": q.Start, "end": q.End} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if q.Reverse {
		query.Set("reverse", "true")
	}
	if q.Limit != 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	resp, err := c.do(ctx, request{op: op, method: http.MethodGet, query: query})
	if err != nil {
		return IndexPage{}, err
	}
	var out struct {
		PartitionKeys []Partition `json:"partitionKeys"`
		More          bool        `json:"more"`
		NextStart     string      `json:"nextStart"`
	}
	if err := json.Unmarshal(resp.body, &out); err != nil {
		return IndexPage{}, &Error{Op: op, Kind: ErrInvalid, Message: "the answer is none of K2V", Cause: err}
	}
	return IndexPage{out.PartitionKeys, out.More, out.NextStart}, nil
}
