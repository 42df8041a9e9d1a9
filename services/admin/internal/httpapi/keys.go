package httpapi

import (
	"slices"
	"strings"
	"time"

	"hangar/shared/control"
	"hangar/shared/object"

	"hangar/services/admin/internal/ops"
)

type keyItem struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Created    time.Time  `json:"created"`
	Expiration *time.Time `json:"expiration"`
	Expired    bool       `json:"expired"`
}

type keyPerm struct {
	CreateBucket bool `json:"createBucket"`
}

type bucketPerm struct {
	Read  bool `json:"read"`
	Write bool `json:"write"`
	Owner bool `json:"owner"`
}

type keyInfo struct {
	AccessKeyID     string          `json:"accessKeyId"`
	Name            string          `json:"name"`
	Created         time.Time       `json:"created"`
	Expiration      *time.Time      `json:"expiration"`
	Expired         bool            `json:"expired"`
	SecretAccessKey *string         `json:"secretAccessKey,omitempty"`
	Permissions     keyPerm         `json:"permissions"`
	Buckets         []keyInfoBucket `json:"buckets"`
}

type keyInfoBucket struct {
	ID            object.BucketID `json:"id"`
	GlobalAliases []string        `json:"globalAliases"`
	LocalAliases  []string        `json:"localAliases"`
	Permissions   bucketPerm      `json:"permissions"`
}

func listKeys(c call) ([]keyItem, error) {
	now, items := c.s.ops.Now(), []keyItem{}
	for _, k := range c.s.ops.View().Keys() {
		items = append(items, keyItem{k.ID, k.Name, k.Created, k.Expiration, k.Expired(now)})
	}
	return items, nil
}

func getKeyInfo(c call) (info keyInfo, err error) {
	by, value, err := one(c, "id", "search")
	if err != nil {
		return info, err
	}
	v := c.s.ops.View()
	k := v.Key(value)
	if by == "search" {
		if k, err = findKey(v, value); err != nil {
			return info, err
		}
	}
	if k == nil {
		return info, control.NoSuchKey(value)
	}
	return describeKey(v, k, c.s.ops.Now(), c.QueryBool("showSecretKey")), nil
}

// findKey finds the one key whose id begins with pattern or whose name is it.
func findKey(v *control.View, pattern string) (found *control.Key, err error) {
	for _, k := range v.Keys() {
		if !strings.HasPrefix(strings.ToLower(k.ID), strings.ToLower(pattern)) && k.Name != pattern {
			continue
		}
		if found != nil {
			return nil, invalid("several keys match " + pattern)
		}
		found = k
	}
	return found, nil
}

func describeKey(v *control.View, k *control.Key, now time.Time, withSecret bool) keyInfo {
	info := keyInfo{
		AccessKeyID: k.ID, Name: k.Name, Created: k.Created, Expiration: k.Expiration, Expired: k.Expired(now),
		Permissions: keyPerm{CreateBucket: k.AllowCreateBucket}, Buckets: []keyInfoBucket{},
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
		info.Buckets = append(info.Buckets, keyInfoBucket{
			ID: b.ID, GlobalAliases: nonNil(v.GlobalAliases(b.ID)), LocalAliases: nonNil(local[b.ID]), Permissions: bucketPerm(p),
		})
	}
	return info
}

type keyPermChange struct {
	CreateBucket bool `json:"createBucket,omitempty"`
}

// keyChange is the body of CreateKey and UpdateKey.
type keyChange struct {
	Name         *string        `json:"name,omitempty"`
	Expiration   *time.Time     `json:"expiration,omitempty"`
	NeverExpires bool           `json:"neverExpires,omitempty"`
	Allow        *keyPermChange `json:"allow,omitempty"`
	Deny         *keyPermChange `json:"deny,omitempty"`
}

func (k keyChange) change() (ops.KeyChange, error) {
	c := ops.KeyChange{Name: k.Name, Expiration: k.Expiration, NeverExpires: k.NeverExpires}
	allow, deny := k.Allow != nil && k.Allow.CreateBucket, k.Deny != nil && k.Deny.CreateBucket
	if allow && deny {
		return c, invalid("createBucket cannot be both allowed and denied")
	}
	if allow || deny {
		c.AllowCreateBucket = &allow
	}
	return c, nil
}

func createKey(c call, in keyChange) (none keyInfo, _ error) {
	change, err := in.change()
	if err != nil {
		return none, err
	}
	k, receipt, err := c.s.ops.CreateKey(c.ctx, change)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return describeKey(c.s.ops.View(), k, c.s.ops.Now(), true), nil
}

// keyImport is the body of ImportKey.
type keyImport struct {
	AccessKeyID     string  `json:"accessKeyId"`
	SecretAccessKey string  `json:"secretAccessKey"`
	Name            *string `json:"name,omitempty"`
}

func importKey(c call, in keyImport) (none keyInfo, _ error) {
	if in.Name == nil {
		in.Name = new("Imported key")
	}
	k, receipt, err := c.s.ops.ImportKey(c.ctx, in.AccessKeyID, in.SecretAccessKey, *in.Name)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return describeKey(c.s.ops.View(), k, c.s.ops.Now(), true), nil
}

func updateKey(c call, in keyChange) (none keyInfo, _ error) {
	change, err := in.change()
	if err != nil {
		return none, err
	}
	id := c.Query("id")
	receipt, err := c.s.ops.UpdateKey(c.ctx, id, change)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	v := c.s.ops.View()
	k := v.Key(id)
	if k == nil {
		return none, control.NoSuchKey(id) // it was deleted meanwhile
	}
	return describeKey(v, k, c.s.ops.Now(), false), nil
}

func deleteKey(c call, _ nothing) (nothing, error) {
	receipt, err := c.s.ops.DeleteKey(c.ctx, c.Query("id"))
	if err == nil {
		c.applied(receipt)
	}
	return nothing{}, err
}
