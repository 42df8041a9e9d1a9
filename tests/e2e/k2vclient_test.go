package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hangar/client/k2v"
	"hangar/tests/harness"
)

// k2vClient is a client of a bucket of its own.
func k2vClient(t *testing.T, s *harness.Server, change ...func(*k2v.Options)) *k2v.Client {
	t.Helper()
	return k2vClientOf(t, s, newBucket(t, s), change...)
}

func k2vClientOf(t *testing.T, s *harness.Server, bucket string, change ...func(*k2v.Options)) *k2v.Client {
	t.Helper()
	o := k2v.Options{Endpoint: s.K2V, Region: harness.Region, Bucket: bucket, AccessKeyID: harness.AccessKey, SecretAccessKey: harness.SecretKey}
	for _, f := range change {
		f(&o)
	}
	c, err := k2v.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newBucket makes a bucket that the harness's key may use.
func newBucket(t *testing.T, s *harness.Server) string {
	t.Helper()
	name := strings.ToLower(uniqueKey(t))
	var made struct{ ID string }
	s.AdminCall("POST", "/v2/CreateBucket", map[string]any{"globalAlias": name}, &made)
	s.AdminCall("POST", "/v2/AllowBucketKey", map[string]any{
		"bucketId": made.ID, "accessKeyId": harness.AccessKey,
		"permissions": map[string]bool{"read": true, "write": true, "owner": true},
	}, nil)
	return name
}

func texts(values [][]byte) (out []string) {
	for _, v := range values {
		out = append(out, string(v))
	}
	slices.Sort(out)
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestK2VClientKeepsAndResolvesConflicts(t *testing.T) {
	c := k2vClient(t, sharedServer(t))
	ctx := testContext(t, time.Minute)
	if _, err := c.ReadItem(ctx, "p", "s"); !errors.Is(err, k2v.ErrNotFound) {
		t.Fatalf("before anything was written: %v", err)
	}
	must(t, c.InsertItem(ctx, "p", "s", "", []byte("a\n")))
	must(t, c.InsertItem(ctx, "p", "s", "", []byte("b\n")))
	must(t, c.InsertItem(ctx, "p", "s", "", []byte("b\n"))) // as a repeated one
	item, err := c.ReadItem(ctx, "p", "s")
	if err != nil || !slices.Equal(texts(item.Values), []string{"a\n", "b\n"}) || !item.Conflict() {
		t.Fatalf("%+v, %v", item, err)
	}
	if _, err := item.Value(); !errors.Is(err, k2v.ErrConflict) {
		t.Errorf("one value of two: %v", err)
	}
	must(t, c.Resolve(ctx, item, k2v.Union))
	item, err = c.ReadItem(ctx, "p", "s")
	if v, e := item.Value(); err != nil || e != nil || string(v) != "a\nb\n" {
		t.Fatalf("resolved: %+v, %v, %v", item, err, e)
	}

	must(t, c.DeleteItem(ctx, "p", "s", item.Token))
	gone, err := c.ReadItem(ctx, "p", "s")
	if err != nil || !gone.Deleted || len(gone.Values) != 0 {
		t.Fatalf("deleted: %+v, %v", gone, err)
	}
	must(t, c.InsertItem(ctx, "p", "s", item.Token, []byte("did not see the deletion")))
	both, err := c.ReadItem(ctx, "p", "s")
	if err != nil || !both.Deleted || len(both.Values) != 1 || !both.Conflict() {
		t.Fatalf("a value beside a deletion: %+v, %v", both, err)
	}
	must(t, c.InsertItem(ctx, "p", "s", both.Token, nil))
	if empty, err := c.ReadItem(ctx, "p", "s"); err != nil || empty.Deleted || len(empty.Values) != 1 || empty.Values[0] == nil || len(empty.Values[0]) != 0 {
		t.Fatalf("an empty value: %+v, %v", empty, err)
	}
}

// TestK2VClientLosesNoUpdate has several clients add to one item at once.
func TestK2VClientLosesNoUpdate(t *testing.T) {
	c := k2vClient(t, sharedServer(t))
	ctx := testContext(t, time.Minute)
	var wg sync.WaitGroup
	want := ""
	for i := range 8 {
		want += fmt.Sprintf("line %d\n", i)
		wg.Go(func() {
			add := k2v.Settle(k2v.Union, func(v []byte) ([]byte, error) { return fmt.Appendf(v, "line %d\n", i), nil })
			if err := c.Update(ctx, "p", "set", add); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	must(t, c.Update(ctx, "p", "set", k2v.Union))
	item, err := c.ReadItem(ctx, "p", "set")
	if v, e := item.Value(); err != nil || e != nil || string(v) != want {
		t.Errorf("%q, %v, %v", v, err, e)
	}
	must(t, c.Update(ctx, "p", "set", func([][]byte) ([]byte, error) { return nil, k2v.ErrKeep }))
	if same, err := c.ReadItem(ctx, "p", "set"); err != nil || same.Token != item.Token {
		t.Errorf("kept: %+v, %v", same, err)
	}
	must(t, c.Update(ctx, "p", "set", func([][]byte) ([]byte, error) { return nil, k2v.ErrDelete }))
	if gone, err := c.ReadItem(ctx, "p", "set"); err != nil || len(gone.Values) != 0 {
		t.Errorf("deleted: %+v, %v", gone, err)
	}
}

func TestK2VClientBatchesAndIterators(t *testing.T) {
	c := k2vClient(t, sharedServer(t))
	ctx := testContext(t, 2*time.Minute)
	const many = 1203 // several pages of an iterator
	var batch []k2v.Insert
	for i := range many {
		batch = append(batch, k2v.Insert{PartitionKey: "big", SortKey: fmt.Sprintf("%05d", i), Value: fmt.Appendf(nil, "value %d", i)})
	}
	for _, p := range []string{"a/ä", "..", "x?y&z=1"} {
		batch = append(batch, k2v.Insert{PartitionKey: p, SortKey: "only", Value: []byte(p)}, k2v.Insert{PartitionKey: p, SortKey: "dead", Delete: true})
	}
	batch = append(batch, k2v.Insert{PartitionKey: "..", SortKey: "only", Value: []byte("another")})
	must(t, c.InsertBatch(ctx, batch))

	keys := func(q k2v.Query) (out []string) {
		for item, err := range c.Items(ctx, q) {
			must(t, err)
			out = append(out, item.SortKey)
		}
		return out
	}
	all := keys(k2v.Query{PartitionKey: "big"})
	if len(all) != many || !slices.IsSorted(all) {
		t.Errorf("%d items", len(all))
	}
	backwards := keys(k2v.Query{PartitionKey: "big", Reverse: true})
	slices.Reverse(backwards)
	if !slices.Equal(all, backwards) {
		t.Error("from the end it is something else")
	}
	for _, x := range []struct {
		q    k2v.Query
		want []string
	}{
		{k2v.Query{PartitionKey: "big", Prefix: "0003", Limit: 3}, []string{"00030", "00031", "00032"}},
		{k2v.Query{PartitionKey: "big", Start: "01200", End: "01202"}, []string{"01200", "01201"}},
		{k2v.One("big", "00007"), []string{"00007"}},
		{k2v.One("big", "no"), nil},
		{k2v.Query{PartitionKey: "x?y&z=1"}, []string{"only"}},
		{k2v.Query{PartitionKey: "x?y&z=1", Tombstones: true}, []string{"dead", "only"}},
		{k2v.Query{PartitionKey: "..", ConflictsOnly: true}, []string{"only"}},
		{k2v.Query{PartitionKey: "a/ä", ConflictsOnly: true}, nil},
	} {
		if got := keys(x.q); !slices.Equal(got, x.want) {
			t.Errorf("%+v: %q", x.q, got)
		}
	}
	if item, err := c.ReadItem(ctx, "..", "only"); err != nil || len(item.Values) != 2 {
		t.Errorf("a partition named ..: %+v, %v", item, err)
	}

	var index []k2v.Partition
	for p, err := range c.Partitions(ctx, k2v.IndexQuery{}) {
		must(t, err)
		index = append(index, p)
	}
	want := []k2v.Partition{
		{Key: "..", Entries: 1, Conflicts: 1, Values: 2, Bytes: 9}, {Key: "a/ä", Entries: 1, Values: 1, Bytes: 4},
		{Key: "big", Entries: many, Values: many}, {Key: "x?y&z=1", Entries: 1, Values: 1, Bytes: 7},
	}
	sizeOf := int64(0)
	for _, in := range batch[:many] {
		sizeOf += int64(len(in.Value))
	}
	want[2].Bytes = sizeOf
	if !slices.Equal(index, want) {
		t.Errorf("index: %+v", index)
	}

	counts, err := c.DeleteBatch(ctx, k2v.Query{PartitionKey: "big", Prefix: "000"}, k2v.One("big", "01000"), k2v.One("big", "no"))
	if err != nil || !slices.Equal(counts, []int64{100, 1, 0}) {
		t.Errorf("deleted %v, %v", counts, err)
	}
	if left := keys(k2v.Query{PartitionKey: "big"}); len(left) != many-101 {
		t.Errorf("%d are left", len(left))
	}
}

func TestK2VClientErrors(t *testing.T) {
	s := sharedServer(t)
	c := k2vClient(t, s)
	ctx := testContext(t, time.Minute)
	read := func(change func(*k2v.Options)) error {
		_, err := k2vClientOf(t, s, c.Bucket(), change).ReadItem(ctx, "p", "s")
		return err
	}
	for name, x := range map[string]struct{ err, want error }{
		"no such bucket": {read(func(o *k2v.Options) { o.Bucket = "nowhere" }), k2v.ErrNoBucket},
		"wrong secret":   {read(func(o *k2v.Options) { o.SecretAccessKey = "guessed" }), k2v.ErrDenied},
		"unknown key":    {read(func(o *k2v.Options) { o.AccessKeyID = "GK0000" }), k2v.ErrDenied},
		"not K2V":        {read(func(o *k2v.Options) { o.Endpoint = s.Admin }), k2v.ErrInvalid},
		"S3":             {read(func(o *k2v.Options) { o.Endpoint = s.S3 }), k2v.ErrInvalid},
		"too large":      {c.InsertItem(ctx, "p", "s", "", make([]byte, 1<<20+1)), k2v.ErrTooLarge},
		"bad token":      {c.InsertItem(ctx, "p", "s", "tra$h", nil), k2v.ErrInvalid},
		"no partition":   {c.InsertItem(ctx, "", "s", "", nil), k2v.ErrInvalid},
		"token needed":   {c.DeleteItem(ctx, "p", "s", ""), k2v.ErrInvalid},
	} {
		if !errors.Is(x.err, x.want) {
			t.Errorf("%s: %v", name, x.err)
		}
	}
	if _, err := c.ReadItem(ctx, "p", "s"); !errors.Is(err, k2v.ErrNotFound) {
		t.Errorf("something was written: %v", err)
	}
}

func TestK2VClientPolls(t *testing.T) {
	c := k2vClient(t, sharedServer(t))
	ctx := testContext(t, time.Minute)
	if _, changed, err := c.PollItem(ctx, "p", "s", k2v.Unseen, time.Second); changed || err != nil {
		t.Fatalf("nothing was written: %v, %v", changed, err)
	}
	type polled struct {
		item    k2v.Item
		changed bool
		err     error
	}
	wakes := func(token k2v.Token, write func()) k2v.Item {
		t.Helper()
		got := make(chan polled, 1)
		go func() {
			item, changed, err := c.PollItem(ctx, "p", "s", token, 30*time.Second)
			got <- polled{item, changed, err}
		}()
		write()
		p := <-got
		if p.err != nil || !p.changed {
			t.Fatalf("%+v", p)
		}
		return p.item
	}
	first := wakes(k2v.Unseen, func() { must(t, c.InsertItem(ctx, "p", "s", "", []byte("1"))) })
	second := wakes(first.Token, func() { must(t, c.InsertItem(ctx, "p", "s", first.Token, []byte("2"))) })
	if v, err := second.Value(); err != nil || string(v) != "2" {
		t.Fatalf("%q, %v", v, err)
	}
	gone := wakes(second.Token, func() { must(t, c.DeleteItem(ctx, "p", "s", second.Token)) })
	if !gone.Deleted || len(gone.Values) != 0 {
		t.Fatalf("deleted: %+v", gone)
	}

	now, changed, err := c.PollRange(ctx, k2v.Query{PartitionKey: "empty"}, "", time.Second)
	if err != nil || !changed || len(now.Items) != 0 || now.Seen == "" {
		t.Fatalf("an empty range: %+v, %v, %v", now, changed, err)
	}
	if _, changed, err := c.PollRange(ctx, k2v.Query{PartitionKey: "empty"}, now.Seen, time.Second); changed || err != nil {
		t.Fatalf("nothing happened: %v, %v", changed, err)
	}
	must(t, c.InsertItem(ctx, "empty", "no more", "", []byte("x")))
	next, changed, err := c.PollRange(ctx, k2v.Query{PartitionKey: "empty"}, now.Seen, 30*time.Second)
	if err != nil || !changed || len(next.Items) != 1 || next.Items[0].SortKey != "no more" {
		t.Fatalf("%+v, %v, %v", next, changed, err)
	}
}

// TestK2VClientWatchesOverRestarts kills the server under two watches, goes on
// writing, and demands that neither misses anything.
func TestK2VClientWatchesOverRestarts(t *testing.T) {
	s := harness.Start(t)
	retried := make(chan k2v.Retry, 1000)
	c := k2vClientOf(t, s, harness.Bucket)
	watcher := k2vClientOf(t, s, harness.Bucket, func(o *k2v.Options) {
		o.OnRetry = func(r k2v.Retry) { retried <- r }
	})
	ctx, stop := context.WithCancel(testContext(t, 3*time.Minute))
	defer stop()

	const rounds, perRound = 3, 20
	last := fmt.Sprint(rounds*perRound - 1)
	var wg sync.WaitGroup
	wg.Go(func() { // the one item, until its last state
		for item, err := range watcher.Watch(ctx, "p", "one", "") {
			if err != nil {
				t.Errorf("watch: %v", err)
				return
			}
			if v, err := item.Value(); err == nil && string(v) == last {
				return
			}
		}
	})
	seen := map[string]string{}
	wg.Go(func() { // every item of the range, until the last one
		for found, err := range watcher.WatchRange(ctx, k2v.Query{PartitionKey: "p"}, "") {
			if err != nil {
				t.Errorf("watch of a range: %v", err)
				return
			}
			for _, item := range found.Items {
				if v, err := item.Value(); err == nil {
					seen[item.SortKey] = string(v)
				}
			}
			if seen["one"] == last && seen["item "+last] != "" {
				return
			}
		}
	})
	for round := range rounds {
		for i := range perRound {
			n := fmt.Sprint(round*perRound + i)
			write(t, func() error { return c.InsertItem(ctx, "p", "item "+n, "", []byte(n)) })
			write(t, func() error {
				return c.Update(ctx, "p", "one", func([][]byte) ([]byte, error) { return []byte(n), nil })
			})
		}
		if round < rounds-1 {
			s.Kill()
			noticed := map[string]bool{}
			for !noticed["PollItem"] || !noticed["PollRange"] {
				noticed[(<-retried).Op] = true
			}
			s.Restart()
		}
	}
	wg.Wait()
	for i := range rounds * perRound {
		if n := fmt.Sprint(i); seen["item "+n] != n {
			t.Errorf("item %s was seen as %q", n, seen["item "+n])
		}
	}
	if len(seen) != rounds*perRound+1 {
		t.Errorf("saw %v", slices.Sorted(maps.Keys(seen)))
	}
}

// write repeats a write of which it is not known whether it was done: one that
// is repeated makes no other state.
func write(t *testing.T, do func() error) {
	t.Helper()
	for range 20 {
		err := do()
		if err == nil {
			return
		}
		if !errors.Is(err, k2v.ErrUnavailable) && !errors.Is(err, k2v.ErrIndeterminate) {
			t.Fatal(err)
		}
	}
	t.Fatal("the server does not come back")
}

// TestK2VClientReadsLargeItems: pages are bounded by the server, iterators go on.
func TestK2VClientReadsLargeItems(t *testing.T) {
	c := k2vClient(t, sharedServer(t), func(o *k2v.Options) { o.MaxResponse = 3 << 20 })
	ctx := testContext(t, 2*time.Minute)
	value := content(1, 300<<10)
	const many = 30 // more than a page of the server's, and than MaxResponse
	for i := range many {
		must(t, c.InsertItem(ctx, "p", fmt.Sprint(i), "", value))
	}
	n := 0
	for item, err := range c.Items(ctx, k2v.Query{PartitionKey: "p"}) {
		must(t, err)
		if v, err := item.Value(); err != nil || !bytes.Equal(v, value) {
			t.Errorf("item %s has %d bytes, %v", item.SortKey, len(v), err)
		}
		n++
	}
	if n != many {
		t.Errorf("%d items", n)
	}
}

// TestK2VLargestItems: values may have all that the limits say, and as many of
// them lie beside each other.
func TestK2VLargestItems(t *testing.T) {
	c := k2vClient(t, sharedServer(t))
	ctx := testContext(t, time.Minute)
	const most = 1 << 20
	for i := range 4 {
		size := most
		if i == 3 {
			size -= 4 << 10 // all together have a limit too
		}
		must(t, c.InsertItem(ctx, "large", "s", "", content(uint64(i), size)))
	}
	item, err := c.ReadItem(ctx, "large", "s")
	if err != nil || len(item.Values) != 4 {
		t.Fatalf("%d values, %v", len(item.Values), err)
	}
	for i := range 3 {
		if !slices.ContainsFunc(item.Values, func(v []byte) bool { return bytes.Equal(v, content(uint64(i), most)) }) {
			t.Errorf("value %d is not there", i)
		}
	}
	if err := c.InsertItem(ctx, "large", "s", "", content(9, most)); err == nil {
		t.Error("a fifth value was taken")
	}
	must(t, c.InsertItem(ctx, "large", "s", item.Token, []byte("all of them")))
	if err := c.InsertItem(ctx, "large", "other", "", content(9, most+1)); err == nil {
		t.Error("a value beyond the limit was taken")
	}
}
