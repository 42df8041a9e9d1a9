package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Reference is the manual of a command and all below it, in Markdown.
func Reference(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The command line\n\n```\n%s\n```\n", strings.TrimSpace(root.Long))
	b.WriteString("\nCompletion for your shell: `hangar completion --help`. Buckets, keys, tokens and nodes are completed from the cluster.\n")
	b.WriteString("\nThese flags may stand anywhere:\n")
	flagTable(&b, root.PersistentFlags())
	b.WriteString("\nThis page is generated from the code: `go test ./services/standalone/internal/cli -run Reference -update`.\n")
	for _, group := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(group.Title, ":"))
		for _, cmd := range root.Commands() {
			if cmd.GroupID == group.ID {
				chapter(&b, cmd)
			}
		}
	}
	return b.String()
}

func chapter(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "\n### `%s`\n\n%s.\n", strings.TrimSuffix(cmd.UseLine(), " [flags]"), cmd.Short)
	if cmd.Long != "" && cmd.Name() != "server" { // whose settings are in config.md
		fmt.Fprintf(b, "\n%s\n", cmd.Long)
	}
	if cmd.Example != "" {
		b.WriteString("\n```sh\n")
		for line := range strings.Lines(cmd.Example) {
			b.WriteString(strings.TrimPrefix(line, "  "))
		}
		b.WriteString("\n```\n")
	}
	flagTable(b, cmd.NonInheritedFlags())
	for _, sub := range cmd.Commands() {
		chapter(b, sub)
	}
}

func flagTable(b *strings.Builder, flags *pflag.FlagSet) {
	first := true
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Name == "version" {
			return
		}
		if first {
			b.WriteString("\n| Flag | Meaning |\n|---|---|\n")
			first = false
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		kind, usage := pflag.UnquoteUsage(f)
		if kind != "" {
			name += " " + kind
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" && f.DefValue != "0s" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, usage)
	})
}
