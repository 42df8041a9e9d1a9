package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"hangar/shared/control"
	"hangar/shared/object"

	"hangar/services/admin/internal/ops"
)

type localAlias struct {
	AccessKeyID string `json:"accessKeyId"`
	Alias       string `json:"alias"`
}

type bucketItem struct {
	ID            object.BucketID `json:"id"`
	Created       time.Time       `json:"created"`
	GlobalAliases []string        `json:"globalAliases"`
	LocalAliases  []localAlias    `json:"localAliases"`
}

type bucketInfo struct {
	ID                             object.BucketID `json:"id"`
	Created                        time.Time       `json:"created"`
	GlobalAliases                  []string        `json:"globalAliases"`
	WebsiteAccess                  bool            `json:"websiteAccess"`
	WebsiteConfig                  *websiteConfig  `json:"websiteConfig"`
	Keys                           []bucketInfoKey `json:"keys"`
	Objects                        int64           `json:"objects"`
	Bytes                          int64           `json:"bytes"`
	UnfinishedUploads              int64           `json:"unfinishedUploads"`
	UnfinishedMultipartUploads     int64           `json:"unfinishedMultipartUploads"`
	UnfinishedMultipartUploadParts int64           `json:"unfinishedMultipartUploadParts"`
	UnfinishedMultipartUploadBytes int64           `json:"unfinishedMultipartUploadBytes"`
	Quotas                         bucketQuotas    `json:"quotas"`
}

type websiteConfig struct {
	IndexDocument string  `json:"indexDocument"`
	ErrorDocument *string `json:"errorDocument"`
}

type bucketQuotas struct {
	MaxSize    *int64 `json:"maxSize"`
	MaxObjects *int64 `json:"maxObjects"`
}

type bucketInfoKey struct {
	AccessKeyID        string     `json:"accessKeyId"`
	Name               string     `json:"name"`
	Permissions        bucketPerm `json:"permissions"`
	BucketLocalAliases []string   `json:"bucketLocalAliases"`
}

func listBuckets(c call) ([]bucketItem, error) {
	v, items := c.s.ops.View(), []bucketItem{}
	for _, b := range v.Buckets() {
		item := bucketItem{ID: b.ID, Created: b.Created, GlobalAliases: nonNil(v.GlobalAliases(b.ID)), LocalAliases: []localAlias{}}
		for _, l := range v.LocalAliases(b.ID) {
			item.LocalAliases = append(item.LocalAliases, localAlias{l.KeyID, l.Name})
		}
		items = append(items, item)
	}
	return items, nil
}

