package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"hangar/tests/harness"
)

// span is what a test needs of one span.
type span struct{ id, parent, name, service string }

// spans is an OTLP/HTTP collector that keeps what it is sent.
type spans struct {
	http *httptest.Server
	mu   sync.Mutex
	// traces are the spans of each trace id. Guarded by mu.
	traces map[string][]span
}

func collect(t *testing.T) *spans {
	c := &spans{traces: map[string][]span{}}
	c.http = httptest.NewServer(c)
	t.Cleanup(c.http.Close)
	return c
}

// env makes a process export to c without delay.
func (c *spans) env() []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.http.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=50"}
}

func (c *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// An export request has the form of TracesData.
	var in otlp.TracesData
	b, err := io.ReadAll(r.Body)
	if err == nil {
		err = proto.Unmarshal(b, &in)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(r.URL.Path, err), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range in.ResourceSpans {
		service := ""
		for _, a := range rs.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				trace := hex.EncodeToString(s.TraceId)
				c.traces[trace] = append(c.traces[trace], span{hex.EncodeToString(s.SpanId), hex.EncodeToString(s.ParentSpanId), s.Name, service})
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// named returns the traces that hold a span of a name.
func (c *spans) named(name string) (found [][]span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, all := range c.traces {
		for _, s := range all {
			if s.name == name {
				found = append(found, slices.Clone(all))
				break
			}
		}
	}
	return found
}

// await waits for exactly one trace of the operation op that has spans of
// each service in want, and checks how its spans hang together.
func (c *spans) await(t *testing.T, op string, want ...string) {
	t.Helper()
	var problem string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) { // spans come when they come
		traces := c.named(op)
		if len(traces) == 0 {
			problem = "no trace"
			continue
		}
		if len(traces) > 1 {
			t.Fatalf("%s made %d traces: %v", op, len(traces), traces)
		}
		if problem = check(traces[0], op, want); problem == "" {
			return
		}
	}
	t.Errorf("%s: %s", op, problem)
}

// check finds what is wrong with a trace: it must have one root, the gateway's,
// and each service wanted must have a span below it, none without a parent.
func check(all []span, op string, want []string) string {
	byID := map[string]span{}
	for _, s := range all {
		byID[s.id] = s
	}
	root := ""
	served := map[string]bool{}
	for _, s := range all {
		if s.parent == "" {
			if root != "" || s.name != op {
				return fmt.Sprintf("roots %s and %s in %v", root, s.name, all)
			}
			root = s.id
			continue
		}
		if _, ok := byID[s.parent]; !ok {
			return fmt.Sprintf("%s has a parent that is not in the trace %v", s.name, all)
		}
		service, _, _ := strings.Cut(s.name, ".")
		served[service] = true
	}
	for _, s := range all {
		for steps := 0; s.id != root; steps++ {
			if s = byID[s.parent]; steps > len(all) {
				return fmt.Sprintf("a circle in %v", all)
			}
		}
	}
	for _, w := range want {
		if !served[w] {
			return fmt.Sprintf("no span of %s in %v", w, all)
		}
	}
	return ""
}

// traced does one PUT and one GET, small and large, and expects one trace each.
func traced(t *testing.T, c *spans, write, read string) {
	t.Helper()
	ctx := testContext(t, time.Minute)
	for _, size := range []int{100, 3 << 20} {
		body, key, want := content(11, size), fmt.Sprint("traced-", size), []string{"meta"}
		if size > 100 {
			want = []string{"meta", "blocks"}
		}
		c.mu.Lock()
		clear(c.traces)
		c.mu.Unlock()
		if err := put(ctx, harness.SDK(write), key, body); err != nil {
			t.Fatal(err)
		}
		c.await(t, "s3.PutObject", want...)
		if b, err := get(ctx, harness.SDK(read), key); err != nil || !bytes.Equal(b, body) {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		c.await(t, "s3.GetObject", want...)
	}
}

func TestRequestIsOneTrace(t *testing.T) {
	c := collect(t)
	s := harness.Start(t, c.env()...)
	traced(t, c, s.S3, s.S3)
}

// TestRequestIsOneTraceAcrossProcesses: the context travels with the messages.
func TestRequestIsOneTraceAcrossProcesses(t *testing.T) {
	c := collect(t)
	for _, v := range c.env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	cluster := harness.StartCluster(t, "--meta", "3", "--blocks", "3", "--gateways", "2")
	traced(t, c, cluster.S3[0], cluster.S3[1])
	services := map[string]bool{}
	for _, op := range []string{"s3.PutObject", "s3.GetObject"} {
		for _, all := range c.named(op) {
			for _, s := range all {
				services[s.service] = true
			}
		}
	}
	for _, want := range []string{"hangar-gateway", "hangar-meta", "hangar-blocks"} {
		if !services[want] {
			t.Errorf("no span came from %s: %v", want, services)
		}
	}
}
