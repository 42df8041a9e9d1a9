package wire

import (
	"slices"
	"time"

	"hangar/shared/control"
	"hangar/shared/object"
)

// KeyItem is an access key in a list.
type KeyItem struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Created    time.Time  `json:"created"`
	Expiration *time.Time `json:"expiration"`
	Expired    bool       `json:"expired"`
}

// KeyPerm are rights of a key that concern no bucket.
type KeyPerm struct {
	CreateBucket bool `json:"createBucket"`
}

// BucketPerm are rights of a key to a bucket.
type BucketPerm struct {
	Read  bool `json:"read"`
	Write bool `json:"write"`
	Owner bool `json:"owner"`
}

// KeyInfo describes an access key.
type KeyInfo struct {
	AccessKeyID     string          `json:"accessKeyId"`
	Name            string          `json:"name"`
	Created         time.Time       `json:"created"`
	Expiration      *time.Time      `json:"expiration"`
	Expired         bool            `json:"expired"`
	SecretAccessKey *string         `json:"secretAccessKey,omitempty"`
	Permissions     KeyPerm         `json:"permissions"`
	Buckets         []KeyInfoBucket `json:"buckets"`
}

// KeyInfoBucket is a bucket that a key has rights to or a name for.
type KeyInfoBucket struct {
	ID            object.BucketID `json:"id"`
	GlobalAliases []string        `json:"globalAliases"`
	LocalAliases  []string        `json:"localAliases"`
	Permissions   BucketPerm      `json:"permissions"`
}

// DescribeKey writes a key as it is at now.
func DescribeKey(v *control.View, k *control.Key, now time.Time, withSecret bool) KeyInfo {
	info := KeyInfo{
		AccessKeyID: k.ID, Name: k.Name, Created: k.Created, Expiration: k.Expiration, Expired: k.Expired(now),
		Permissions: KeyPerm{CreateBucket: k.AllowCreateBucket}, Buckets: []KeyInfoBucket{},
	}
	if withSecret {
		info.SecretAccessKey = &k.Secret
	}
	local := map[object.BucketID][]string{}
	for name, id := range k.Aliases {
		local[id] = append(local[id], name)
	}
	for _, b := range v.Buckets() {
		p, ok := b.Keys[k.ID]
		if !ok && local[b.ID] == nil {
			continue
		}
		slices.Sort(local[b.ID])
		info.Buckets = append(info.Buckets, KeyInfoBucket{
			ID: b.ID, GlobalAliases: NonNil(v.GlobalAliases(b.ID)), LocalAliases: NonNil(local[b.ID]), Permissions: BucketPerm(p),
		})
	}
	return info
}

// KeyPermChange are rights to give or take.
type KeyPermChange struct {
	CreateBucket bool `json:"createBucket,omitempty"`
}

// KeyChange is the body of CreateKey and UpdateKey.
type KeyChange struct {
	Name         *string        `json:"name,omitempty"`
	Expiration   *time.Time     `json:"expiration,omitempty"`
	NeverExpires bool           `json:"neverExpires,omitempty"`
	Allow        *KeyPermChange `json:"allow,omitempty"`
	Deny         *KeyPermChange `json:"deny,omitempty"`
}

// KeyImport is the body of ImportKey.
type KeyImport struct {
	AccessKeyID     string  `json:"accessKeyId"`
	SecretAccessKey string  `json:"secretAccessKey"`
	Name            *string `json:"name,omitempty"`
}
