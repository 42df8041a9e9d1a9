package cli

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/terminal"
)

type keyInfo struct {
	AccessKeyID     string     `json:"accessKeyId"`
	Name            string     `json:"name"`
	SecretAccessKey *string    `json:"secretAccessKey"`
	Created         *time.Time `json:"created"`
	Expiration      *time.Time `json:"expiration"`
	Expired         bool       `json:"expired"`
	Permissions     struct {
		CreateBucket bool `json:"createBucket"`
	} `json:"permissions"`
	Buckets []struct {
		ID            string      `json:"id"`
		GlobalAliases []string    `json:"globalAliases"`
		LocalAliases  []string    `json:"localAliases"`
		Permissions   permissions `json:"permissions"`
	} `json:"buckets"`
}

type keySummary struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Created    *time.Time `json:"created"`
	Expiration *time.Time `json:"expiration"`
	Expired    bool       `json:"expired"`
}

func keyCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "key", GroupID: "use", Short: "Create, list, change, import and delete access keys",
		Long:    "Keys are named by their id, the beginning of it, or their name if no other key\nhas it.",
		Example: "  hangar key create phone --expires-in 1y\n  hangar key info phone --show-secret",
	}
	cmd.AddCommand(keyCreate(c), keyImport(c), keyList(c), keyShow(c), keyRename(c), keySet(c),
		keyPermission(c, "allow", "Let a key do something beside using buckets"),
		keyPermission(c, "deny", "Take that from a key"), keyDelete(c))
	return cmd
}

func keyCreate(c *client) *cobra.Command {
	var buckets bool
	var e expiry
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a key and print its secret", Args: cobra.ExactArgs(1),
		Example: "  hangar key create phone\n  hangar key create backup --create-bucket --expires-in 1y",
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]any{"name": args[0]}
			if buckets {
				in["allow"] = map[string]bool{"createBucket": true}
			}
			if err := e.into(in, time.Now()); err != nil {
				return err
			}
			a, err := c.post(cmd, "CreateKey", nil, in)
			if err != nil {
				return err
			}
			return show(c, cmd, a, printKey)
		},
	}
	cmd.Flags().BoolVar(&buckets, "create-bucket", false, "let the key create buckets")
	e.flags(cmd, false)
	return cmd
}

func keyImport(c *client) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "import KEY-ID SECRET", Short: "Add a key whose id and secret exist already", Args: cobra.ExactArgs(2),
		Example: "  hangar key import GK0123456789abcdef01234567 \"$SECRET\" --name phone",
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]any{"accessKeyId": args[0], "secretAccessKey": args[1], "name": name}
			a, err := c.post(cmd, "ImportKey", nil, in)
			if err != nil {
				return err
			}
			return show(c, cmd, a, printKey)
		},
	}
	cmd.Flags().StringVar(&name, "name", "imported", "name of the key")
	return cmd
}

func keyList(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all keys", Args: cobra.NoArgs,
		Example: "  hangar key list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := c.get(cmd, "ListKeys", nil)
			if err != nil {
				return err
			}
			return show(c, cmd, a, func(p *terminal.Page, list []keySummary) {
				t := terminal.NewTable("ID", "NAME", "CREATED", "STATE")
				for _, k := range list {
					t.Row(k.ID, k.Name, created(p, k.Created), expires(p, k.Expiration, k.Expired))
				}
				p.List(t, "No keys yet. Make one with: hangar key create NAME")
			})
		},
	}
}

func created(p *terminal.Page, at *time.Time) string {
	if at == nil {
		return "-"
	}
	return p.Since(*at)
}

func keyShow(c *client) *cobra.Command {
	var secret bool
	cmd := &cobra.Command{
		Use: "info KEY", Short: "Show a key and the buckets it may use", Args: cobra.ExactArgs(1),
		ValidArgsFunction: args(false, c.keyNames),
		Example:           "  hangar key info phone\n  hangar key info phone --show-secret",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.key(cmd, args[0])
			if err != nil {
				return err
			}
			q := url.Values{"id": {id}}
			if secret {
				q.Set("showSecretKey", "true")
			}
			a, err := c.get(cmd, "GetKeyInfo", q)
			if err != nil {
				return err
			}
			return show(c, cmd, a, printKey)
		},
	}
	cmd.Flags().BoolVar(&secret, "show-secret", false, "print the secret too")
	return cmd
}

