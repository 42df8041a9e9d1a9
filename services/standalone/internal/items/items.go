// Package items is `hangar k2v`: the items of K2V on the command line. It uses
// the client that everybody can use (hangar/client/k2v), over the K2V API and
// with an S3 key; the Admin API is not asked.
package items

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hangar/client/k2v"
	"hangar/services/standalone/internal/terminal"
)

// Shell is the command line around these commands.
type Shell interface {
	// Dir and CA are what --data and --ca say.
	Dir() string
	CA() string
	// JSON says that programs read what is printed.
	JSON() bool
	// Page returns a page for standard output.
	Page(*cobra.Command) *terminal.Page
	// Dangerous gives a command the flag --yes, which Confirm obeys.
	Dangerous(*cobra.Command) *cobra.Command
	Confirm(cmd *cobra.Command, question string) error
}

// Usage is an error of somebody who asks for what makes no sense; nothing was
// done.
type Usage struct{ error }

func wrong(format string, args ...any) error { return Usage{fmt.Errorf(format, args...)} }

// app is what the flags of all commands say.
type app struct {
	Shell
	access access
}

const about = `K2V stores small values under two keys, a partition key and a sort key, beside the
objects of a bucket. If two clients write an item without knowing of each other it
keeps both values, until one is written that replaces both: see docs/k2v.md.

These commands use the K2V API with an S3 key that may read (and write) the bucket.
They find both by flags, by --data, the directory of a server on this machine, by
HANGAR_K2V_ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, in
this order; if nothing is said, by the data directory ./data.`

// Command returns `hangar k2v`, for a group of the root command.
func Command(s Shell, group string) *cobra.Command {
	a := &app{Shell: s}
	cmd := &cobra.Command{
		Use: "k2v", GroupID: group, Short: "Read, write, follow, save and restore the items of K2V",
		Long: about,
		Example: `  hangar k2v insert mail mailboxes INBOX 'hello'
  hangar k2v get mail mailboxes INBOX
  hangar k2v list mail
  hangar k2v poll mail mailboxes --follow
  hangar k2v dump mail --output mail.jsonl`,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&a.access.endpoint, "endpoint", "", "K2V API address (default from HANGAR_K2V_ENDPOINT, else http://127.0.0.1:3904)")
	f.StringVar(&a.access.region, "region", "", "region of the cluster (default from AWS_REGION, else hangar)")
	f.StringVar(&a.access.keyID, "access-key", "", "S3 access key (default from AWS_ACCESS_KEY_ID)")
	f.StringVar(&a.access.secret, "secret-key", "", "its secret key; others on this machine can see it, so rather set AWS_SECRET_ACCESS_KEY")
	cmd.AddCommand(a.get(), a.insert(), a.delete(), a.list(), a.poll(), a.dump(), a.load())
	return cmd
}

// client returns the client of a bucket. Attempts that fail are told on standard
// error, where a person waits.
func (a *app) client(cmd *cobra.Command, bucket string) (*k2v.Client, error) {
	found, err := a.access.find(a.Dir(), a.CA(), os.Environ())
	if err != nil {
		return nil, err
	}
	h, err := found.http()
	if err != nil {
		return nil, err
	}
	c, err := k2v.New(k2v.Options{
		Endpoint: found.endpoint, Region: found.region, Bucket: bucket, HTTP: h,
		AccessKeyID: found.keyID, SecretAccessKey: found.secret,
		OnRetry: func(r k2v.Retry) {
			if terminal.Is(cmd.ErrOrStderr()) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s; trying again\n", terminal.Clean(r.Err.Error()))
			}
		},
	})
	if err != nil {
		return nil, Usage{err}
	}
	a.access = found
	return c, nil
}

// hint is an error with a text for people in its place.
type hint struct {
	text string
	error
}

func (h hint) Error() string { return h.text }
func (h hint) Unwrap() error { return h.error }

// explain says what to do about an error of K2V.
func (a *app) explain(c *k2v.Client, err error) error {
	e, ok := errors.AsType[*k2v.Error](err)
	if !ok {
		return err
	}
	var text string
	switch {
	case errors.Is(err, k2v.ErrIndeterminate):
		text = fmt.Sprintf("%s; look at it before you repeat it: repeating it is safe unless somebody else writes the same items", e)
	case errors.Is(err, k2v.ErrNoBucket):
		text = fmt.Sprintf("there is no bucket %q: see hangar bucket list", c.Bucket())
	case errors.Is(err, k2v.ErrDenied):
		text = fmt.Sprintf("the key %s may not do this: %s: see hangar bucket info %s, and hangar bucket allow", a.access.keyID, strings.TrimSuffix(e.Message, "."), c.Bucket())
	case errors.Is(err, k2v.ErrUnavailable):
		text = fmt.Sprintf("cannot reach K2V at %s: %s", a.access.endpoint, e)
	default:
		return err
	}
	return hint{text, err}
}
