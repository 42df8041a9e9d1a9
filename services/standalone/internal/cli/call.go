package cli

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/adminclient"
	"hangar/services/standalone/internal/terminal"
)

// client is what the flags of every command say, and how commands reach the
// Admin API with it.
type client struct {
	given              adminclient.Given
	json, yes, noColor bool
}

// api reaches the cluster that flags, environment and data directory name.
func (c *client) api() (*adminclient.Client, error) {
	access, err := adminclient.Find(c.given, os.Environ())
	if err != nil {
		return nil, err
	}
	return access.Client()
}

// call does one operation.
func (c *client) call(cmd *cobra.Command, r adminclient.Request) (adminclient.Answer, error) {
	api, err := c.api()
	if err != nil {
		return adminclient.Answer{}, err
	}
	a, err := api.Call(cmd.Context(), r)
	if a.Late {
		fmt.Fprintln(cmd.ErrOrStderr(), "The change is made; not every process of the cluster has confirmed that it knows it yet.")
	}
	return a, err
}

func (c *client) get(cmd *cobra.Command, op string, query url.Values) (adminclient.Answer, error) {
	return c.call(cmd, adminclient.Request{Method: http.MethodGet, Operation: op, Query: query})
}

func (c *client) post(cmd *cobra.Command, op string, query url.Values, in any) (adminclient.Answer, error) {
	return c.call(cmd, adminclient.Request{Method: http.MethodPost, Operation: op, Query: query, Body: in})
}

// fetch reads what an operation with GET answers.
func fetch[T any](c *client, cmd *cobra.Command, op string, query url.Values) (v T, err error) {
	a, err := c.get(cmd, op, query)
	if err != nil {
		return v, err
	}
	return v, a.Decode(&v)
}

// page returns a page for standard output.
func (c *client) page(cmd *cobra.Command) *terminal.Page {
	out := cmd.OutOrStdout()
	colour := terminal.Is(out) && !c.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return terminal.NewPage(out, colour, time.Now())
}

// show prints an answer: as the API gave it if JSON is wanted, else as a page.
func show[T any](c *client, cmd *cobra.Command, a adminclient.Answer, print func(*terminal.Page, T)) error {
	if c.json {
		return a.Write(cmd.OutOrStdout())
	}
	var v T
	if err := a.Decode(&v); err != nil {
		return err
	}
	p := c.page(cmd)
	print(p, v)
	return p.Flush()
}

// say prints that something is done, for operations that answer nothing.
func (c *client) say(cmd *cobra.Command, a adminclient.Answer, what string) error {
	return show(c, cmd, a, func(p *terminal.Page, _ any) { p.Line(what) })
}

// confirm asks before something that cannot be taken back; --yes answers.
func (c *client) confirm(cmd *cobra.Command, question string) error {
	if c.yes {
		return nil
	}
	err := terminal.Confirm(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr(), question)
	if err != nil {
		return &exit{ExitUsage, err}
	}
	return nil
}

// dangerous gives a command the flag that confirm obeys.
func (c *client) dangerous(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "go on without asking")
	return cmd
}

// perNode is the answer of an operation on several nodes, by the nodes' ids.
type perNode[T any] struct {
	Success map[string]T      `json:"success"`
	Error   map[string]string `json:"error"`
}

// nodes lists those that did it.
func (m perNode[T]) nodes() []string { return slices.Sorted(maps.Keys(m.Success)) }

// showNodes is show for operations on several nodes. Nodes that failed are the
// error.
func showNodes[T any](c *client, cmd *cobra.Command, a adminclient.Answer, print func(*terminal.Page, perNode[T])) error {
	var m perNode[T]
	if err := a.Decode(&m); err != nil {
		return err
	}
	if c.json || len(m.Success) > 0 || len(m.Error) == 0 {
		if err := show(c, cmd, a, print); err != nil {
			return err
		}
	}
	return m.failed()
}

func (m perNode[T]) failed() error {
	if len(m.Error) == 0 {
		return nil
	}
	var why []string
	for _, n := range slices.Sorted(maps.Keys(m.Error)) {
		why = append(why, short(n)+": "+m.Error[n])
	}
	list := strings.Join(why, "; ")
	switch {
	case len(m.Success) > 0:
		return &exit{ExitPartial, fmt.Errorf("%d of %d nodes failed: %s", len(m.Error), len(m.Error)+len(m.Success), list)}
	case len(m.Error) > 1:
		return fmt.Errorf("all %d nodes failed: %s", len(m.Error), list)
	}
	return fmt.Errorf("node %s", list)
}

// nodeQuery is the query that chooses nodes.
type nodeQuery func() (url.Values, error)

// onNodes gives a command the flags --node and --all, and returns the query
// that they mean: all nodes unless one is named.
func (c *client) onNodes(cmd *cobra.Command) nodeQuery {
	query := c.onNode(cmd)
	cmd.Flags().BoolP("all", "a", false, "all nodes (the default)")
	cmd.MarkFlagsMutuallyExclusive("node", "all")
	return query
}

// onNode is onNodes without --all.
func (c *client) onNode(cmd *cobra.Command) nodeQuery {
	var node string
	cmd.Flags().StringVar(&node, "node", "", "only this node: its id or the beginning of it")
	complete(cmd, "node", c.nodeNames)
	return func() (url.Values, error) {
		if node == "" {
			return url.Values{"node": {"*"}}, nil
		}
		id, err := c.node(cmd, node)
		return url.Values{"node": {id}}, err
	}
}

// short is the beginning of a node's id, enough for people.
func short(id string) string { return id[:min(len(id), 16)] }

// or shows what is not known as a dash.
func or(s string) string { return cmp.Or(s, "-") }

// plural is "1 thing" or "n things".
func plural(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return terminal.Count(n) + " " + thing
}

// shell is what commands of other packages get of the command line.
type shell struct{ c *client }

func (s shell) Dir() string                                 { return s.c.given.Dir }
func (s shell) CA() string                                  { return s.c.given.CA }
func (s shell) JSON() bool                                  { return s.c.json }
func (s shell) Page(cmd *cobra.Command) *terminal.Page      { return s.c.page(cmd) }
func (s shell) Dangerous(cmd *cobra.Command) *cobra.Command { return s.c.dangerous(cmd) }
func (s shell) Confirm(cmd *cobra.Command, q string) error  { return s.c.confirm(cmd, q) }