func getBucketInfo(c call) (info bucketInfo, err error) {
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
	info = describeBucket(v, b)
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

func describeBucket(v *control.View, b *control.Bucket) bucketInfo {
	info := bucketInfo{
		ID: b.ID, Created: b.Created, GlobalAliases: nonNil(v.GlobalAliases(b.ID)), Keys: []bucketInfoKey{},
		Quotas: bucketQuotas{MaxSize: b.MaxBytes, MaxObjects: b.MaxObjects},
	}
	if w := b.Website; w != nil {
		info.WebsiteAccess, info.WebsiteConfig = true, &websiteConfig{IndexDocument: w.IndexDocument}
		if w.ErrorDocument != "" {
			info.WebsiteConfig.ErrorDocument = &w.ErrorDocument
		}
	}
	local := map[string][]string{}
	for _, l := range v.LocalAliases(b.ID) {
		local[l.KeyID] = append(local[l.KeyID], l.Name)
	}
	for _, k := range v.Keys() {
		p, ok := b.Keys[k.ID]
		if ok || local[k.ID] != nil {
			info.Keys = append(info.Keys, bucketInfoKey{k.ID, k.Name, bucketPerm(p), nonNil(local[k.ID])})
		}
	}
	return info
}

// count fills in what the metadata service counts.
func count(c call, info *bucketInfo) error {
	u, err := c.s.ops.Usage(c.ctx, info.ID)
	if err != nil {
		return err
	}
	info.Objects, info.Bytes = u.Objects.Count, u.Objects.Bytes
	info.UnfinishedUploads, info.UnfinishedMultipartUploads = u.Uploads.Count, u.Uploads.Count
	info.UnfinishedMultipartUploadParts, info.UnfinishedMultipartUploadBytes = u.Parts.Count, u.Parts.Bytes
	return nil
}

// changed answers a change of a bucket with what the bucket is now. The change
// is made, so counts that cannot be had do not make it an error: the header
// X-Hangar-Usage then says "unavailable" and they are zero.
func changed(c call, id object.BucketID, r ops.Receipt, err error) (info bucketInfo, _ error) {
	if err != nil {
		return info, err
	}
	c.applied(r)
	v := c.s.ops.View()
	b := v.Bucket(id)
	if b == nil {
		return info, control.NoSuchBucket(id.String())
	}
	info = describeBucket(v, b)
	if err := count(c, &info); err != nil {
		c.s.log.WarnContext(c.ctx, "counting a bucket", "bucket", id, "error", err)
		c.Set("X-Hangar-Usage", "unavailable")
	}
	return info, nil
}

// newBucket is the body of CreateBucket.
type newBucket struct {
	GlobalAlias *string         `json:"globalAlias,omitempty"`
	LocalAlias  *newBucketAlias `json:"localAlias,omitempty"`
}

type newBucketAlias struct {
	AccessKeyID string           `json:"accessKeyId"`
	Alias       string           `json:"alias"`
	Allow       bucketPermChange `json:"allow,omitzero"`
}

func createBucket(c call, in newBucket) (none bucketInfo, _ error) {
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

// bucketUpdate is the body of UpdateBucket. What is absent or null stays.
type bucketUpdate struct {
	WebsiteAccess  *websiteAccess `json:"websiteAccess,omitempty"`
	Quotas         *quotaUpdate   `json:"quotas,omitempty"`
	CORSRules      []any          `json:"corsRules,omitempty" jsonschema:"only an empty list is taken"`
	LifecycleRules []any          `json:"lifecycleRules,omitempty" jsonschema:"only an empty list is taken"`
}

type websiteAccess struct {
	Enabled       *bool   `json:"enabled"`
	IndexDocument *string `json:"indexDocument,omitempty"`
	ErrorDocument *string `json:"errorDocument,omitempty"`
	RoutingRules  []any   `json:"routingRules,omitempty" jsonschema:"only an empty list is taken"`
}

// quotaUpdate replaces both quotas: one that is absent ends.
type quotaUpdate struct {
	MaxSize    *int64 `json:"maxSize,omitempty"`
	MaxObjects *int64 `json:"maxObjects,omitempty"`
}

func (w websiteAccess) parse() (*control.Website, error) {
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

func updateBucket(c call, in bucketUpdate) (none bucketInfo, _ error) {
	id, err := parseBucket(c.Query("id"))
	if err != nil {
		return none, err
	}
	var change ops.BucketChange
	if w := in.WebsiteAccess; w != nil {
		site, err := w.parse()
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

type bucketPermChange struct {
	Read  bool `json:"read,omitempty"`
	Write bool `json:"write,omitempty"`
	Owner bool `json:"owner,omitempty"`
}

// permissionChange is the body of AllowBucketKey and DenyBucketKey.
type permissionChange struct {
	BucketID    string           `json:"bucketId"`
	AccessKeyID string           `json:"accessKeyId"`
	Permissions bucketPermChange `json:"permissions"`
}

func allowBucketKey(c call, in permissionChange) (none bucketInfo, _ error) {
	id, err := parseBucket(in.BucketID)
	if err != nil {
		return none, err
	}
	r, err := c.s.ops.Allow(c.ctx, id, in.AccessKeyID, control.Permission(in.Permissions))
	return changed(c, id, r, err)
}

func denyBucketKey(c call, in permissionChange) (none bucketInfo, _ error) {
	id, err := parseBucket(in.BucketID)
	if err != nil {
		return none, err
	}
	r, err := c.s.ops.Deny(c.ctx, id, in.AccessKeyID, control.Permission(in.Permissions))
	return changed(c, id, r, err)
}

// aliasChange is the body of AddBucketAlias and RemoveBucketAlias.
type aliasChange struct {
	BucketID    string  `json:"bucketId"`
	GlobalAlias *string `json:"globalAlias,omitempty"`
	LocalAlias  *string `json:"localAlias,omitempty"`
	AccessKeyID *string `json:"accessKeyId,omitempty"`
}

// parse returns the bucket, the key (empty for a global alias) and the name.
func (a aliasChange) parse() (id object.BucketID, keyID, name string, err error) {
	if id, err = parseBucket(a.BucketID); err != nil {
		return id, "", "", err
	}
	switch {
	case a.GlobalAlias != nil && a.LocalAlias == nil && a.AccessKeyID == nil:
		return id, "", *a.GlobalAlias, nil
	case a.GlobalAlias == nil && a.LocalAlias != nil && a.AccessKeyID != nil && *a.AccessKeyID != "":
		return id, *a.AccessKeyID, *a.LocalAlias, nil
	}
	return id, "", "", invalid("give either globalAlias, or localAlias and accessKeyId")
}

func addBucketAlias(c call, in aliasChange) (none bucketInfo, _ error) {
	id, keyID, name, err := in.parse()
	if err != nil {
		return none, err
	}
	r, err := c.s.ops.AddAlias(c.ctx, id, keyID, name)
	return changed(c, id, r, err)
}

func removeBucketAlias(c call, in aliasChange) (none bucketInfo, _ error) {
	id, keyID, name, err := in.parse()
	if err != nil {
		return none, err
	}
	r, err := c.s.ops.RemoveAlias(c.ctx, id, keyID, name)
	return changed(c, id, r, err)
}
