package wire

import (
	"time"

	"hangar/shared/control"
	"hangar/shared/object"
)

// LocalAlias is a name of a bucket that one key knows.
type LocalAlias struct {
	AccessKeyID string `json:"accessKeyId"`
	Alias       string `json:"alias"`
}

// BucketItem is a bucket in a list.
type BucketItem struct {
	ID            object.BucketID `json:"id"`
	Created       time.Time       `json:"created"`
	GlobalAliases []string        `json:"globalAliases"`
	LocalAliases  []LocalAlias    `json:"localAliases"`
}

// BucketInfo describes a bucket.
type BucketInfo struct {
	ID                             object.BucketID `json:"id"`
	Created                        time.Time       `json:"created"`
	GlobalAliases                  []string        `json:"globalAliases"`
	WebsiteAccess                  bool            `json:"websiteAccess"`
	WebsiteConfig                  *WebsiteConfig  `json:"websiteConfig"`
	Keys                           []BucketInfoKey `json:"keys"`
	Objects                        int64           `json:"objects"`
	Bytes                          int64           `json:"bytes"`
	UnfinishedUploads              int64           `json:"unfinishedUploads"`
	UnfinishedMultipartUploads     int64           `json:"unfinishedMultipartUploads"`
	UnfinishedMultipartUploadParts int64           `json:"unfinishedMultipartUploadParts"`
	UnfinishedMultipartUploadBytes int64           `json:"unfinishedMultipartUploadBytes"`
	// K2VItems and K2VBytes are extensions: items with a value, and bytes of their
	// values. Quotas do not count them.
	K2VItems int64        `json:"k2vItems"`
	K2VBytes int64        `json:"k2vBytes"`
	Quotas   BucketQuotas `json:"quotas"`
}

// WebsiteConfig is how a bucket is served as a site.
type WebsiteConfig struct {
	IndexDocument string  `json:"indexDocument"`
	ErrorDocument *string `json:"errorDocument"`
}

// BucketQuotas are the limits of a bucket; null is none.
type BucketQuotas struct {
	MaxSize    *int64 `json:"maxSize"`
	MaxObjects *int64 `json:"maxObjects"`
}

// BucketInfoKey is a key that has rights to a bucket or a name for it.
type BucketInfoKey struct {
	AccessKeyID        string     `json:"accessKeyId"`
	Name               string     `json:"name"`
	Permissions        BucketPerm `json:"permissions"`
	BucketLocalAliases []string   `json:"bucketLocalAliases"`
}

// DescribeBucket writes a bucket, without what is counted of it.
func DescribeBucket(v *control.View, b *control.Bucket) BucketInfo {
	info := BucketInfo{
		ID: b.ID, Created: b.Created, GlobalAliases: NonNil(v.GlobalAliases(b.ID)), Keys: []BucketInfoKey{},
		Quotas: BucketQuotas{MaxSize: b.MaxBytes, MaxObjects: b.MaxObjects},
	}
	if w := b.Website; w != nil {
		info.WebsiteAccess, info.WebsiteConfig = true, &WebsiteConfig{IndexDocument: w.IndexDocument}
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
			info.Keys = append(info.Keys, BucketInfoKey{k.ID, k.Name, BucketPerm(p), NonNil(local[k.ID])})
		}
	}
	return info
}

// NewBucket is the body of CreateBucket.
type NewBucket struct {
	GlobalAlias *string         `json:"globalAlias,omitempty"`
	LocalAlias  *NewBucketAlias `json:"localAlias,omitempty"`
}

// NewBucketAlias is a name that a key gives to a new bucket.
type NewBucketAlias struct {
	AccessKeyID string           `json:"accessKeyId"`
	Alias       string           `json:"alias"`
	Allow       BucketPermChange `json:"allow,omitzero"`
}

// BucketUpdate is the body of UpdateBucket. What is absent or null stays.
type BucketUpdate struct {
	WebsiteAccess  *WebsiteAccess `json:"websiteAccess,omitempty"`
	Quotas         *QuotaUpdate   `json:"quotas,omitempty"`
	CORSRules      []any          `json:"corsRules,omitempty" jsonschema:"only an empty list is taken"`
	LifecycleRules []any          `json:"lifecycleRules,omitempty" jsonschema:"only an empty list is taken"`
}

// WebsiteAccess switches a site on or off.
type WebsiteAccess struct {
	Enabled       *bool   `json:"enabled"`
	IndexDocument *string `json:"indexDocument,omitempty"`
	ErrorDocument *string `json:"errorDocument,omitempty"`
	RoutingRules  []any   `json:"routingRules,omitempty" jsonschema:"only an empty list is taken"`
}

// QuotaUpdate replaces both quotas: one that is absent ends.
type QuotaUpdate struct {
	MaxSize    *int64 `json:"maxSize,omitempty"`
	MaxObjects *int64 `json:"maxObjects,omitempty"`
}

// BucketPermChange are rights to give or take.
type BucketPermChange struct {
	Read  bool `json:"read,omitempty"`
	Write bool `json:"write,omitempty"`
	Owner bool `json:"owner,omitempty"`
}

// PermissionChange is the body of AllowBucketKey and DenyBucketKey.
type PermissionChange struct {
	BucketID    string           `json:"bucketId"`
	AccessKeyID string           `json:"accessKeyId"`
	Permissions BucketPermChange `json:"permissions"`
}

// AliasChange is the body of AddBucketAlias and RemoveBucketAlias.
type AliasChange struct {
	BucketID    string  `json:"bucketId"`
	GlobalAlias *string `json:"globalAlias,omitempty"`
	LocalAlias  *string `json:"localAlias,omitempty"`
	AccessKeyID *string `json:"accessKeyId,omitempty"`
}
