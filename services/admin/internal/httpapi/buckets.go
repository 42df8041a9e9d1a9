package httpapi

import (
	"net/http"
	"slices"
	"strings"

	"hangar/shared/control"
	"hangar/shared/object"

	"hangar/services/admin/internal/ops"
	"hangar/services/admin/internal/wire"
)

func listBuckets(c call) ([]wire.BucketItem, error) {
	v, items := c.s.ops.View(), []wire.BucketItem{}
	for _, b := range v.Buckets() {
		item := wire.BucketItem{ID: b.ID, Created: b.Created, GlobalAliases: wire.NonNil(v.GlobalAliases(b.ID)), LocalAliases: []wire.LocalAlias{}}
		for _, l := range v.LocalAliases(b.ID) {
			item.LocalAliases = append(item.LocalAliases, wire.LocalAlias{AccessKeyID: l.KeyID, Alias: l.Name})
		}
		items = append(items, item)
	}
	return items, nil
}

func getBucketInfo(c call) (info wire.BucketInfo, err error) {
	by, value, err := one(c, "id", "globalAlias", "search")
	if err != nil {
		return info, err
	}
	v := c.s.ops.View()
	var b *control.Bucket
	switch by {
	case "id":
		var id object.BucketID
		id, err = parseBucket(value)
		b = v.Bucket(id)
	case "globalAlias":
		b = v.Alias(value)
	default:
		b, err = findBucket(v, value)
	}
	if err != nil {
		return info, err
	}
	if b == nil {
		return info, control.NoSuchBucket(value)
	}
	info = wire.DescribeBucket(v, b)
	return info, count(c, &info)
}

// findBucket finds the bucket with a global alias, else the one bucket whose
// id or some global alias begins with pattern.
func findBucket(v *control.View, pattern string) (found *control.Bucket, err error) {
	if b := v.Alias(pattern); b != nil {
		return b, nil
	}
	begins := func(s string) bool { return strings.HasPrefix(s, pattern) }
	for _, b := range v.Buckets() {
		if !begins(b.ID.String()) && !slices.ContainsFunc(v.GlobalAliases(b.ID), begins) {
			continue
		}
		if found != nil {
			return nil, invalid("several buckets match " + pattern)
		}
		found = b
	}
	return found, nil
}

// count fills in what the metadata service counts.
func count(c call, info *wire.BucketInfo) error {
	u, err := c.s.ops.Usage(c.ctx, info.ID)
	if err != nil {
		return err
	}
	info.Objects, info.Bytes = u.Objects.Count, u.Objects.Bytes
	info.UnfinishedUploads, info.UnfinishedMultipartUploads = u.Uploads.Count, u.Uploads.Count
	info.UnfinishedMultipartUploadParts, info.UnfinishedMultipartUploadBytes = u.Parts.Count, u.Parts.Bytes
	info.K2VItems, info.K2VBytes = u.Items.Count, u.Items.Bytes
	return nil
}

// changed answers a change of a bucket with what the bucket is now. The change
// is made, so counts that cannot be had do not make it an error: the header
// X-Hangar-Usage then says "unavailable" and they are zero.
func changed(c call, id object.BucketID, r ops.Receipt, err error) (info wire.BucketInfo, _ error) {
	if err != nil {
		return info, err
	}
	c.applied(r)
	v := c.s.ops.View()
	b := v.Bucket(id)
	if b == nil {
		return info, control.NoSuchBucket(id.String())
	}
	info = wire.DescribeBucket(v, b)
	if err := count(c, &info); err != nil {
		c.s.log.WarnContext(c.ctx, "counting a bucket", "bucket", id, "error", err)
		c.Set("X-Hangar-Usage", "unavailable")
	}
	return info, nil
}

func createBucket(c call, in wire.NewBucket) (none wire.BucketInfo, _ error) {
	name := ""
	if in.GlobalAlias != nil {
		if name = *in.GlobalAlias; name == "" {
			return none, control.ValidBucketName(name)
		}
	}
	var local *ops.LocalAlias
	if l := in.LocalAlias; l != nil {
		local = &ops.LocalAlias{KeyID: l.AccessKeyID, Name: l.Alias, Allow: control.Permission(l.Allow)}
	}
	b, receipt, err := c.s.ops.CreateBucket(c.ctx, name, local)
	if err != nil {
		return none, err
	}
	return changed(c, b.ID, receipt, nil)
}

