package k2v

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// script is a server that answers one request after the other as it is told,
// for what a real server cannot be made to do on demand.
type script struct {
	answers []func(http.ResponseWriter)
	mu      sync.Mutex
	bodies  []string // of what was asked; under mu
}

// asked is what the server was asked so far.
func (s *script) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bodies)
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	i := len(s.bodies)
	s.bodies = append(s.bodies, r.Method+" "+r.RequestURI+" "+string(b))
	s.mu.Unlock()
	if i >= len(s.answers) {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	s.answers[i](w)
}

func says(status int, code string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set(tokenHeader, "token")
		w.WriteHeader(status)
		if status != http.StatusNoContent && status != http.StatusNotModified {
			fmt.Fprintf(w, `{"code": %q, "message": "because"}`, code)
		}
	}
}

// hangsUp ends the connection instead of an answer.
func hangsUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	conn.Close()
}

func play(t *testing.T, answers ...func(http.ResponseWriter)) (*Client, *script) {
	t.Helper()
	s := &script{answers: answers}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return client(t, server.URL), s
}

func client(t *testing.T, endpoint string) *Client {
	t.Helper()
	c, err := New(Options{Endpoint: endpoint, Region: "r", Bucket: "b", AccessKeyID: "id", SecretAccessKey: "secret", Attempts: 3})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRetries(t *testing.T) {
	read := func(c *Client) error { _, err := c.ReadItem(t.Context(), "p", "s"); return err }
	insert := func(c *Client) error { return c.InsertItem(t.Context(), "p", "s", "", []byte("v")) }
	remove := func(c *Client) error { _, err := c.DeleteBatch(t.Context(), One("p", "s")); return err }
	ok, busy, unknown, denied := says(204, ""), says(503, "SlowDown"), says(503, "ServiceUnavailable"), says(403, "AccessDenied")
	for _, c := range []struct {
		name    string
		do      func(*Client) error
		answers []func(http.ResponseWriter)
		asked   int
		want    error
	}{
		{"a read is repeated", read, []func(http.ResponseWriter){unknown, hangsUp, ok}, 3, nil},
		{"not for ever", read, []func(http.ResponseWriter){unknown, busy, unknown, ok}, 3, ErrUnavailable},
		{"not when refused", read, []func(http.ResponseWriter){denied, ok}, 1, ErrDenied},
		{"not found", read, []func(http.ResponseWriter){says(404, "NoSuchKey")}, 1, ErrNotFound},
		{"no bucket", read, []func(http.ResponseWriter){says(404, "NoSuchBucket")}, 1, ErrNoBucket},
		{"a 404 of something else is not a missing item", read, []func(http.ResponseWriter){says(404, "")}, 1, ErrInvalid},
		{"a redirect is not followed", read, []func(http.ResponseWriter){says(307, "")}, 1, ErrInvalid},
		{"an insert is repeated", insert, []func(http.ResponseWriter){busy, hangsUp, ok}, 3, nil},
		{"a busy server did nothing", insert, []func(http.ResponseWriter){busy, busy, busy}, 3, ErrUnavailable},
		{"an insert may be done", insert, []func(http.ResponseWriter){unknown, busy, busy}, 3, ErrIndeterminate},
		{"an insert may be done, whatever comes later", insert, []func(http.ResponseWriter){hangsUp, denied}, 2, ErrIndeterminate},
		{"a refused insert is not done", insert, []func(http.ResponseWriter){denied}, 1, ErrDenied},
		{"too large", insert, []func(http.ResponseWriter){says(413, "EntityTooLarge")}, 1, ErrTooLarge},
		{"a range is deleted once", remove, []func(http.ResponseWriter){unknown, ok}, 1, ErrIndeterminate},
		{"or when nothing was done", remove, []func(http.ResponseWriter){busy, hangsUp, ok}, 2, ErrIndeterminate},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, s := play(t, c.answers...)
			err := c.do(client)
			asked := s.asked()
			if !errors.Is(err, c.want) || len(asked) != c.asked {
				t.Errorf("asked %d times, %v; want %d, %v", len(asked), err, c.asked, c.want)
			}
			for _, other := range []error{ErrUnavailable, ErrIndeterminate} {
				if !errors.Is(other, c.want) && errors.Is(err, other) {
					t.Errorf("%v is %v too", err, other)
				}
			}
			if s := fmt.Sprint(err); strings.Contains(s, "secret") || strings.Contains(s, "sort_key") {
				t.Errorf("the error tells too much: %s", s)
			}
			if slices.ContainsFunc(asked, func(b string) bool { return b != asked[0] }) {
				t.Errorf("not the same request every time: %q", asked)
			}
		})
	}
}

// TestNobodyThere: without a connection nothing can have been written.
func TestNobodyThere(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c := client(t, "http://"+l.Addr().String())
	heard := 0
	c.o.OnRetry = func(Retry) { heard++ }
	err = c.InsertItem(t.Context(), "p", "s", "", nil)
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrIndeterminate) || heard != 2 {
		t.Errorf("%v after %d repetitions", err, heard)
	}
}

