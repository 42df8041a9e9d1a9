package cli

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/adminclient"
	"hangar/services/standalone/internal/terminal"
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
	Created           time.Time   `json:"created"`
	GlobalAliases     []string    `json:"globalAliases"`
	Keys              []bucketKey `json:"keys"`
	Objects           int64       `json:"objects"`
	Bytes             int64       `json:"bytes"`
	UnfinishedUploads int64       `json:"unfinishedUploads"`
	UnfinishedBytes   int64       `json:"unfinishedMultipartUploadBytes"`
	K2VItems          int64       `json:"k2vItems"`
	K2VBytes          int64       `json:"k2vBytes"`
	WebsiteAccess     bool        `json:"websiteAccess"`
	WebsiteConfig     *struct {
		IndexDocument string  `json:"indexDocument"`
		ErrorDocument *string `json:"errorDocument"`
	} `json:"websiteConfig"`
	Quotas         quotas `json:"quotas"`
	CORSRules      []any  `json:"corsRules"`
	LifecycleRules []any  `json:"lifecycleRules"`
}

type quotas struct {
	MaxSize    *int64 `json:"maxSize"`
	MaxObjects *int64 `json:"maxObjects"`
}

type bucketSummary struct {
	ID            string    `json:"id"`
	Created       time.Time `json:"created"`
	GlobalAliases []string  `json:"globalAliases"`
	LocalAliases  []struct {
		AccessKeyID string `json:"accessKeyId"`
		Alias       string `json:"alias"`
	} `json:"localAliases"`
}

func bucketCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "bucket", GroupID: "use", Short: "Create, list, share, limit and delete buckets",
		Long:    "Buckets are named by a global alias, by their id, or by the beginning of it\n(4 characters or more).",
		Example: "  hangar bucket create photos\n  hangar bucket allow photos phone --read --write\n  hangar bucket info photos",
	}
	cmd.AddCommand(
		bucketCreate(c), bucketList(c), bucketShow(c), bucketDelete(c),
		bucketPermission(c, "allow", "AllowBucketKey", "Let a key use a bucket"),
		bucketPermission(c, "deny", "DenyBucketKey", "Take rights on a bucket from a key"),
		bucketAlias(c, "alias", "AddBucketAlias", "Give a bucket another name"),
		bucketAlias(c, "unalias", "RemoveBucketAlias", "Take a name from a bucket"),
		bucketWebsite(c), bucketQuotas(c), bucketInspect(c), bucketCleanup(c),
	)
	return cmd
}

func bucketCreate(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "create NAME", Short: "Create a bucket", Args: cobra.ExactArgs(1),
		Example: "  hangar bucket create photos",
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := c.post(cmd, "CreateBucket", nil, map[string]any{"globalAlias": args[0]})
			if err != nil {
				return err
			}
			return show(c, cmd, a, printBucket)
		},
	}
}

func bucketList(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all buckets", Args: cobra.NoArgs,
		Example: "  hangar bucket list\n  hangar bucket list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := c.get(cmd, "ListBuckets", nil)
			if err != nil {
				return err
			}
			return show(c, cmd, a, func(p *terminal.Page, list []bucketSummary) {
				t := terminal.NewTable("ID", "CREATED", "NAMES")
				for _, b := range list {
					names := b.GlobalAliases
					for _, l := range b.LocalAliases {
						names = append(names, l.Alias+" (of "+l.AccessKeyID+")")
					}
					t.Row(b.ID, p.Since(b.Created), strings.Join(names, ", "))
				}
				p.List(t, "No buckets yet. Make one with: hangar bucket create NAME")
			})
		},
	}
}

func bucketShow(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "info BUCKET", Short: "Show a bucket's size, settings and who may use it", Args: cobra.ExactArgs(1),
		ValidArgsFunction: args(false, c.bucketNames),
		Example:           "  hangar bucket info photos\n  hangar bucket info 5f3c",
		RunE: func(cmd *cobra.Command, args []string) error {
			a, _, err := c.bucket(cmd, args[0])
			if err != nil {
				return err
			}
			return show(c, cmd, a, printBucket)
		},
	}
}

func printBucket(p *terminal.Page, b bucketInfo) {
	t := terminal.NewTable()
	t.Row(terminal.Strong("Bucket"), strings.Join(b.GlobalAliases, ", "))
	t.Row("ID", b.ID)
	t.Row("Created", p.Since(b.Created))
	t.Row("Objects", terminal.Count(b.Objects)+b.Quotas.objects(b.Objects))
	t.Row("Size", fmt.Sprintf("%s (%s bytes)", terminal.Bytes(b.Bytes), terminal.Count(b.Bytes))+b.Quotas.size(b.Bytes))
	unfinished := terminal.Count(b.UnfinishedUploads)
	if b.UnfinishedBytes > 0 {
		unfinished += ", " + terminal.Bytes(b.UnfinishedBytes)
	}
	t.Row("Unfinished uploads", unfinished)
	items := terminal.Count(b.K2VItems)
	if b.K2VBytes > 0 {
		items += ", " + terminal.Bytes(b.K2VBytes)
	}
	t.Row("K2V items", items)
	site := "off"
	if w := b.WebsiteConfig; b.WebsiteAccess && w != nil {
		site = "on, index " + w.IndexDocument
		if w.ErrorDocument != nil {
			site += ", errors " + *w.ErrorDocument
		}
	} else if b.WebsiteAccess {
		site = "on"
	}
	t.Row("Website", site)
	if n := len(b.CORSRules); n > 0 {
		t.Row("CORS", plural(int64(n), "rule"))
	}
	if n := len(b.LifecycleRules); n > 0 {
		t.Row("Lifecycle", plural(int64(n), "rule"))
	}
	p.Table(t)
	if len(b.Keys) == 0 {
		return
	}
	p.Line()
	keys := terminal.NewTable("KEY", "NAME", "RIGHTS", "CALLS IT")
	for _, k := range b.Keys {
		keys.Row(k.AccessKeyID, k.Name, k.Permissions, strings.Join(k.BucketLocalAliases, ", "))
	}
	p.Table(keys)
}

