// Package control is the cluster's control state: layout, buckets, aliases,
// keys, permissions, admin tokens. It is small, read by every request and
// written rarely. It lives in one JetStream key-value bucket, is changed only
// by compare-and-set, and is mirrored in memory by every process, so that no
// request asks for it over the network.
package control

import (
	"time"

	"hangar/shared/layout"
	"hangar/shared/object"
)

// Cluster is what is fixed when a cluster is born.
type Cluster struct {
	ID                string    `json:"id"`
	Region            string    `json:"region"`
	ReplicationFactor int       `json:"replicationFactor"`
	PartitionBits     uint8     `json:"partitionBits"`
	Created           time.Time `json:"created"`
}

// Permission is what a key may do with a bucket.
type Permission struct {
	Read  bool `json:"read"`
	Write bool `json:"write"`
	Owner bool `json:"owner"`
}

// Key is an S3 access key. The secret must be kept readable: SigV4 needs it.
type Key struct {
	ID                string     `json:"id"`
	Name              string     `json:"name"`
	Secret            string     `json:"secret"`
	Created           time.Time  `json:"created"`
	Expiration        *time.Time `json:"expiration,omitempty"`
	AllowCreateBucket bool       `json:"allowCreateBucket"`
	// Aliases are this key's own names of buckets.
	Aliases map[string]object.BucketID `json:"aliases,omitempty"`
}

// Expired reports whether the key may no longer be used at now.
func (k *Key) Expired(now time.Time) bool {
	return k.Expiration != nil && !now.Before(*k.Expiration)
}

// BucketState says whether a bucket takes writes.
type BucketState string

// The states of a bucket.
const (
	BucketActive BucketState = ""
	// BucketDeleting refuses writes while the admin service checks that the
	// bucket is empty.
	BucketDeleting BucketState = "deleting"
)

// Bucket is a bucket's record. Global aliases are records of their own, so
// that compare-and-create keeps them unique; Aliases repeats them for display.
type Bucket struct {
	ID      object.BucketID       `json:"id"`
	Created time.Time             `json:"created"`
	State   BucketState           `json:"state,omitempty"`
	Keys    map[string]Permission `json:"keys,omitempty"`
	// Quotas; nil means none. Enforced later.
	MaxBytes   *int64 `json:"maxBytes,omitempty"`
	MaxObjects *int64 `json:"maxObjects,omitempty"`
}

// Role is what an operator says about a node.
type Role struct {
	Node object.NodeID `json:"node"`
	// Service is "meta" or "blocks".
	Service string `json:"service"`
	Zone    string `json:"zone"`
	// CapacityBytes is how much the node may hold, relative to the others.
	CapacityBytes int64    `json:"capacityBytes"`
	Tags          []string `json:"tags,omitempty"`
}

// Layout is the current placement of everything.
type Layout struct {
	// Version counts applied layouts, from 0 (none).
	Version uint64      `json:"version"`
	Roles   []Role      `json:"roles"`
	Meta    layout.Ring `json:"meta"`
	Blocks  layout.Ring `json:"blocks"`
	// ZoneRedundancy is the least number of zones a partition must span; 0
	// means as many as possible.
	ZoneRedundancy int `json:"zoneRedundancy"`
}

// View is an immutable picture of the control state at one revision. All its
// methods are safe for concurrent use and never block. The records it returns
// are shared: callers must not change them.
type View struct {
	Revision uint64
	Cluster  Cluster
	Layout   *Layout

	keys    map[string]*Key
	buckets map[object.BucketID]*Bucket
	aliases map[string]object.BucketID
}

// Key returns an access key, nil when there is none.
func (v *View) Key(id string) *Key { return v.keys[id] }

// Bucket returns a bucket by id, nil when there is none.
func (v *View) Bucket(id object.BucketID) *Bucket { return v.buckets[id] }

// Resolve finds a bucket by name as key (which may be nil) sees it: the key's
// own aliases first, then global ones, then the hex id. It returns nil when
// nothing answers to that name.
func (v *View) Resolve(k *Key, name string) *Bucket {
	if k != nil {
		if id, ok := k.Aliases[name]; ok {
			return v.buckets[id]
		}
	}
	if id, ok := v.aliases[name]; ok {
		return v.buckets[id]
	}
	if id, err := object.ParseBucketID(name); err == nil {
		return v.buckets[id]
	}
	return nil
}

// Named is a bucket under the name some key knows it by.
type Named struct {
	Name   string
	Bucket *Bucket
}
