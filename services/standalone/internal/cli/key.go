package cli

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

type keyInfo struct {
	AccessKeyID     string  `json:"accessKeyId"`
	Name            string  `json:"name"`
	SecretAccessKey *string `json:"secretAccessKey,omitempty"`
	Created         string  `json:"created,omitempty"`
	Expiration      *string `json:"expiration,omitempty"`
	Expired         bool    `json:"expired"`
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
	ID      string `json:"id"`
	Name    string `json:"name"`
	Expired bool   `json:"expired"`
}

func keyCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "key", GroupID: "use", Short: "Create, list, import and delete access keys"}
	cmd.AddCommand(
		keyCreate(c),
		keyImport(c),
		&cobra.Command{
			Use: "list", Short: "List all keys", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				var list []keySummary
				if err := c.get(cmd.Context(), "ListKeys", nil, &list); err != nil {
					return err
				}
				return c.show(cmd.OutOrStdout(), list, func(w io.Writer) {
					fmt.Fprintln(w, "ID\tNAME\tSTATE")
					for _, k := range list {
						state := "valid"
						if k.Expired {
							state = "expired"
						}
						fmt.Fprintf(w, "%s\t%s\t%s\n", k.ID, k.Name, state)
					}
				})
			},
		},
		keyInfoCommand(c),
		keyDelete(c),
	)
	return cmd
}

func keyCreate(c *client) *cobra.Command {
	var buckets bool
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a key and print its secret", Args: cobra.ExactArgs(1),
		Example: "  hangar key create backup --create-buckets",
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]any{"name": args[0]}
			if buckets {
				in["allow"] = map[string]bool{"createBucket": true}
			}
			var k keyInfo
			if err := c.post(cmd.Context(), "CreateKey", nil, in, &k); err != nil {
				return err
			}
			return c.showKey(cmd.OutOrStdout(), k)
		},
	}
	cmd.Flags().BoolVar(&buckets, "create-buckets", false, "let the key create buckets")
	return cmd
}

func keyImport(c *client) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "import KEY-ID SECRET", Short: "Add a key whose id and secret exist already", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]any{"accessKeyId": args[0], "secretAccessKey": args[1], "name": name}
			var k keyInfo
			if err := c.post(cmd.Context(), "ImportKey", nil, in, &k); err != nil {
				return err
			}
			return c.showKey(cmd.OutOrStdout(), k)
		},
	}
	cmd.Flags().StringVar(&name, "name", "imported", "name of the key")
	return cmd
}

func keyInfoCommand(c *client) *cobra.Command {
	var secret bool
	cmd := &cobra.Command{
		Use: "info KEY-ID", Short: "Show a key and the buckets it may use", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"id": {args[0]}}
			if secret {
				q.Set("showSecretKey", "true")
			}
			var k keyInfo
			if err := c.get(cmd.Context(), "GetKeyInfo", q, &k); err != nil {
				return err
			}
			return c.showKey(cmd.OutOrStdout(), k)
		},
	}
	cmd.Flags().BoolVar(&secret, "show-secret", false, "print the secret too")
	return cmd
}

func keyDelete(c *client) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "delete KEY-ID", Short: "Delete a key; clients using it are refused at once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return errors.New("clients using this key will be refused from now on; say --yes to go on")
			}
			return c.post(cmd.Context(), "DeleteKey", url.Values{"id": {args[0]}}, nil, nil)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "go on without asking")
	return cmd
}

func (c *client) showKey(w io.Writer, k keyInfo) error {
	return c.show(w, k, func(w io.Writer) {
		fmt.Fprintf(w, "Key\t%s\n", k.Name)
		fmt.Fprintf(w, "ID\t%s\n", k.AccessKeyID)
		if k.SecretAccessKey != nil {
			fmt.Fprintf(w, "Secret\t%s\n", *k.SecretAccessKey)
		}
		if k.Expiration != nil {
			fmt.Fprintf(w, "Expires\t%s\n", *k.Expiration)
		}
		fmt.Fprintf(w, "May create buckets\t%t\n", k.Permissions.CreateBucket)
		for _, b := range k.Buckets {
			names := append(append([]string{}, b.GlobalAliases...), b.LocalAliases...)
			fmt.Fprintf(w, "Bucket\t%s\t%s\t%s\n", strings.Join(names, ", "), b.Permissions, b.ID)
		}
	})
}
