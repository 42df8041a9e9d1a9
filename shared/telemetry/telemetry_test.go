package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"hangar/shared/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func instance(t *testing.T, c Config) *Instance {
	t.Helper()
	i, err := New(t.Context(), c, "meta", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return i
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestOpsServer(t *testing.T) {
	i := instance(t, Config{})
	l, err := Config{OpsAddr: "127.0.0.1:0"}.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Config{OpsAddr: l.Addr().String()}).Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "HANGAR_OPS_ADDR") {
		t.Errorf("a busy port: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- i.Serve(ctx, l) }()
	url := "http://" + l.Addr().String()

	if status, body := get(t, url+"/health"); status != 200 || body != `{"status":"ok","checks":{}}`+"\n" {
		t.Errorf("%d %s", status, body)
	}
	i.Health.Register("disk", func(context.Context) error { return errors.New("full") })
	i.Health.Register("nats", func(context.Context) error { return nil })
	if status, body := get(t, url+"/health"); status != 503 ||
		body != `{"status":"failing","checks":{"disk":"full","nats":"ok"}}`+"\n" {
		t.Errorf("%d %s", status, body)
	}
	i.Health.Register("disk", func(context.Context) error { return fault.New(fault.StorageFull, "full") })
	if status, body := get(t, url+"/health"); status != 200 || !strings.HasPrefix(body, `{"status":"read-only","checks":{"disk":"`) {
		t.Errorf("reads only: %d %s", status, body)
	}
	i.Health.Register("disk", func(context.Context) error { return nil })
	if status, _ := get(t, url+"/health"); status != 200 {
		t.Errorf("after the repair: %d", status)
	}
	_, body := get(t, url+"/metrics")
	for _, want := range []string{`hangar_build_info{service="meta",version="1.2.3"} 1`, "go_goroutines ", "process_open_fds "} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	if status, _ := get(t, url+"/debug/pprof/"); status != 404 {
		t.Errorf("profiles are served unasked: %d", status)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestPprof(t *testing.T) {
	s := httptest.NewServer(instance(t, Config{Pprof: true}).Handler())
	defer s.Close()
	if status, _ := get(t, s.URL+"/debug/pprof/goroutine"); status != 200 {
		t.Errorf("status %d", status)
	}
}

func TestStuckCheckDoesNotHideTheOthers(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	h := NewHealth()
	h.Register("stuck", func(context.Context) error { <-release; return nil })
	h.Register("fine", func(context.Context) error { return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r := h.Check(ctx)
	if r.OK() || r.Checks["stuck"] != "does not answer" || r.Checks["fine"] != "ok" {
		t.Errorf("%+v", r)
	}
}

func TestLogCarriesTheTrace(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogger(&out, Config{LogFormat: "json", LogLevel: slog.LevelInfo})
	if err != nil {
		t.Fatal(err)
	}
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2},
	}))
	log.With("service", "meta").InfoContext(ctx, "hello")
	log.DebugContext(ctx, "too fine")
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got["trace_id"] != "01000000000000000000000000000000" || got["span_id"] != "0200000000000000" || got["service"] != "meta" {
		t.Errorf("%v", got)
	}
	out.Reset()
	log.Info("alone")
	if strings.Contains(out.String(), "trace_id") {
		t.Errorf("a trace without a span: %s", out.String())
	}
	if _, err := newLogger(&out, Config{LogFormat: "xml"}); err == nil {
		t.Error("xml is a log format")
	}
}

func record(t *testing.T, i *Instance) {
	t.Helper()
	_, s := i.Tracers.Tracer("test").Start(t.Context(), "work")
	s.End()
}

func TestTracesAreOffByDefault(t *testing.T) {
	for _, env := range [][2]string{{"", ""}, {"OTEL_TRACES_EXPORTER", "none"}, {"OTEL_SDK_DISABLED", "true"}} {
		if env[0] != "" {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(env[0], env[1])
		}
		_, s := instance(t, Config{}).Tracers.Tracer("test").Start(t.Context(), "work")
		if s.IsRecording() {
			t.Errorf("%v: spans are recorded", env)
		}
	}
}

func TestTracesOverHTTP(t *testing.T) {
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- r.URL.Path + string(b)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	i := instance(t, Config{})
	record(t, i)
	if err := i.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	request := <-got
	for _, want := range []string{"/v1/traces", "work", "hangar-meta", "1.2.3"} {
		if !strings.Contains(request, want) {
			t.Errorf("no %q in %q", want, request)
		}
	}
}

// collector passes on the traces it is sent.
type collector struct {
	coltrace.UnimplementedTraceServiceServer
	got chan *coltrace.ExportTraceServiceRequest
}

func (c *collector) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	c.got <- r
	return &coltrace.ExportTraceServiceResponse{}, nil
}

func TestTracesOverGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{got: make(chan *coltrace.ExportTraceServiceRequest, 1)}
	server := grpc.NewServer()
	coltrace.RegisterTraceServiceServer(server, c)
	served := make(chan error)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Stop()
		<-served
	}()
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	i := instance(t, Config{})
	record(t, i)
	if err := i.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if name := (<-c.got).ResourceSpans[0].ScopeSpans[0].Spans[0].Name; name != "work" {
		t.Errorf("span %q", name)
	}
}

func TestUnknownProtocol(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke")
	if _, err := New(t.Context(), Config{}, "meta", "1"); err == nil || !strings.Contains(err.Error(), "smoke") {
		t.Errorf("%v", err)
	}
}
