package control

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"hangar/shared/fault"
	"hangar/shared/object"
)

func contextWithTimeout(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

func TestMirrorWaitsForTheStream(t *testing.T) {
	b := startBroker(t)
	m := b.mirror(MirrorOptions{})
	if m.View().Revision != 0 || m.View().Key("x") != nil {
		t.Fatal("not empty")
	}
	s := b.store()
	if err := m.WaitSynced(ctx(t)); err != nil {
		t.Fatal(err)
	}
	_, rev, err := s.CreateKey(ctx(t), Key{Name: "first"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WaitRevision(ctx(t), rev); err != nil {
		t.Fatal(err)
	}
	if ks := m.View().Keys(); len(ks) != 1 || ks[0].Name != "first" {
		t.Errorf("got %v", ks)
	}
}

// TestAStreamOfAnEarlierVersion gets what mirrors need of it.
func TestAStreamOfAnEarlierVersion(t *testing.T) {
	b := startBroker(t)
	js := must[jetstream.JetStream](t)(jetstream.New(b.connect()))
	cfg := streamConfig(1)
	cfg.AllowDirect, cfg.RePublish = false, nil
	if _, err := js.CreateStream(ctx(t), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(ctx(t), b.connect(), StoreOptions{Existing: true}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an empty stream counts as one: %v", err)
	}
	s, m := b.store(), b.mirror(MirrorOptions{})
	k, rev, err := s.CreateKey(ctx(t), Key{Name: "kept"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WaitRevision(ctx(t), rev); err != nil || m.View().Key(k.ID) == nil {
		t.Errorf("not followed: %v", err)
	}
}

// TestAMirrorReadsInBatches: more records than one batch has, some deleted.
func TestAMirrorReadsInBatches(t *testing.T) {
	b := startBroker(t)
	s := b.store()
	for i := range batchRecords + 10 {
		if _, err := create(ctx(t), s, keyOfAlias(fmt.Sprint("name-", i)), &Alias{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.remove(ctx(t), keyOfAlias("name-3"), 4); err != nil {
		t.Fatal(err)
	}
	m := b.mirror(MirrorOptions{})
	if v := b.sync(s, m); len(v.aliases) != batchRecords+9 {
		t.Errorf("%d names", len(v.aliases))
	}
}

func TestMirrorSurvivesARestartOfTheServer(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	k, _, err := s.CreateKey(ctx(t), Key{Name: "before"})
	if err != nil {
		t.Fatal(err)
	}
	before := b.sync(s, m)
	b.restart()
	if m.View().Key(k.ID) == nil {
		t.Fatal("the view was lost with the server")
	}
	after, rev, err := s.CreateKey(ctx(t), Key{Name: "after"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WaitRevision(ctx(t), rev); err != nil {
		t.Fatal(err)
	}
	if m.View().Key(k.ID) == nil || m.View().Key(after.ID) == nil {
		t.Error("a key is missing")
	}
	if rev <= before.Revision {
		t.Error("the revision went backwards")
	}
}

func TestMirrorFollowsAStreamMadeAnew(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	for range 5 {
		if _, _, err := s.CreateKey(ctx(t), Key{Name: "old"}); err != nil {
			t.Fatal(err)
		}
	}
	b.sync(s, m)
	js, err := jetstream.New(b.connect())
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(ctx(t), streamName); err != nil {
		t.Fatal(err)
	}
	k, _, err := b.store().CreateKey(ctx(t), Key{Name: "new"})
	if err != nil {
		t.Fatal(err)
	}
	for m.View().Key(k.ID) == nil || len(m.View().Keys()) != 1 {
		next := m.Updated()
		if m.View().Key(k.ID) != nil && len(m.View().Keys()) == 1 {
			break
		}
		select {
		case <-next:
		case <-ctx(t).Done():
			t.Fatalf("the mirror still shows %d keys", len(m.View().Keys()))
		}
	}
}

func TestExportAndRestore(t *testing.T) {
	b := startBroker(t)
	file := filepath.Join(t.TempDir(), "control.export")
	s, m := b.store(), b.mirror(MirrorOptions{})
	if err := m.WaitSynced(ctx(t)); err != nil {
		t.Fatal(err)
	}
	k, _, err := s.CreateKey(ctx(t), Key{Name: "ключ"})
	if err != nil {
		t.Fatal(err)
	}
	gone, _, err := s.CreateKey(ctx(t), Key{Name: "gone"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.CreateBucket(ctx(t), NewBucket{Name: "kept", Keys: map[string]Permission{k.ID: AllPermissions}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteKey(ctx(t), b.sync(s, m), gone.ID); err != nil {
		t.Fatal(err)
	}
	want := b.sync(s, m)
	if err := m.Export(file); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", fi.Mode(), err)
	}
	export := must[[]byte](t)(os.ReadFile(file))

	if _, err := s.Restore(ctx(t), bytes.NewReader(export), false); !fault.Is(err, fault.AlreadyExists) {
		t.Fatalf("a stream in use was restored over: %v", err)
	}
	if _, err := s.Restore(ctx(t), bytes.NewReader(export[:len(export)-2]), true); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("half an export was restored: %v", err)
	}
	if got := b.sync(s, m); len(got.Buckets()) != 1 {
		t.Fatal("a refused restore touched the stream")
	}

	fresh := startBroker(t)
	fs, fm := fresh.store(), fresh.mirror(MirrorOptions{})
	if _, err := fs.Restore(ctx(t), bytes.NewReader(export), false); err != nil {
		t.Fatal(err)
	}
	sameView(t, want, fresh.sync(fs, fm))

	if _, _, err := s.CreateBucket(ctx(t), NewBucket{Name: "later"}); err != nil {
		t.Fatal(err)
	}
	b.sync(s, m)
	if _, err := s.Restore(ctx(t), bytes.NewReader(export), true); err != nil {
		t.Fatal(err)
	}
	sameView(t, want, b.sync(s, b.mirror(MirrorOptions{})))
}

func sameView(t *testing.T, want, got *View) {
	t.Helper()
	if d := cmp.Diff(want.Keys(), got.Keys()) + cmp.Diff(want.Buckets(), got.Buckets()) + cmp.Diff(want.aliases, got.aliases); d != "" {
		t.Error(d)
	}
}

func TestMirrorPersistsItself(t *testing.T) {
	b := startBroker(t)
	file := filepath.Join(t.TempDir(), "control.export")
	s := b.store()
	m := must[*Mirror](t)(NewMirror(b.connect(), MirrorOptions{Log: quiet, PersistTo: file}))
	run, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(run) }()
	k, _, err := s.CreateKey(ctx(t), Key{Name: "kept"})
	if err != nil {
		t.Fatal(err)
	}
	b.sync(s, m)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	lines, err := readExport(bytes.NewReader(must[[]byte](t)(os.ReadFile(file))))
	if err != nil || len(lines) != 1 || lines[0].Key != keyOfKey(k.ID) {
		t.Errorf("%v %v", lines, err)
	}
}

func TestStateIsIdempotentAndIgnoresTheOld(t *testing.T) {
	s := newState(quiet)
	put := func(name string, rev Revision) {
		b := must[[]byte](t)(encodeRecord(Key{ID: "key-one1", Name: name, Secret: "secret"}))
		s.apply("key.key-one1", b, false, rev)
	}
	put("old", 1)
	put("new", 3)
	put("old", 1)
	s.apply("key.key-one1", nil, true, 2)
	v := s.snapshot(emptyView())
	if k := v.Key("key-one1"); k == nil || k.Name != "new" || v.Revision != 3 {
		t.Errorf("got %+v at %d", k, v.Revision)
	}
	s.apply("key.key-one1", []byte(`{"format":99,"data":{}}`), false, 4)
	if v := s.snapshot(v); v.Key("key-one1") != nil {
		t.Error("a record of an unknown format counts")
	}
	if v.Key("key-one1") == nil {
		t.Error("a published view changed")
	}
}

// TestAccessRevision: changes of keys, buckets and aliases raise it, deletions
// too; nothing else does. A mirror that reads the stream anew, or an export
// restored elsewhere, comes to the right one.
func TestAccessRevision(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	view := func(rev Revision, err error) *View {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.WaitRevision(ctx(t), rev); err != nil {
			t.Fatal(err)
		}
		return m.View()
	}
	raised := func(what string, rev Revision, err error) {
		t.Helper()
		if v := view(rev, err); v.Access != rev {
			t.Errorf("%s at %d leaves the access revision at %d", what, rev, v.Access)
		}
	}
	left := func(what string, rev Revision, err error) {
		t.Helper()
		if v := view(rev, err); v.Access >= rev || v.Revision < rev {
			t.Errorf("%s at %d raises the access revision to %d", what, rev, v.Access)
		}
	}
	_, rev, err := s.CreateCluster(ctx(t), Cluster{ID: "c", Region: "r", ReplicationFactor: 1, PartitionBits: 1})
	left("a new cluster", rev, err)
	k, rev, err := s.CreateKey(ctx(t), Key{Name: "one"})
	raised("a new key", rev, err)
	bucket, rev, err := s.CreateBucket(ctx(t), NewBucket{Name: "photos"})
	raised("a new bucket", rev, err)
	rev, err = s.Allow(ctx(t), bucket.ID, k.ID, AllPermissions)
	raised("a permission", rev, err)
	rev, err = s.AddAlias(ctx(t), bucket.ID, "pictures")
	raised("an alias", rev, err)
	rev, err = s.RemoveAlias(ctx(t), bucket.ID, "pictures")
	raised("a removed alias", rev, err)
	rev, err = s.Deny(ctx(t), bucket.ID, k.ID, AllPermissions)
	raised("a permission taken away", rev, err)
	held, err := s.TryLease(ctx(t), &Candidate{Holder: "h"})
	if !held {
		t.Fatal("no lease")
	}
	left("a lease", b.sync(s, m).Revision, err)
	rev, err = s.DeleteKey(ctx(t), m.View(), k.ID)
	raised("a deleted key", rev, err)
	last := rev
	if _, err := s.TryLease(ctx(t), &Candidate{Holder: "h"}); err != nil {
		t.Fatal(err)
	}
	if v := b.sync(s, b.mirror(MirrorOptions{})); v.Access != last || v.Revision <= last {
		t.Errorf("a new mirror at %d has the access revision %d, want %d", v.Revision, v.Access, last)
	}

	file := filepath.Join(t.TempDir(), "control.export")
	if err := m.Export(file); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Restore(ctx(t), bytes.NewReader(must[[]byte](t)(os.ReadFile(file))), true); err != nil {
		t.Fatal(err)
	}
	if v := b.sync(s, b.mirror(MirrorOptions{})); v.Access <= last || v.Access > v.Revision {
		t.Errorf("after a restore at %d the access revision is %d, it was %d", v.Revision, v.Access, last)
	}
}

// TestMirrorDoesWithoutWhatIsGone: an operator's tool may remove the marker of
// the last change. A new mirror waits for it in vain, for a while.
func TestMirrorDoesWithoutWhatIsGone(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	k, _, err := s.CreateKey(ctx(t), Key{Name: "one"})
	if err != nil {
		t.Fatal(err)
	}
	kept, _, err := s.CreateKey(ctx(t), Key{Name: "two"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteKey(ctx(t), b.sync(s, m), k.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.stream.Purge(ctx(t), jetstream.WithPurgeSubject(subjectPrefix+keyOfKey(k.ID))); err != nil {
		t.Fatal(err)
	}
	late := b.mirror(MirrorOptions{})
	if err := late.WaitSynced(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if v := late.View(); v.Key(kept.ID) == nil || v.Key(k.ID) != nil {
		t.Errorf("it shows %v", v.Keys())
	}
}

func TestNamesOfAKey(t *testing.T) {
	s := newState(quiet)
	rev := Revision(0)
	put := func(key string, v any) {
		rev++
		s.apply(key, must[[]byte](t)(encodeRecord(v)), false, rev)
	}
	one, two := Bucket{ID: object.NewBucketID(), Keys: map[string]Permission{"key-one1": AllPermissions}},
		Bucket{ID: object.NewBucketID(), Keys: map[string]Permission{"key-one1": {Read: true}}}
	put(keyOfBucket(one.ID), one)
	put(keyOfBucket(two.ID), two)
	put(keyOfAlias("photos"), Alias{Bucket: one.ID})
	put(keyOfAlias("pictures"), Alias{Bucket: one.ID})
	put(keyOfAlias("dangling"), Alias{Bucket: object.NewBucketID()})
	put(keyOfKey("key-one1"), Key{ID: "key-one1", Secret: "secret", Aliases: map[string]object.BucketID{"photos": two.ID}})
	v := s.snapshot(emptyView())
	var got []string
	for _, n := range v.BucketsOf("key-one1") {
		got = append(got, fmt.Sprintf("%s=%v", n.Name, n.Bucket.ID == one.ID))
	}
	if d := cmp.Diff([]string{"photos=false", "pictures=true"}, got); d != "" {
		t.Error(d)
	}
	if b := v.Resolve(v.Key("key-one1"), "photos"); b.ID != two.ID {
		t.Error("the key's own alias does not come first")
	}
	if v.Resolve(nil, "dangling") != nil || v.Resolve(nil, two.ID.String()).ID != two.ID {
		t.Error("Resolve")
	}
}

func BenchmarkView10kBuckets(b *testing.B) {
	s := newState(quiet)
	for i := range 10000 {
		id := object.NewBucketID()
		s.apply(keyOfBucket(id), must[[]byte](b)(encodeRecord(Bucket{ID: id})), false, Revision(2*i+1))
		s.apply(keyOfAlias(fmt.Sprintf("bucket-%d", i)), must[[]byte](b)(encodeRecord(Alias{Bucket: id})), false, Revision(2*i+2))
	}
	v := emptyView()
	b.Run("publish", func(b *testing.B) {
		for b.Loop() {
			s.touchAll()
			v = s.snapshot(v)
		}
	})
	b.Run("index", func(b *testing.B) {
		for b.Loop() {
			v.buildIndex()
		}
	})
}
