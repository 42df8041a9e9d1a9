// Package access decides what an access key may do, from the mirrored control
// state alone: no request waits for the network here. Should the mirror be found
// to be behind, it decides again by newer state: see Admission.
package access

import (
	"errors"
	"time"

	"hangar/shared/control"
	"hangar/shared/fault"
)

// Why a request was refused. They are wrapped in a *fault.Error; test with
// errors.Is.
var (
	// ErrNoSuchKey: the key is unknown or has expired.
	ErrNoSuchKey = errors.New("no such access key")
	// ErrNoSuchBucket: nothing answers to that bucket name.
	ErrNoSuchBucket = errors.New("no such bucket")
	// ErrBucketBusy: the bucket is being deleted and takes no writes.
	ErrBucketBusy = errors.New("bucket is being deleted")
)

// Need is what an operation asks of a key's permission on a bucket.
type Need uint8

// The needs.
const (
	// Known: a valid key, no bucket.
	Known Need = iota
	// Any right on the bucket: to ask whether it exists and what it is like.
	Any
	// Read content or list.
	Read
	// Write or delete content.
	Write
	// Own: delete the bucket.
	Own
)

// Directory is the part of the control state that decisions rest on; a
// *control.View is one. Safe for concurrent use.
type Directory interface {
	// AsOf is the revision that it shows, and that of the last change in what the
	// other methods answer; 0 for a directory without revisions.
	AsOf() (revision, changed control.Revision)
	Key(id string) *control.Key
	Resolve(k *control.Key, name string) *control.Bucket
	BucketsOf(keyID string) []control.Named
}

// Key finds the valid access key called id.
func Key(v Directory, id string, now time.Time) (*control.Key, error) {
	k := v.Key(id)
	if k == nil || k.Expired(now) {
		return nil, fault.Wrap(fault.NotFound, ErrNoSuchKey, "access key %q", id)
	}
	return k, nil
}

// Bucket finds the bucket that k knows as name and checks that k has what need
// asks. A bucket that does not exist is told apart from one that k may not use,
// as S3 does.
func Bucket(v Directory, k *control.Key, name string, need Need) (*control.Bucket, error) {
	b := v.Resolve(k, name)
	if b == nil {
		return nil, fault.Wrap(fault.NotFound, ErrNoSuchBucket, "bucket %q", name)
	}
	if !allows(b.Keys[k.ID], need) {
		return nil, fault.New(fault.Denied, "Access Denied.")
	}
	if need == Write && b.State != control.BucketActive {
		return nil, fault.Wrap(fault.Conflict, ErrBucketBusy, "bucket %q", name)
	}
	return b, nil
}

func allows(p control.Permission, need Need) bool {
	switch need {
	case Known:
		return true
	case Any:
		return p.Read || p.Write || p.Owner
	case Read:
		return p.Read
	case Write:
		return p.Write
	case Own:
		return p.Owner
	}
	return false
}
