// Package control is the cluster's control state: layout, buckets, aliases,
// keys, permissions, admin tokens. It is small, read by every request and
// written rarely. It lives in one JetStream key-value bucket, is changed only
// by compare-and-set, and is mirrored in memory by every process, so that no
// request asks for it over the network.
package control

import (
	"slices"
	"time"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/register"
)

// Revision orders all changes of the control state: the stream sequence of a
// record. A mirror at revision r has applied every change up to r.
type Revision = uint64

// Cluster is what a cluster is born with. Only Consistency may change later.
type Cluster struct {
	ID                string    `json:"id"`
	Region            string    `json:"region"`
	ReplicationFactor int       `json:"replicationFactor"`
	PartitionBits     uint8     `json:"partitionBits"`
	Created           time.Time `json:"created"`
	// Consistency is how many replicas a read and a write wait for; empty means
	// Consistent.
	Consistency Consistency `json:"consistency,omitempty"`
}

// Consistency trades what a read may miss for availability.
type Consistency string

// The consistency modes.
const (
	// Consistent: quorums for reads and writes, so that keys are linearizable.
	Consistent Consistency = "consistent"
	// Degraded: a read takes the first answer, which may be old.
	Degraded Consistency = "degraded"
	// Dangerous: besides, a write is acknowledged when one replica has it, so
	// that a loss of that replica loses the write.
	Dangerous Consistency = "dangerous"
)

// Validate refuses what is none of the modes. Errors: Invalid.
func (c Consistency) Validate() error {
	switch c {
	case "", Consistent, Degraded, Dangerous:
		return nil
	}
	return fault.New(fault.Invalid, "consistency mode %q is none of %s, %s, %s", string(c), Consistent, Degraded, Dangerous)
}

// ReadsOne reports whether a read takes the first answer.
func (c Consistency) ReadsOne() bool { return c == Degraded || c == Dangerous }

// WritesOne reports whether a write is acknowledged when one replica has it.
func (c Consistency) WritesOne() bool { return c == Dangerous }

// Permission is what a key may do with a bucket.
type Permission struct {
	Read  bool `json:"read"`
	Write bool `json:"write"`
	Owner bool `json:"owner"`
}

// AllPermissions is what a bucket's maker gets.
var AllPermissions = Permission{Read: true, Write: true, Owner: true}

// With adds the rights in q.
func (p Permission) With(q Permission) Permission {
	return Permission{Read: p.Read || q.Read, Write: p.Write || q.Write, Owner: p.Owner || q.Owner}
}

// Without takes away the rights in q.
func (p Permission) Without(q Permission) Permission {
	return Permission{Read: p.Read && !q.Read, Write: p.Write && !q.Write, Owner: p.Owner && !q.Owner}
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
	// BucketDeleted is decided and final: no View shows the bucket, and what
	// is left of it (names, then the record) is being cleared away.
	BucketDeleted BucketState = "deleted"
)

// Bucket is a bucket's record. Global aliases are records of their own, so
// that compare-and-create keeps them unique.
type Bucket struct {
	ID      object.BucketID `json:"id"`
	Created time.Time       `json:"created"`
	State   BucketState     `json:"state,omitempty"`
	// StateSince is when State last changed, zero for a bucket that never did.
	StateSince time.Time             `json:"stateSince,omitzero"`
	Keys       map[string]Permission `json:"keys,omitempty"`
	// Quotas, enforced by gateways; nil means none.
	MaxBytes   *int64 `json:"maxBytes,omitempty"`
	MaxObjects *int64 `json:"maxObjects,omitempty"`
	// Website is nil unless the bucket is to be served as a static site.
	Website *Website `json:"website,omitempty"`
}

// Website says how a bucket is served as a static site.
type Website struct {
	// IndexDocument is what stands for a folder, such as "index.html".
	IndexDocument string `json:"indexDocument"`
	// ErrorDocument is the key of the page shown for errors; empty means a
	// plain one.
	ErrorDocument string `json:"errorDocument,omitempty"`
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
	// MetaLows are the low marks (see package register) that partitions of rows
	// had when they last changed hands. A node takes them before it serves a
	// partition, whenever it came to hold it. MetaLowsEpoch is the last joint
	// epoch for which they were gathered: until it is the ring's, nodes that
	// only the next assignment has serve nothing.
	MetaLows      map[layout.Partition]register.Tag `json:"metaLows,omitempty"`
	MetaLowsEpoch uint64                            `json:"metaLowsEpoch,omitempty"`
	// Change describes the change that is under way, nil when both rings are at
	// rest.
	Change *Change `json:"change,omitempty"`
	// AbortedVersion is the last version that was taken back before it was in
	// place; 0 when none was.
	AbortedVersion uint64 `json:"abortedVersion,omitempty"`
}

// Change is a layout change under way: at least one ring is joint.
type Change struct {
	// Began is when it was applied, by the clock of the admin process.
	Began time.Time `json:"began"`
	// Skip lists the nodes that the operator declared dead: nothing is waited
	// for that only they could do.
	Skip []object.NodeID `json:"skip,omitempty"`
	// RolesBefore are the roles that an abort goes back to, and
	// ZoneRedundancyBefore likewise.
	RolesBefore          []Role `json:"rolesBefore"`
	ZoneRedundancyBefore int    `json:"zoneRedundancyBefore"`
}

// RoleChange is a staged change of one node: a new Role, or none to remove it.
type RoleChange struct {
	Node object.NodeID `json:"node"`
	Role *Role         `json:"role,omitempty"`
}

// StagedLayout is what the operator prepared and has not applied.
type StagedLayout struct {
	Changes []RoleChange `json:"changes,omitempty"`
	// ZoneRedundancy to apply, nil to keep the current one.
	ZoneRedundancy *int `json:"zoneRedundancy,omitempty"`
}

// IsEmpty reports whether nothing is staged.
func (s *StagedLayout) IsEmpty() bool {
	return s == nil || len(s.Changes) == 0 && s.ZoneRedundancy == nil
}

// Token is an admin token, known only by its hash.
type Token struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Created    time.Time  `json:"created"`
	Expiration *time.Time `json:"expiration,omitempty"`
	// Hash is SHA-256 of the secret, which is random and 256 bits long.
	Hash [32]byte `json:"hash"`
	// Scope lists the Admin API operations it may call; "*" is all of them.
	Scope []string `json:"scope"`
}

// Expired reports whether the token may no longer be used at now.
func (t *Token) Expired(now time.Time) bool {
	return t.Expiration != nil && !now.Before(*t.Expiration)
}

// Allows reports whether the token's scope has an operation.
func (t *Token) Allows(operation string) bool {
	return slices.Contains(t.Scope, "*") || slices.Contains(t.Scope, operation)
}

// Alias is the record of a global name.
type Alias struct {
	Bucket object.BucketID `json:"bucket"`
}
