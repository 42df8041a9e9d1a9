package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"hangar/services/standalone/internal/datadir"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"500": 500, "1K": 1 << 10, "20G": 20 << 30, "1.5T": 3 << 39, "2TiB": 2 << 40, "7mb": 7 << 20, "1P": 1 << 50,
	} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "-1", "0", "G", "1X", "9999999P", "1GG", "NaN", "Inf"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q: %d", s, got)
		}
	}
}

func TestSizeOf(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3 << 39: "1.5 TiB", 1<<63 - 1: "8.0 EiB"} {
		if got := sizeOf(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

type noServers struct{}

func (noServers) Server(context.Context, string) error       { return nil }
func (noServers) Dev(context.Context, DevOptions) error      { return nil }
func (noServers) NATS(context.Context, string, string) error { return nil }
func (noServers) ControlExport(context.Context, ControlAt, string) error {
	return nil
}
func (noServers) MetaRestore(string, string, bool) (string, error) { return "", nil }
func (noServers) ControlRestore(context.Context, ControlAt, string, bool) error {
	return nil
}
func (noServers) ServerHelp() string { return "" }

// run executes the command line against an Admin API that answers from table.
func run(t *testing.T, answers map[string]string, args ...string) (out string, seen []string, err error) {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		op := strings.TrimPrefix(r.URL.Path, "/v2/")
		seen = append(seen, r.Method+" "+r.URL.RequestURI())
		if r.Header.Get("Authorization") != "Bearer tok" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		body, ok := answers[op]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"code":"NoSuchBucket","message":"there is no such bucket"}`))
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	defer api.Close()
	dir := t.TempDir()
	if err := datadir.WriteAccess(dir, datadir.Access{AdminEndpoint: api.URL, AdminToken: "tok"}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HANGAR_ADMIN_ENDPOINT", "")
	t.Setenv("HANGAR_ADMIN_TOKEN", "")
	root := New("test", noServers{})
	var b bytes.Buffer
	root.SetOut(&b)
	root.SetArgs(append([]string{"--data", dir}, args...))
	err = root.ExecuteContext(t.Context())
	return b.String(), seen, err
}

func TestBucketAllow(t *testing.T) {
	answers := map[string]string{
		"GetBucketInfo":  `{"id":"b1","globalAliases":["photos"]}`,
		"AllowBucketKey": `{"id":"b1","globalAliases":["photos"],"keys":[{"accessKeyId":"GK1","name":"n","permissions":{"read":true,"write":true}}],"bytes":2048}`,
	}
	out, seen, err := run(t, answers, "bucket", "allow", "photos", "GK1", "--read", "--write")
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0] != "GET /v2/GetBucketInfo?globalAlias=photos" || seen[1] != "POST /v2/AllowBucketKey" {
		t.Errorf("calls %q", seen)
	}
	for _, want := range []string{"photos", "read+write", "2.0 KiB"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

func TestErrorsAreOneLine(t *testing.T) {
	for _, args := range [][]string{
		{"bucket", "info", "nothing"},
		{"bucket", "delete", "photos"},
		{"bucket", "allow", "photos", "GK1"},
		{"--token", "wrong", "key", "list"},
		{"--endpoint", "http://127.0.0.1:1", "key", "list"},
		{"layout", "assign", "n", "--zone", "z", "--capacity", "much"},
	} {
		_, _, err := run(t, nil, args...)
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestJSONIsWhatTheAPISaid(t *testing.T) {
	out, _, err := run(t, map[string]string{"ListKeys": `[{"id":"GK1","name":"n","expired":false}]`}, "--json", "key", "list")
	if err != nil {
		t.Fatal(err)
	}
	var keys []keySummary
	if err := json.Unmarshal([]byte(out), &keys); err != nil || len(keys) != 1 || keys[0].ID != "GK1" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	root := New("test", noServers{})
	for _, c := range root.Commands() {
		if c.Short == "" {
			t.Errorf("%s has no description", c.Name())
		}
		for _, sub := range c.Commands() {
			if sub.Short == "" {
				t.Errorf("%s %s has no description", c.Name(), sub.Name())
			}
		}
	}
}
