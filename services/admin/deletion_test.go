package admin_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"hangar/services/admin"
	"hangar/shared/adminapi"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
)

func TestABucketThatHoldsSomethingStays(t *testing.T) {
	s := start(t)
	first := s.boot()
	id := mustBucket(t, s, "first")
	item := string(metaapi.AppendItemCounters(nil, metaapi.ItemCounters{Entries: 1, Values: 1, Bytes: 5}))
	for _, table := range []metaapi.Table{metaapi.Objects, metaapi.Uploads, metaapi.Items} {
		key := metaapi.RowKey{Table: table, Bucket: id, Key: "k", Sub: map[metaapi.Table]string{metaapi.Uploads: "upload", metaapi.Items: "sk"}[table]}
		head := cmp.Or(map[metaapi.Table]string{metaapi.Items: item}[table], "x")
		if _, err := s.rows.Put(s.ctx(), key, &metaapi.Value{Head: []byte(head), Count: 1, Bytes: 5}); err != nil {
			t.Fatal(err)
		}
		if a := s.want(409, "POST", "/v2/DeleteBucket?id="+id.String(), nil); a.json["code"] != "BucketNotEmpty" {
			t.Errorf("%s", a.body)
		}
		if b, _, err := s.store.Bucket(s.ctx(), id); err != nil || b.State != control.BucketActive {
			t.Fatalf("the bucket was left %v: %v", b, err)
		}
		if _, err := s.rows.Put(s.ctx(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
	// A deleted item leaves a row, which is nothing that the bucket holds.
	gone := metaapi.RowKey{Table: metaapi.Items, Bucket: id, Key: "k", Sub: "gone"}
	if _, err := s.rows.Put(s.ctx(), gone, &metaapi.Value{Head: metaapi.AppendItemCounters(nil, metaapi.ItemCounters{})}); err != nil {
		t.Fatal(err)
	}
	if err := s.svc.Buckets().Delete(s.ctx(), first.Key.ID, id); err != nil {
		t.Fatal(err)
	}
	s.want(404, "GET", "/v2/GetBucketInfo?globalAlias=first", nil)
}

func mustBucket(t *testing.T, s *site, name string) object.BucketID {
	t.Helper()
	a := s.want(200, "GET", "/v2/GetBucketInfo?globalAlias="+name, nil)
	id, err := object.ParseBucketID(fmt.Sprint(a.json["id"]))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A process that does not confirm may still take writes, so nothing may be
// deleted; ordinary changes are made and say that they are not everywhere.
func TestAProcessThatDoesNotConfirm(t *testing.T) {
	s := start(t)
	s.boot()
	id := mustBucket(t, s, "first")
	s.join("gateway", func(ctx context.Context, _ uint64) error { <-ctx.Done(); return ctx.Err() })
	limit := s.ctx()
	for s.want(200, "POST", "/v2/CreateKey", m{}).header.Get("X-Hangar-Barrier") != "timeout" {
		if limit.Err() != nil { // until presence has noticed it
			t.Fatal("the barrier never waits for the new process")
		}
	}
	if a := s.want(503, "POST", "/v2/DeleteBucket?id="+id.String(), nil); a.json["code"] != "ServiceUnavailable" {
		t.Errorf("%s", a.body)
	}
	if b, _, err := s.store.Bucket(s.ctx(), id); err != nil || b.State != control.BucketActive {
		t.Errorf("%v %v", b, err)
	}
}

// Replicas that have not confirmed a change of access may serve a gateway that
// nobody has heard of: then the change is not applied everywhere, and nothing is
// deleted. What is no change of access does not wait for them.
func TestReplicasThatDoNotConfirm(t *testing.T) {
	s := start(t)
	s.boot()
	id := mustBucket(t, s, "first")
	barrier := func(path string, in m) string {
		return s.want(200, "POST", path, in).header.Get("X-Hangar-Barrier")
	}
	if got := barrier("/v2/CreateKey", m{}); got != "" {
		t.Errorf("with all replicas: %q", got)
	}
	s.replica.hold(true)
	if got := barrier("/v2/CreateKey", m{}); got != "timeout" {
		t.Errorf("without the replicas: %q", got)
	}
	stage := m{"roles": []m{{"id": object.NewNodeID().String(), "zone": "b", "capacity": 1 << 30, "tags": []string{}, "service": "meta"}}}
	if got := barrier("/v2/UpdateClusterLayout", stage); got != "" {
		t.Errorf("a layout waits for them: %q", got)
	}
	if a := s.want(503, "POST", "/v2/DeleteBucket?id="+id.String(), nil); a.json["code"] != "ServiceUnavailable" {
		t.Errorf("%s", a.body)
	}
	if b, _, err := s.store.Bucket(s.ctx(), id); err != nil || b.State != control.BucketActive {
		t.Errorf("%v %v", b, err)
	}
	s.replica.hold(false)
	s.want(200, "POST", "/v2/DeleteBucket?id="+id.String(), nil)
}

// While a bucket is looked into, every process must see it refusing writes.
func TestWritersAreShutOutBeforeTheBucketIsLookedInto(t *testing.T) {
	s := start(t)
	first := s.boot()
	_, gateway := s.join("gateway", nil)
	if err := gateway.WaitSynced(s.ctx()); err != nil {
		t.Fatal(err)
	}
	id := mustBucket(t, s, "first")
	// A writer as a gateway is one: it writes while its mirror says it may.
	ctx, stop := context.WithCancel(s.ctx())
	var wg sync.WaitGroup
	var wrote []string
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			b := gateway.View().Bucket(id)
			if b == nil || b.State != control.BucketActive {
				return
			}
			key := fmt.Sprint(i)
			if _, err := s.rows.Put(ctx, metaapi.RowKey{Table: metaapi.Objects, Bucket: id, Key: key}, &metaapi.Value{Head: []byte("x")}); err == nil {
				wrote = append(wrote, key)
			}
			if i == 3 {
				for _, k := range wrote { // empty for a moment
					_, _ = s.rows.Put(ctx, metaapi.RowKey{Table: metaapi.Objects, Bucket: id, Key: k}, nil)
				}
				wrote = nil
			}
		}
	})
	err := s.svc.Buckets().Delete(s.ctx(), first.Key.ID, id)
	stop()
	wg.Wait()
	if err == nil && len(wrote) > 0 {
		t.Errorf("a bucket with %d objects was deleted", len(wrote))
	}
	if err != nil && !fault.Is(err, fault.NotEmpty) {
		t.Error(err)
	}
}

func TestConcurrentDeletions(t *testing.T) {
	s := start(t)
	first := s.boot()
	id := mustBucket(t, s, "first")
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() { errs[i] = s.svc.Buckets().Delete(s.ctx(), first.Key.ID, id) })
	}
	wg.Wait()
	deleted := 0
	for _, err := range errs {
		switch {
		case err == nil:
			deleted++
		case !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound):
			t.Error(err)
		}
	}
	if deleted != 1 {
		t.Errorf("deleted %d times", deleted)
	}
}

