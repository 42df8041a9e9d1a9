package control

import (
	"errors"
	"sync"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
)

func TestOnlyOneOfManyCreatorsGetsAName(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	const creators = 8
	var wg sync.WaitGroup
	errs := make([]error, creators)
	for i := range creators {
		wg.Go(func() {
			_, _, errs[i] = b.store().CreateBucket(ctx(t), NewBucket{Name: "wanted"})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !fault.Is(err, fault.AlreadyExists):
			t.Errorf("loser got %v", err)
		}
	}
	v := b.sync(s, m)
	if won != 1 || len(v.Buckets()) != 1 {
		t.Fatalf("%d creators won, %d buckets", won, len(v.Buckets()))
	}
}

func TestConcurrentAdminsLoseNoChange(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	bucket, _, err := s.CreateBucket(ctx(t), NewBucket{Name: "shared"})
	if err != nil {
		t.Fatal(err)
	}
	const admins = 8
	var wg sync.WaitGroup
	keys := make([]string, admins)
	for i := range admins {
		k, _, err := s.CreateKey(ctx(t), Key{Name: "admin"})
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = k.ID
		wg.Go(func() {
			if _, err := b.store().Allow(ctx(t), bucket.ID, k.ID, Permission{Read: true}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := b.sync(s, m).Bucket(bucket.ID)
	for _, k := range keys {
		if !got.Keys[k].Read {
			t.Errorf("the right of %s was lost", k)
		}
	}
}

func TestCrashedCreationIsInvisibleAndCanBeRepeated(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	id, err := s.reserve(ctx(t), "crashed", object.NewBucketID()) // and then the admin died
	if err != nil {
		t.Fatal(err)
	}
	v := b.sync(s, m)
	if v.Resolve(nil, "crashed") != nil || len(v.Buckets()) != 0 || len(v.GlobalAliases(id)) != 0 {
		t.Fatal("half a bucket is visible")
	}
	made, rev, err := s.CreateBucket(ctx(t), NewBucket{Name: "crashed"})
	if err != nil {
		t.Fatal(err)
	}
	if made.ID != id {
		t.Errorf("the reservation for %s was not completed but replaced by %s", id, made.ID)
	}
	if err := m.WaitRevision(ctx(t), rev); err != nil {
		t.Fatal(err)
	}
	if m.View().Resolve(nil, "crashed") == nil {
		t.Error("the bucket cannot be found")
	}
}

// An alias may outlive its bucket when an admin dies while it adds one to a
// bucket that is being deleted. Whoever takes that name must not get the old
// bucket's id, under which rows may be left.
func TestTheIDOfADeletedBucketIsNotGivenAgain(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	old, _, err := s.CreateBucket(ctx(t), NewBucket{Name: "old"})
	if err != nil {
		t.Fatal(err)
	}
	mark, err := s.MarkDeleting(ctx(t), old.ID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Condemn(ctx(t), old.ID, mark, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Clear(ctx(t), b.sync(s, m), old.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.put(ctx(t), keyOfAlias("left"), Alias{Bucket: old.ID}, 0); err != nil {
		t.Fatal(err)
	}
	made, _, err := s.CreateBucket(ctx(t), NewBucket{Name: "left"})
	if err != nil {
		t.Fatal(err)
	}
	if made.ID == old.ID {
		t.Error("the new bucket has the old one's id")
	}
	if v := b.sync(s, m); v.Resolve(nil, "left") == nil || v.Resolve(nil, "left").ID != made.ID {
		t.Error("the name leads elsewhere")
	}
}

func TestAReservationTakenByAnAliasFailsItsCreator(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	other, _, err := s.CreateBucket(ctx(t), NewBucket{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.reserve(ctx(t), "name", object.NewBucketID()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddAlias(ctx(t), other.ID, "name"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.CreateBucket(ctx(t), NewBucket{Name: "name"}); !fault.Is(err, fault.AlreadyExists) {
		t.Fatalf("got %v", err)
	}
	if v := b.sync(s, m); v.Resolve(nil, "name").ID != other.ID {
		t.Error("the alias leads elsewhere")
	}
}

func TestDeletionSteps(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	now := time.Now()
	k, _, err := s.CreateKey(ctx(t), Key{})
	if err != nil {
		t.Fatal(err)
	}
	bucket, _, err := s.CreateBucket(ctx(t), NewBucket{Name: "doomed", Keys: map[string]Permission{k.ID: AllPermissions}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddLocalAlias(ctx(t), bucket.ID, k.ID, "mine"); err != nil {
		t.Fatal(err)
	}
	mark, err := s.MarkDeleting(ctx(t), bucket.ID, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.MarkDeleting(ctx(t), bucket.ID, now); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second deletion began: %v", err)
	}
	if _, err := s.Unmark(ctx(t), bucket.ID, mark, now); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Condemn(ctx(t), bucket.ID, mark, now); !fault.Is(err, fault.Conflict) {
		t.Fatalf("a bucket was condemned after its mark was taken back: %v", err)
	}
	if mark, err = s.MarkDeleting(ctx(t), bucket.ID, now); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Condemn(ctx(t), bucket.ID, mark, now); err != nil {
		t.Fatal(err)
	}
	v := b.sync(s, m)
	if v.Bucket(bucket.ID) != nil || v.Resolve(v.Key(k.ID), "doomed") != nil || v.Resolve(v.Key(k.ID), "mine") != nil || len(v.BucketsOf(k.ID)) != 0 {
		t.Error("a condemned bucket is visible")
	}
	if _, err := s.AddAlias(ctx(t), bucket.ID, "late"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a condemned bucket got a name: %v", err)
	}
	if _, err := s.Clear(ctx(t), v, bucket.ID); err != nil {
		t.Fatal(err)
	}
	v = b.sync(s, m)
	if len(v.deleted) != 0 || len(v.aliases) != 0 || len(v.Key(k.ID).Aliases) != 0 {
		t.Errorf("left over: %v %v %v", v.deleted, v.aliases, v.Key(k.ID).Aliases)
	}
	again, _, err := s.CreateBucket(ctx(t), NewBucket{Name: "doomed"})
	if err != nil {
		t.Fatal(err)
	}
	if again.ID == bucket.ID {
		t.Error("a deleted bucket's id was used again")
	}
}

func TestADeletedKeysRightsDoNotComeBack(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	k := Key{ID: "imported-key", Secret: NewSecret()}
	if _, _, err := s.ImportKey(ctx(t), b.sync(s, m), k); err != nil {
		t.Fatal(err)
	}
	bucket, _, err := s.CreateBucket(ctx(t), NewBucket{Name: "held", Keys: map[string]Permission{k.ID: AllPermissions}})
	if err != nil {
		t.Fatal(err)
	}
	// A deletion cut short after its first write.
	_, rev, err := load[Key](ctx(t), s, keyOfKey(k.ID))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.remove(ctx(t), keyOfKey(k.ID), rev); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ImportKey(ctx(t), b.sync(s, m), k); err != nil {
		t.Fatal(err)
	}
	v := b.sync(s, m)
	if got := v.Bucket(bucket.ID).Keys; len(got) != 0 {
		t.Errorf("a new key inherited %v", got)
	}
	if _, err := s.Allow(ctx(t), bucket.ID, k.ID, AllPermissions); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteKey(ctx(t), b.sync(s, m), k.ID); err != nil {
		t.Fatal(err)
	}
	v = b.sync(s, m)
	if v.Key(k.ID) != nil || len(v.Bucket(bucket.ID).Keys) != 0 {
		t.Error("something of the key is left")
	}
	if _, err := s.DeleteKey(ctx(t), v, k.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("second deletion: %v", err)
	}
}

func TestClusterIsBornOnce(t *testing.T) {
	b := startBroker(t)
	s := b.store()
	first, _, err := s.CreateCluster(ctx(t), Cluster{ID: "one", Region: "hangar", ReplicationFactor: 1, PartitionBits: 8})
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := s.CreateCluster(ctx(t), Cluster{ID: "two", Region: "elsewhere", ReplicationFactor: 3, PartitionBits: 8})
	if err != nil {
		t.Fatal(err)
	}
	if first.ID != "one" || again.ID != "one" || again.ReplicationFactor != 1 {
		t.Errorf("got %+v, then %+v", first, again)
	}
}

func TestConsistencyChanges(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	if _, err := s.SetConsistency(ctx(t), Degraded); !fault.Is(err, fault.NotFound) {
		t.Errorf("before the cluster's birth: %v", err)
	}
	born := Cluster{ID: "one", Region: "hangar", ReplicationFactor: 3, PartitionBits: 8}
	born.Consistency = "sloppy"
	if _, _, err := s.CreateCluster(ctx(t), born); !fault.Is(err, fault.Invalid) {
		t.Errorf("born with an unknown mode: %v", err)
	}
	born.Consistency = ""
	if _, _, err := s.CreateCluster(ctx(t), born); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		mode                Consistency
		readsOne, writesOne bool
	}{{Degraded, true, false}, {Dangerous, true, true}, {Consistent, false, false}} {
		if _, err := s.SetConsistency(ctx(t), test.mode); err != nil {
			t.Fatal(err)
		}
		c := b.sync(s, m).Cluster
		if c.Consistency != test.mode || c.Consistency.ReadsOne() != test.readsOne || c.Consistency.WritesOne() != test.writesOne {
			t.Errorf("%s: %+v", test.mode, c)
		}
		if c.Consistency = ""; c != born {
			t.Errorf("more changed than the mode: %+v", c)
		}
	}
	if _, err := s.SetConsistency(ctx(t), "sloppy"); !fault.Is(err, fault.Invalid) {
		t.Errorf("an unknown mode: %v", err)
	}
}

func TestTokens(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	soon := time.Now().Add(time.Hour)
	secret, tok, _, err := s.CreateToken(ctx(t), Token{Name: "ci", Scope: []string{"*"}, Expiration: &soon})
	if err != nil {
		t.Fatal(err)
	}
	v := b.sync(s, m)
	last := secret[:len(secret)-1] + string('0'+(secret[len(secret)-1]+1)%10)
	for _, c := range []struct {
		secret string
		at     time.Time
		want   bool
	}{
		{secret, time.Now(), true},
		{secret, soon, false},
		{last, time.Now(), false},
		{"", time.Now(), false},
		{".", time.Now(), false},
		{tok.ID, time.Now(), false},
		{tok.ID + ".", time.Now(), false},
	} {
		if got := v.Authenticate(c.secret, c.at) != nil; got != c.want {
			t.Errorf("Authenticate(%q, %v) = %v", c.secret, c.at, got)
		}
	}
	if _, err := s.DeleteToken(ctx(t), tok.ID); err != nil {
		t.Fatal(err)
	}
	if b.sync(s, m).Authenticate(secret, time.Now()) != nil {
		t.Error("a deleted token lets in")
	}
}

func TestStoreErrorsHaveKinds(t *testing.T) {
	b := startBroker(t)
	s := b.store()
	bucket, _, err := s.CreateBucket(ctx(t), NewBucket{})
	if err != nil {
		t.Fatal(err)
	}
	nobody, nowhere := NewKeyID(), object.NewBucketID()
	for name, c := range map[string]struct {
		want fault.Kind
		do   func() error
	}{
		"bad bucket name":       {fault.Invalid, func() error { _, _, err := s.CreateBucket(ctx(t), NewBucket{Name: "NO"}); return err }},
		"allow unknown key":     {fault.NotFound, func() error { _, err := s.Allow(ctx(t), bucket.ID, nobody, AllPermissions); return err }},
		"allow wildcard key":    {fault.NotFound, func() error { _, err := s.Allow(ctx(t), bucket.ID, ">", AllPermissions); return err }},
		"deny unknown bucket":   {fault.NotFound, func() error { _, err := s.Deny(ctx(t), nowhere, nobody, AllPermissions); return err }},
		"alias unknown bucket":  {fault.NotFound, func() error { _, err := s.AddAlias(ctx(t), nowhere, "name"); return err }},
		"remove unknown alias":  {fault.NotFound, func() error { _, err := s.RemoveAlias(ctx(t), bucket.ID, "name"); return err }},
		"local of unknown key":  {fault.NotFound, func() error { _, err := s.AddLocalAlias(ctx(t), bucket.ID, nobody, "name"); return err }},
		"short secret":          {fault.Invalid, func() error { _, _, err := s.CreateKey(ctx(t), Key{Secret: "x"}); return err }},
		"wildcard token":        {fault.NotFound, func() error { _, err := s.DeleteToken(ctx(t), "*"); return err }},
		"update a missing key":  {fault.NotFound, func() error { _, _, err := s.UpdateKey(ctx(t), nobody, func(*Key) error { return nil }); return err }},
		"stale compare-and-set": {fault.Conflict, func() error { _, err := s.put(ctx(t), keyLayout, Layout{}, 1<<40); return err }},
	} {
		if err := c.do(); !fault.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if _, err := s.Deny(ctx(t), bucket.ID, nobody, AllPermissions); err != nil {
		t.Errorf("denying what is not allowed: %v", err)
	}
}

func TestLayoutIsStagedAndApplied(t *testing.T) {
	b := startBroker(t)
	s, m := b.store(), b.mirror(MirrorOptions{})
	if err := m.WaitSynced(ctx(t)); err != nil {
		t.Fatal(err)
	}
	changed := m.Changed()
	role := Role{Node: object.NewNodeID(), Service: "meta", Zone: "a", CapacityBytes: 1}
	if _, err := s.StageLayout(ctx(t), func(l *StagedLayout) error {
		l.Changes = append(l.Changes, RoleChange{Node: role.Node, Role: &role})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if b.sync(s, m).Staged.IsEmpty() {
		t.Fatal("nothing is staged")
	}
	select {
	case <-changed:
		t.Fatal("staging changed the layout")
	default:
	}
	_, staged, err := s.Staged(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ApplyLayout(ctx(t), Layout{Version: 1, Roles: []Role{role}}, 0, staged); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ApplyLayout(ctx(t), Layout{Version: 1}, 0, staged); !fault.Is(err, fault.Conflict) {
		t.Errorf("applied twice: %v", err)
	}
	<-changed
	if v := b.sync(s, m); v.Layout.Version != 1 || !v.Staged.IsEmpty() {
		t.Errorf("layout %+v, staged %+v", v.Layout, v.Staged)
	}
}

func TestAStoppedServerIsUnavailable(t *testing.T) {
	b := startBroker(t)
	s := b.store()
	b.srv.Shutdown()
	defer b.start("127.0.0.1:0")
	short, cancel := contextWithTimeout(200 * time.Millisecond)
	defer cancel()
	_, _, err := s.CreateKey(short, Key{})
	if !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Indeterminate) {
		t.Errorf("got %v", err)
	}
	if errors.Is(err, errUnchanged) {
		t.Error("an internal error escaped")
	}
}
