// Package cli is the hangar command line: it starts servers and talks to a
// running cluster through the Admin API, never behind its back.
package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/items"
)

// Servers starts long-running processes; the commands only parse flags for it.
type Servers interface {
	// Server runs everything in one process on dir.
	Server(ctx context.Context, dir string) error
	// Dev runs a cluster of real processes on loopback.
	Dev(ctx context.Context, o DevOptions) error
	// NATS runs only the message broker.
	NATS(ctx context.Context, dir, listen string) error
	// ControlExport and ControlRestore back up and rebuild the control state.
	ControlExport(ctx context.Context, at ControlAt, file string) error
	ControlRestore(ctx context.Context, at ControlAt, file string, force bool) error
	// MetaRestore makes the directory of a metadata node from a snapshot, and
	// returns the node's id. lastCopy: no other node holds newer rows.
	MetaRestore(from, to string, lastCopy bool) (node string, err error)
	// ServerHelp describes the variables that Server reads.
	ServerHelp() string
}

// DevOptions shape a development cluster.
type DevOptions struct {
	Dir                    string
	Meta, Blocks, Gateways int
	ReplicationFactor      int
	// BinDir holds the service binaries; empty means beside this one.
	BinDir string
	// Restart is how long after its end a process is started again; zero
	// leaves it dead.
	Restart time.Duration
}

// Run executes the command line. Its errors are one line that says what to do,
// and carry an exit code.
func Run(ctx context.Context, root *cobra.Command) error {
	return classify(root.ExecuteContext(ctx))
}

// New returns the root command, for Run.
func New(version string, s Servers) *cobra.Command {
	root := &cobra.Command{
		Use:           "hangar",
		Short:         "A self-hosted, S3-compatible object store",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Long: `Hangar stores objects on machines you own and speaks S3.

Start everything in one process:   hangar server --data ./data
Try a cluster on this machine:     hangar dev --meta 3 --blocks 3 --gateways 2 --data ./dev

The other commands talk to a running cluster through its Admin API. They find
it by --endpoint and --token, by HANGAR_ADMIN_ENDPOINT and HANGAR_ADMIN_TOKEN
(or HANGAR_ADMIN_TOKEN_FILE), or by --data, the directory of a server on this
machine; if nothing is said, that is ./data. With --json they print what the API
answers, for programs. Colour is used on terminals, unless NO_COLOR is set.

` + exitCodes,
		Example: "  hangar status\n  hangar bucket create photos\n  hangar key create phone\n  hangar bucket allow photos phone --read --write",
	}
	c := &client{}
	f := root.PersistentFlags()
	f.StringVar(&c.given.Endpoint, "endpoint", "", "Admin API address (default from HANGAR_ADMIN_ENDPOINT, else http://127.0.0.1:3903)")
	f.StringVar(&c.given.Token, "token", "", "admin token (default from HANGAR_ADMIN_TOKEN, else from --data)")
	f.StringVar(&c.given.CA, "ca", "", "file with the certificate that the Admin API's is signed by (default from --data, else the system's)")
	f.StringVar(&c.given.Dir, "data", "", "data directory of a server on this machine (commands that look for one: ./data)")
	f.BoolVar(&c.json, "json", false, "print the Admin API's JSON instead of a table")
	f.BoolVar(&c.noColor, "no-color", false, "no colour, also on a terminal")
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "use", Title: "Buckets, keys and items:"},
		&cobra.Group{ID: "cluster", Title: "Cluster:"},
		&cobra.Group{ID: "care", Title: "Care:"},
	)
	root.AddCommand(serverCommand(c, s), devCommand(c, s), natsCommand(c, s), initCommand(c))
	root.AddCommand(bucketCommand(c), keyCommand(c), tokenCommand(c), items.Command(shell{c}, "use"))
	root.AddCommand(statusCommand(c), healthCommand(c), nodeCommand(c), layoutCommand(c), statsCommand(c), controlCommand(c, s))
	root.AddCommand(workerCommand(c), blockCommand(c), repairCommand(c), metaCommand(c, s), jsonCommand(c))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return wrong(fmt.Errorf("%w: see %s --help", err, cmd.CommandPath()))
	})
	finish(root)
	return root
}

