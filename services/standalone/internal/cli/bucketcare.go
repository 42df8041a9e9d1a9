package cli

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hangar/services/standalone/internal/terminal"
)

func bucketWebsite(c *client) *cobra.Command {
	var allow, deny bool
	var index, errorDocument string
	cmd := &cobra.Command{
		Use: "website BUCKET", Short: "Serve a bucket as a static site, or stop doing so", Args: cobra.ExactArgs(1),
		ValidArgsFunction: args(false, c.bucketNames),
		Example:           "  hangar bucket website blog --allow --index-document index.html --error-document 404.html\n  hangar bucket website blog --deny",
		RunE: func(cmd *cobra.Command, args []string) error {
			site := map[string]any{"enabled": allow}
			if allow {
				site["indexDocument"] = index
				if errorDocument != "" {
					site["errorDocument"] = errorDocument
				}
			}
			return c.updateBucket(cmd, args[0], map[string]any{"websiteAccess": site})
		},
	}
	cmd.Flags().BoolVar(&allow, "allow", false, "serve it")
	cmd.Flags().BoolVar(&deny, "deny", false, "stop serving it")
	cmd.Flags().StringVar(&index, "index-document", "index.html", "key of the page of a folder, within it")
	cmd.Flags().StringVar(&errorDocument, "error-document", "", "key of the page shown for errors")
	cmd.MarkFlagsOneRequired("allow", "deny")
	cmd.MarkFlagsMutuallyExclusive("allow", "deny")
	return cmd
}

// none takes a quota away.
const none = "none"

// limit reads a quota.
func limit(s string, parse func(string) (int64, error)) (*int64, error) {
	if s == none {
		return nil, nil
	}
	n, err := parse(s)
	return &n, err
}

func parseCount(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("number of objects %q: want a number, or none", s)
	}
	return n, nil
}

func bucketQuotas(c *client) *cobra.Command {
	var size, objects string
	cmd := &cobra.Command{
		Use: "set-quotas BUCKET", Short: "Limit how much a bucket may hold", Args: cobra.ExactArgs(1),
		Long:              "Limit how much a bucket may hold. A limit that is not named stays as it is.",
		ValidArgsFunction: args(false, c.bucketNames),
		Example:           "  hangar bucket set-quotas photos --max-size 10GiB --max-objects 100000\n  hangar bucket set-quotas photos --max-size none",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, b, err := c.bucket(cmd, args[0])
			if err != nil {
				return err
			}
			q := b.Quotas // the API sets both at once
			if size != "" {
				if q.MaxSize, err = limit(size, terminal.ParseBytes); err != nil {
					return wrong(err)
				}
			}
			if objects != "" {
				if q.MaxObjects, err = limit(objects, parseCount); err != nil {
					return wrong(err)
				}
			}
			a, err := c.post(cmd, "UpdateBucket", url.Values{"id": {b.ID}}, map[string]any{"quotas": q})
			if err != nil {
				return err
			}
			return show(c, cmd, a, printBucket)
		},
	}
	cmd.Flags().StringVar(&size, "max-size", "", "size of all objects together, such as 10GiB, or none")
	cmd.Flags().StringVar(&objects, "max-objects", "", "number of objects, or none")
	cmd.MarkFlagsOneRequired("max-size", "max-objects")
	complete(cmd, "max-size", words(none))
	complete(cmd, "max-objects", words(none))
	return cmd
}

type objectVersions struct {
	BucketID string `json:"bucketId"`
	Key      string `json:"key"`
	Versions []struct {
		UUID         string      `json:"uuid"`
		Timestamp    time.Time   `json:"timestamp"`
		Size         *int64      `json:"size"`
		ETag         *string     `json:"etag"`
		Headers      [][2]string `json:"headers"`
		Inline       bool        `json:"inline"`
		Uploading    bool        `json:"uploading"`
		Aborted      bool        `json:"aborted"`
		DeleteMarker bool        `json:"deleteMarker"`
		Encrypted    bool        `json:"encrypted"`
		Blocks       []struct {
			PartNumber int64  `json:"partNumber"`
			Offset     int64  `json:"offset"`
			Hash       string `json:"hash"`
			Size       int64  `json:"size"`
		} `json:"blocks"`
		Omitted int64 `json:"blocksOmitted"`
	} `json:"versions"`
}

func bucketInspect(c *client) *cobra.Command {
	return &cobra.Command{
		Use: "inspect-object BUCKET KEY", Short: "Show how an object is stored", Args: cobra.ExactArgs(2),
		ValidArgsFunction: args(false, c.bucketNames, nil),
		Example:           "  hangar bucket inspect-object photos holidays/1.jpg",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, b, err := c.bucket(cmd, args[0])
			if err != nil {
				return err
			}
			a, err := c.get(cmd, "InspectObject", url.Values{"bucketId": {b.ID}, "key": {args[1]}})
			if err != nil {
				return err
			}
			return show(c, cmd, a, printVersions)
		},
	}
}