func TestBucketsOverRPC(t *testing.T) {
	s := start(t)
	first := s.boot()
	conn, mirror := s.join("gateway", nil)
	buckets := adminapi.NewClient(conn)
	owner := first.Key.ID
	id, err := buckets.Create(s.ctx(), owner, "by-s3")
	if err != nil {
		t.Fatal(err)
	}
	// The answer came after the barrier: no waiting needed once presence knows
	// the gateway, else a little.
	if err := mirror.WaitRevision(s.ctx(), 1); err != nil {
		t.Fatal(err)
	}
	weak, _, err := s.store.CreateKey(s.ctx(), control.Key{Name: "weak"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		want fault.Kind
		do   func() error
	}{
		"taken":        {fault.AlreadyExists, func() error { _, err := buckets.Create(s.ctx(), owner, "by-s3"); return err }},
		"invalid":      {fault.Invalid, func() error { _, err := buckets.Create(s.ctx(), owner, "No"); return err }},
		"denied":       {fault.Denied, func() error { _, err := buckets.Create(s.ctx(), weak.ID, "weak-bucket"); return err }},
		"nobody":       {fault.NotFound, func() error { _, err := buckets.Create(s.ctx(), "GKnobody", "nobodys"); return err }},
		"not owner":    {fault.Denied, func() error { return buckets.Delete(s.ctx(), weak.ID, id) }},
		"no bucket":    {fault.NotFound, func() error { return buckets.Delete(s.ctx(), owner, object.NewBucketID()) }},
		"endless name": {fault.Invalid, func() error { _, err := buckets.Create(s.ctx(), owner, string(make([]byte, 8<<10))); return err }},
	} {
		if err := c.do(); !fault.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if err := buckets.Delete(s.ctx(), owner, id); err != nil {
		t.Fatal(err)
	}
}

func TestBootstrapIsIdempotent(t *testing.T) {
	s := start(t)
	in := bootInput()
	a, err := s.svc.Bootstrap(s.ctx(), in)
	if err != nil {
		t.Fatal(err)
	}
	if !a.MadeCluster || !a.MadeLayout || !a.MadeKey || !a.MadeBucket || a.Key == nil || len(a.Key.Secret) != 64 {
		t.Fatalf("%+v", a)
	}
	b, err := s.svc.Bootstrap(s.ctx(), in)
	if err != nil {
		t.Fatal(err)
	}
	if b.MadeCluster || b.MadeLayout || b.MadeKey || b.MadeBucket || b.Cluster.ID != a.Cluster.ID {
		t.Errorf("%+v", b)
	}
	in.AccessKey, in.SecretKey, in.Bucket = "GKdefault", "default-secret", "second"
	for i := range 2 {
		c, err := s.svc.Bootstrap(s.ctx(), in)
		if err != nil {
			t.Fatal(err)
		}
		if c.Key.ID != "GKdefault" || c.MadeKey != (i == 0) || c.MadeBucket != (i == 0) {
			t.Errorf("%d: %+v", i, c)
		}
	}
	in.SecretKey = "another-secret"
	if _, err := s.svc.Bootstrap(s.ctx(), in); !fault.Is(err, fault.Invalid) {
		t.Errorf("a different secret was accepted: %v", err)
	}
	l, _, err := s.store.Layout(s.ctx())
	if err != nil || l.Version != 1 {
		t.Errorf("%v %v", l, err)
	}
}

func TestConcurrentBootstraps(t *testing.T) {
	s := start(t)
	in := bootInput()
	in.AccessKey, in.SecretKey = "GKdefault", "default-secret"
	var wg sync.WaitGroup
	made := make([]admin.Bootstrapped, 4)
	for i := range made {
		wg.Go(func() {
			var err error
			if made[i], err = s.svc.Bootstrap(s.ctx(), in); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	clusters, layouts := 0, 0
	for _, b := range made {
		if b.MadeCluster {
			clusters++
		}
		if b.MadeLayout {
			layouts++
		}
		if b.Cluster.ID != made[0].Cluster.ID {
			t.Error("two clusters")
		}
	}
	if layouts != 1 {
		t.Errorf("%d clusters, %d layouts made", clusters, layouts)
	}
}

func TestConfigIsValidated(t *testing.T) {
	for _, c := range []admin.Config{{}, {Token: "short"}, {Token: token, ControlReplicas: 2}} {
		if c.Validate() == nil {
			t.Errorf("%+v passes", c)
		}
	}
	s := start(t)
	conn, mirror := s.join("admin", nil)
	svc, err := admin.New(s.ctx(), admin.Config{Token: token, Addr: s.svc.Addr().String()}, admin.Deps{Conn: conn, Mirror: mirror, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.Run(s.ctx()); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two services on one port: %v", err)
	}
}
