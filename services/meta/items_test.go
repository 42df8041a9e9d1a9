package meta_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/metaapi/metatest"
	"hangar/shared/object"
)

func TestItemsOverNATS(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d nodes", n), func(t *testing.T) {
			metatest.RunItems(t, func(t *testing.T) metaapi.ItemRows { return cluster(t, n) })
		})
	}
}

func itemKey(key, sub string) metaapi.RowKey {
	return metaapi.RowKey{Table: metaapi.Items, Bucket: object.BucketID{3}, Key: key, Sub: sub}
}

func item(text string) *metaapi.Value {
	c := metaapi.ItemCounters{Entries: 1, Values: 1, Bytes: int64(len(text))}
	return &metaapi.Value{Head: append(metaapi.AppendItemCounters(nil, c), text...), Count: 1, Bytes: int64(len(text))}
}

func insert(key, sub, text string) metaapi.Change {
	return metaapi.Change{Key: itemKey(key, sub), Decide: func(metaapi.Row) (*metaapi.Value, error) { return item(text), nil }}
}

// follower keeps up with one Key by Since, as somebody does who polls it, and
// rests now and then.
type follower struct {
	key   string
	mark  metaapi.Mark
	known map[string]string
}

// step takes one page. Errors of kinds that say "try again" are no matter.
func (f *follower) step(ctx context.Context, c *metaapi.Client) (more bool, err error) {
	page, err := c.Since(ctx, metaapi.SinceRange{
		Table: metaapi.Items, Bucket: object.BucketID{3}, Key: f.key, Mark: f.mark, Limit: 1 + rand.IntN(20),
	})
	if err != nil {
		return true, err
	}
	for _, e := range page.Entries {
		_, text, err := metaapi.ParseItemCounters(e.Head)
		if err != nil {
			return false, err
		}
		f.known[e.Sub] = string(text)
	}
	f.mark = page.Next
	return page.More, nil
}

// TestItemsThroughChanges: items are written in batches and followed while the
// layout changes and nodes restart. In the end followers know every item as it
// is, and so do a listing and the index.
func TestItemsThroughChanges(t *testing.T) {
	const keys, subs = 4, 40
	f := newFleet(t, 6, 3)
	ctx, cancel := context.WithCancel(f.ctx)
	var running sync.WaitGroup
	var followers []*follower
	for k := range keys {
		key := fmt.Sprint("key ", k)
		writer := f.client()
		running.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				var changes []metaapi.Change
				for _, s := range rand.Perm(subs)[:1+rand.IntN(10)] {
					changes = append(changes, insert(key, fmt.Sprintf("%02d", s), fmt.Sprint(round)))
				}
				for _, got := range writer.UpdateMany(ctx, changes) {
					if k := fault.KindOf(got.Err); got.Err != nil && k != fault.Unavailable && k != fault.Indeterminate && k != fault.Canceled {
						t.Errorf("writing: %v", got.Err)
					}
				}
				time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
			}
		})
		for i := range 2 {
			fol, reader := &follower{key: key, known: map[string]string{}}, f.client()
			followers = append(followers, fol)
			running.Go(func() {
				for ctx.Err() == nil {
					if _, err := fol.step(ctx, reader); err != nil && fault.Is(err, fault.Corrupt) {
						t.Error(err)
					}
					time.Sleep(time.Duration(i*rand.IntN(100)) * time.Millisecond)
				}
			})
		}
	}
	f.change(f.even(0, 1, 2, 3), nil)
	f.change(f.even(1, 2, 3), func() { f.restart(1) })
	f.change(f.even(0, 4, 5), func() { f.restart(2) }) // none stays, node 0 returns
	f.change(f.even(1, 2, 3), nil)
	f.change(f.even(0, 1, 2, 3, 4, 5), func() { f.restart(3) })
	cancel()
	running.Wait()

	c := f.client()
	want := f.itemsAsTheyAre(c, keys)
	for i, fol := range followers {
		f.eventually(fmt.Sprint("follower ", i), func(ctx context.Context) error {
			for passes := 0; passes < 2; { // the first may be one that began long ago
				more, err := fol.step(ctx, c)
				if err != nil {
					return err
				}
				if !more {
					passes++
				}
			}
			return nil
		})
		if !maps.Equal(fol.known, want[fol.key]) {
			t.Errorf("follower %d of %q knows %v, but it is %v", i, fol.key, fol.known, want[fol.key])
		}
	}
}

// itemsAsTheyAre lists all items, and holds the index against them.
func (f *fleet) itemsAsTheyAre(c *metaapi.Client, keys int) map[string]map[string]string {
	f.t.Helper()
	all := map[string]map[string]string{}
	var want []metaapi.IndexEntry
	for k := range keys {
		key := fmt.Sprint("key ", k)
		all[key] = map[string]string{}
		e := metaapi.IndexEntry{Key: key}
		f.eventually("listing", func(ctx context.Context) error {
			page, err := c.ScanKey(ctx, metaapi.KeyRange{Table: metaapi.Items, Bucket: object.BucketID{3}, Key: key, Reverse: k%2 == 0, Limit: 1000})
			if err != nil {
				return err
			}
			for _, entry := range page.Entries {
				if err := c.Recommit(ctx, itemKey(key, entry.Sub)); err != nil {
					return err
				}
				row, err := c.Get(ctx, itemKey(key, entry.Sub))
				if err != nil {
					return err
				}
				counters, text, err := metaapi.ParseItemCounters(row.Value.Head)
				if err != nil {
					return err
				}
				all[key][entry.Sub] = string(text)
				e.ItemCounters = e.Plus(counters)
			}
			return nil
		})
		want = append(want, e)
	}
	f.eventually("the index", func(ctx context.Context) error {
		page, err := c.Index(ctx, metaapi.IndexRange{Table: metaapi.Items, Bucket: object.BucketID{3}, Limit: 100})
		if err == nil && !slices.Equal(page.Entries, want) {
			err = fault.New(fault.Unavailable, "the index is %+v, want %+v", page.Entries, want)
		}
		return err
	})
	return all
}

// BenchmarkItems: three nodes over NATS, each with its own synced journal.
func BenchmarkItems(b *testing.B) {
	c := cluster(b, 3)
	for _, size := range []int{64, 1024} {
		text := string(make([]byte, size))
		b.Run(fmt.Sprintf("single/%d", size), func(b *testing.B) {
			for i := range b.N {
				if _, err := c.Update(b.Context(), itemKey("single", fmt.Sprint(i)), insert("", "", text).Decide); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("many%d/%d", n, size), func(b *testing.B) {
				for i := range b.N {
					var changes []metaapi.Change
					for j := range n {
						changes = append(changes, insert(fmt.Sprint("many", i), fmt.Sprint(j), text))
					}
					for _, got := range c.UpdateMany(b.Context(), changes) {
						if got.Err != nil {
							b.Fatal(got.Err)
						}
					}
				}
				b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
			})
		}
		b.Run(fmt.Sprintf("read100/%d", size), func(b *testing.B) {
			var keys []metaapi.RowKey
			for j := range 100 {
				keys = append(keys, itemKey("many0", fmt.Sprint(j)))
			}
			for range b.N {
				for _, got := range c.GetMany(b.Context(), keys) {
					if got.Err != nil || got.Value == nil {
						b.Fatal(got.Err)
					}
				}
			}
			b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
