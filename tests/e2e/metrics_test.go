package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hangar/client/k2v"
	"hangar/tests/harness"
)

var updateMetrics = flag.Bool("update-metrics", false, "write the tables of docs/metrics.md instead of comparing them")

const (
	metricsPath  = "../../docs/metrics.md"
	metricsBegin = "<!-- generated: go test ./tests/e2e -run TestMetricsDocument -update-metrics -->\n"
)

// metricKind is what is documented of a metric.
type metricKind struct {
	kind, labels, help string
	// when is empty for what is always there.
	when string
}

// rare are metrics that a sound cluster at rest does not show.
var rare = map[string]metricKind{
	"hangar_rpc_errors_total":                        {"counter", "`kind` `operation`", "Such requests that failed, by operation and kind of error.", "once one failed"},
	"hangar_admin_layout_partitions":                 {"gauge", "`service`", "Partitions that change hands.", "in the leader, during a change"},
	"hangar_admin_layout_partitions_done":            {"gauge", "`service`", "Partitions that are where the layout wants them.", "in the leader, during a change"},
	"hangar_admin_layout_items":                      {"gauge", "`service`", "Rows or blocks to bring in all, as far as that is known.", "in the leader, during a change"},
	"hangar_admin_layout_items_moved":                {"gauge", "`service`", "Rows or blocks that were brought so far.", "in the leader, during a change"},
	"hangar_admin_layout_bytes":                      {"gauge", "`service`", "Bytes of them.", "in the leader, during a change"},
	"hangar_admin_layout_bytes_moved":                {"gauge", "`service`", "Bytes of them.", "in the leader, during a change"},
	"hangar_s3_certificate_expiry_timestamp_seconds": {"gauge", "", "When the certificate of the S3 API expires, in Unix seconds; absent without TLS.", "with TLS"},
}

var (
	helpLine   = regexp.MustCompile(`^# (HELP|TYPE) (hangar_\S+) (.*)$`)
	sampleLine = regexp.MustCompile(`^(hangar_[a-z0-9_]+?)(_bucket|_sum|_count)?(?:\{(.*)\})? `)
	labelName  = regexp.MustCompile(`([a-z]+)="`)
)

// scrape adds what url shows to seen.
func scrape(t *testing.T, url string, seen map[string]metricKind) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if m := helpLine.FindStringSubmatch(line); m != nil {
			k := seen[m[2]]
			if m[1] == "HELP" {
				k.help = m[3]
			} else {
				k.kind = m[3]
			}
			seen[m[2]] = k
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := m[1]
		if k := seen[name]; k.kind != "histogram" {
			name = m[1] + m[2]
		}
		var labels []string
		for _, l := range labelName.FindAllStringSubmatch(m[3], -1) {
			if l[1] != "le" {
				labels = append(labels, "`"+l[1]+"`")
			}
		}
		slices.Sort(labels)
		k := seen[name]
		k.labels = strings.Join(labels, " ")
		seen[name] = k
	}
}

// title is the part of the document that a metric belongs to.
func title(name string) string {
	part := strings.Split(name, "_")[1]
	return cmp.Or(map[string]string{
		"s3": "S3 (gateway)", "meta": "Metadata nodes", "blocks": "Block nodes", "admin": "Admin API and layout changes (admin)",
		"cluster": "The cluster (admin)", "k2v": "K2V (gateway)",
	}[part], "Every process")
}

func document(seen map[string]metricKind) string {
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(title(a), title(b)), cmp.Compare(a, b)) })
	var b strings.Builder
	b.WriteString(metricsBegin)
	last := ""
	for _, name := range names {
		if now := title(name); now != last {
			fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n", now)
			last = now
		}
		k := seen[name]
		help := k.help
		if k.when != "" {
			help += " Only " + k.when + "."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, k.kind, k.labels, help)
	}
	return b.String()
}

// TestMetricsDocument: docs/metrics.md names every metric of every service, with
// type, labels and help, and none that there is not.
func TestMetricsDocument(t *testing.T) {
	c := harness.StartCluster(t, "--meta", "3", "--blocks", "3", "--gateways", "1")
	ctx := testContext(t, time.Minute)
	for _, size := range []int{100, 2 << 20} { // some metrics begin with the first request
		if err := put(ctx, harness.SDK(c.S3[0]), fmt.Sprint("metrics-", size), content(5, size)); err != nil {
			t.Fatal(err)
		}
	}
	items, err := k2v.New(k2v.Options{Endpoint: c.K2V[0], Region: harness.Region, Bucket: harness.Bucket, AccessKeyID: harness.AccessKey, SecretAccessKey: harness.SecretKey})
	if err != nil {
		t.Fatal(err)
	}
	if err := items.InsertItem(ctx, "metrics", "item", "", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := harness.AdminCall(c.Admin, http.MethodGet, "/v2/GetClusterHealth", nil, nil); err != nil {
		t.Fatal(err)
	}
	seen := map[string]metricKind{}
	services := map[string]bool{}
	for _, p := range c.Processes {
		if p.Ops != "" {
			scrape(t, "http://"+p.Ops+"/metrics", seen)
			services[p.Service] = true
		}
	}
	for _, s := range []string{"gateway", "admin", "meta", "blocks"} {
		if !services[s] {
			t.Errorf("no %s was scraped: %v", s, services)
		}
	}
	for name, k := range rare {
		seen[name] = k
	}
	b, err := os.ReadFile(metricsPath)
	if err != nil {
		t.Fatal(err)
	}
	head, have, found := strings.Cut(string(b), metricsBegin)
	if !found {
		t.Fatalf("%s has no place for the tables", metricsPath)
	}
	want := document(seen)
	if *updateMetrics {
		if err := os.WriteFile(metricsPath, []byte(head+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	wanted, there := strings.Split(want, "\n"), strings.Split(metricsBegin+have, "\n")
	for _, line := range wanted {
		if !slices.Contains(there, line) {
			t.Errorf("not in docs/metrics.md: %s", line)
		}
	}
	for _, line := range there {
		if !slices.Contains(wanted, line) {
			t.Errorf("only in docs/metrics.md: %s", line)
		}
	}
}
