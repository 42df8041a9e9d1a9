package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

type permissions struct {
	Read  bool `json:"read"`
	Write bool `json:"write"`
	Owner bool `json:"owner"`
}

func (p permissions) String() string {
	var s []string
	for _, x := range []struct {
		on   bool
		name string
	}{{p.Read, "read"}, {p.Write, "write"}, {p.Owner, "owner"}} {
		if x.on {
			s = append(s, x.name)
		}
	}
	if s == nil {
		return "none"
	}
	return strings.Join(s, "+")
}

type bucketKey struct {
	AccessKeyID        string      `json:"accessKeyId"`
	Name               string      `json:"name"`
	Permissions        permissions `json:"permissions"`
	BucketLocalAliases []string    `json:"bucketLocalAliases"`
}

type bucketInfo struct {
	ID                string      `json:"id"`
	Created           string      `json:"created"`
	GlobalAliases     []string    `json:"globalAliases"`
	Keys              []bucketKey `json:"keys"`
	Objects           int64       `json:"objects"`
	Bytes             int64       `json:"bytes"`
	UnfinishedUploads int64       `json:"unfinishedUploads"`
}

type bucketSummary struct {
	ID            string   `json:"id"`
	Created       string   `json:"created"`
	GlobalAliases []string `json:"globalAliases"`
}

func bucketCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "bucket", GroupID: "use", Short: "Create, list, share and delete buckets"}
	cmd.AddCommand(
		&cobra.Command{
			Use: "create NAME", Short: "Create a bucket", Args: cobra.ExactArgs(1),
			Example: "  hangar bucket create photos",
			RunE: func(cmd *cobra.Command, args []string) error {
				var b bucketInfo
				if err := c.post(cmd.Context(), "CreateBucket", nil, map[string]any{"globalAlias": args[0]}, &b); err != nil {
					return err
				}
				return c.showBucket(cmd.OutOrStdout(), b)
			},
		},
		&cobra.Command{
			Use: "list", Short: "List all buckets", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				var list []bucketSummary
				if err := c.get(cmd.Context(), "ListBuckets", nil, &list); err != nil {
					return err
				}
				return c.show(cmd.OutOrStdout(), list, func(w io.Writer) {
					fmt.Fprintln(w, "ID\tCREATED\tNAMES")
					for _, b := range list {
						fmt.Fprintf(w, "%s\t%s\t%s\n", b.ID, b.Created, strings.Join(b.GlobalAliases, ", "))
					}
				})
			},
		},
		&cobra.Command{
			Use: "info NAME", Short: "Show a bucket's size and who may use it", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				b, err := c.bucket(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return c.showBucket(cmd.OutOrStdout(), b)
			},
		},
		bucketDelete(c),
		bucketPermission(c, "allow", "AllowBucketKey", "Let a key use a bucket"),
		bucketPermission(c, "deny", "DenyBucketKey", "Take rights on a bucket from a key"),
		bucketAlias(c, "alias", "AddBucketAlias", "Give a bucket another name"),
		bucketAlias(c, "unalias", "RemoveBucketAlias", "Take a name from a bucket"),
	)
	return cmd
}

// bucket finds a bucket by name or id.
func (c *client) bucket(ctx context.Context, name string) (bucketInfo, error) {
	var b bucketInfo
	err := c.get(ctx, "GetBucketInfo", url.Values{"globalAlias": {name}}, &b)
	if err != nil && len(name) == 32 {
		err = c.get(ctx, "GetBucketInfo", url.Values{"id": {name}}, &b)
	}
	return b, err
}

func (c *client) showBucket(w io.Writer, b bucketInfo) error {
	return c.show(w, b, func(w io.Writer) {
		fmt.Fprintf(w, "Bucket\t%s\n", strings.Join(b.GlobalAliases, ", "))
		fmt.Fprintf(w, "ID\t%s\n", b.ID)
		fmt.Fprintf(w, "Objects\t%d\n", b.Objects)
		fmt.Fprintf(w, "Size\t%s (%d bytes)\n", sizeOf(b.Bytes), b.Bytes)
		fmt.Fprintf(w, "Unfinished uploads\t%d\n", b.UnfinishedUploads)
		for _, k := range b.Keys {
			fmt.Fprintf(w, "Key\t%s\t%s\t%s\n", k.AccessKeyID, k.Permissions, k.Name)
		}
	})
}

// sizeOf prints bytes in the largest unit that keeps a digit before the point.
func sizeOf(n int64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= step && unit < 6 {
		v /= step
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, " KMGTPE"[unit])
}

func bucketDelete(c *client) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete an empty bucket", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return errors.New("this removes the bucket and all its names for ever; say --yes to go on")
			}
			b, err := c.bucket(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.post(cmd.Context(), "DeleteBucket", url.Values{"id": {b.ID}}, nil, nil)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "go on without asking")
	return cmd
}

func bucketPermission(c *client, use, op, short string) *cobra.Command {
	var p permissions
	cmd := &cobra.Command{
		Use: use + " BUCKET KEY-ID", Short: short, Args: cobra.ExactArgs(2),
		Example: fmt.Sprintf("  hangar bucket %s photos GK0123456789abcdef01234567 --read --write", use),
		RunE: func(cmd *cobra.Command, args []string) error {
			if p == (permissions{}) {
				return errors.New("say which rights: --read, --write, --owner")
			}
			b, err := c.bucket(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			in := map[string]any{"bucketId": b.ID, "accessKeyId": args[1], "permissions": p}
			if err := c.post(cmd.Context(), op, nil, in, &b); err != nil {
				return err
			}
			return c.showBucket(cmd.OutOrStdout(), b)
		},
	}
	cmd.Flags().BoolVar(&p.Read, "read", false, "read objects and list them")
	cmd.Flags().BoolVar(&p.Write, "write", false, "write and delete objects")
	cmd.Flags().BoolVar(&p.Owner, "owner", false, "delete the bucket and change its settings")
	return cmd
}

func bucketAlias(c *client, use, op, short string) *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use: use + " BUCKET NAME", Short: short, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := c.bucket(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			in := map[string]any{"bucketId": b.ID, "globalAlias": args[1]}
			if key != "" {
				in = map[string]any{"bucketId": b.ID, "accessKeyId": key, "localAlias": args[1]}
			}
			if err := c.post(cmd.Context(), op, nil, in, &b); err != nil {
				return err
			}
			return c.showBucket(cmd.OutOrStdout(), b)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "only for this key (a local alias)")
	return cmd
}
