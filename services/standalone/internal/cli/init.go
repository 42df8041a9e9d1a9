package cli

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/birth"
	"hangar/services/standalone/internal/datadir"
	"hangar/services/standalone/internal/secrets"
)

func initCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "init", GroupID: "cluster", Short: "Prepare a cluster of separate processes",
		Long:    "A cluster of separate processes, in containers or on several machines, needs\ncertificates and passwords before it starts, and a layout once it runs. Both\ncommands may be repeated: they leave alone what is there.",
		Example: "  hangar init secrets --data ./secrets --host s3.example.org\n  hangar init cluster --data ./secrets --meta 3 --blocks 3",
	}
	cmd.AddCommand(initSecretsCommand(c), initClusterCommand(c))
	return cmd
}

func initSecretsCommand(c *client) *cobra.Command {
	var o secrets.Options
	cmd := &cobra.Command{
		Use: "secrets --data DIR", Args: cobra.NoArgs,
		Short:   "Make certificates, passwords and the permissions on NATS",
		Long:    "Make what the processes of a cluster must keep to themselves: a folder for each\nservice with its password for NATS and its certificate, and in DIR/nats the users\nwith their permissions, in the format of a NATS server's configuration. Files\nhave mode 0600; what is there stays, but for the permissions, which follow this\nversion. To renew a certificate delete its tls.key and run this again.",
		Example: "  hangar init secrets --data ./secrets --host s3.example.org",
		RunE: func(*cobra.Command, []string) error {
			if c.given.Dir == "" {
				return fmt.Errorf("say where to keep them: hangar init secrets --data DIR")
			}
			o.Dir = c.given.Dir
			return secrets.Make(o)
		},
	}
	cmd.Flags().StringSliceVar(&o.Hosts, "host", nil, "further names or addresses of the S3 endpoint and the Admin API")
	cmd.Flags().StringVar(&o.S3Endpoint, "s3", "https://127.0.0.1:3900", "URL of the S3 endpoint, to be told to people")
	cmd.Flags().StringVar(&o.K2VEndpoint, "k2v", "https://127.0.0.1:3904", "URL of the K2V API, for the command line")
	cmd.Flags().StringVar(&o.AdminEndpoint, "admin", "https://127.0.0.1:3903", "URL of the Admin API, for the command line")
	cmd.Flags().IntVar(&o.Owner, "owner", -1, "user id that the processes run with (default: yours)")
	return cmd
}

func initClusterCommand(c *client) *cobra.Command {
	var meta, blocks int
	var bucket string
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "cluster --data DIR", Args: cobra.NoArgs,
		Short:   "Lay a running cluster out and print how to use it",
		Long:    "Wait for the storage nodes, give each that has no role one in the zone it names,\nmake the key of DIR/credentials.json if it is missing, and print how to use it.",
		Example: "  hangar init cluster --data ./secrets --meta 3 --blocks 3",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := datadir.ReadAccess(c.given.Dir)
			if err != nil {
				return fmt.Errorf("hangar init secrets comes first: %w", err)
			}
			api, err := c.api()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			made, err := birth.Make(ctx, birth.Cluster{
				API: api, Meta: meta, Blocks: blocks,
				AccessKey: a.AccessKey, SecretKey: a.SecretKey, Bucket: bucket,
			})
			if err != nil {
				return err
			}
			if err := birth.Poll(ctx, func() error { return serves(ctx, api.HTTP, a.S3Endpoint) }); err != nil {
				return fmt.Errorf("the S3 endpoint: %w", err)
			}
			if !made { // later starts write into somebody's log
				a.SecretKey = "(in " + filepath.Join(c.given.Dir, datadir.AccessFile) + ")"
			}
			greet(cmd, c.given.Dir, a)
			return nil
		},
	}
	cmd.Flags().IntVar(&meta, "meta", 3, "metadata nodes to wait for")
	cmd.Flags().IntVar(&blocks, "blocks", 3, "block nodes to wait for")
	cmd.Flags().StringVar(&bucket, "bucket", "", "bucket to make at the first time")
	cmd.Flags().DurationVar(&wait, "wait", 2*time.Minute, "how long to wait at most")
	return cmd
}

// serves returns nil once an S3 endpoint has an answer, if only a refusal.
func serves(ctx context.Context, client *http.Client, endpoint string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%s answers %s", endpoint, resp.Status)
	}
	return nil
}

// greet says how to use the cluster.
func greet(cmd *cobra.Command, dir string, a datadir.Access) {
	ca := filepath.Join(dir, a.CA)
	fmt.Fprintf(cmd.OutOrStdout(), `
The cluster is ready.

  S3 endpoint   %s
  Region        %s
  Access key    %s
  Secret key    %s
  Admin API     %s (token in %s)
  Certificate   %s

Try:

  export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY='%s' AWS_DEFAULT_REGION=%s AWS_CA_BUNDLE=%s
  aws --endpoint-url %s s3 mb s3://first-bucket
  aws --endpoint-url %s s3 cp README.md s3://first-bucket/
  bin/hangar --data %s status

`, a.S3Endpoint, a.Region, a.AccessKey, a.SecretKey, a.AdminEndpoint, filepath.Join(dir, datadir.AccessFile), ca,
		a.AccessKey, a.SecretKey, a.Region, ca, a.S3Endpoint, a.S3Endpoint, dir)
}
