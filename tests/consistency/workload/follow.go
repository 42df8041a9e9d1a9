package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"hangar/tests/consistency/check"
)

// follower polls a range from marker to marker.
type follower struct {
	*itemClient
	key    string // the range, as in Op
	prefix string // of its sort keys
	marker string
}

// Follow is the life of a client that follows a partition key, or part of it.
func (w *Items) Follow(ctx context.Context, id int) {
	f := &follower{itemClient: w.client(id)}
	if w.Keys > itemPartitions && id%3 == 2 {
		slot := id % w.Keys
		f.prefix, f.key = fmt.Sprintf("%d-", slot), itemKey(w.partition(slot%itemPartitions), fmt.Sprintf("%d-", slot))
	} else {
		f.key = itemKey(w.partition(id%itemPartitions), "")
	}
	w.mu.Lock()
	w.followers = append(w.followers, f)
	w.mu.Unlock()
	for w.think(ctx, f.rng) {
		if f.prefix == "" && f.marker != "" && f.rng.IntN(8) == 0 {
			// A marker holds for a part of its range as well.
			aside := *f
			aside.prefix = fmt.Sprintf("%d-", f.rng.IntN(w.Keys))
			aside.key += aside.prefix
			aside.poll(ctx, time.Second, true)
			continue
		}
		f.poll(ctx, w.patience(f.rng), false)
	}
}

// poll asks once for what is new.
func (f *follower) poll(ctx context.Context, waits time.Duration, aside bool) check.Op {
	o := f.op(check.Follow, f.key)
	o.Given, o.Aside = f.marker, aside
	partition, _ := splitKey(f.key)
	r := jsonRequest(partition, "poll_range", wireFollow{Prefix: optional(f.prefix), Timeout: int(waits.Seconds()), Marker: optional(f.marker)})
	r.waits = waits
	o, a := f.ask(ctx, o, r)
	o = f.took(o, a)
	f.w.History.Add(o)
	return o
}

func (f *follower) took(o check.Op, a answer) check.Op {
	if o.Verdict != check.Done {
		return o
	}
	if o.Unchanged = a.status == 304; o.Unchanged {
		if f.marker == "" {
			return f.w.broken(o, "is that nothing is new to somebody who knows nothing")
		}
		return o
	}
	var page wireFollow
	if err := json.Unmarshal(a.body, &page); err != nil || page.Marker == nil {
		return f.w.broken(o, "has no marker: %v: %.200q", err, a.body)
	}
	if o = f.w.readItems(o, page.Items); o.Verdict != check.Done {
		return o
	}
	o.Token, f.marker = *page.Marker, *page.Marker
	return o
}

// settle is how long a healed cluster may take to be what it should be.
const settle = time.Minute

// Finish asks, once all clients have ended and the cluster is well, for what
// only the end can show: what followers know in the end, that the index is
// right, and that writes wake who waits at any gateway.
func (w *Items) Finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*settle)
	defer cancel()
	w.mu.Lock()
	followers := w.followers
	w.mu.Unlock()
	var wg sync.WaitGroup
	for _, f := range followers {
		wg.Go(func() {
			for range 10 {
				if o := f.poll(ctx, time.Second, false); o.Unchanged {
					return
				}
			}
			w.History.Violation("whoever follows %s, which nobody changes, is told of changes or of failures ten times", f.key)
		})
	}
	wg.Wait()
	c := w.client(1 << 20)
	if err := c.settled(ctx); err != nil {
		w.History.Violation("%v after nothing was written: %v", settle, err)
	}
	for via := range w.Gateways {
		w.wake(ctx, c, via)
	}
}

// settled waits until the index is what the items add up to.
func (c *itemClient) settled(ctx context.Context) error {
	deadline := time.Now().Add(settle)
	for {
		err := c.compare(ctx)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(250 * time.Millisecond): // another process
		}
	}
}

func (c *itemClient) compare(ctx context.Context) error {
	truth := map[string]indexEntry{}
	for _, page := range c.search(ctx) {
		if page.Verdict != check.Done {
			return errors.New("the items cannot be searched")
		}
		for _, i := range page.Items {
			partition, _ := splitKey(i.Key)
			truth[partition] = counted(truth[partition], partition, i)
		}
	}
	maps.DeleteFunc(truth, func(_ string, e indexEntry) bool { return e.Entries == 0 })
	index, err := c.index(ctx)
	if err == nil && !maps.Equal(index, truth) {
		err = fmt.Errorf("the index says %+v, the items add up to %+v", index, truth)
	}
	return err
}

// counted adds an item to what the index must say.
func counted(e indexEntry, partition string, i check.Item) indexEntry {
	e.Partition = partition
	live := false
	for _, v := range i.Values {
		if v != check.Tombstone {
			live = true
			e.Values++
			e.Bytes += int64(len(contentOf(v)))
		}
	}
	if live {
		e.Entries++
	}
	if len(i.Values) > 1 {
		e.Conflicts++
	}
	return e
}

// wakeLimit is how late a poll may be answered where nothing is wrong: far less
// than it takes without a message from the gateway that wrote.
const wakeLimit = 10 * time.Second

// wake writes through one gateway while somebody waits at each.
func (w *Items) wake(ctx context.Context, c *itemClient, via int) {
	at := func(gateway, id int) *itemClient {
		one := w.client(id)
		one.via = gateway
		return one
	}
	key := itemKey(w.partition(0), "wake-"+strconv.Itoa(via))
	writer := at(via, c.id+1+via)
	first := check.Op{Client: writer.id, Verb: check.Insert, Key: key}
	if o := writer.write(ctx, 0, first); o.Verdict != check.Done {
		w.History.Violation("%s in a healed cluster", o)
		return
	}
	known := writer.fetch(ctx, key)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range w.Gateways {
		waiter := at(i, c.id+100+10*via+i)
		wg.Go(func() {
			<-begin
			o := waiter.poll(ctx, key, known.Token, 2*wakeLimit)
			if took := o.Return - o.Call; o.Verdict != check.Done || o.Unchanged || took > wakeLimit {
				w.History.Violation("%s after %v, via gateway %d while gateway %d wrote", o, took, i, via)
			}
		})
	}
	close(begin)
	// Nobody says when a poll waits. One that does not yet is answered at once.
	select {
	case <-ctx.Done():
	case <-time.After(300 * time.Millisecond):
	}
	first.Given = known.Token
	if o := writer.write(ctx, 0, first); o.Verdict != check.Done {
		w.History.Violation("%s in a healed cluster", o)
	}
	wg.Wait()
}
