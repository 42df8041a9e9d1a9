package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hangar/tests/harness"
)

// jaegerPath names Jaeger's all-in-one program; `make trace-test` builds it.
const jaegerPath = "JAEGER_BIN"

// jaeger is a running Jaeger that keeps traces in memory.
type jaeger struct {
	t               *testing.T
	receiver, query string
	// grpc is where it takes traces from collectors.
	grpc string
	// since bounds what named looks at, in microseconds of Unix time.
	since int64
}

// startJaeger runs the real trace backend on loopback.
func startJaeger(t *testing.T) *jaeger {
	t.Helper()
	path := os.Getenv(jaegerPath)
	if path == "" {
		t.Skipf("%s does not say where Jaeger is: see make trace-test", jaegerPath)
	}
	var args []string
	for _, listener := range []string{ // those that nobody uses: by default they are on all interfaces
		"collector.grpc-server", "collector.http-server", "query.grpc-server",
	} {
		args = append(args, "--"+listener+".host-port="+harness.FreeAddr(t))
	}
	receiver, grpc, query, health := harness.FreeAddr(t), harness.FreeAddr(t), harness.FreeAddr(t), harness.FreeAddr(t)
	args = append(args, "--collector.otlp.http.host-port="+receiver, "--collector.otlp.grpc.host-port="+grpc, "--query.http-server.host-port="+query, "--admin.http.host-port="+health)
	p := harness.Run(t, []string{"SPAN_STORAGE_TYPE=memory", "OTEL_TRACES_SAMPLER=always_off"}, path, args...)
	t.Cleanup(p.Stop)
	p.AwaitHealthy("http://" + health + "/")
	return &jaeger{t: t, receiver: "http://" + receiver, grpc: grpc, query: "http://" + query}
}

func (j *jaeger) env() []string { return exportTo(j.receiver) }

func (j *jaeger) forget() { j.since = time.Now().UnixMicro() }

// named asks as Jaeger's own page does.
func (j *jaeger) named(name string) (found [][]span) {
	j.t.Helper()
	var out struct {
		Data []struct {
			Spans []struct {
				SpanID, OperationName, ProcessID string
				References                       []struct{ RefType, SpanID string }
				Tags                             []struct {
					Key   string
					Value any
				}
			}
			Processes map[string]struct{ ServiceName string }
		}
		Errors []any
	}
	q := url.Values{"operation": {name}, "limit": {"100"}, "start": {strconv.FormatInt(j.since, 10)}, "end": {strconv.FormatInt(time.Now().UnixMicro(), 10)}}
	for _, service := range []string{"hangar-gateway", "hangar"} {
		q.Set("service", service)
		resp, err := http.Get(j.query + "/api/traces?" + q.Encode())
		if err != nil {
			j.t.Fatal(err)
		}
		err = json.NewDecoder(resp.Body).Decode(&out)
		resp.Body.Close()
		if err != nil || len(out.Errors) > 0 {
			j.t.Fatalf("Jaeger says %v: %v", out.Errors, err)
		}
		for _, trace := range out.Data {
			var all []span
			for _, s := range trace.Spans {
				one := span{id: s.SpanID, name: s.OperationName, service: trace.Processes[s.ProcessID].ServiceName, attrs: map[string]string{}}
				for _, r := range s.References {
					if r.RefType == "CHILD_OF" {
						one.parent = r.SpanID
					}
				}
				for _, a := range s.Tags {
					one.attrs[a.Key] = fmt.Sprint(a.Value)
				}
				all = append(all, one)
			}
			found = append(found, all)
		}
		out.Data = nil
	}
	return found
}

// TestJaegerShowsOneTrace: what people see in a real trace backend is what the
// tests of traces saw in theirs.
func TestJaegerShowsOneTrace(t *testing.T) {
	j := startJaeger(t)
	s := harness.Start(t, j.env()...)
	traced(t, j, s.S3, s.S3, 1)
}

// throughCollector is a Jaeger that gets its traces from a collector.
type throughCollector struct {
	*jaeger
	endpoint string
}

func (c throughCollector) env() []string { return exportTo(c.endpoint) }

// TestJaegerShowsWhatTheCollectorPassesOn: the configuration that is shipped, in
// a real collector, but for addresses, and with everything kept.
func TestJaegerShowsWhatTheCollectorPassesOn(t *testing.T) {
	path := os.Getenv("COLLECTOR_BIN")
	if path == "" {
		t.Skip("COLLECTOR_BIN does not say where the collector is: see make trace-test")
	}
	j := startJaeger(t)
	b, err := os.ReadFile("../../deploy/observability/otel-collector.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, listen := string(b), harness.FreeAddr(t)
	for _, change := range [][2]string{
		{"0.0.0.0:4318", listen}, {"0.0.0.0:4317", harness.FreeAddr(t)}, {"jaeger:4317", j.grpc},
		{"decision_wait: 10s", "decision_wait: 1s"}, {"sampling_percentage: 5}", "sampling_percentage: 100}"},
	} {
		if strings.Count(text, change[0]) == 0 {
			t.Fatalf("otel-collector.yaml does not say %q", change[0])
		}
		text = strings.ReplaceAll(text, change[0], change[1])
	}
	// Its own metrics would be on a fixed port.
	text += "  telemetry: {metrics: {level: none}}\n"
	file := filepath.Join(t.TempDir(), "otel-collector.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := harness.Run(t, nil, path, "--config", file)
	t.Cleanup(p.Stop)
	c := throughCollector{j, "http://" + listen}
	s := harness.Start(t, c.env()...)
	traced(t, c, s.S3, s.S3, 1)
}

// TestJaegerShowsOneTraceAcrossProcesses is that for a cluster of processes.
func TestJaegerShowsOneTraceAcrossProcesses(t *testing.T) {
	tracedAcrossProcesses(t, startJaeger(t))
}
