package metaapi_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/object"
	"hangar/shared/register"
)

var bucket = object.BucketID{1}

func key(k string) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Objects, Bucket: bucket, Key: k}
}

func val(s string) *metaapi.Value {
	return &metaapi.Value{Head: []byte(s), Body: []byte("body of " + s), Count: 1}
}

func TestClient(t *testing.T) {
	for _, size := range []struct{ rf, nodes int }{{1, 1}, {1, 3}, {2, 3}, {3, 3}, {3, 7}} {
		t.Run(fmt.Sprintf("rf%d of %d", size.rf, size.nodes), func(t *testing.T) {
			metatest.RunRows(t, func(t *testing.T) metaapi.Rows { return newCluster(t, size.rf, size.nodes).client })
		})
	}
}

// With one of three nodes gone, everything still works.
func TestClientWithoutOneNode(t *testing.T) {
	t.Run("cut", func(t *testing.T) {
		metatest.RunRows(t, func(t *testing.T) metaapi.Rows {
			c := newCluster(t, 3, 3)
			c.net.Cut(c.nodes[rand.IntN(3)], true)
			return c.client
		})
	})
	t.Run("failing", func(t *testing.T) {
		metatest.RunRows(t, func(t *testing.T) metaapi.Rows {
			c := newCluster(t, 3, 3)
			c.replicas[c.nodes[rand.IntN(3)]].SetDown(fault.New(fault.StorageFull, "no space"))
			return c.client
		})
	})
	t.Run("joint", func(t *testing.T) {
		metatest.RunRows(t, func(t *testing.T) metaapi.Rows {
			c := newCluster(t, 3, 3)
			for range 3 {
				c.add(t)
			}
			ring := metatest.EvenRing(2, 3, c.nodes[:3]...)
			ring.Nodes = c.nodes
			ring.Next = metatest.EvenAssignment(3, 6)
			c.follow(t, ring)
			c.net.Cut(c.nodes[rand.IntN(6)], true)
			return c.client
		})
	})
}

// In calm conditions a blind write and a read take one exchange, a conditional
// write two, whatever the size of the value.
func TestExchanges(t *testing.T) {
	c := newCluster(t, 3, 3)
	ctx := context.Background()
	count := func(want int, what string, f func() error) {
		t.Helper()
		before := c.net.Calls()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		if got := c.net.Calls() - before; got != want {
			t.Errorf("%s took %d exchanges, want %d", what, got, want)
		}
		c.net.Settle()
	}
	count(1, "put", func() error { _, err := c.client.Put(ctx, key("k"), val("one")); return err })
	count(1, "get", func() error { _, err := c.client.Get(ctx, key("k")); return err })
	count(2, "update", func() error {
		_, err := c.client.Update(ctx, key("k"), func(metaapi.Row) (*metaapi.Value, error) { return val("two"), nil })
		return err
	})
	count(1, "delete", func() error { _, err := c.client.Put(ctx, key("k"), nil); return err })
	count(1, "get of nothing", func() error { _, err := c.client.Get(ctx, key("k")); return err })
}

