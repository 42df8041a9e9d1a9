package k2v_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/services/gateway/internal/httpd"
)

// parked waits until n requests wait.
func (e *edge) parked(n int) {
	e.t.Helper()
	for began := time.Now(); e.server.Parked() != n; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			e.t.Fatalf("%d requests wait, not %d", e.server.Parked(), n)
		}
	}
}

// later sends a request and returns where its answer comes.
func (e *edge) later(head, body string, headers ...string) <-chan reply {
	r := e.request(owner, "k2v", head, body, headers...)
	out := make(chan reply, 1)
	go func() {
		got, err := e.send(r)
		if err != nil {
			got.body = err.Error()
		}
		out <- got
	}()
	return out
}

func TestPollItem(t *testing.T) {
	e := start(t, httpd.Config{})
	const item = " /my_bucket/root?sort_key=test1"
	e.want(e.do("PUT"+item, "Initial value"), 204, "")
	ct := e.do("GET"+item, "").token()
	poll := item + "&causality_token="
	e.want(e.do("GET"+poll+ct+"&timeout=0", ""), 304, "")
	e.want(e.do("GET"+poll+"AAAAAAAAAAA&timeout=10", "", acceptBinary), 200, "Initial value") // it has seen nothing
	waiting := e.later("GET"+poll+ct+"&timeout=100", "", acceptBinary)
	other := e.later("GET"+strings.Replace(poll, "test1", "none", 1)+ct+"&timeout=100", "", acceptJSON)
	e.parked(2)
	e.want(e.do("PUT"+item, "New value", "X-Garage-Causality-Token: "+ct), 204, "")
	r := e.want(<-waiting, 200, "New value")
	if r.token() == ct || r.header.Get("Server") != "Hangar" || r.header.Get("Date") == "" || r.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("header %v", r.header)
	}
	e.parked(1)
	e.want(e.do("PUT"+strings.Replace(item, "test1", "none", 1), "x"), 204, "")
	e.want(<-other, 200, `["`+b64("x")+`"]`)
	e.parked(0)
	began := time.Now()
	e.want(e.do("GET"+poll+r.token()+"&timeout=1", ""), 304, "")
	if took := time.Since(began); took < time.Second {
		t.Errorf("waited %v only", took)
	}
	// The connection lives on after a wait.
	e.want(e.do("GET"+item, "", acceptBinary), 200, "New value")
	if n := e.hub.Waiting(); n != 0 {
		t.Errorf("%d watchers are left", n)
	}
}

type news struct {
	SeenMarker string
	Items      []struct {
		Sk, Ct string
		V      []*string
	}
}

func (e *edge) news(r reply) (n news) {
	e.t.Helper()
	if err := json.Unmarshal([]byte(r.body), &n); r.status != 200 || err != nil || n.SeenMarker == "" {
		e.t.Fatalf("%d %s", r.status, r.body)
	}
	return n
}

