package k2v

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/items"
	"hangar/shared/causal"
	"hangar/shared/metaapi"
)

// How long a poll waits, in seconds.
const (
	defaultTimeout = 300
	maxTimeout     = 600
)

// format is how a client takes the values of an item.
type format uint8

const (
	formatJSON   format = 1 << iota
	formatBinary        // a single value as it is
)

// accepted reads the Accept header.
func (c *call) accepted() (f format, err error) {
	none := true
	for _, h := range c.headers {
		if !strings.EqualFold(h.Name, "Accept") {
			continue
		}
		none = false
		for part := range strings.SplitSeq(h.Value, ",") {
			kind, _, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(kind)) {
			case typeJSON:
				f |= formatJSON
			case typeBinary:
				f |= formatBinary
			case "*/*", "application/*":
				f |= formatJSON | formatBinary
			}
		}
	}
	if none {
		return formatJSON, nil
	}
	if f == 0 {
		return 0, fail(notAcceptable, "")
	}
	return f, nil
}

// itemResponse answers with an item in one of the formats that f allows.
func itemResponse(r *httpd.Request, f format, item *items.Item) *httpd.Response {
	status, kind, body := http.StatusOK, typeBinary, []byte(nil)
	switch {
	case f&formatBinary != 0 && len(item.Values) == 1:
		if v := item.Values[0]; v.Deleted {
			status = http.StatusNoContent
		} else {
			body = v.Data
		}
	case f&formatJSON != 0:
		kind, body = typeJSON, encode(values(item.Values))
	default:
		status = http.StatusConflict
	}
	resp := response(r, status)
	resp.Set(hdrToken, item.Context.Token())
	resp.Set(hdrContentType, kind)
	resp.Body = body
	return resp
}

func (a *API) readItem(c *call) (*httpd.Response, error) {
	name, err := c.name()
	if err != nil {
		return nil, err
	}
	f, err := c.accepted()
	if err != nil {
		return nil, err
	}
	item, err := a.Items.Read(c.ctx, name)
	if err != nil {
		return nil, err
	}
	return itemResponse(c.req, f, &item), nil
}

// token reads the causality token of the headers; nil without one.
func (c *call) token() (causal.Context, bool, error) {
	text, ok := c.header(hdrToken)
	if !ok {
		return nil, false, nil
	}
	t, err := parseToken(text)
	return t, true, err
}

func parseToken(text string) (causal.Context, error) {
	t, err := causal.ParseToken(text)
	if err != nil {
		return nil, fail(invalidToken, "")
	}
	return t, nil
}

func (a *API) insertItem(c *call) (*httpd.Response, error) {
	name, err := c.name()
	if err != nil {
		return nil, err
	}
	seen, _, err := c.token()
	if err != nil {
		return nil, err
	}
	body, err := c.body(items.MaxValueBytes)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if err := a.Items.Insert(c.ctx, items.Write{Name: name, Context: seen, Value: causal.Value{Data: data}}); err != nil {
		return nil, err
	}
	return response(c.req, http.StatusNoContent), nil
}

func (a *API) deleteItem(c *call) (*httpd.Response, error) {
	name, err := c.name()
	if err != nil {
		return nil, err
	}
	seen, given, err := c.token()
	if err != nil {
		return nil, err
	}
	if !given {
		return nil, fail(invalidRequest, "The header %s is missing: it says which values are to be deleted.", hdrToken)
	}
	if err := a.Items.Insert(c.ctx, items.Write{Name: name, Context: seen, Value: causal.Value{Deleted: true}}); err != nil {
		return nil, err
	}
	return response(c.req, http.StatusNoContent), nil
}

func (a *API) pollItem(c *call) (*httpd.Response, error) {
	name, err := c.name()
	if err != nil {
		return nil, err
	}
	f, err := c.accepted()
	if err != nil {
		return nil, err
	}
	seen, err := parseToken(c.query.Get("causality_token"))
	if err != nil {
		return nil, err
	}
	timeout := uint64(defaultTimeout)
	if c.query.Has("timeout") {
		if timeout, err = strconv.ParseUint(c.query.Get("timeout"), 10, 64); err != nil {
			return nil, fail(invalidRequest, "timeout must be a number of seconds.")
		}
	}
	poll, err := a.Items.PollItem(name, seen)
	if err != nil {
		return nil, err
	}
	return wait(a, c, poll, timeout, func(r *httpd.Request, item *items.Item) *httpd.Response {
		return itemResponse(r, f, item)
	})
}

// wait answers with the news of a poll: at once if there are any, else when
// there are, or with 304 when the time is up.
func wait[T any](a *API, c *call, poll *items.Poll[T], seconds uint64, word func(*httpd.Request, *T) *httpd.Response) (*httpd.Response, error) {
	until := a.Now().Add(time.Duration(min(seconds, maxTimeout)) * time.Second)
	news, err := poll.News(c.ctx)
	switch {
	case err != nil:
		poll.Close()
		return nil, err
	case news != nil:
		poll.Close()
		return word(c.req, news), nil
	case seconds == 0:
		poll.Close()
		return response(c.req, http.StatusNotModified), nil
	}
	// What the request holds besides is not to be kept alive.
	r, admission := &httpd.Request{ID: c.req.ID, Method: c.req.Method, RawPath: c.req.RawPath, Remote: c.req.Remote}, c.admission
	return &httpd.Response{Park: &httpd.Park{
		Until: until,
		Start: poll.OnChange,
		Resume: func(ctx context.Context, over bool) *httpd.Response {
			if over && a.Now().Before(until) {
				// The server stops, and who waited polls again elsewhere: thousands
				// that look now would take longer than they have.
				return response(r, http.StatusNotModified)
			}
			news, err := poll.News(metaapi.WithAdmission(ctx, admission))
			switch {
			case err != nil:
				return a.answer(ctx, r, err)
			case news != nil:
				return word(r, news)
			case over:
				return response(r, http.StatusNotModified)
			}
			return nil
		},
		End: func(bool) { poll.Close() },
	}}, nil
}

func (a *API) readIndex(c *call) (*httpd.Response, error) {
	q := items.IndexSearch{Prefix: c.optional("prefix"), Start: c.optional("start"), End: c.optional("end")}
	if text := c.optional("limit"); text != nil {
		n, err := strconv.ParseUint(*text, 10, 63)
		if err != nil {
			return nil, fail(invalidRequest, "limit must be a number.")
		}
		q.Limit = &n
	}
	if text := c.optional("reverse"); text != nil {
		var err error
		if q.Reverse, err = strconv.ParseBool(*text); err != nil {
			return nil, fail(invalidRequest, "reverse must be true or false.")
		}
	}
	found, err := a.Items.Index(c.ctx, c.at.ID, q)
	if err != nil {
		return nil, err
	}
	out := indexResponse{Prefix: q.Prefix, Start: q.Start, End: q.End, Limit: q.Limit, Reverse: q.Reverse,
		PartitionKeys: make([]indexEntry, len(found.Keys)), More: found.More}
	for i, k := range found.Keys {
		out.PartitionKeys[i] = indexEntry{k.Key, k.Entries, k.Conflicts, k.Values, k.Bytes}
	}
	if found.More {
		out.NextStart = &found.Next
	}
	return jsonResponse(c.req, out), nil
}

func (c *call) optional(name string) *string {
	if v := c.query[name]; len(v) > 0 {
		return &v[0]
	}
	return nil
}