// kinds: what the caller may conclude from an error.
func TestErrors(t *testing.T) {
	c := newCluster(t, 3, 3)
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	check := func(err error, want fault.Kind) {
		t.Helper()
		if !fault.Is(err, want) {
			t.Errorf("got %v, want kind %v", err, want)
		}
	}
	decide := func(metaapi.Row) (*metaapi.Value, error) { return val("x"), nil }
	c.net.Cut(c.nodes[0], true)
	c.net.Cut(c.nodes[1], true)
	_, err := c.client.Get(short(), key("k"))
	check(err, fault.Unavailable)
	_, err = c.client.Put(short(), key("k"), val("x"))
	check(err, fault.Indeterminate)
	_, err = c.client.Update(short(), key("k"), decide)
	check(err, fault.Unavailable)
	_, err = c.client.Scan(short(), metaapi.Range{Table: metaapi.Objects, Bucket: bucket, Limit: 1})
	check(err, fault.Unavailable)
	c.net.Cut(c.nodes[0], false)
	c.net.Cut(c.nodes[1], false)

	for _, kind := range []fault.Kind{fault.Overloaded, fault.StorageFull} {
		for _, n := range c.nodes {
			c.replicas[n].SetDown(fault.New(kind, "no"))
		}
		_, err = c.client.Put(context.Background(), key("k"), val("x"))
		check(err, kind)
		_, err = c.client.Get(context.Background(), key("k"))
		check(err, kind)
		_, err = c.client.Update(context.Background(), key("k"), decide)
		check(err, kind)
		_, err = c.client.Scan(context.Background(), metaapi.Range{Table: metaapi.Objects, Bucket: bucket, Limit: 1})
		check(err, kind)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = c.client.Put(ctx, key("k"), val("x"))
	check(err, fault.Canceled)
}

// A member that is away for a moment is waited for.
func TestWaitsForNodes(t *testing.T) {
	c := newCluster(t, 1, 1)
	c.replicas[c.nodes[0]].SetDown(fault.New(fault.Unavailable, "starting"))
	time.AfterFunc(20*time.Millisecond, func() { c.replicas[c.nodes[0]].SetDown(nil) })
	if _, err := c.client.Put(context.Background(), key("k"), val("x")); err != nil {
		t.Fatal(err)
	}
	row, err := c.client.Get(context.Background(), key("k"))
	if err != nil || string(row.Value.Head) != "x" {
		t.Fatalf("%+v, %v", row, err)
	}
}

// A client without a layout, or with an old one, waits for the right one.
func TestWaitsForTheLayout(t *testing.T) {
	c := newCluster(t, 3, 3)
	ring := c.rings.Ring()
	c.rings.Set(nil)
	time.AfterFunc(10*time.Millisecond, func() { c.rings.Set(ring) })
	if _, err := c.client.Put(context.Background(), key("k"), val("one")); err != nil {
		t.Fatal(err)
	}
	newer := *ring
	newer.Epoch = 9
	c.rings.Set(&newer)
	if _, err := c.client.Get(context.Background(), key("k")); err != nil { // the nodes adopt it
		t.Fatal(err)
	}
	c.rings.Set(ring)
	c.client = c.newClient()
	time.AfterFunc(10*time.Millisecond, func() { c.rings.Set(&newer) })
	row, err := c.client.Get(context.Background(), key("k"))
	if err != nil || string(row.Value.Head) != "one" {
		t.Fatalf("%+v, %v", row, err)
	}
	c.rings.Set(ring)
	c.client = c.newClient()
	time.AfterFunc(10*time.Millisecond, func() { c.rings.Set(&newer) })
	page, err := c.client.Scan(context.Background(), metaapi.Range{Table: metaapi.Objects, Bucket: bucket, Limit: 1})
	if err != nil || len(page.Entries) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
}

// Whatever writes reached some of their replicas only: completed ones are
// listed, and once every row was committed the listings agree with the reads.
func TestListingAgreesWithReads(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		c := newCluster(t, 3, 5)
		sure := scatter(t, c, rng)
		listed := keysOf(scanAll(t, c.client, metaapi.Range{Limit: 1 + rng.IntN(9)}))
		folded := keysOf(scanAll(t, c.client, metaapi.Range{Delimiter: "/", Limit: 1 + rng.IntN(3)}))
		for k, alive := range sure {
			if slices.Contains(listed, k) != alive {
				t.Fatalf("seed %d: %s listed: %v, alive: %v", seed, k, !alive, alive)
			}
			if alive && !slices.Contains(folded, k[:3]) {
				t.Fatalf("seed %d: %s not listed as a prefix", seed, k)
			}
		}
		var wantListed, wantFolded []string
		for d := range 4 {
			for i := range 12 {
				k := fmt.Sprintf("d%d/%02d", d, i)
				if err := c.client.Recommit(context.Background(), key(k)); err != nil {
					t.Fatal(err)
				}
				row, err := c.client.Get(context.Background(), key(k))
				if err != nil {
					t.Fatal(err)
				}
				if row.Value == nil {
					continue
				}
				wantListed = append(wantListed, k)
				if !slices.Contains(wantFolded, k[:3]) {
					wantFolded = append(wantFolded, k[:3])
				}
			}
		}
		listed = keysOf(scanAll(t, c.client, metaapi.Range{Limit: 1 + rng.IntN(9)}))
		folded = keysOf(scanAll(t, c.client, metaapi.Range{Delimiter: "/", Limit: 1 + rng.IntN(3)}))
		if !slices.Equal(listed, wantListed) || !slices.Equal(folded, wantFolded) {
			t.Fatalf("seed %d: listed %q and %q, want %q and %q", seed, listed, folded, wantListed, wantFolded)
		}
	}
}

