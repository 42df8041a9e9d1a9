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

type tokenInfo struct {
	// ID is missing for the token of the configuration.
	ID          *string    `json:"id"`
	Name        string     `json:"name"`
	Created     *time.Time `json:"created"`
	Expiration  *time.Time `json:"expiration"`
	Expired     bool       `json:"expired"`
	Scope       []string   `json:"scope"`
	SecretToken string     `json:"secretToken"`
}

func tokenCommand(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "admin-token", GroupID: "use", Short: "Create, list, change and delete tokens for the Admin API",
		Long:    "A token opens the operations of the Admin API that are in its scope. Tokens are\nnamed by their id, the beginning of it, or their name if no other token has it.",
		Example: "  hangar admin-token create monitoring --scope GetClusterHealth,GetClusterStatus --expires-in 1y\n  hangar admin-token list",
	}
	cmd.AddCommand(tokenCreate(c), tokenList(c), tokenShow(c), tokenCurrent(c), tokenRename(c), tokenSet(c), tokenDelete(c))
	return cmd
}

func tokenCreate(c *client) *cobra.Command {
	var scope []string
	var e expiry
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a token and print it, once", Args: cobra.ExactArgs(1),
		Example: "  hangar admin-token create monitoring --scope GetClusterHealth,GetClusterStatus --expires-in 1y\n  hangar admin-token create colleague --scope '*'",
		RunE: func(cmd *cobra.Command, args []string) error {
			in := map[string]any{"name": args[0], "scope": scope}
			if err := e.into(in, time.Now()); err != nil {
				return err
			}
			a, err := c.post(cmd, "CreateAdminToken", nil, in)
			if err != nil {
				return err
			}
			return show(c, cmd, a, printToken)
		},
	}
	cmd.Flags().StringSliceVar(&scope, "scope", nil, "operations that it opens, comma separated; '*' for all")
	_ = cmd.MarkFlagRequired("scope") // fails only for a flag that does not exist
	e.flags(cmd, false)
	return cmd
}

func tokenList(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all tokens", Args: cobra.NoArgs,
		Example: "  hangar admin-token list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := c.get(cmd, "ListAdminTokens", nil)
			if err != nil {
				return err
			}
			return show(c, cmd, a, func(p *terminal.Page, list []tokenInfo) {
				t := terminal.NewTable("ID", "NAME", "CREATED", "STATE", "SCOPE")
				for _, k := range list {
					t.Row(k.id(), k.Name, created(p, k.Created), expires(p, k.Expiration, k.Expired), strings.Join(k.Scope, ", "))
				}
				p.Table(t)
			})
		},
	}
}

// id is what the token is called by, if it has one.
func (t tokenInfo) id() string {
	if t.ID == nil {
		return "-"
	}
	return *t.ID
}

func printToken(p *terminal.Page, k tokenInfo) {
	t := terminal.NewTable()
	t.Row(terminal.Strong("Token"), k.Name)
	t.Row("ID", k.id())
	if k.SecretToken != "" {
		t.Row("Secret", k.SecretToken)
	}
	t.Row("Created", created(p, k.Created))
	t.Row("State", expires(p, k.Expiration, k.Expired))
	t.Row("Scope", strings.Join(k.Scope, ", "))
	if p.Table(t); k.SecretToken != "" {
		p.Line()
		p.Line("The secret is not shown again.")
	}
}

// onToken is a command about one token: do gets its id.
func (c *client) onToken(cmd *cobra.Command, do func(cmd *cobra.Command, id string, args []string) (adminclient.Answer, error)) *cobra.Command {
	cmd.ValidArgsFunction = args(false, c.tokenNames, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := c.adminToken(cmd, args[0])
		if err != nil {
			return err
		}
		a, err := do(cmd, id, args)
		if err != nil {
			return err
		}
		return show(c, cmd, a, printToken)
	}
	return cmd
}

func tokenShow(c *client) *cobra.Command {
	return c.onToken(&cobra.Command{
		Use: "info TOKEN", Short: "Show a token, without its secret", Args: cobra.ExactArgs(1),
		Example: "  hangar admin-token info monitoring",
	}, func(cmd *cobra.Command, id string, _ []string) (adminclient.Answer, error) {
		return c.get(cmd, "GetAdminTokenInfo", url.Values{"id": {id}})
	})
}

func tokenCurrent(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "current", Short: "Show the token that this command uses", Args: cobra.NoArgs,
		Example: "  hangar admin-token current\n  hangar admin-token current --token \"$TOKEN\"",
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := c.get(cmd, "GetCurrentAdminTokenInfo", nil)
			if err != nil {
				return err
			}
			return show(c, cmd, a, printToken)
		},
	}
}

func tokenRename(c *client) *cobra.Command {
	return c.onToken(&cobra.Command{
		Use: "rename TOKEN NAME", Short: "Give a token another name", Args: cobra.ExactArgs(2),
		Example: "  hangar admin-token rename monitoring prometheus",
	}, func(cmd *cobra.Command, id string, args []string) (adminclient.Answer, error) {
		return c.post(cmd, "UpdateAdminToken", url.Values{"id": {id}}, map[string]any{"name": args[1]})
	})
}

func tokenSet(c *client) *cobra.Command {
	var scope []string
	var name string
	var e expiry
	cmd := c.onToken(&cobra.Command{
		Use: "set TOKEN", Short: "Change what a token opens, its name, or how long it is valid", Args: cobra.ExactArgs(1),
		Example: "  hangar admin-token set monitoring --scope GetClusterHealth --expires-in 30d",
	}, func(cmd *cobra.Command, id string, _ []string) (adminclient.Answer, error) {
		in := map[string]any{}
		if name != "" {
			in["name"] = name
		}
		if cmd.Flags().Changed("scope") {
			in["scope"] = scope
		}
		if err := e.into(in, time.Now()); err != nil {
			return adminclient.Answer{}, err
		}
		return c.post(cmd, "UpdateAdminToken", url.Values{"id": {id}}, in)
	})
	cmd.Flags().StringVar(&name, "name", "", "another name")
	cmd.Flags().StringSliceVar(&scope, "scope", nil, "operations that it opens, comma separated; '*' for all")
	e.flags(cmd, true)
	cmd.MarkFlagsOneRequired("name", "scope", "expires-in", "expires-at", "never-expires")
	return cmd
}

func tokenDelete(c *client) *cobra.Command {
	return c.dangerous(&cobra.Command{
		Use: "delete TOKEN", Short: "Delete a token; it is refused at once", Args: cobra.ExactArgs(1),
		ValidArgsFunction: args(false, c.tokenNames),
		Example:           "  hangar admin-token delete monitoring --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := c.adminToken(cmd, args[0])
			if err != nil {
				return err
			}
			if err := c.confirm(cmd, fmt.Sprintf("Delete the admin token %s, so that it is refused?", args[0])); err != nil {
				return err
			}
			a, err := c.post(cmd, "DeleteAdminToken", url.Values{"id": {id}}, nil)
			if err != nil {
				return err
			}
			return c.say(cmd, a, "The admin token "+args[0]+" is deleted")
		},
	})
}
