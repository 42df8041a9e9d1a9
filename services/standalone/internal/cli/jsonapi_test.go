package cli

import (
	"encoding/json"
	"net/http"
	"testing"
)

func TestRawRequest(t *testing.T) {
	for _, c := range []struct{ op, in, method, query, body string }{
		{"GetClusterStatus", `{}`, http.MethodGet, "", "null"},
		{"GetBucketInfo", `{"globalAlias":"a b"}`, http.MethodGet, "globalAlias=a+b", "null"},
		{"GetKeyInfo", `{"id":"GK1","showSecretKey":true}`, http.MethodGet, "id=GK1&showSecretKey=true", "null"},
		{"CreateKey", `{"name":"phone"}`, http.MethodPost, "", `{"name":"phone"}`},
		{"DeleteKey", `{"id":"GK1"}`, http.MethodPost, "id=GK1", "null"},
		{"UpdateKey", `{"id":"GK1","body":{"name":"x"}}`, http.MethodPost, "id=GK1", `{"name":"x"}`},
		{"ListWorkers", `{"node":"*","body":{"busyOnly":true}}`, http.MethodPost, "node=%2A", `{"busyOnly":true}`},
		{"PurgeBlocks", `{"node":"*","body":["00"]}`, http.MethodPost, "node=%2A", `["00"]`},
		{"ConnectClusterNodes", `["a"]`, http.MethodPost, "", `["a"]`},
		{"RevertClusterLayout", `{}`, http.MethodPost, "", `{}`},
	} {
		r, err := rawRequest(c.op, []byte(c.in))
		if err != nil {
			t.Fatalf("%s: %v", c.op, err)
		}
		body, err := json.Marshal(r.Body)
		if err != nil || r.Method != c.method || r.Query.Encode() != c.query || string(body) != c.body {
			t.Errorf("%s %s: %s ?%s %s, %v", c.op, c.in, r.Method, r.Query.Encode(), body, err)
		}
	}
	for _, c := range [][2]string{{"", "{}"}, {"../health", "{}"}, {"Get Key", "{}"}, {"GetKeyInfo", "{"}, {"GetKeyInfo", "[]"}} {
		if r, err := rawRequest(c[0], []byte(c[1])); err == nil {
			t.Errorf("%q %q: %+v", c[0], c[1], r)
		}
	}
}

func TestWorkerState(t *testing.T) {
	for in, want := range map[string]workerState{`"busy"`: "busy", `{"throttled":{"durationSecs":1.5}}`: "throttled", `"done"`: "done"} {
		var s workerState
		if err := json.Unmarshal([]byte(in), &s); err != nil || s != want {
			t.Errorf("%s: %q, %v", in, s, err)
		}
	}
	var s workerState
	if err := json.Unmarshal([]byte(`7`), &s); err == nil {
		t.Error("a number is a state")
	}
}

func TestProgressOfWorkers(t *testing.T) {
	percent, phase, queue := "50 %", "looking\x1b", int64(1200)
	busy := map[workerID]worker{
		{"b0123456789abcdef0", 1}: {Name: "Scrub", Progress: &percent},
		{"a0123456789abcdef0", 2}: {Name: "Repair of tables", Progress: &phase, QueueLength: &queue},
		{"c0123456789abcdef0", 3}: {Name: "not ours"},
	}
	got := progressOf(map[workerID]bool{{"b0123456789abcdef0", 1}: true, {"a0123456789abcdef0", 2}: true}, busy)
	want := "[###############---------------] node b0123456789abcde: Scrub, 50 %\nnode a0123456789abcde: Repair of tables, looking\\x1b, 1,200\n"
	if got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}