// updateKey changes a key and shows it.
func (c *client) updateKey(cmd *cobra.Command, word string, in map[string]any) error {
	id, err := c.key(cmd, word)
	if err != nil {
		return err
	}
	a, err := c.post(cmd, "UpdateKey", url.Values{"id": {id}}, in)
	if err != nil {
		return err
	}
	return show(c, cmd, a, printKey)
}

func keyRename(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "rename KEY NAME", Short: "Give a key another name", Args: cobra.ExactArgs(2),
		ValidArgsFunction: args(false, c.keyNames, nil),
		Example:           "  hangar key rename phone old-phone",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.updateKey(cmd, args[0], map[string]any{"name": args[1]})
		},
	}
}

func keySet(c *client) *cobra.Command {
	var e expiry
	var name string
	cmd := &cobra.Command{
		Use: "set KEY", Short: "Change the name of a key, or how long it is valid", Args: cobra.ExactArgs(1),
		ValidArgsFunction: args(false, c.keyNames),
		Example:           "  hangar key set phone --expires-in 30d\n  hangar key set phone --name old-phone --never-expires",
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]any{}
			if name != "" {
				in["name"] = name
			}
			if err := e.into(in, time.Now()); err != nil {
				return err
			}
			return c.updateKey(cmd, args[0], in)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "another name")
	e.flags(cmd, true)
	cmd.MarkFlagsOneRequired("name", "expires-in", "expires-at", "never-expires")
	return cmd
}

func keyPermission(c *client, use, short string) *cobra.Command {
	var create bool
	cmd := &cobra.Command{
		Use: use + " KEY", Short: short, Args: cobra.ExactArgs(1),
		Long:              short + ". Rights on a bucket are given\nwith hangar bucket allow and taken with hangar bucket deny.",
		ValidArgsFunction: args(false, c.keyNames),
		Example:           "  hangar key " + use + " backup --create-bucket",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.updateKey(cmd, args[0], map[string]any{use: map[string]bool{"createBucket": create}})
		},
	}
	cmd.Flags().BoolVar(&create, "create-bucket", false, "create buckets")
	cmd.MarkFlagsOneRequired("create-bucket")
	return cmd
}

func keyDelete(c *client) *cobra.Command {
	return c.dangerous(&cobra.Command{
		Use: "delete KEY", Short: "Delete a key; clients using it are refused at once", Args: cobra.ExactArgs(1),
		ValidArgsFunction: args(false, c.keyNames),
		Example:           "  hangar key delete phone\n  hangar key delete GK0123456789abcdef01234567 --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.key(cmd, args[0])
			if err != nil {
				return err
			}
			if err := c.confirm(cmd, fmt.Sprintf("Delete the key %s, so that clients using it are refused?", args[0])); err != nil {
				return err
			}
			a, err := c.post(cmd, "DeleteKey", url.Values{"id": {id}}, nil)
			if err != nil {
				return err
			}
			return c.say(cmd, a, "The key "+args[0]+" is deleted")
		},
	})
}

func printKey(p *terminal.Page, k keyInfo) {
	t := terminal.NewTable()
	t.Row(terminal.Strong("Key"), k.Name)
	t.Row("ID", k.AccessKeyID)
	if k.SecretAccessKey != nil {
		t.Row("Secret", *k.SecretAccessKey)
	}
	t.Row("Created", created(p, k.Created))
	t.Row("State", expires(p, k.Expiration, k.Expired))
	may := "no"
	if k.Permissions.CreateBucket {
		may = "yes"
	}
	t.Row("May create buckets", may)
	p.Table(t)
	if len(k.Buckets) == 0 {
		return
	}
	p.Line()
	buckets := terminal.NewTable("BUCKET", "NAMES", "CALLS IT", "RIGHTS")
	for _, b := range k.Buckets {
		buckets.Row(short(b.ID), strings.Join(b.GlobalAliases, ", "), strings.Join(b.LocalAliases, ", "), b.Permissions)
	}
	p.Table(buckets)
}
