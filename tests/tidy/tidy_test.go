// Package tidy holds tests of the source itself: who may import whom, which
// packages may use which large dependency, and that every package says what it
// is for.
package tidy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// pkg is one folder of Go files.
type pkg struct {
	dir     string // relative to the root, with slashes
	path    string // import path
	doc     string
	imports map[string]string // import → file that has it
	tests   map[string]string // the same for _test.go files
}

func load(t *testing.T) []*pkg {
	t.Helper()
	byDir := map[string]*pkg{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		p := byDir[rel]
		if p == nil {
			p = &pkg{dir: filepath.ToSlash(rel), path: "hangar/" + filepath.ToSlash(rel), imports: map[string]string{}, tests: map[string]string{}}
			byDir[rel] = p
		}
		return p.add(path)
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []*pkg
	for _, p := range byDir {
		all = append(all, p)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d packages", len(all))
	}
	return all
}

func (p *pkg) add(path string) error {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	into := p.imports
	if strings.HasSuffix(path, "_test.go") {
		into = p.tests
	}
	for _, i := range f.Imports {
		into[strings.Trim(i.Path.Value, `"`)] = path
	}
	if f.Doc != nil && !generated(f) {
		p.doc += f.Doc.Text()
	}
	return nil
}

func generated(f *ast.File) bool { return ast.IsGenerated(f) }

// layers says what of Hangar a package of shared/ may import, beside itself
// and its own subfolders. What is not named may import nothing of Hangar.
var layers = map[string][]string{
	"shared/object":      {},
	"shared/fault":       {},
	"shared/causal":      {},
	"shared/layout":      {"object", "fault"},
	"shared/register":    {"object", "fault", "layout"},
	"shared/rpc":         {"object", "fault", "layout", "span"},
	"shared/span":        {"fault"},
	"shared/diskprobe":   {},
	"shared/natsd":       {"fault"},
	"shared/lifecycle":   {},
	"shared/certificate": {},
	"shared/config":      {"fault"},
	"shared/telemetry":   {"fault", "certificate"},
	"shared/kv":          {"fault", "freespace", "span"},
	"shared/datadir":     {"object", "fault"},
	"shared/nodeapi":     {"object", "fault", "layout", "rpc"},
	"shared/control":     {"object", "fault", "layout", "register", "rpc", "nodeapi"},
	"shared/metaapi":     {"object", "fault", "layout", "register", "rpc"},
	"shared/blockapi":    {"object", "fault", "layout", "rpc"},
	"shared/adminapi":    {"object", "fault", "rpc"},
	"shared/segment":     {"object", "fault", "blockapi", "freespace"},
	"shared/record":      {"object", "fault", "causal", "metaapi", "blockapi"},
	"shared/work":        {"fault", "nodeapi", "lifecycle"},
	"shared/process":     {"object", "fault", "layout", "rpc", "control", "metaapi", "nodeapi", "telemetry", "config", "lifecycle"},
}

func TestLayers(t *testing.T) {
	for _, p := range load(t) {
		for imp, file := range p.imports {
			own, ok := strings.CutPrefix(imp, "hangar/")
			if !ok {
				continue
			}
			if why := forbidden(p.dir, own); why != "" {
				t.Errorf("%s imports %s: %s", file, imp, why)
			}
		}
	}
}

// forbidden says why the package in dir may not import own, or "".
func forbidden(dir, own string) string {
	switch {
	case strings.HasPrefix(dir, "shared/"):
		if !strings.HasPrefix(own, "shared/") {
			return "shared code knows no service"
		}
		unit := strings.Join(strings.SplitN(dir, "/", 3)[:2], "/")
		other := strings.SplitN(own, "/", 3)[1]
		if "shared/"+other == unit {
			return ""
		}
		if strings.HasSuffix(dir, "test") && other == "natsd" {
			return "" // conformance suites run on the real broker
		}
		for _, ok := range layers[unit] {
			if ok == other {
				return ""
			}
		}
		return "not among the layers that " + unit + " may use"
	case strings.HasPrefix(dir, "client/"):
		if !strings.HasPrefix(own, "client/") {
			return "what others build upon knows nothing of the inside"
		}
	case strings.HasPrefix(dir, "services/standalone"):
		return ""
	case strings.HasPrefix(dir, "services/"):
		service := strings.Join(strings.SplitN(dir, "/", 3)[:2], "/")
		if strings.HasPrefix(own, "services/") && !strings.HasPrefix(own+"/", service+"/") {
			return "services never import each other"
		}
	}
	return ""
}

// homes names the only packages that may import a large dependency.
var homes = map[string][]string{
	"github.com/gofiber/fiber":       {"services/gateway/internal/httpd", "services/admin/internal/httpapi"},
	"github.com/valyala/fasthttp":    {"services/gateway/internal/httpd", "services/admin/internal/httpapi", "bench/load"},
	"github.com/dgraph-io/badger":    {"shared/kv/badgerkv"},
	"github.com/nats-io/nats.go":     {"shared/rpc", "shared/control", "shared/nodeapi", "shared/natsd"},
	"github.com/nats-io/nats-server": {"shared/natsd"},
	"go.opentelemetry.io/otel/sdk":   {"shared/telemetry"},
	"github.com/caarlos0/env":        {"shared/config"},
	"github.com/aws/aws-sdk-go-v2":   {"client/k2v", "tests"},
}

func TestDependenciesStayAtHome(t *testing.T) {
	for _, p := range load(t) {
		for imp, file := range p.imports {
			for dep, where := range homes {
				if !strings.HasPrefix(imp, dep) {
					continue
				}
				ok := false
				for _, home := range where {
					ok = ok || p.dir == home || strings.HasPrefix(p.dir, home+"/")
				}
				if !ok {
					t.Errorf("%s imports %s, which belongs to %s", file, imp, strings.Join(where, ", "))
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range load(t) {
		if len(p.imports) == 0 && p.doc == "" {
			continue
		}
		if len(strings.Fields(p.doc)) < 8 {
			t.Errorf("%s: package comment is %q: say what the package is for", p.dir, p.doc)
		}
	}
}

func TestNamesSaySomething(t *testing.T) {
	for _, p := range load(t) {
		switch name := filepath.Base(p.dir); name {
		case "util", "utils", "common", "helper", "helpers", "misc", "base", "lib":
			t.Errorf("%s: a package named %q attracts everything", p.dir, name)
		}
	}
}

// TestTheRulesBite makes sure that the checks above can fail.
func TestTheRulesBite(t *testing.T) {
	for _, c := range [][2]string{
		{"shared/object", "shared/fault"},
		{"shared/metaapi/metatest", "shared/blockapi"},
		{"shared/rpc", "services/meta"},
		{"services/gateway/internal/s3", "services/meta"},
		{"services/meta", "services/metadata"},
		{"client/k2v", "shared/fault"},
	} {
		if forbidden(c[0], c[1]) == "" {
			t.Errorf("%s may import %s", c[0], c[1])
		}
	}
	if why := forbidden("services/meta/internal/table", "services/meta/internal/record"); why != "" {
		t.Error(why)
	}
}

// TestMutationsAreBuiltApart: what switches a rule of the protocol off is in no
// build but that of the consistency tests.
func TestMutationsAreBuiltApart(t *testing.T) {
	found := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "tests") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(b), `"MUTATION"`) {
			return err
		}
		if found++; !strings.HasPrefix(string(b), "//go:build mutations\n") {
			t.Errorf("%s reads MUTATION in every build", path)
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Fatalf("%d files read MUTATION: %v", found, err)
	}
}
