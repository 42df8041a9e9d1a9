package k2v

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"hangar/services/gateway/internal/access"
	"hangar/services/gateway/internal/httpd"
)

// route is one operation of the API.
type route struct {
	// op is the specification's name of it, used for spans and metrics.
	op     string
	need   access.Need
	serve  func(a *API, c *call) (*httpd.Response, error)
	params []string
}

// selector finds a route: the method, whether there is a partition key, and the
// keyword in the query ("" for none).
type selector struct {
	method  string
	item    bool
	keyword string
}

var (
	readBatch = &route{op: "ReadBatch", need: access.Read, serve: (*API).readBatch}
	pollRange = &route{op: "PollRange", need: access.Read, serve: (*API).pollRange}
)

// routes is the whole API.
var routes = map[selector]*route{
	{http.MethodGet, true, ""}: {op: "ReadItem", need: access.Read, serve: (*API).readItem, params: []string{"sort_key"}},
	{http.MethodGet, true, "causality_token"}: {op: "PollItem", need: access.Read, serve: (*API).pollItem,
		params: []string{"sort_key", "timeout"}},
	{http.MethodPut, true, ""}:    {op: "InsertItem", need: access.Write, serve: (*API).insertItem, params: []string{"sort_key"}},
	{http.MethodDelete, true, ""}: {op: "DeleteItem", need: access.Write, serve: (*API).deleteItem, params: []string{"sort_key"}},
	{http.MethodGet, false, ""}: {op: "ReadIndex", need: access.Read, serve: (*API).readIndex,
		params: []string{"prefix", "start", "end", "limit", "reverse"}},
	{http.MethodPost, false, ""}:          {op: "InsertBatch", need: access.Write, serve: (*API).insertBatch},
	{http.MethodPost, false, "delete"}:    {op: "DeleteBatch", need: access.Write, serve: (*API).deleteBatch},
	{http.MethodPost, false, "search"}:    readBatch,
	{MethodSearch, false, ""}:             readBatch,
	{http.MethodPost, true, "poll_range"}: pollRange,
	{MethodSearch, true, "poll_range"}:    pollRange,
}

// keywords are the parameters that name an operation.
var keywords = []string{"causality_token", "delete", "search", "poll_range"}

// findRoute picks the operation. A parameter that the operation does not have is
// refused: it would be one whose meaning is ignored.
func findRoute(method string, item bool, q url.Values) (*route, error) {
	s := selector{method: method, item: item}
	for _, k := range keywords {
		if !q.Has(k) {
			continue
		}
		if s.keyword != "" {
			return nil, fail(invalidRequest, "The query names two operations, %q and %q.", s.keyword, k)
		}
		s.keyword = k
	}
	r := routes[s]
	if r == nil {
		return nil, notARoute(s)
	}
	for name, values := range q {
		switch {
		case len(values) > 1:
			return nil, fail(invalidRequest, "The parameter %q is given more than once.", name)
		case name == s.keyword, slices.Contains(r.params, name), strings.HasPrefix(strings.ToLower(name), "x-amz-"):
		default:
			return nil, fail(invalidRequest, "%s has no parameter %q.", r.op, name)
		}
	}
	return r, nil
}

// notARoute says what there is instead.
func notARoute(s selector) error {
	for other := range routes {
		if other.method == s.method {
			if s.item {
				return fail(invalidRequest, "There is no such operation on a partition key.")
			}
			return fail(invalidRequest, "There is no such operation on a bucket; is the partition key missing in the path?")
		}
	}
	return fail(methodNotAllowed, "")
}
