// Package observability checks what deploy/observability ships against
// Prometheus's own parsers and against docs/metrics.md. It is a module of its
// own, so that nothing else needs Prometheus.
package observability

import (
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const (
	shipped = "../../deploy/observability/"
	docs    = "../../docs/"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// documented are the metrics of docs/metrics.md by name, with their labels.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(hangar_[a-z0-9_]+)` \\| ([a-z]+) \\| ([^|]*) \\|").FindAllStringSubmatch(read(t, docs+"metrics.md"), -1) {
		var labels []string
		for _, l := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, l[1])
		}
		found[row[1]] = labels
		if row[2] == "histogram" {
			found[row[1]+"_bucket"] = append([]string{"le"}, labels...)
			found[row[1]+"_count"], found[row[1]+"_sum"] = labels, labels
		}
	}
	if len(found) < 80 {
		t.Fatalf("docs/metrics.md documents only %d metrics", len(found))
	}
	return found
}

// given are the labels that prometheus.yml adds.
var given = []string{"instance", "job", "service"}

// check parses an expression, and looks its metrics and the labels that it
// selects by up in the document.
func check(t *testing.T, where, expr string, known map[string][]string) {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		labelled, ok := known[v.Name]
		if !ok && v.Name != "up" && !strings.HasPrefix(v.Name, "process_") {
			t.Errorf("%s: docs/metrics.md does not know %s", where, v.Name)
			return nil
		}
		for _, m := range v.LabelMatchers {
			if m.Name != labels.MetricName && !contains(append(labelled, given...), m.Name) {
				t.Errorf("%s: %s has no label %s", where, v.Name, m.Name)
			}
		}
		return nil
	})
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// TestAlerts: the rules are Prometheus's, of metrics that there are, and each
// has a section in the guide.
func TestAlerts(t *testing.T) {
	rules, errs := rulefmt.Parse([]byte(read(t, shipped+"alerts.yml")), false, model.LegacyValidation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if rules == nil || len(rules.Groups) == 0 {
		t.Fatal("no rules")
	}
	known, guide := documented(t), read(t, docs+"operations/observe.md")
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			check(t, r.Alert, r.Expr, known)
			if !strings.Contains(guide, "\n### "+r.Alert+"\n") {
				t.Errorf("docs/operations/observe.md has no section %s", r.Alert)
			}
		}
	}
}

func TestDashboards(t *testing.T) {
	known := documented(t)
	files, err := filepath.Glob(shipped + "dashboards/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	for _, file := range files {
		var d struct {
			UID, Title string
			Panels     []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal([]byte(read(t, file)), &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d.UID == "" || len(d.Panels) == 0 {
			t.Errorf("%s has no uid or no panels", file)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				check(t, d.Title+": "+p.Title, target.Expr, known)
			}
		}
	}
}

// TestAlertsFire runs the rules over made-up series, and checks the scrape
// configuration, where Prometheus's own tool is installed.
func TestAlertsFire(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: prometheus)")
	}
	for _, args := range [][]string{{"test", "rules", "alerts_test.yml"}, {"check", "config", "prometheus.yml"}} {
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir = shipped
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
