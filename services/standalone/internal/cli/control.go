package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// ControlAt says where control state lives: in the directory of a stopped
// server, or on running NATS servers.
type ControlAt struct{ Dir, NATS string }

func controlCommand(c *client, s Servers) *cobra.Command {
	var at ControlAt
	cmd := &cobra.Command{
		Use: "control", GroupID: "cluster", Short: "Back up and rebuild the control state (layout, keys, buckets)",
		Long: `The control state lives in NATS. Every process with a data directory also keeps
a copy of it in DIR/control.export, which is as good as one made with export.

Should NATS have lost its data, stop the cluster's other processes, start NATS
empty, and restore the newest copy. Where NATS has a user for it (control), say
so with HANGAR_NATS_USER and HANGAR_NATS_PASSWORD_FILE.`,
		Example: "  hangar control export --nats nats://10.0.0.1:4222 backup.control",
	}
	cmd.PersistentFlags().StringVar(&at.NATS, "nats", "", "NATS servers (default from HANGAR_NATS_URL); or --data for the directory of a stopped server")
	export := &cobra.Command{
		Use: "export FILE", ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		Short: "Write the control state to a file (it holds secrets)", Args: cobra.ExactArgs(1),
		Example: "  hangar control export --nats nats://10.0.0.1:4222 backup.control\n  hangar --data /var/lib/hangar control export backup.control",
		RunE: func(cmd *cobra.Command, args []string) error {
			at.Dir = c.given.Dir
			if err := s.ControlExport(cmd.Context(), at, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "The control state is in %s. It holds the secrets of all keys.\n", args[0])
			return nil
		},
	}
	var force bool
	restore := &cobra.Command{
		Use: "restore FILE", ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		Short: "Rebuild the control state from a file", Args: cobra.ExactArgs(1),
		Example: "  hangar control restore --nats nats://10.0.0.1:4222 backup.control\n  hangar --data /var/lib/hangar control restore backup.control --force",
		RunE: func(cmd *cobra.Command, args []string) error {
			if force {
				if err := c.confirm(cmd, "Replace the control state that is there?"); err != nil {
					return err
				}
			}
			at.Dir = c.given.Dir
			if err := s.ControlRestore(cmd.Context(), at, args[0], force); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "The control state is restored.")
			return nil
		},
	}
	restore.Flags().BoolVar(&force, "force", false, "replace a control state that is not empty")
	cmd.AddCommand(export, c.dangerous(restore))
	return cmd
}
