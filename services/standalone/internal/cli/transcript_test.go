package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hangar/services/standalone"
	"hangar/services/standalone/internal/cli"
	"hangar/services/standalone/internal/datadir"
	"hangar/shared/config"
)

var update = flag.Bool("update", false, "write what commands print instead of comparing it")

// startServer runs a whole server and points the command line at it.
func startServer(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"HANGAR_ADMIN_ENDPOINT", "HANGAR_ADMIN_TOKEN", "HANGAR_ADMIN_TOKEN_FILE", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
	}
	ready, said := io.Pipe()
	var cfg standalone.Config
	if err := config.Parse(&cfg, []string{"HANGAR_S3_ADDR=127.0.0.1:0", "HANGAR_K2V_ADDR=127.0.0.1:0", "HANGAR_ADMIN_ADDR=127.0.0.1:0", "HANGAR_LOG_LEVEL=ERROR", "HANGAR_ZONE=cellar"}); err != nil {
		t.Fatal(err)
	}
	cfg.Dir, cfg.Version, cfg.Out = dir, "test", said
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := standalone.Run(ctx, cfg)
		said.CloseWithError(errors.Join(err, io.EOF))
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if _, err := ready.Read(make([]byte, 1<<16)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, ready) }() // until the server ends
	access, err := datadir.ReadAccess(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HANGAR_ADMIN_ENDPOINT", access.AdminEndpoint)
	t.Setenv("HANGAR_ADMIN_TOKEN", access.AdminToken)
	t.Setenv("HANGAR_K2V_ENDPOINT", access.K2VEndpoint)
	// A key that transcripts may import.
	t.Setenv("AWS_ACCESS_KEY_ID", "GKffffffffffffffffffffffff")
	t.Setenv("AWS_SECRET_ACCESS_KEY", strings.Repeat("0123456789abcdef", 4))
}

// run executes one command, and returns what it prints to standard output.
func run(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	root := cli.New("test", standalone.Commands("test"))
	var b bytes.Buffer
	root.SetOut(&b)
	root.SetErr(io.Discard)
	root.SetIn(strings.NewReader(""))
	root.SetArgs(args)
	err = cli.Run(t.Context(), root)
	return b.String(), err
}

// TestTranscripts runs the commands of testdata/*.txt, lines that begin with
// "$ hangar", against a server each, and compares what follows them with what
// they print.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d transcripts: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			startServer(t)
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("what commands print has changed (-update accepts it):\n%s", difference(string(want), got))
			}
		})
	}
}

// play runs the commands of a script and writes what they print below them.
func play(t *testing.T, script string) string {
	var b strings.Builder
	s := newScrubber(t)
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		command, ok := strings.CutPrefix(line, "$ hangar ")
		if !ok {
			if strings.HasPrefix(line, "#") {
				b.WriteString("\n" + line + "\n")
			}
			continue
		}
		command, sorted := strings.CutSuffix(command, " | sort")
		args := fields(command)
		for i, a := range args {
			args[i] = s.id(a)
		}
		out, err := run(t, args...)
		if slices.Contains(args, "--json") && err == nil && !json.Valid([]byte(out)) {
			t.Errorf("%s: no JSON:\n%s", line, out)
		}
		out = s.clean(out)
		if sorted {
			lines := slices.Sorted(strings.Lines(out))
			out = strings.Join(lines, "")
		}
		fmt.Fprintf(&b, "\n%s\n%s", line, out)
		if err != nil {
			var coded interface{ ExitCode() int }
			if !errors.As(err, &coded) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: an error without a code or of several lines: %q", line, err)
				continue
			}
			fmt.Fprintf(&b, "exit %d: %s\n", coded.ExitCode(), strings.TrimSpace(s.clean(err.Error())))
		}
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// fields splits a command at blanks, but for those within '…'.
func fields(command string) (args []string) {
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	return args
}

// scrubber puts names in the place of what differs from run to run.
type scrubber struct {
	nodes map[string]string // id → name
	seen  map[string]string
}

func newScrubber(t *testing.T) *scrubber {
	out, err := run(t, "status", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var status struct {
		Nodes []struct {
			ID, Service string
			Role        *struct{ Capacity int64 }
		}
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		t.Fatal(err)
	}
	s := &scrubber{nodes: map[string]string{}, seen: map[string]string{}}
	for _, n := range status.Nodes {
		s.nodes[n.ID] = n.Service + "-node"
	}
	return s
}

// id puts the id of a node in the place of its name, for arguments.
func (s *scrubber) id(arg string) string {
	for id, name := range s.nodes {
		if short, ok := strings.CutSuffix(arg, "…"); ok && short == name {
			return id[:12]
		}
		if arg == name {
			return id
		}
	}
	return arg
}

var changing = []struct {
	what *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`\d+ (second|minute)s? ago|(\d+|a|long| )+ (\w+) from now|\bnow\b`), "AGO"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`), "TIME"},
	{regexp.MustCompile(`Running for: \S+`), "Running for: AGE"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDR"},
	{regexp.MustCompile(`\d+(\.\d+)? [KMGTP]?i?B \(\d+ %\)`), "FREE"},
	{regexp.MustCompile(`\d+(\.\d+)? [GTP]iB\b`), "SIZE"},
	{regexp.MustCompile(`\bAA[A-Za-z0-9_-]{30}\b`), "TOKEN"},
	{regexp.MustCompile(`\b\d{8,}\b`), "NUMBER"},
	{regexp.MustCompile(`(\S) {3,}`), "$1  "},
	{regexp.MustCompile(` +\n`), "\n"},
}

var ids = regexp.MustCompile(`\b(GK[0-9a-f]{24}|[0-9a-f]{16,64})\b`)

func (s *scrubber) clean(out string) string {
	if host, err := os.Hostname(); err == nil {
		out = regexp.MustCompile(`\b`+regexp.QuoteMeta(host)+`\b`).ReplaceAllString(out, "HOST")
	}
	for _, id := range slices.Collect(maps.Keys(s.nodes)) {
		out = strings.ReplaceAll(strings.ReplaceAll(out, id, s.nodes[id]), id[:16], s.nodes[id]+"…")
	}
	out = ids.ReplaceAllStringFunc(out, func(id string) string {
		key := id[:16]
		if s.seen[key] == "" {
			s.seen[key] = fmt.Sprintf("id-%d", len(s.seen)+1)
		}
		return s.seen[key]
	})
	for _, c := range changing {
		out = c.what.ReplaceAllString(out, c.name)
	}
	return out
}

// difference shows the lines around the first difference.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d\n- %s\n+ %s\n%s", i+1, w[i], g[i], strings.Join(g[max(0, i-5):min(len(g), i+5)], "\n"))
		}
	}
	return fmt.Sprintf("%d lines, not %d", len(g), len(w))
}
