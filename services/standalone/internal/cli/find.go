package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/adminclient"
)

// What people type for buckets, keys, tokens and nodes becomes an id here, and
// here is what a shell offers to complete it.

// fullID is how many characters the ids of nodes and buckets have.
const fullID = 32

// leastID is how much of a bucket's or key's id must be given.
const leastID = 4

// isHex says whether s may be (the beginning of) an id.
func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}

func missing(format string, args ...any) error {
	return &exit{ExitMissing, fmt.Errorf(format, args...)}
}

// named is a thing with an id and names.
type named struct {
	id    string
	names []string
}

// pick finds what a person means by word among all things of a kind: an id, a
// name, or the only one whose id begins so. see says where they are listed.
func pick(all []named, word string, least int, kind, see string) (string, error) {
	var byName, byPrefix []string
	for _, n := range all {
		if n.id == word {
			return n.id, nil
		}
		for _, name := range n.names {
			if name == word {
				byName = append(byName, n.id)
			}
		}
		if len(word) >= least && strings.HasPrefix(strings.ToLower(n.id), strings.ToLower(word)) {
			byPrefix = append(byPrefix, n.id)
		}
	}
	for _, found := range [][]string{byName, byPrefix} {
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return "", wrong(fmt.Errorf("%q may be any of %d %ss (%s): give the id", word, len(found), kind, strings.Join(found[:min(len(found), 3)], ", ")))
		}
	}
	return "", missing("there is no %s %q: see %s", kind, word, see)
}

// node finds the one node whose id begins with prefix.
func (c *client) node(cmd *cobra.Command, prefix string) (string, error) {
	if prefix = strings.ToLower(prefix); len(prefix) >= fullID {
		return prefix, nil // the service checks it, and may not have heard of it
	}
	s, err := fetch[clusterStatus](c, cmd, "GetClusterStatus", nil)
	if err != nil {
		return "", err
	}
	var all []named
	for _, n := range s.Nodes {
		all = append(all, named{id: n.ID})
	}
	return pick(all, prefix, 1, "node", "hangar status")
}

// bucket finds a bucket by global alias, by id, or by the beginning of its id.
func (c *client) bucket(cmd *cobra.Command, word string) (adminclient.Answer, bucketInfo, error) {
	a, err := c.get(cmd, "GetBucketInfo", url.Values{"globalAlias": {word}})
	if e, ok := errors.AsType[*adminclient.Error](err); ok && (e.Missing() || e.Status == 400) && isHex(word) && len(word) >= leastID {
		id := word
		if len(word) != fullID {
			if id, err = c.bucketByPrefix(cmd, word); err != nil {
				return a, bucketInfo{}, err
			}
		}
		a, err = c.get(cmd, "GetBucketInfo", url.Values{"id": {id}})
	}
	if e, ok := errors.AsType[*adminclient.Error](err); ok && e.Missing() {
		err = missing("there is no bucket %q: see hangar bucket list", word)
	}
	var b bucketInfo
	if err == nil {
		err = a.Decode(&b)
	}
	return a, b, err
}

func (c *client) bucketByPrefix(cmd *cobra.Command, prefix string) (string, error) {
	list, err := fetch[[]bucketSummary](c, cmd, "ListBuckets", nil)
	if err != nil {
		return "", err
	}
	var all []named
	for _, b := range list {
		all = append(all, named{id: b.ID})
	}
	return pick(all, prefix, leastID, "bucket", "hangar bucket list")
}

// key finds the id of a key by id, by name, or by the beginning of its id.
func (c *client) key(cmd *cobra.Command, word string) (string, error) {
	if id, ok := strings.CutPrefix(word, "GK"); ok && len(id) == 24 && isHex(id) {
		return word, nil
	}
	list, err := fetch[[]keySummary](c, cmd, "ListKeys", nil)
	if err != nil {
		return "", err
	}
	var all []named
	for _, k := range list {
		all = append(all, named{k.ID, []string{k.Name}})
	}
	return pick(all, word, leastID, "key", "hangar key list")
}

// adminToken finds the id of an admin token likewise.
func (c *client) adminToken(cmd *cobra.Command, word string) (string, error) {
	list, err := fetch[[]tokenInfo](c, cmd, "ListAdminTokens", nil)
	if err != nil {
		return "", err
	}
	var all []named
	for _, t := range list {
		if t.ID != nil {
			all = append(all, named{*t.ID, []string{t.Name}})
		}
	}
	return pick(all, word, leastID, "admin token", "hangar admin-token list")
}

// completer lists what a shell may offer, with descriptions.
type completer func(cmd *cobra.Command) ([]cobra.Completion, error)

// completeTimeout is how long somebody waits for a key press.
const completeTimeout = 3 * time.Second

// offer makes a completer what cobra wants. A cluster that cannot be asked
// offers nothing.
func offer(list completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		cmd.SetContext(ctx)
		names, err := list(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !strings.HasPrefix(n, word) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// args completes the arguments of a command, each from its list; the last list
// serves all further ones if more is set.
func args(more bool, lists ...completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		i := len(given)
		if more {
			i = min(i, len(lists)-1)
		}
		if i >= len(lists) || lists[i] == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offer(lists[i])(cmd, given, word)
	}
}

// complete completes the value of a flag.
func complete(cmd *cobra.Command, flag string, list completer) {
	if err := cmd.RegisterFlagCompletionFunc(flag, offer(list)); err != nil {
		panic(err) // no such flag
	}
}

func words(all ...string) completer {
	return func(*cobra.Command) ([]cobra.Completion, error) { return all, nil }
}

func (c *client) bucketNames(cmd *cobra.Command) (out []cobra.Completion, err error) {
	list, err := fetch[[]bucketSummary](c, cmd, "ListBuckets", nil)
	for _, b := range list {
		out = append(out, b.GlobalAliases...)
		if len(b.GlobalAliases) == 0 {
			out = append(out, b.ID)
		}
	}
	return out, err
}

func (c *client) keyNames(cmd *cobra.Command) (out []cobra.Completion, err error) {
	list, err := fetch[[]keySummary](c, cmd, "ListKeys", nil)
	for _, k := range list {
		out = append(out, cobra.CompletionWithDesc(k.ID, k.Name))
	}
	return out, err
}

func (c *client) tokenNames(cmd *cobra.Command) (out []cobra.Completion, err error) {
	list, err := fetch[[]tokenInfo](c, cmd, "ListAdminTokens", nil)
	for _, t := range list {
		if t.ID != nil {
			out = append(out, cobra.CompletionWithDesc(*t.ID, t.Name))
		}
	}
	return out, err
}

func (c *client) nodeNames(cmd *cobra.Command) (out []cobra.Completion, err error) {
	s, err := fetch[clusterStatus](c, cmd, "GetClusterStatus", nil)
	for _, n := range s.Nodes {
		out = append(out, cobra.CompletionWithDesc(short(n.ID), n.Service+" on "+n.Hostname))
	}
	return out, err
}
