package access

import (
	"context"
	"errors"
	"testing"
	"time"

	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/object"
)

// state is control state at a revision; access was last changed at changed.
type state struct {
	revision, changed control.Revision
	key               *control.Key
	buckets           map[string]*control.Bucket
	looks             *int // how often a key was looked up
}

func (s state) AsOf() (revision, changed control.Revision) { return s.revision, s.changed }
func (s state) BucketsOf(string) []control.Named           { return nil }

func (s state) Key(string) *control.Key {
	*s.looks++
	return s.key
}

func (s state) Resolve(_ *control.Key, name string) *control.Bucket { return s.buckets[name] }

// letIn is a request that writes to "to" and reads "from", let in at revision 5,
// and the state that it is judged by later.
func letIn(t *testing.T) (a *Admission, now *state) {
	t.Helper()
	bucket := func(p control.Permission) *control.Bucket {
		return &control.Bucket{ID: object.NewBucketID(), Keys: map[string]control.Permission{"k": p}}
	}
	now = &state{revision: 5, changed: 3, key: &control.Key{ID: "k", Secret: "s"}, looks: new(int), buckets: map[string]*control.Bucket{
		"to": bucket(control.Permission{Write: true}), "from": bucket(control.Permission{Read: true}),
	}}
	a = new(Admission)
	if _, err := a.Admit(Source{View: func() Directory { return *now }}, time.Now, *now, "k"); err != nil {
		t.Fatal(err)
	}
	for name, need := range map[string]Need{"to": Write, "from": Read} {
		if _, err := a.Bucket(name, need); err != nil {
			t.Fatal(err)
		}
	}
	return a, now
}

func TestAdmissionHolds(t *testing.T) {
	a, now := letIn(t)
	looks := *now.looks
	for _, s := range []struct{ revision, changed, looks int }{
		{5, 3, 0}, // as it was
		{8, 3, 0}, // something else has changed
		{9, 9, 1}, // access has, but nothing that matters here
		{9, 9, 0}, // which need not be found out again
		{2, 1, 1}, // the control state was made anew
	} {
		now.revision, now.changed = control.Revision(s.revision), control.Revision(s.changed)
		got, err := a.Current(t.Context(), 0)
		if err != nil || got != now.revision || *now.looks-looks != s.looks {
			t.Errorf("%+v: %d, %v after %d looks", s, got, err, *now.looks-looks)
		}
		looks = *now.looks
	}
}

func TestAdmissionEnds(t *testing.T) {
	past := time.Now().Add(-time.Second)
	for name, c := range map[string]struct {
		change func(*state)
		want   error // nil: of its kind only
	}{
		"key deleted":     {func(s *state) { s.key = nil }, ErrNoSuchKey},
		"key expired":     {func(s *state) { s.key = &control.Key{ID: "k", Secret: "s", Expiration: &past} }, ErrNoSuchKey},
		"another secret":  {func(s *state) { s.key = &control.Key{ID: "k", Secret: "other"} }, nil},
		"may not write":   {func(s *state) { s.buckets["to"].Keys = nil }, nil},
		"may not read":    {func(s *state) { s.buckets["from"].Keys = nil }, nil},
		"being deleted":   {func(s *state) { s.buckets["to"].State = control.BucketDeleting }, ErrBucketBusy},
		"bucket is gone":  {func(s *state) { delete(s.buckets, "from") }, ErrNoSuchBucket},
		"another's name":  {func(s *state) { s.buckets["to"].ID = object.NewBucketID() }, ErrNoSuchBucket},
		"another bucket":  {func(s *state) { s.buckets["to"] = s.buckets["from"] }, nil},
		"the source's id": {func(s *state) { s.buckets["from"].ID = object.NewBucketID() }, ErrNoSuchBucket},
	} {
		a, now := letIn(t)
		// The states are the same objects: what was let in must remember.
		now.revision, now.changed = 7, 6
		key := *now.key
		now.key = &key
		c.change(now)
		got, err := a.Current(t.Context(), 0)
		if !fault.Is(err, fault.Denied) || got != 0 || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

func TestAdmissionWaits(t *testing.T) {
	a, now := letIn(t)
	a.from.Await = func(ctx context.Context, revision control.Revision) error {
		if revision > 6 {
			return context.DeadlineExceeded
		}
		now.revision, now.changed = 6, 6
		return nil
	}
	if got, err := a.Current(t.Context(), 6); got != 6 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := a.Current(t.Context(), 7); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a wait in vain: %v", err)
	}
}

func BenchmarkCurrent(b *testing.B) {
	now := state{revision: 5, changed: 3, key: &control.Key{ID: "k"}, looks: new(int)}
	var view Directory = now
	from := Source{View: func() Directory { return view }}
	b.ReportAllocs()
	for b.Loop() {
		var a Admission
		if _, err := a.Admit(from, time.Now, view, "k"); err != nil {
			b.Fatal(err)
		}
		if _, err := a.Current(b.Context(), 0); err != nil {
			b.Fatal(err)
		}
	}
}
