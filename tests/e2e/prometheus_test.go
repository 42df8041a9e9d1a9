package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hangar/tests/harness"
)

// TestPrometheusWatches: a real Prometheus scrapes a server, evaluates all the
// alert rules that are shipped, and finds nothing wrong with it.
func TestPrometheusWatches(t *testing.T) {
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("prometheus is not installed: tests/clients.sh fetches it")
	}
	ops := harness.FreeAddr(t)
	s := harness.Start(t, "HANGAR_OPS_ADDR="+ops)
	dir, listen := t.TempDir(), harness.FreeAddr(t)
	rules, err := filepath.Abs("../../deploy/observability/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: hangar
    static_configs: [{targets: [%q], labels: {service: hangar}}]
`, rules, ops)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := harness.Run(t, nil, path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address="+listen)
	t.Cleanup(p.Stop)
	p.AwaitHealthy("http://" + listen + "/-/ready")
	if err := put(testContext(t, time.Minute), harness.SDK(s.S3), "watched", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var problem string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) { // scrapes come when they come
		if problem = watched(t, "http://"+listen); problem == "" {
			return
		}
	}
	t.Error(problem)
}

// watched says what Prometheus has not yet done, or found wrong.
func watched(t *testing.T, url string) string {
	t.Helper()
	var samples struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	ask(t, url+`/api/v1/query?query=sum(hangar_s3_requests_total)`, &samples)
	if len(samples.Data.Result) != 1 {
		return "hangar_s3_requests_total was not scraped"
	}
	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, State, LastError string }
			}
		}
	}
	ask(t, url+"/api/v1/rules", &rules)
	n := 0
	for _, g := range rules.Data.Groups {
		for _, r := range g.Rules {
			switch {
			case r.Health == "unknown":
				return r.Name + " was not evaluated"
			case r.Health != "ok":
				t.Fatalf("%s: %s", r.Name, r.LastError)
			case r.State == "firing":
				t.Fatalf("%s fires for a server that is well", r.Name)
			}
			n++
		}
	}
	if n < 10 {
		t.Fatalf("only %d rules", n)
	}
	return ""
}

// ask gets JSON from Prometheus's API.
func ask(t *testing.T, url string, out any) {
	t.Helper()
	resp, err := http.Get(strings.ReplaceAll(url, " ", "%20"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
}
