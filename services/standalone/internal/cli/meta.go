package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func metaCommand(c *client, s Servers) *cobra.Command {
	cmd := &cobra.Command{
		Use: "meta", GroupID: "care", Short: "Keep copies of nodes' metadata, and bring a node back from one",
		Example: "  hangar meta snapshot --all",
	}
	snapshot := &cobra.Command{
		Use: "snapshot", Short: "Have nodes keep a copy of their metadata beside it", Args: cobra.NoArgs,
		Example: "  hangar meta snapshot --all\n  hangar meta snapshot --node 8f3a",
	}
	nodes := c.onNodes(snapshot)
	snapshot.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := c.onAll(cmd, nodes, "CreateMetadataSnapshot", nil)
		if err != nil {
			return err
		}
		return showNodes(c, cmd, a, done[any]("snapshot made"))
	}
	cmd.AddCommand(snapshot, restoreCommand(s))
	return cmd
}

func restoreCommand(s Servers) *cobra.Command {
	var from, to string
	var lastCopy bool
	cmd := &cobra.Command{
		Use: "restore --from SNAPSHOT --to DIR", Args: cobra.NoArgs,
		Short: "Make the directory of a metadata node from a snapshot",
		Long: `Make the directory of a metadata node as it was when the snapshot was made. DIR
must be new or empty: it is the node's data directory, or DIR/meta of a
hangar server. What was written since the snapshot is lost.

Where other nodes hold the same rows do not restore: start a node with an empty
directory and give it the lost one's place in the layout (see
docs/operations/snapshots.md). --last-copy says that they are lost too.`,
		Example: "  hangar meta restore --from /backup/20260102T150405.000Z --to /var/lib/hangar/meta",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || to == "" {
				return wrong(errors.New("say from which snapshot and to where: hangar meta restore --from SNAPSHOT --to DIR"))
			}
			node, err := s.MetaRestore(from, to, lastCopy)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is metadata node %s as it was at the snapshot.\n", to, node)
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "folder of one snapshot")
	cmd.Flags().StringVar(&to, "to", "", "new directory of the metadata node")
	cmd.Flags().BoolVar(&lastCopy, "last-copy", false, "no other node holds newer rows: they are lost too")
	return cmd
}