func printVersions(p *terminal.Page, o objectVersions) {
	p.Line(terminal.Strong("Key"), " ", o.Key)
	for _, v := range o.Versions {
		p.Line()
		t := terminal.NewTable()
		t.Row(terminal.Strong("Version"), v.UUID)
		t.Row("Written", p.Since(v.Timestamp))
		var state []string
		for _, s := range []struct {
			on   bool
			name string
		}{{v.DeleteMarker, "delete marker"}, {v.Uploading, "being uploaded"}, {v.Aborted, "aborted"}, {v.Encrypted, "encrypted"}, {v.Inline, "in its row"}} {
			if s.on {
				state = append(state, s.name)
			}
		}
		if state != nil {
			t.Row("State", strings.Join(state, ", "))
		}
		if v.Size != nil {
			t.Row("Size", fmt.Sprintf("%s (%s bytes)", terminal.Bytes(*v.Size), terminal.Count(*v.Size)))
		}
		if v.ETag != nil {
			t.Row("ETag", *v.ETag)
		}
		for _, h := range v.Headers {
			t.Row("Header", h[0]+": "+h[1])
		}
		p.Table(t)
		if len(v.Blocks) == 0 {
			continue
		}
		blocks := terminal.NewTable(">PART", ">OFFSET", ">SIZE", "BLOCK")
		for _, b := range v.Blocks {
			blocks.Row(b.PartNumber, terminal.Count(b.Offset), terminal.Bytes(b.Size), b.Hash)
		}
		if p.Table(blocks); v.Omitted > 0 {
			p.Line("and ", plural(v.Omitted, "more block"))
		}
	}
}

func bucketCleanup(c *client) *cobra.Command {
	var older string
	cmd := &cobra.Command{
		Use: "cleanup-incomplete-uploads BUCKET", Short: "Drop uploads in parts that nobody finished", Args: cobra.ExactArgs(1),
		ValidArgsFunction: args(false, c.bucketNames),
		Example:           "  hangar bucket cleanup-incomplete-uploads photos --older-than 1d",
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := terminal.ParseDuration(older)
			if err != nil {
				return wrong(err)
			}
			_, b, err := c.bucket(cmd, args[0])
			if err != nil {
				return err
			}
			a, err := c.post(cmd, "CleanupIncompleteUploads", nil, map[string]any{"bucketId": b.ID, "olderThanSecs": int64(d / time.Second)})
			if err != nil {
				return err
			}
			return show(c, cmd, a, func(p *terminal.Page, out struct {
				Deleted int64 `json:"uploadsDeleted"`
			}) {
				p.Line(plural(out.Deleted, "upload"), " dropped")
			})
		},
	}
	cmd.Flags().StringVar(&older, "older-than", "1d", "only uploads begun longer ago than this, such as 12h or 7d")
	return cmd
}

// expiry are the flags that say how long a key or a token is valid.
type expiry struct {
	in, at string
	never  bool
}

func (e *expiry) flags(cmd *cobra.Command, never bool) {
	cmd.Flags().StringVar(&e.in, "expires-in", "", "valid for this long from now, such as 12h, 30d or 1y")
	cmd.Flags().StringVar(&e.at, "expires-at", "", "valid until then, such as 2027-01-31 or 2027-01-31T12:00:00Z")
	exclusive := []string{"expires-in", "expires-at"}
	if never {
		cmd.Flags().BoolVar(&e.never, "never-expires", false, "valid until it is deleted")
		exclusive = append(exclusive, "never-expires")
	}
	cmd.MarkFlagsMutuallyExclusive(exclusive...)
}

// into adds to a request what the flags say.
func (e *expiry) into(in map[string]any, now time.Time) error {
	switch {
	case e.never:
		in["neverExpires"] = true
	case e.in != "":
		d, err := terminal.ParseDuration(e.in)
		if err != nil {
			return wrong(err)
		}
		in["expiration"] = now.Add(d).UTC().Truncate(time.Second)
	case e.at != "":
		t, err := time.Parse(time.RFC3339, e.at)
		if err != nil {
			t, err = time.ParseInLocation(time.DateOnly, e.at, time.Local)
		}
		if err != nil {
			return wrong(fmt.Errorf("time %q: want a date or a time such as 2027-01-31T12:00:00Z", e.at))
		}
		if !t.After(now) {
			return wrong(errors.New("--expires-at lies in the past"))
		}
		in["expiration"] = t.UTC()
	}
	return nil
}

// expires says until when something is valid.
func expires(p *terminal.Page, at *time.Time, expired bool) terminal.Cell {
	switch {
	case expired:
		return terminal.Bad("expired")
	case at == nil:
		return terminal.Good("valid")
	}
	return terminal.Good("valid until " + at.UTC().Format(time.RFC3339) + " (" + p.Since(*at) + ")")
}