func (q quotas) objects(have int64) string {
	if q.MaxObjects == nil {
		return ""
	}
	return fmt.Sprintf(" of at most %s%s", terminal.Count(*q.MaxObjects), share(have, *q.MaxObjects))
}

func (q quotas) size(have int64) string {
	if q.MaxSize == nil {
		return ""
	}
	return fmt.Sprintf(" of at most %s%s", terminal.Bytes(*q.MaxSize), share(have, *q.MaxSize))
}

func share(have, limit int64) string {
	if limit <= 0 {
		return ""
	}
	return fmt.Sprintf(", %.0f %%", 100*float64(have)/float64(limit))
}

func bucketDelete(c *client) *cobra.Command {
	return c.dangerous(&cobra.Command{
		Use: "delete BUCKET", Short: "Delete an empty bucket", Args: cobra.ExactArgs(1),
		ValidArgsFunction: args(false, c.bucketNames),
		Example:           "  hangar bucket delete photos\n  hangar bucket delete photos --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, b, err := c.bucket(cmd, args[0])
			if err != nil {
				return err
			}
			if err := c.confirm(cmd, fmt.Sprintf("Delete the bucket %s and all its names?", args[0])); err != nil {
				return err
			}
			a, err := c.post(cmd, "DeleteBucket", url.Values{"id": {b.ID}}, nil)
			if err != nil {
				return err
			}
			return c.say(cmd, a, "The bucket "+args[0]+" is deleted")
		},
	})
}

// rights are the flags of commands that give or take rights.
func rights(cmd *cobra.Command, p *permissions) {
	cmd.Flags().BoolVar(&p.Read, "read", false, "read objects and list them")
	cmd.Flags().BoolVar(&p.Write, "write", false, "write and delete objects")
	cmd.Flags().BoolVar(&p.Owner, "owner", false, "delete the bucket and change its settings")
	cmd.MarkFlagsOneRequired("read", "write", "owner")
}

func bucketPermission(c *client, use, op, short string) *cobra.Command {
	var p permissions
	cmd := &cobra.Command{
		Use: use + " BUCKET KEY", Short: short, Args: cobra.ExactArgs(2),
		ValidArgsFunction: args(false, c.bucketNames, c.keyNames),
		Example:           fmt.Sprintf("  hangar bucket %[1]s photos phone --read --write\n  hangar bucket %[1]s photos GK0123456789abcdef01234567 --owner", use),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, b, err := c.bucket(cmd, args[0])
			if err != nil {
				return err
			}
			key, err := c.key(cmd, args[1])
			if err != nil {
				return err
			}
			a, err := c.post(cmd, op, nil, map[string]any{"bucketId": b.ID, "accessKeyId": key, "permissions": p})
			if err != nil {
				return err
			}
			return show(c, cmd, a, printBucket)
		},
	}
	rights(cmd, &p)
	return cmd
}

func bucketAlias(c *client, use, op, short string) *cobra.Command {
	var local string
	cmd := &cobra.Command{
		Use: use + " BUCKET NAME", Short: short, Args: cobra.ExactArgs(2),
		Long:              short + ". A local alias is a name that only one key knows.",
		ValidArgsFunction: args(false, c.bucketNames, nil),
		Example:           fmt.Sprintf("  hangar bucket %[1]s photos pictures\n  hangar bucket %[1]s photos mine --local phone", use),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, b, err := c.bucket(cmd, args[0])
			if err != nil {
				return err
			}
			in := map[string]any{"bucketId": b.ID, "globalAlias": args[1]}
			if local != "" {
				key, err := c.key(cmd, local)
				if err != nil {
					return err
				}
				in = map[string]any{"bucketId": b.ID, "accessKeyId": key, "localAlias": args[1]}
			}
			a, err := c.post(cmd, op, nil, in)
			if err != nil {
				return err
			}
			return show(c, cmd, a, printBucket)
		},
	}
	cmd.Flags().StringVar(&local, "local", "", "only for this key (a local alias)")
	complete(cmd, "local", c.keyNames)
	return cmd
}

// updateBucket changes settings of a bucket and shows it.
func (c *client) updateBucket(cmd *cobra.Command, word string, in map[string]any) error {
	_, b, err := c.bucket(cmd, word)
	if err != nil {
		return err
	}
	var a adminclient.Answer
	if a, err = c.post(cmd, "UpdateBucket", url.Values{"id": {b.ID}}, in); err != nil {
		return err
	}
	return show(c, cmd, a, printBucket)
}
