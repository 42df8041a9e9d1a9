package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"hangar/tests/harness"
)

// span is what a test needs of one span.
type span struct {
	id, parent, name, service string
	attrs                     map[string]string
}

// traces is where a test looks for what processes exported.
type traces interface {
	// env makes a process export there without delay.
	env() []string
	// named returns the traces that hold a span of a name, since forget.
	named(name string) [][]span
	forget()
}

// exportTo makes a process export to an OTLP/HTTP endpoint without delay.
func exportTo(url string) []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + url, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=50"}
}

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

func (c *spans) env() []string { return exportTo(c.http.URL) }

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
				attrs := map[string]string{}
				for _, a := range s.Attributes {
					if v := a.Value; v.GetStringValue() != "" {
						attrs[a.Key] = v.GetStringValue()
					} else {
						attrs[a.Key] = fmt.Sprint(v.GetIntValue())
					}
				}
				c.traces[trace] = append(c.traces[trace], span{hex.EncodeToString(s.SpanId), hex.EncodeToString(s.ParentSpanId), s.Name, service, attrs})
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

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
func await(t *testing.T, c traces, op string, want ...string) {
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
		for at := s; !strings.HasPrefix(at.name, "ask "); { // below which question storage was at work
			up, ok := byID[at.parent]
			if !ok {
				break
			}
			if at = up; strings.HasPrefix(at.name, "ask ") {
				served[at.name+" > "+s.name] = true
			}
		}
		if n := replicas(all, s); n > 1 {
			served[fmt.Sprint(s.name, " * ", n)] = true
		}
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

// replicas counts the nodes that took a question, each with a span of its own.
func replicas(all []span, ask span) (n int) {
	for _, s := range all {
		if s.parent == ask.id && "ask "+s.name == ask.name {
			n++
		}
	}
	return n
}

// traced does one PUT and one GET, small and large, and expects one trace each.
// copies is how many nodes hold everything.
func traced(t *testing.T, c traces, write, read string, copies int) {
	t.Helper()
	ctx := testContext(t, time.Minute)
	for _, size := range []int{100, 3 << 20} {
		body, key := content(11, size), fmt.Sprint("traced-", size)
		wrote := []string{"ask meta.row > kv.commit", "ask meta.row > journal.append", "ask meta.row > journal.sync", "ask meta.row > badger.apply"}
		found := []string{"ask meta.row > badger.get"}
		if size > 100 {
			wrote = append(wrote, "ask blocks.put > segment.append", "ask blocks.put > segment.sync", "ask blocks.put > badger.commit")
			found = append(found, "ask blocks.get > segment.read")
		}
		if copies > 1 {
			wrote = append(wrote, fmt.Sprint("ask meta.row * ", copies))
			found = append(found, fmt.Sprint("ask meta.row * ", copies))
		}
		c.forget()
		if err := put(ctx, harness.SDK(write), key, body); err != nil {
			t.Fatal(err)
		}
		await(t, c, "s3.PutObject", wrote...)
		if b, err := get(ctx, harness.SDK(read), key); err != nil || !bytes.Equal(b, body) {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		await(t, c, "s3.GetObject", found...)
	}
	c.forget()
	if _, err := harness.SDK(read).ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(harness.Bucket)}); err != nil {
		t.Fatal(err)
	}
	await(t, c, "s3.ListObjectsV2", "ask meta.scan > badger.scan")
	attrs := c.named("s3.ListObjectsV2")[0]
	for _, s := range attrs {
		if s.name == "s3.ListObjectsV2" && (s.attrs["aws.request_id"] == "" || s.attrs["http.response.status_code"] != "200" || s.attrs["hangar.rounds"] == "0" || s.attrs["aws.s3.bucket"] != "") {
			t.Errorf("the root says %v", s.attrs)
		}
	}
}

func (c *spans) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.traces)
}

// TestErrorLeadsToItsTrace: the id that a client got with an error finds the
// line of the log, and that the trace. What a request was about is in neither
// the trace's attributes unless that was asked for.
func TestErrorLeadsToItsTrace(t *testing.T) {
	c := collect(t)
	s := harness.Start(t, append(c.env(), "HANGAR_LOG_FORMAT=json", "HANGAR_LOG_LEVEL=DEBUG", "HANGAR_TRACE_NAMES=true")...)
	_, err := get(testContext(t, time.Minute), harness.SDK(s.S3), "not-there")
	var failed *awshttp.ResponseError
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	id := failed.Response.Header.Get("X-Amz-Request-Id")
	await(t, c, "s3.GetObject", "ask meta.row > badger.get")
	trace, line := "", struct {
		Request, Code string
		TraceID       string `json:"trace_id"`
	}{}
	for trace = range c.traces {
		for _, span := range c.traces[trace] {
			if span.name == "s3.GetObject" && (span.attrs["aws.request_id"] != id || span.attrs["aws.s3.key"] != "not-there") {
				t.Errorf("the client got request id %q, the trace has %v", id, span.attrs)
			}
		}
	}
	for out := range strings.Lines(s.Output()) {
		if strings.Contains(out, id) {
			if err := json.Unmarshal([]byte(out), &line); err != nil {
				t.Fatal(err)
			}
		}
	}
	if id == "" || line.Request != id || line.Code != "NoSuchKey" || line.TraceID != trace {
		t.Errorf("of request %q in trace %s the log says %+v", id, trace, line)
	}
}

func TestRequestIsOneTrace(t *testing.T) {
	c := collect(t)
	s := harness.Start(t, c.env()...)
	traced(t, c, s.S3, s.S3, 1)
}

// TestRequestIsOneTraceAcrossProcesses: the context travels with the messages.
func TestRequestIsOneTraceAcrossProcesses(t *testing.T) {
	tracedAcrossProcesses(t, collect(t))
}

func tracedAcrossProcesses(t *testing.T, c traces) {
	t.Helper()
	for _, v := range c.env() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	cluster := harness.StartCluster(t, "--meta", "3", "--blocks", "3", "--gateways", "2")
	traced(t, c, cluster.S3[0], cluster.S3[1], 3)
	services := map[string]bool{}
	for _, all := range c.named("s3.ListObjectsV2") {
		for _, s := range all {
			services[s.service] = true
		}
	}
	for _, want := range []string{"hangar-gateway", "hangar-meta"} {
		if !services[want] {
			t.Errorf("no span came from %s: %v", want, services)
		}
	}
}
