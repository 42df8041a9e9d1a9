package workload

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hangar/tests/consistency/check"
)

// tokenHeader carries causality tokens, both ways.
const tokenHeader = "X-Garage-Causality-Token"

// The items of a history are named by partition and sort key.
const keySeparator = "|"

func itemKey(partition, sort string) string { return partition + keySeparator + sort }

func splitKey(key string) (partition, sort string) {
	partition, sort, _ = strings.Cut(key, keySeparator)
	return partition, sort
}

// wireItem is an item in the answer to a search or a poll of a range.
type wireItem struct {
	Sort   string    `json:"sk"`
	Token  string    `json:"ct"`
	Values []*string `json:"v"`
}

// wireWrite is one write of a batch.
type wireWrite struct {
	Partition string  `json:"pk"`
	Sort      string  `json:"sk"`
	Token     *string `json:"ct"`
	Value     *string `json:"v"`
}

// wireSearch is one search of a batch, and, with what the server adds, its answer.
type wireSearch struct {
	Partition  string  `json:"partitionKey"`
	Prefix     *string `json:"prefix"`
	Start      *string `json:"start"`
	End        *string `json:"end"`
	Limit      *int    `json:"limit"`
	Tombstones bool    `json:"tombstones"`

	Items     []wireItem `json:"items,omitempty"`
	More      bool       `json:"more,omitempty"`
	NextStart *string    `json:"nextStart,omitempty"`
}

// wireFollow is a poll of a range; the marker and the items are the answer.
type wireFollow struct {
	Prefix  *string    `json:"prefix"`
	Timeout int        `json:"timeout"`
	Marker  *string    `json:"seenMarker"`
	Items   []wireItem `json:"items,omitempty"`
}

// wireIndex is the index of partition keys.
type wireIndex struct {
	Partitions []indexEntry `json:"partitionKeys"`
	More       bool         `json:"more"`
}

// indexEntry is what the index says of a partition key.
type indexEntry struct {
	Partition string `json:"pk"`
	Entries   int64  `json:"entries"`
	Conflicts int64  `json:"conflicts"`
	Values    int64  `json:"values"`
	Bytes     int64  `json:"bytes"`
}

// optional is a JSON null for what is empty.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// itemRequest is about one item. waits, if any, makes it a poll.
func itemRequest(o check.Op, waits time.Duration) request {
	partition, sort := splitKey(o.Key)
	r := request{key: url.PathEscape(partition), header: map[string]string{}}
	pairs := []string{"sort_key", sort}
	switch o.Verb {
	case check.Insert:
		r.method, r.body = http.MethodPut, contentOf(o.Value)
	case check.Remove:
		r.method = http.MethodDelete
	case check.Poll:
		r.method, r.waits = http.MethodGet, waits
		pairs = append(pairs, "causality_token", o.Given, "timeout", fmt.Sprint(int(waits.Seconds())))
	default:
		r.method = http.MethodGet
	}
	if o.Given != "" && o.Verb != check.Poll {
		r.header[tokenHeader] = o.Given
	}
	r.query = query(pairs...)
	return r
}

// jsonRequest posts JSON to the bucket or a partition key.
func jsonRequest(partition, what string, body any) request {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // the types above are all that comes
	}
	r := request{method: http.MethodPost, key: url.PathEscape(partition), body: b}
	if what != "" {
		r.query = query(what, "")
	}
	return r
}

// readItem takes the answer to a fetch or a poll.
func (w *Items) readItem(o check.Op, a answer) check.Op {
	if o.Verdict != check.Done || a.status == http.StatusNotFound {
		return o
	}
	if a.status == http.StatusNotModified {
		o.Unchanged = true
		return o
	}
	var values []*string
	if err := json.Unmarshal(a.body, &values); err != nil {
		return w.broken(o, "is not JSON: %v: %.200q", err, a.body)
	}
	found, err := named(o.Key, wireItem{Token: a.header.Get(tokenHeader), Values: values})
	if err != nil {
		return w.broken(o, "%v", err)
	}
	o.Values, o.Token = found.Values, found.Token
	return o
}

// broken notes an answer that no read may get; what it says counts for nothing.
func (w *Items) broken(o check.Op, format string, args ...any) check.Op {
	w.History.Violation("%s: the answer %s", o, fmt.Sprintf(format, args...))
	o.Verdict = check.Refused
	return o
}

// readItems takes the items of an answer about a partition key.
func (w *Items) readItems(o check.Op, found []wireItem) check.Op {
	partition, _ := splitKey(o.Key)
	for _, i := range found {
		item, err := named(itemKey(partition, i.Sort), i)
		if err != nil {
			return w.broken(o, "%v", err)
		}
		o.Items = append(o.Items, item)
	}
	return o
}

// named puts the names of values in the place of their contents.
func named(key string, i wireItem) (check.Item, error) {
	found := check.Item{Key: key, Token: i.Token}
	if i.Token == "" || len(i.Values) == 0 {
		return found, fmt.Errorf("has an item %s without token or values", key)
	}
	for _, v := range i.Values {
		if v == nil {
			found.Values = append(found.Values, check.Tombstone)
			continue
		}
		content, err := base64.StdEncoding.DecodeString(*v)
		if err != nil {
			return found, fmt.Errorf("has a value of %s that is not base64: %w", key, err)
		}
		name, err := valueIn(content)
		if err != nil {
			return found, fmt.Errorf("has as a value of %s: %w", key, err)
		}
		found.Values = append(found.Values, name)
	}
	return found, nil
}