// finish gives every command what all have in common: wrong arguments are a
// usage error, and a word that is none of a group's commands is one too.
func finish(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		finish(sub)
	}
	if !cmd.Runnable() {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return fmt.Errorf("%q is none of its commands", args[0])
		}
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		for _, f := range []func() error{cmd.ValidateRequiredFlags, cmd.ValidateFlagGroups} {
			if err == nil {
				err = f()
			}
		}
		if err == nil {
			return nil
		}
		why, _, _ := strings.Cut(err.Error(), "\n")
		return wrong(fmt.Errorf("%s: %s: see %s --help", cmd.CommandPath(), why, cmd.CommandPath()))
	}
	if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 && cmd.HasParent() {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
}

func serverCommand(c *client, s Servers) *cobra.Command {
	return &cobra.Command{
		Use: "server --data DIR", GroupID: "run", Args: cobra.NoArgs,
		Short:   "Run the whole store in this process",
		Long:    "Run gateway, metadata, block and admin service and their message broker in one\nprocess on one data directory. The first start creates the cluster and prints\nhow to reach it; the credentials are kept in DIR/credentials.json (mode 0600).\n\nSettings:\n" + s.ServerHelp(),
		Example: "  hangar server --data /var/lib/hangar\n  HANGAR_S3_ADDR=:9000 HANGAR_DEFAULT_BUCKET=photos hangar server --data ./data",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.given.Dir == "" {
				return wrong(fmt.Errorf("say where to keep data: hangar server --data DIR"))
			}
			return s.Server(cmd.Context(), c.given.Dir)
		},
	}
}

func devCommand(c *client, s Servers) *cobra.Command {
	o := DevOptions{}
	cmd := &cobra.Command{
		Use: "dev --data DIR", GroupID: "run", Args: cobra.NoArgs,
		Short:   "Run a cluster of real processes on loopback",
		Long:    "Start a message broker, an admin service and the asked number of metadata,\nblock and gateway processes on this machine, lay the cluster out over them, and\nprint the endpoints. DIR/cluster.json lists addresses and process ids. Ctrl-C\nstops everything.",
		Example: "  hangar dev --meta 3 --blocks 3 --gateways 2 --data ./dev\n  hangar --data ./dev status",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.given.Dir == "" {
				return wrong(fmt.Errorf("say where to keep data: hangar dev --data DIR"))
			}
			o.Dir = c.given.Dir
			return s.Dev(cmd.Context(), o)
		},
	}
	cmd.Flags().IntVar(&o.Meta, "meta", 3, "metadata processes")
	cmd.Flags().IntVar(&o.Blocks, "blocks", 3, "block processes")
	cmd.Flags().IntVar(&o.Gateways, "gateways", 2, "gateway processes")
	cmd.Flags().IntVar(&o.ReplicationFactor, "replication-factor", 3, "copies of everything")
	cmd.Flags().DurationVar(&o.Restart, "restart", 0, "start a process that ended again after this long (default: leave it dead)")
	cmd.Flags().StringVar(&o.BinDir, "bin", "", "where the service binaries are (default: beside this one)")
	return cmd
}

func natsCommand(c *client, s Servers) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use: "nats --data DIR", GroupID: "run", Args: cobra.NoArgs,
		Short:   "Run only the message broker",
		Example: "  HANGAR_NATS_TOKEN_FILE=/etc/hangar/nats hangar nats --data /var/lib/hangar-nats --listen 10.0.0.1:4222",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.given.Dir == "" {
				return wrong(fmt.Errorf("say where to keep data: hangar nats --data DIR"))
			}
			return s.NATS(cmd.Context(), c.given.Dir, listen)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:4222", "address to listen on")
	return cmd
}
