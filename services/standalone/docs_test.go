package standalone

import (
	"flag"
	"os"
	"strings"
	"testing"

	"hangar/services/admin"
	"hangar/services/blocks"
	"hangar/services/gateway"
	"hangar/services/meta"
	"hangar/services/standalone/internal/broker"
	"hangar/shared/config"
)

var update = flag.Bool("update", false, "write docs/config.md instead of comparing it")

// TestConfigDocumentation keeps docs/config.md equal to the code.
func TestConfigDocumentation(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Configuration\n\nEvery setting is an environment variable. A variable that begins with `HANGAR_` and is not known is an error; those of the command line, at the end of this page, are known everywhere. Secrets can also be read from a file whose path is in the variable of the same name with `_FILE` added. Traces are exported when the standard `OTEL_EXPORTER_OTLP_…` variables are set.\n\nThis page is generated from the code: `go test ./services/standalone -run ConfigDocumentation -update`.\n")
	for _, s := range []struct {
		title string
		cfg   any
	}{
		{"hangar server", Config{}},
		{"gateway", gateway.ProcessConfig{}},
		{"meta", meta.ProcessConfig{}},
		{"blocks", blocks.ProcessConfig{}},
		{"admin", admin.ProcessConfig{}},
		{"hangar nats", brokerConfig{}},
		{"hangar", config.CommandLine{}},
	} {
		b.WriteString("\n## `" + s.title + "`\n\n")
		if err := config.Markdown(&b, s.cfg); err != nil {
			t.Fatal(err)
		}
	}
	const path = "../../docs/config.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Error("docs/config.md does not match the code: run go test ./services/standalone -run ConfigDocumentation -update")
	}
}

// TestNATSTable keeps the table of docs/security.md equal to the code.
func TestNATSTable(t *testing.T) {
	const path, mark = "../../docs/security.md", "<!-- table -->\n"
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, _, found := strings.Cut(string(have), mark)
	if !found {
		t.Fatalf("%s has no place for the table", path)
	}
	b := strings.Builder{}
	b.WriteString(text + mark)
	if err := broker.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(have) != b.String() {
		t.Error("docs/security.md does not match the code: run go test ./services/standalone -run NATSTable -update")
	}
}
