package floor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"

	"hangar/services/gateway/internal/content"
	"hangar/services/gateway/internal/httpd"
	"hangar/services/gateway/internal/sigv4"
	"hangar/shared/fault"
)

const (
	// itemBytes and searchItems are the size of the values and the number of the
	// items that the floor pretends to have.
	itemBytes   = 1 << 10
	searchItems = 1000
	// maxItemsBody bounds the body of a request, in bytes.
	maxItemsBody = 16 << 20
	// itemsToken stands for a causality token of one node.
	itemsToken = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// items is the floor under K2V: it checks the signature, reads the body, and
// answers with bytes made before. It implements httpd.Handler.
type items struct {
	verifier     sigv4.Verifier
	one, several []byte
}

// ServeItems serves K2V on ln until ctx ends.
func ServeItems(ctx context.Context, ln net.Listener, o Options) error {
	d := newDirectory(o)
	value := base64.StdEncoding.EncodeToString(make([]byte, itemBytes))
	type item struct {
		Sort   string   `json:"sk"`
		Token  string   `json:"ct"`
		Values []string `json:"v"`
	}
	all := make([]item, searchItems)
	for i := range all {
		all[i] = item{fmt.Sprintf("%08d", i), itemsToken, []string{value}}
	}
	several, err := json.Marshal([]map[string]any{{"items": all, "more": false, "nextStart": nil}})
	if err != nil {
		return err
	}
	h := &items{one: []byte(`["` + value + `"]`), several: several}
	h.verifier = sigv4.Verifier{Region: o.Region, Service: "k2v", Secret: func(id string) (string, error) {
		if k := d.Key(id); k != nil {
			return k.Secret, nil
		}
		return "", fault.New(fault.NotFound, "access key %q", id)
	}}
	return httpd.New(httpd.Config{}, h, o.Log).Serve(ctx, ln)
}

// Serve implements httpd.Handler.
func (h *items) Serve(_ context.Context, r *httpd.Request) *httpd.Response {
	headers := make(sigv4.Headers, len(r.Headers))
	for i, f := range r.Headers {
		headers[i] = sigv4.Header(f)
	}
	id, err := h.verifier.Verify(&sigv4.Request{Method: r.Method, RawPath: r.RawPath, RawQuery: r.RawQuery, Host: r.Host, Headers: headers})
	if err != nil {
		return &httpd.Response{Status: http.StatusForbidden, Body: []byte(err.Error())}
	}
	src := content.Source{Length: r.ContentLength, Headers: headers, Identity: id, Limit: maxItemsBody}
	if r.Body != nil {
		src.Reader = r.Body
	}
	body, err := content.New(src)
	if err == nil {
		_, err = discard(body)
	}
	if err != nil {
		return &httpd.Response{Status: http.StatusBadRequest, Body: []byte(err.Error())}
	}
	answer := &httpd.Response{Status: http.StatusOK, Header: []httpd.Field{{Name: "Content-Type", Value: "application/json"}}}
	switch {
	case r.Method == http.MethodGet:
		answer.Set("X-Garage-Causality-Token", itemsToken)
		answer.Body = h.one
	case r.Method == http.MethodPost && strings.HasPrefix(r.RawQuery, "search"):
		answer.Body = h.several
	default:
		return &httpd.Response{Status: http.StatusNoContent}
	}
	return answer
}

// Expect implements httpd.Handler.
func (h *items) Expect(context.Context, *httpd.Request) *httpd.Response { return nil }

// Fail implements httpd.Handler.
func (h *items) Fail(*httpd.Request, httpd.Problem) *httpd.Response {
	return &httpd.Response{Status: http.StatusServiceUnavailable}
}
