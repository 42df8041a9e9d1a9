package httpapi

import (
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
	Keys                           []bucketInfoKey `json:"keys"`
	Objects                        int64           `json:"objects"`
	Bytes                          int64           `json:"bytes"`
	UnfinishedUploads              int64           `json:"unfinishedUploads"`
	UnfinishedMultipartUploads     int64           `json:"unfinishedMultipartUploads"`
	UnfinishedMultipartUploadParts int64           `json:"unfinishedMultipartUploadParts"`
	UnfinishedMultipartUploadBytes int64           `json:"unfinishedMultipartUploadBytes"`
	Quotas                         bucketQuotas    `json:"quotas"`
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

func listBuckets(c call) (any, error) {
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

func getBucketInfo(c call) (any, error) {
	v := c.s.ops.View()
	id, alias, search := c.Query("id"), c.Query("globalAlias"), c.Query("search")
	given := slices.DeleteFunc([]string{id, alias, search}, func(s string) bool { return s == "" })
	if len(given) != 1 {
		return nil, invalid("give one of id, globalAlias and search")
	}
	var b *control.Bucket
	var err error
	switch {
	case id != "":
		var parsed object.BucketID
		parsed, err = parseBucket(id)
		b = v.Bucket(parsed)
	case alias != "":
		b = v.Alias(alias)
	default:
		b, err = findBucket(v, search)
	}
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, control.NoSuchBucket(given[0])
	}
	info := describeBucket(v, b)
	if err := count(c, &info); err != nil {
		return nil, err
	}
	return info, nil
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
func changed(c call, id object.BucketID, r ops.Receipt, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	c.applied(r)
	v := c.s.ops.View()
	b := v.Bucket(id)
	if b == nil {
		return nil, control.NoSuchBucket(id.String())
	}
	info := describeBucket(v, b)
	if err := count(c, &info); err != nil {
		c.s.log.WarnContext(c.ctx, "counting a bucket", "bucket", id, "error", err)
		c.Set("X-Hangar-Usage", "unavailable")
	}
	return info, nil
}

func createBucket(c call) (any, error) {
	in, err := body[struct {
		GlobalAlias *string `json:"globalAlias"`
		LocalAlias  *struct {
			localAlias
			Allow bucketPerm `json:"allow"`
		} `json:"localAlias"`
	}](c)
	if err != nil {
		return nil, err
	}
	name := ""
	if in.GlobalAlias != nil {
		if name = *in.GlobalAlias; name == "" {
			return nil, control.ValidBucketName(name)
		}
	}
	var local *ops.LocalAlias
	if l := in.LocalAlias; l != nil {
		local = &ops.LocalAlias{KeyID: l.AccessKeyID, Name: l.Alias, Allow: control.Permission(l.Allow)}
	}
	b, receipt, err := c.s.ops.CreateBucket(c.ctx, name, local)
	if err != nil {
		return nil, err
	}
	return changed(c, b.ID, receipt, nil)
}

func deleteBucket(c call) (any, error) {
	id, err := parseBucket(c.Query("id"))
	if err != nil {
		return nil, err
	}
	receipt, err := c.s.ops.DeleteBucket(c.ctx, id)
	if err != nil {
		return nil, err
	}
	c.applied(receipt)
	return nil, nil
}

// permissionChange is the body of AllowBucketKey and DenyBucketKey.
type permissionChange struct {
	BucketID    string     `json:"bucketId"`
	AccessKeyID string     `json:"accessKeyId"`
	Permissions bucketPerm `json:"permissions"`
}

func allowBucketKey(c call) (any, error) {
	in, err := body[permissionChange](c)
	if err != nil {
		return nil, err
	}
	id, err := parseBucket(in.BucketID)
	if err != nil {
		return nil, err
	}
	r, err := c.s.ops.Allow(c.ctx, id, in.AccessKeyID, control.Permission(in.Permissions))
	return changed(c, id, r, err)
}

func denyBucketKey(c call) (any, error) {
	in, err := body[permissionChange](c)
	if err != nil {
		return nil, err
	}
	id, err := parseBucket(in.BucketID)
	if err != nil {
		return nil, err
	}
	r, err := c.s.ops.Deny(c.ctx, id, in.AccessKeyID, control.Permission(in.Permissions))
	return changed(c, id, r, err)
}

// aliasChange is the body of AddBucketAlias and RemoveBucketAlias.
type aliasChange struct {
	BucketID    string  `json:"bucketId"`
	GlobalAlias *string `json:"globalAlias"`
	LocalAlias  *string `json:"localAlias"`
	AccessKeyID *string `json:"accessKeyId"`
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

func addBucketAlias(c call) (any, error) {
	in, err := body[aliasChange](c)
	if err != nil {
		return nil, err
	}
	id, keyID, name, err := in.parse()
	if err != nil {
		return nil, err
	}
	r, err := c.s.ops.AddAlias(c.ctx, id, keyID, name)
	return changed(c, id, r, err)
}

func removeBucketAlias(c call) (any, error) {
	in, err := body[aliasChange](c)
	if err != nil {
		return nil, err
	}
	id, keyID, name, err := in.parse()
	if err != nil {
		return nil, err
	}
	r, err := c.s.ops.RemoveAlias(c.ctx, id, keyID, name)
	return changed(c, id, r, err)
}