func TestPollRange(t *testing.T) {
	e := start(t, httpd.Config{})
	const poll = "POST /my_bucket/root?poll_range"
	if n := e.news(e.do("SEARCH /my_bucket/root?poll_range", `{"timeout":100}`)); len(n.Items) != 0 {
		t.Errorf("an empty range has %v", n.Items)
	}
	e.want(e.do("PUT /my_bucket/root?sort_key=test1", "Initial value"), 204, "")
	ct := e.do("GET /my_bucket/root?sort_key=test1", "").token()
	first := e.do(poll, "{}")
	seen := e.news(first).SeenMarker
	e.want(first, 200, `{"items":[{"sk":"test1","ct":"`+ct+`","v":["`+b64("Initial value")+`"]}],"seenMarker":"`+seen+`"}`)
	e.want(e.do(poll, `{"seenMarker":"`+seen+`","timeout":0}`), 304, "")
	if r := e.do("POST /my_bucket/other?poll_range", `{"seenMarker":"`+seen+`","timeout":0}`); r.status != 400 {
		t.Errorf("the marker of another partition key: %d %s", r.status, r.body)
	}
	waiting := e.later(poll, `{"seenMarker":"`+seen+`"}`)
	e.parked(1)
	e.want(e.do("PUT /my_bucket/root?sort_key=test1", "New value", "X-Garage-Causality-Token: "+ct), 204, "")
	n := e.news(<-waiting)
	if len(n.Items) != 1 || n.Items[0].Sk != "test1" || *n.Items[0].V[0] != b64("New value") {
		t.Errorf("%+v", n)
	}
	waiting = e.later(poll, `{"seenMarker":"`+n.SeenMarker+`"}`)
	narrow := e.later(poll, `{"seenMarker":"`+n.SeenMarker+`","prefix":"u"}`)
	e.parked(2)
	e.want(e.do("POST /my_bucket", `[{"pk":"root","sk":"test2","ct":null,"v":"`+b64("Other value")+`"}]`), 204, "")
	n = e.news(<-waiting)
	if len(n.Items) != 1 || n.Items[0].Sk != "test2" {
		t.Errorf("%+v", n)
	}
	e.parked(1)
	e.want(e.do("PUT /my_bucket/root?sort_key=u", "u"), 204, "")
	e.want(e.do("POST /my_bucket?delete", `[{"partitionKey":"root","start":"test2","singleItem":true}]`), 200, "*")
	if n := e.news(<-narrow); len(n.Items) != 1 || n.Items[0].Sk != "u" {
		t.Errorf("%+v", n)
	}
	n = e.news(e.do(poll, `{"seenMarker":"`+n.SeenMarker+`"}`))
	if len(n.Items) != 2 || n.Items[0].Sk != "test2" || n.Items[0].V[0] != nil || n.Items[1].Sk != "u" {
		t.Errorf("%+v", n)
	}
}

// TestPollRangeStartsOutsideItsPrefix: that is no error, unlike for a search.
func TestPollRangeStartsOutsideItsPrefix(t *testing.T) {
	e := start(t, httpd.Config{})
	const poll = "POST /my_bucket/root?poll_range"
	for _, sort := range []string{"a", "m1", "m2", "z"} {
		e.want(e.do("PUT /my_bucket/root?sort_key="+sort, sort), 204, "")
	}
	for body, want := range map[string]int{
		`{"prefix":"m","start":"a"}`:            2,
		`{"prefix":"m","start":"a","end":"m2"}`: 1,
		`{"prefix":"m","start":"n"}`:            0,
		`{"prefix":"m","start":"m2"}`:           1,
	} {
		n := e.news(e.do(poll, body))
		if len(n.Items) != want {
			t.Errorf("%s: %d items", body, len(n.Items))
		}
		e.want(e.do(poll, body[:len(body)-1]+`,"timeout":0,"seenMarker":"`+n.SeenMarker+`"}`), 304, "")
	}
}

// TestPollRangePages: what does not fit one answer comes with the next.
func TestPollRangePages(t *testing.T) {
	e := start(t, httpd.Config{})
	value := strings.Repeat("v", 1<<20)
	for i := range 20 {
		e.want(e.do("PUT /my_bucket/big?sort_key="+itoa(100+i), value), 204, "")
	}
	var got []string
	body := "{}"
	for range 20 {
		r := e.do("POST /my_bucket/big?poll_range", body)
		if r.status == 304 {
			break
		}
		n := e.news(r)
		if len(r.body) > 16<<20 {
			t.Errorf("an answer of %d bytes", len(r.body))
		}
		for _, i := range n.Items {
			got = append(got, i.Sk)
		}
		body = `{"timeout":0,"seenMarker":"` + n.SeenMarker + `"}`
	}
	if len(got) != 20 || got[0] != "100" || got[19] != "119" {
		t.Errorf("got %v", got)
	}
}

