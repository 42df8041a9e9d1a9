package workload

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"hangar/tests/consistency/check"
)

// Items is a fight over a few items of K2V, one by one and in batches, read,
// searched and polled, with causality tokens that are fresh, old or missing.
// Items are given up for others as hot keys are in Registers.
type Items struct {
	Load // its gateways are K2V clients
	Keys int
	// Patience is how long a poll waits at most.
	Patience time.Duration

	mu        sync.Mutex
	hot       []hotKey    // guarded by mu
	followers []*follower // guarded by mu
	init      sync.Once
}

const (
	itemPartitions = 2   // partition keys that the items are spread over
	itemLife       = 150 // writes, reads and polls of an item
	itemOpen       = 5   // of them, of unknown fate
)

func (w *Items) partition(n int) string { return fmt.Sprintf("%sitems-%d", w.Prefix, n) }

// use names the present item of a slot.
func (w *Items) use(slot int) string {
	w.init.Do(func() { w.hot = make([]hotKey, w.Keys) })
	w.mu.Lock()
	defer w.mu.Unlock()
	k := &w.hot[slot]
	if k.used++; k.used > itemLife || k.open > itemOpen {
		*k = hotKey{generation: k.generation + 1}
	}
	return itemKey(w.partition(slot%itemPartitions), fmt.Sprintf("%d-%d", slot, k.generation))
}

func (w *Items) opened(slot int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hot[slot].open++
}

// itemClient is one client with what it has seen.
type itemClient struct {
	w      *Items
	id, n  int
	rng    *rand.Rand
	tokens map[string]string // by item
	via    int               // the only gateway it asks, or any
}

// anyGateway is drawn for each request.
const anyGateway = -1

func (w *Items) client(id int) *itemClient {
	return &itemClient{w: w, id: id, rng: w.random(id), tokens: map[string]string{}, via: anyGateway}
}

func (c *itemClient) ask(ctx context.Context, o check.Op, r request) (check.Op, answer) {
	if c.via == anyGateway {
		return c.w.ask(ctx, c.rng, o, r)
	}
	return c.w.askVia(ctx, c.via, o, r)
}

func (c *itemClient) op(verb check.Verb, key string) check.Op {
	return check.Op{Client: c.id, Verb: verb, Key: key}
}

// Run is the life of a client that writes and reads; it ends with ctx.
func (w *Items) Run(ctx context.Context, id int) {
	c := w.client(id)
	for w.think(ctx, c.rng) {
		slot := c.rng.IntN(w.Keys)
		key := w.use(slot)
		switch c.rng.IntN(10) {
		case 0:
			c.write(ctx, slot, c.op(check.Insert, key)) // as if nothing were there
		case 1, 2, 3:
			o := c.op(check.Insert, key)
			o.Given = c.tokens[key]
			c.write(ctx, slot, o)
		case 4:
			o := c.op(check.Remove, key)
			if o.Given = c.tokens[key]; o.Given == "" {
				c.fetch(ctx, key)
				continue
			}
			c.write(ctx, slot, o)
		case 5:
			c.batch(ctx, slot, key)
		case 6:
			c.search(ctx)
		default:
			c.fetch(ctx, key)
		}
	}
}

// Wait is the life of a client that polls one item after the other.
func (w *Items) Wait(ctx context.Context, id int) {
	c := w.client(id)
	for w.think(ctx, c.rng) {
		key := w.use(c.rng.IntN(w.Keys))
		given := c.tokens[key]
		if given == "" || c.rng.IntN(8) == 0 {
			c.fetch(ctx, key)
			continue
		}
		c.poll(ctx, key, given, w.patience(c.rng))
	}
}

// patience is how long the next poll waits, in whole seconds.
func (w *Items) patience(rng *rand.Rand) time.Duration {
	if rng.IntN(10) == 0 {
		return w.Patience
	}
	return time.Duration(1+rng.IntN(3)) * time.Second
}

// value names what the client writes next. Most are small: in a long run they
// come to hundreds of megabytes, and some nodes have small disks.
func (c *itemClient) value() string {
	c.n++
	sizes := []int{0, 0, 300, 300, 3 << 10, 8 << 10}
	return valueName(c.id, c.n, sizes[c.rng.IntN(len(sizes))])
}

func (c *itemClient) write(ctx context.Context, slot int, o check.Op) check.Op {
	o.Value = c.value()
	o, _ = c.ask(ctx, o, itemRequest(o, 0))
	c.wrote(slot, o)
	return o
}

func (c *itemClient) wrote(slot int, o check.Op) {
	if o.Verdict == check.Maybe {
		c.w.opened(slot)
	}
	c.w.History.Add(o)
}

