package access

import (
	"errors"
	"testing"
	"time"

	"hangar/shared/control"
	"hangar/shared/fault"
)

type directory struct {
	key    *control.Key
	bucket *control.Bucket
}

func (d directory) Key(string) *control.Key                      { return d.key }
func (d directory) Resolve(*control.Key, string) *control.Bucket { return d.bucket }
func (d directory) AsOf() (at, changed control.Revision)         { return 0, 0 }
func (d directory) BucketsOf(string) []control.Named             { return nil }

func TestKey(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		key *control.Key
		ok  bool
	}{
		"unknown": {nil, false}, "valid": {&control.Key{}, true},
		"expires later": {&control.Key{Expiration: at(now.Add(time.Second))}, true},
		"expires now":   {&control.Key{Expiration: at(now)}, false},
	} {
		_, err := Key(directory{key: c.key}, "id", now)
		if (err == nil) != c.ok || !c.ok && (!errors.Is(err, ErrNoSuchKey) || !fault.Is(err, fault.NotFound)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func at(t time.Time) *time.Time { return &t }

func TestBucket(t *testing.T) {
	const none = "00000"
	k := &control.Key{ID: "k"}
	for rights, p := range map[string]control.Permission{
		none: {}, "01100": {Read: true}, "01010": {Write: true}, "01001": {Owner: true},
		"01111": {Read: true, Write: true, Owner: true},
	} {
		b := &control.Bucket{Keys: map[string]control.Permission{"k": p}}
		if rights == none {
			b.Keys = nil
		}
		for i, need := range []Need{Any, Read, Write, Own} {
			_, err := Bucket(directory{bucket: b}, k, "b", need)
			if want := rights[i+1] == '1'; (err == nil) != want || !want && !fault.Is(err, fault.Denied) {
				t.Errorf("%+v, need %d: %v", p, need, err)
			}
		}
	}
	all := &control.Bucket{State: control.BucketDeleting, Keys: map[string]control.Permission{"k": {Read: true, Write: true, Owner: true}}}
	if _, err := Bucket(directory{bucket: all}, k, "b", Write); !errors.Is(err, ErrBucketBusy) {
		t.Errorf("write while deleting: %v", err)
	}
	if _, err := Bucket(directory{bucket: all}, k, "b", Read); err != nil {
		t.Errorf("read while deleting: %v", err)
	}
	if _, err := Bucket(directory{}, k, "b", Any); !errors.Is(err, ErrNoSuchBucket) {
		t.Errorf("no bucket: %v", err)
	}
}