// TestCancelledWrite: giving up does not undo what was sent.
func TestCancelledWrite(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := play(t, func(w http.ResponseWriter) { cancel(); hangsUp(w) })
	err := c.InsertItem(ctx, "p", "s", "", nil)
	if !errors.Is(err, ErrIndeterminate) || !errors.Is(err, context.Canceled) {
		t.Errorf("a write: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	c, _ = play(t, func(w http.ResponseWriter) { cancel(); hangsUp(w) })
	if _, err = c.ReadItem(ctx, "p", "s"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrIndeterminate) {
		t.Errorf("a read: %v", err)
	}
}

func TestServerAsksToWait(t *testing.T) {
	for after, want := range map[string]time.Duration{"1": time.Second, "86400": maxAsked, "soon": 0, "-1": 0} {
		e := answered(request{}, 503, http.Header{"Retry-After": {after}}, nil)
		if e.after != want {
			t.Errorf("%q: %v", after, e.after)
		}
	}
	for attempt := 1; attempt < 100; attempt++ {
		if p := pause(attempt, ErrUnavailable); p < firstPause/2 || p > maxPause {
			t.Errorf("attempt %d: pause %v", attempt, p)
		}
	}
}

func TestHugeAnswer(t *testing.T) {
	c, _ := play(t, func(w http.ResponseWriter) {
		w.Header().Set(tokenHeader, "token")
		fmt.Fprint(w, strings.Repeat("x", 101))
	})
	c.o.MaxResponse = 100
	if _, err := c.ReadItem(t.Context(), "p", "s"); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

// TestPages: an iterator asks for less when a page is too large, and does not
// run in circles.
func TestPages(t *testing.T) {
	var sizes []int
	all := pages(0, "", func(start string, limit int) ([]string, bool, string, error) {
		if sizes = append(sizes, limit); limit > 200 {
			return nil, false, "", &Error{Op: "ReadBatch", Kind: ErrTooLarge}
		}
		switch start {
		case "":
			return []string{"a", "b"}, true, "c", nil
		default:
			return []string{"c"}, true, "c", nil
		}
	})
	var got []string
	var last error
	for v, err := range all {
		if last = err; err == nil {
			got = append(got, v)
		}
	}
	if !slices.Equal(got, []string{"a", "b", "c"}) || !errors.Is(last, ErrInvalid) || !slices.Equal(sizes, []int{500, 250, 125, 125}) {
		t.Errorf("%v, %v, asked for %v", got, last, sizes)
	}
	got = nil
	for v, err := range pages(3, "", func(start string, limit int) ([]string, bool, string, error) {
		return []string{"x", "y"}[:min(limit, 2)], true, start + "+", nil
	}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	if len(got) != 3 {
		t.Errorf("a limit of 3 gives %d", len(got))
	}
}

func TestPaths(t *testing.T) {
	c, s := play(t, says(204, ""), says(204, ""))
	for _, key := range []string{"..", "a/b?c d+é%2F"} {
		if _, err := c.ReadItem(t.Context(), key, "x&y=z"); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"GET /b/%2E%2E?sort_key=x%26y%3Dz ", "GET /b/a%2Fb%3Fc%20d%2B%C3%A9%252F?sort_key=x%26y%3Dz "}
	if got := s.asked(); !slices.Equal(got, want) {
		t.Errorf("asked %q", got)
	}
}

func TestValuesOfAnItem(t *testing.T) {
	for _, c := range []struct {
		item     Item
		conflict bool
		value    string
		err      error
	}{
		{Item{Deleted: true}, false, "", ErrNotFound},
		{Item{Values: bytesOf("a")}, false, "a", nil},
		{Item{Values: bytesOf("a"), Deleted: true}, true, "a", nil},
		{Item{Values: bytesOf("a", "b")}, true, "", ErrConflict},
	} {
		v, err := c.item.Value()
		if c.item.Conflict() != c.conflict || string(v) != c.value || !errors.Is(err, c.err) {
			t.Errorf("%+v: %v %q %v", c.item, c.item.Conflict(), v, err)
		}
	}
}

// TestWatchDoesNotAskInCircles: a server that is about to stop ends polls at
// once.
func TestWatchDoesNotAskInCircles(t *testing.T) {
	c, s := play(t, says(304, ""), says(304, ""), says(204, ""))
	began := time.Now()
	for item, err := range c.Watch(t.Context(), "p", "s", "") {
		if err != nil || item.Token != "token" {
			t.Errorf("%+v, %v", item, err)
		}
		break
	}
	if took := time.Since(began); len(s.asked()) != 3 || took < 2*firstPause {
		t.Errorf("asked %q in %v", s.asked(), took)
	}
}

// TestWatchEnds with the error of its context, and with one that will not pass.
func TestWatchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := play(t, func(w http.ResponseWriter) { cancel(); hangsUp(w) }, says(403, "AccessDenied"))
	for _, want := range []error{context.Canceled, ErrDenied} {
		n := 0
		for _, err := range c.WatchRange(ctx, Query{PartitionKey: "p"}, "") {
			if n++; !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		if n != 1 {
			t.Errorf("%d turns", n)
		}
		ctx = t.Context()
	}
}