func (c *itemClient) fetch(ctx context.Context, key string) check.Op {
	o, a := c.ask(ctx, c.op(check.Fetch, key), itemRequest(c.op(check.Fetch, key), 0))
	return c.read(c.w.readItem(o, a))
}

func (c *itemClient) poll(ctx context.Context, key, given string, waits time.Duration) check.Op {
	o := c.op(check.Poll, key)
	o.Given = given
	o, a := c.ask(ctx, o, itemRequest(o, waits))
	return c.read(c.w.readItem(o, a))
}

func (c *itemClient) read(o check.Op) check.Op {
	if o.Token != "" {
		c.tokens[o.Key] = o.Token
	}
	c.w.History.Add(o)
	return o
}

// batch writes an item and another one at once, each for itself.
func (c *itemClient) batch(ctx context.Context, slot int, key string) {
	slots, keys := []int{slot}, []string{key}
	if other := c.rng.IntN(c.w.Keys); other != slot {
		slots, keys = append(slots, other), append(keys, c.w.use(other))
	}
	ops := make([]check.Op, len(keys))
	body := make([]wireWrite, len(keys))
	for i, k := range keys {
		o := c.op(check.Insert, k)
		o.Given, o.Value = c.tokens[k], c.value()
		content := base64.StdEncoding.EncodeToString(contentOf(o.Value))
		value := &content
		if o.Given != "" && c.rng.IntN(4) == 0 {
			o.Verb, value = check.Remove, nil
		}
		ops[i] = o
		body[i].Partition, body[i].Sort = splitKey(k)
		body[i].Token, body[i].Value = optional(o.Given), value
	}
	all, _ := c.ask(ctx, ops[0], jsonRequest("", "", body))
	for i, o := range ops {
		o.Call, o.Return, o.Via, o.Verdict, o.Note = all.Call, all.Return, all.Via, all.Verdict, "batch "+all.Note
		c.wrote(slots[i], o)
	}
}

// search lists both partition keys, whole or in pages.
func (c *itemClient) search(ctx context.Context) []check.Op {
	limit := []int{0, 0, 2}[c.rng.IntN(3)]
	var searches []wireSearch
	for p := range itemPartitions {
		s := wireSearch{Partition: c.w.partition(p), Tombstones: true}
		if limit > 0 {
			s.Limit = &limit
		}
		searches = append(searches, s)
	}
	var all []check.Op
	for len(searches) > 0 {
		o := c.op(check.Search, itemKey(searches[0].Partition, ""))
		o, a := c.ask(ctx, o, jsonRequest("", "search", searches))
		if o.Verdict != check.Done {
			c.w.History.Add(o)
			return append(all, o)
		}
		pages, next := c.pages(o, searches, a.body)
		all, searches = append(all, pages...), next
	}
	return all
}

// pages takes the answer to searches and returns those that go on.
func (c *itemClient) pages(o check.Op, searches []wireSearch, body []byte) (pages []check.Op, next []wireSearch) {
	var results []wireSearch
	if err := json.Unmarshal(body, &results); err != nil || len(results) != len(searches) {
		o = c.w.broken(o, "has %d results for %d searches: %v: %.200q", len(results), len(searches), err, body)
		c.w.History.Add(o)
		return []check.Op{o}, nil
	}
	for i, s := range searches {
		page := o
		page.Key = itemKey(s.Partition, "")
		if s.Start != nil {
			page.From = *s.Start
		}
		if r := results[i]; r.More && r.NextStart != nil {
			page.To = *r.NextStart
			s.Start = r.NextStart
			next = append(next, s)
		} else if r.More {
			page = c.w.broken(page, "is cut short without a way to go on")
		}
		page = c.w.readItems(page, results[i].Items)
		for _, found := range page.Items {
			c.tokens[found.Key] = found.Token
		}
		c.w.History.Add(page)
		pages = append(pages, page)
	}
	return pages, next
}

// index reads what the index says of the partition keys.
func (c *itemClient) index(ctx context.Context) (map[string]indexEntry, error) {
	o := c.op(check.Search, "the index")
	o, a := c.ask(ctx, o, request{method: http.MethodGet, query: query("prefix", c.w.Prefix)})
	if o.Verdict != check.Done {
		return nil, fmt.Errorf("the index cannot be read: %s", a.note())
	}
	var page wireIndex
	if err := json.Unmarshal(a.body, &page); err != nil || page.More {
		return nil, fmt.Errorf("the index is cut short or not JSON: %w: %.200q", err, a.body)
	}
	all := map[string]indexEntry{}
	for _, e := range page.Partitions {
		all[e.Partition] = e
	}
	return all, nil
}