func TestPollsEnd(t *testing.T) {
	e := start(t, httpd.Config{MaxRequests: 2, MaxParked: 20})
	const poll = " /my_bucket/root?sort_key=a&causality_token=AAAAAAAAAAA"
	var all []<-chan reply
	for range 19 { // more than requests may be served at once
		all = append(all, e.later("GET"+poll, ""))
	}
	e.parked(19)
	revoked := e.request(reader, "k2v", "GET"+poll, "")
	denied := make(chan reply, 1)
	go func() {
		r, err := e.send(revoked)
		if err != nil {
			t.Error(err)
		}
		denied <- r
	}()
	e.parked(20)
	if r := e.do("GET"+poll, ""); r.status != 503 || r.code(t) != "SlowDown" {
		t.Errorf("one too many: %d %s", r.status, r.body)
	}
	e.dir.revoke(reader.ID)
	e.want(e.do("PUT /my_bucket/root?sort_key=a", "x"), 204, "")
	for _, a := range all {
		e.want(<-a, 200, `["`+b64("x")+`"]`)
	}
	if r := <-denied; r.status != 403 || strings.Contains(r.body, b64("x")) {
		t.Errorf("a key that is gone reads on: %d %s", r.status, r.body)
	}

	// A client that goes away is noticed.
	const none = " /my_bucket/root?sort_key=none&causality_token=AAAAAAAAAAA"
	conn, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.request(owner, "k2v", "GET"+none, "").Write(conn); err != nil {
		t.Fatal(err)
	}
	e.parked(1)
	conn.Close()
	e.parked(0)
	for e.await("PollItem").Status != 499 {
	}
	if n := e.hub.Waiting(); n != 0 {
		t.Errorf("%d watchers are left", n)
	}
	// One that sends its next request early gets both answers.
	if conn, err = net.Dial("tcp", e.addr); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, head := range []string{"GET" + none + "&timeout=1", "GET /my_bucket/root?sort_key=a"} {
		if err := e.request(owner, "k2v", head, "").Write(conn); err != nil {
			t.Fatal(err)
		}
	}
	var text strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(text.String(), b64("x")) {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("%v after %s", err, text.String())
		}
		text.Write(buf[:n])
	}
	if !strings.HasPrefix(text.String(), "HTTP/1.1 304") {
		t.Errorf("got %s", text.String())
	}
	// A server that stops does not leave clients waiting.
	last := e.later("GET"+none, "")
	e.parked(1)
	e.stop()
	if r := <-last; r.status != 304 || r.header.Get("Connection") != "close" && len(r.header["Connection"]) > 0 {
		t.Errorf("at the end: %d %s %v", r.status, r.body, r.header)
	}
}

// TestPolledConnectionIdles: a connection that was polled on is kept alive like
// any other, and its end is no answer to anything.
func TestPolledConnectionIdles(t *testing.T) {
	e := start(t, httpd.Config{HeaderTimeout: 100 * time.Millisecond, IdleTimeout: time.Second})
	const poll = "GET /my_bucket/root?sort_key=none&causality_token=AAAAAAAAAAA&timeout=1"
	conn, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for i := range 2 {
		if i > 0 {
			time.Sleep(300 * time.Millisecond) // longer than a new connection may take
		}
		if err := e.request(owner, "k2v", poll, "").Write(conn); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotModified {
			t.Fatalf("poll %d is answered %s", i, resp.Status)
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
		t.Errorf("the connection ended with %v and %q", err, rest)
	}
}

// TestManyPolls: thousands that wait are cheap, and all hear of a write.
func TestManyPolls(t *testing.T) {
	many := 9000 // with both ends in one process, below the usual limit of open files
	if testing.Short() {
		many = 500
	}
	e := start(t, httpd.Config{})
	raw := func() []byte {
		var b strings.Builder
		if err := e.request(owner, "k2v", "GET /my_bucket/root?sort_key=a&causality_token=AAAAAAAAAAA&timeout=600", "").Write(&b); err != nil {
			t.Fatal(err)
		}
		return []byte(b.String())
	}()
	e.do("GET /my_bucket/root?sort_key=a", "") // all that is made once is made
	before := inUse()
	conns := make([]net.Conn, many)
	for i := range conns {
		c, err := net.Dial("tcp", e.addr)
		if err != nil {
			t.Skipf("only %d connections: %v", i, err)
		}
		defer c.Close()
		if _, err := c.Write(raw); err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	e.parked(many)
	each := (inUse() - before) / int64(many)
	t.Logf("%d polls wait, %d bytes each, both ends of the connection included", many, each)
	if each > 10<<10 {
		t.Errorf("a waiting poll takes %d bytes", each)
	}
	began := time.Now()
	e.want(e.do("PUT /my_bucket/root?sort_key=a", "x"), 204, "")
	var running sync.WaitGroup
	for _, c := range conns {
		running.Go(func() {
			buf := make([]byte, 512)
			if n, err := c.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200") {
				t.Errorf("%v: %s", err, buf[:n])
			}
		})
	}
	running.Wait()
	t.Logf("all heard of the write within %v", time.Since(began))
}

// inUse is the memory of heap and stacks.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