// scatter sends writes to some replicas of their rows, and returns the rows
// whose state is sure: the last write was complete.
func scatter(t *testing.T, c *cluster, rng *rand.Rand) map[string]bool {
	t.Helper()
	sure := map[string]bool{}
	for i := range 60 {
		k := fmt.Sprintf("d%d/%02d", rng.IntN(4), rng.IntN(12))
		var v *metaapi.Value
		if rng.IntN(3) > 0 {
			v = val(fmt.Sprint(i))
		}
		set := c.rings.Ring().Sets(layout.OfRow(bucket, k, layout.DefaultBits))[0]
		tag := register.Tag{Time: 1000 + int64(i), Node: 99}
		q := register.Request{Kind: register.Apply, Epoch: 1, Row: register.Row{Tag: tag, Op: tag, Value: v}}
		n := 1 + rng.IntN(3)
		for _, j := range rng.Perm(3)[:n] {
			if _, err := c.replicas[set[j]].Handle(context.Background(), key(k), q); err != nil {
				t.Fatal(err)
			}
		}
		delete(sure, k)
		if n > 1 {
			sure[k] = v != nil
		}
	}
	return sure
}

func keysOf(entries []metaapi.Entry) (keys []string) {
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	return keys
}

func scanAll(t *testing.T, rows metaapi.Rows, r metaapi.Range) (all []metaapi.Entry) {
	t.Helper()
	r.Table, r.Bucket = metaapi.Objects, bucket
	for {
		page, err := rows.Scan(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Entries...)
		if !page.More {
			return all
		}
		last := page.Entries[len(page.Entries)-1]
		r.FromKey, r.FromSub, r.FromExcluded = last.Key, last.Sub, true
	}
}

// Through loss and a node that comes and goes, every increment that was
// confirmed is there, and none twice.
func TestIncrementsUnderFaults(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.net.Lose(0.05)
	stop := make(chan struct{})
	var chaos, writers sync.WaitGroup
	chaos.Go(func() {
		for i := 0; ; i++ {
			c.net.Cut(c.nodes[i%3], true)
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			c.net.Cut(c.nodes[i%3], false)
		}
	})
	var mu sync.Mutex
	sure, maybe := 0, 0
	for range 3 {
		writers.Go(func() {
			client := c.newClient()
			for range 10 {
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				_, err := client.Update(ctx, key("n"), func(cur metaapi.Row) (*metaapi.Value, error) {
					if cur.Value == nil {
						return &metaapi.Value{Bytes: 1}, nil
					}
					return &metaapi.Value{Bytes: cur.Value.Bytes + 1}, nil
				})
				cancel()
				mu.Lock()
				switch {
				case err == nil:
					sure++
				case fault.Is(err, fault.Indeterminate):
					maybe++
				case !fault.Is(err, fault.Unavailable):
					t.Errorf("Update: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	close(stop)
	chaos.Wait()
	c.net.Lose(0)
	for _, n := range c.nodes {
		c.net.Cut(n, false)
	}
	row, err := c.client.Get(context.Background(), key("n"))
	if err != nil || row.Value == nil {
		t.Fatalf("%+v, %v", row, err)
	}
	if got := int(row.Value.Bytes); got < sure || got > sure+maybe {
		t.Fatalf("counted %d, want %d to %d", got, sure, sure+maybe)
	}
	if sure == 0 {
		t.Error("no increment was confirmed")
	}
}

// A refused condition is the caller's error, unwrapped.
func TestDeclined(t *testing.T) {
	c := newCluster(t, 3, 3)
	mine := errors.New("mine")
	_, err := c.client.Update(context.Background(), key("k"), func(metaapi.Row) (*metaapi.Value, error) { return nil, mine })
	if !errors.Is(err, mine) {
		t.Fatalf("got %v", err)
	}
}