func deleteBucket(c call, _ nothing) (nothing, error) {
	id, err := parseBucket(c.Query("id"))
	if err != nil {
		return nothing{}, err
	}
	receipt, err := c.s.ops.DeleteBucket(c.ctx, id)
	if err == nil {
		c.applied(receipt)
	}
	return nothing{}, err
}

func parseWebsite(w wire.WebsiteAccess) (*control.Website, error) {
	switch {
	case w.Enabled == nil:
		return nil, invalid("websiteAccess: say whether it is enabled")
	case !*w.Enabled && (w.IndexDocument != nil || w.ErrorDocument != nil):
		return nil, invalid("websiteAccess: documents are given only with enabled")
	case !*w.Enabled:
		return nil, nil
	case w.IndexDocument == nil:
		return nil, invalid("websiteAccess: give an indexDocument")
	}
	site := &control.Website{IndexDocument: *w.IndexDocument}
	if w.ErrorDocument != nil {
		site.ErrorDocument = *w.ErrorDocument
	}
	return site, nil
}

func updateBucket(c call, in wire.BucketUpdate) (none wire.BucketInfo, _ error) {
	id, err := parseBucket(c.Query("id"))
	if err != nil {
		return none, err
	}
	var change ops.BucketChange
	if w := in.WebsiteAccess; w != nil {
		site, err := parseWebsite(*w)
		if err != nil {
			return none, err
		}
		change.Website = &site
	}
	if len(in.CORSRules) > 0 || len(in.LifecycleRules) > 0 || in.WebsiteAccess != nil && len(in.WebsiteAccess.RoutingRules) > 0 {
		return none, &apiError{http.StatusNotImplemented, "NotImplemented", "rules for CORS, lifecycle and routing are not built"}
	}
	if q := in.Quotas; q != nil {
		change.Quotas = &ops.Quotas{MaxBytes: q.MaxSize, MaxObjects: q.MaxObjects}
	}
	r, err := c.s.ops.UpdateBucket(c.ctx, id, change)
	return changed(c, id, r, err)
}

func allowBucketKey(c call, in wire.PermissionChange) (none wire.BucketInfo, _ error) {
	id, err := parseBucket(in.BucketID)
	if err != nil {
		return none, err
	}
	r, err := c.s.ops.Allow(c.ctx, id, in.AccessKeyID, control.Permission(in.Permissions))
	return changed(c, id, r, err)
}

func denyBucketKey(c call, in wire.PermissionChange) (none wire.BucketInfo, _ error) {
	id, err := parseBucket(in.BucketID)
	if err != nil {
		return none, err
	}
	r, err := c.s.ops.Deny(c.ctx, id, in.AccessKeyID, control.Permission(in.Permissions))
	return changed(c, id, r, err)
}

// parseAlias returns the bucket, the key (empty for a global alias) and the name.
func parseAlias(a wire.AliasChange) (id object.BucketID, keyID, name string, err error) {
	if id, err = parseBucket(a.BucketID); err != nil {
		return id, "", "", err
	}
	switch {
	case a.GlobalAlias != nil && a.LocalAlias == nil && a.AccessKeyID == nil:
		return id, "", *a.GlobalAlias, nil
	case a.GlobalAlias == nil && a.LocalAlias != nil && a.AccessKeyID != nil && *a.AccessKeyID != "":
		return id, *a.AccessKeyID, *a.LocalAlias, nil
	}
	return id, "", "", invalid("give either globalAlias, or wire.LocalAlias and accessKeyId")
}

func addBucketAlias(c call, in wire.AliasChange) (none wire.BucketInfo, _ error) {
	id, keyID, name, err := parseAlias(in)
	if err != nil {
		return none, err
	}
	r, err := c.s.ops.AddAlias(c.ctx, id, keyID, name)
	return changed(c, id, r, err)
}

func removeBucketAlias(c call, in wire.AliasChange) (none wire.BucketInfo, _ error) {
	id, keyID, name, err := parseAlias(in)
	if err != nil {
		return none, err
	}
	r, err := c.s.ops.RemoveAlias(c.ctx, id, keyID, name)
	return changed(c, id, r, err)
}
