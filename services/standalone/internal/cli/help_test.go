package cli_test

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"hangar/services/standalone"
	"hangar/services/standalone/internal/cli"
)

// every calls do for a command and all below it, but for those that cobra adds.
func every(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, sub := range cmd.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			every(sub, do)
		}
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	every(cli.New("test", standalone.Commands("test")), func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: describes itself as %q", path, cmd.Short)
		}
		out, err := run(t, append(strings.Fields(path)[1:], "--help")...)
		if err != nil {
			t.Errorf("%s --help: %v", path, err)
		}
		_, examples, _ := strings.Cut(out, "Examples:\n")
		if !strings.Contains(examples, "  hangar ") && !strings.Contains(examples, " hangar nats") {
			t.Errorf("%s --help has no example", path)
		}
		for _, line := range strings.Split(cmd.Example, "\n") {
			if !strings.Contains(line, "hangar ") {
				t.Errorf("%s: %q is no example", path, line)
			}
		}
	})
}

// TestExamplesParse makes sure that examples name commands and flags that exist.
func TestExamplesParse(t *testing.T) {
	every(cli.New("test", standalone.Commands("test")), func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			_, command, _ := strings.Cut(strings.TrimSpace(line), "hangar ")
			if !strings.Contains(command, "'") {
				command = strings.ReplaceAll(command, `"`, "'")
			}
			if strings.HasPrefix(command, "--") { // flags of the root come first
				continue
			}
			root := cli.New("test", standalone.Commands("test"))
			found, rest, err := root.Find(fields(command))
			if err == nil {
				err = found.ParseFlags(rest)
			}
			if err == nil {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err != nil {
				t.Errorf("example of %s: %s: %v", cmd.CommandPath(), line, err)
			}
		}
	})
}

const reference = "../../../../docs/cli.md"

// TestReference keeps docs/cli.md equal to the commands.
func TestReference(t *testing.T) {
	root := cli.New("test", standalone.Commands("test"))
	want := cli.Reference(root)
	if *update {
		if err := os.WriteFile(reference, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Error("docs/cli.md does not match the commands: run go test ./services/standalone/internal/cli -run Reference -update")
	}
}

// TestOperations holds what json-api knows of operations against the document
// that a server gives.
func TestOperations(t *testing.T) {
	startServer(t)
	resp, err := http.Get(os.Getenv("HANGAR_ADMIN_ENDPOINT") + "/v2/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var document struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&document); err != nil {
		t.Fatal(err)
	}
	offered, err := run(t, "__complete", "json-api", "")
	if err != nil {
		t.Fatal(err)
	}
	known := strings.Fields(offered)
	seen := 0
	for path, methods := range document.Paths {
		op, ok := strings.CutPrefix(path, "/v2/")
		if !ok {
			continue
		}
		seen++
		if !slices.Contains(known, op) {
			t.Errorf("json-api does not offer %s", op)
		}
		for method := range methods {
			if got := cli.MethodOf(op); got != strings.ToUpper(method) {
				t.Errorf("%s is called with %s, want %s", op, got, method)
			}
		}
	}
	if seen < 40 || seen != len(known)-1 { // less the line with what to do
		t.Errorf("the server has %d operations, json-api offers %d", seen, len(known)-1)
	}
}
