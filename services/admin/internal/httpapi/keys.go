package httpapi

import (
	"strings"

	"hangar/shared/control"

	"hangar/services/admin/internal/ops"
	"hangar/services/admin/internal/wire"
)

func listKeys(c call) ([]wire.KeyItem, error) {
	now, items := c.s.ops.Now(), []wire.KeyItem{}
	for _, k := range c.s.ops.View().Keys() {
		items = append(items, wire.KeyItem{ID: k.ID, Name: k.Name, Created: k.Created, Expiration: k.Expiration, Expired: k.Expired(now)})
	}
	return items, nil
}

func getKeyInfo(c call) (info wire.KeyInfo, err error) {
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
	return wire.DescribeKey(v, k, c.s.ops.Now(), c.QueryBool("showSecretKey")), nil
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

func parseKeyChange(k wire.KeyChange) (ops.KeyChange, error) {
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

func createKey(c call, in wire.KeyChange) (none wire.KeyInfo, _ error) {
	change, err := parseKeyChange(in)
	if err != nil {
		return none, err
	}
	k, receipt, err := c.s.ops.CreateKey(c.ctx, change)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return wire.DescribeKey(c.s.ops.View(), k, c.s.ops.Now(), true), nil
}

func importKey(c call, in wire.KeyImport) (none wire.KeyInfo, _ error) {
	if in.Name == nil {
		in.Name = new("Imported key")
	}
	k, receipt, err := c.s.ops.ImportKey(c.ctx, in.AccessKeyID, in.SecretAccessKey, *in.Name)
	if err != nil {
		return none, err
	}
	c.applied(receipt)
	return wire.DescribeKey(c.s.ops.View(), k, c.s.ops.Now(), true), nil
}

func updateKey(c call, in wire.KeyChange) (none wire.KeyInfo, _ error) {
	change, err := parseKeyChange(in)
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
	return wire.DescribeKey(v, k, c.s.ops.Now(), false), nil
}

func deleteKey(c call, _ nothing) (nothing, error) {
	receipt, err := c.s.ops.DeleteKey(c.ctx, c.Query("id"))
	if err == nil {
		c.applied(receipt)
	}
	return nothing{}, err
}
