// Package changes tells who waits for items of K2V that they were written:
// within this process at once, and across gateways by one small message on NATS
// for each write. Messages may be lost, which delays: everyone who waits is told
// to look again twice a minute, and after each reconnection.
package changes

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// Bus is the part of an rpc.Conn that the hub needs.
type Bus interface {
	Publish(ctx context.Context, subject string, m rpc.Message)
	Handle(subject string, h rpc.Handler) (stop func(), err error)
	// OnReconnect has f called after each reconnection until stop is called.
	OnReconnect(f func()) (stop func())
}

const (
	// shardBits is how finely gateways choose what they hear of: each listens
	// to the shards whose partition keys somebody waits for.
	shardBits = 8
	// recheck is how often everyone who waits looks again, in ticks of a second:
	// spread evenly, so that there is no rush.
	recheck = 30
	// catchUp is over how many ticks a reconnection spreads the same.
	catchUp = 5
)

// Hub passes on what was written. Safe for concurrent use.
type Hub struct {
	bus  Bus
	self uint64

	mu       sync.Mutex
	watchers map[place]map[*Watcher]struct{} // guarded by mu
	slot     int                             // of the next watcher; guarded by mu
	shards   [1 << shardBits]shard
	again    chan struct{}
}

// shard is a slice of all partition keys, with a subject of its own.
type shard struct {
	mu       sync.Mutex
	watchers int    // guarded by mu
	stop     func() // ends the subscription; nil without one; guarded by mu
}

// NewHub makes a hub; a nil bus is for a process on its own.
func NewHub(bus Bus) *Hub {
	return &Hub{bus: bus, self: rand.Uint64(), watchers: map[place]map[*Watcher]struct{}{}, again: make(chan struct{}, 1)}
}

func subject(n layout.Partition) string { return rpc.PartitionSubject("gateway", "changed", n) }

// Publish says that items of a partition key have been, or may have been,
// written.
func (h *Hub) Publish(ctx context.Context, bucket object.BucketID, key string, sorts ...string) {
	m := message{from: h.self, place: place{bucket, key}, sorts: sorts}
	h.tell(m)
	if h.bus != nil && tellsOthers {
		h.bus.Publish(context.WithoutCancel(ctx), subject(layout.OfRow(bucket, key, shardBits)), rpc.Message{Head: m.append(nil)})
	}
}

// tell wakes who waits for what m says.
func (h *Hub) tell(m message) {
	h.mu.Lock()
	var woken []*Watcher
	for w := range h.watchers[m.place] {
		if w.concerned(m.sorts) {
			woken = append(woken, w)
		}
	}
	h.mu.Unlock()
	for _, w := range woken {
		w.wake()
	}
}

// hear takes a message of another gateway.
func (h *Hub) hear(_ context.Context, m rpc.Message) (rpc.Message, error) {
	got, err := parseMessage(m.Head)
	if err == nil && got.from != h.self {
		h.tell(got)
	}
	return rpc.Message{}, err
}

// Watcher is somebody who waits for changes of some items of one partition key.
type Watcher struct {
	hub     *Hub
	place   place
	concern func(sort string) bool
	slot    int

	mu    sync.Mutex
	fired bool   // since OnChange was called last; guarded by mu
	f     func() // guarded by mu
}

// Watch waits for changes of the items of a partition key that concern selects.
// Every write that completes after Watch returned is noticed; Close must follow.
// Errors: those of subscribing.
func (h *Hub) Watch(bucket object.BucketID, key string, concern func(sort string) bool) (*Watcher, error) {
	w := &Watcher{hub: h, place: place{bucket, key}, concern: concern}
	if err := h.listen(layout.OfRow(bucket, key, shardBits)); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slot++
	w.slot = h.slot % recheck
	if h.watchers[w.place] == nil {
		h.watchers[w.place] = map[*Watcher]struct{}{}
	}
	h.watchers[w.place][w] = struct{}{}
	return w, nil
}

func (h *Hub) listen(n layout.Partition) error {
	s := &h.shards[n]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == nil && h.bus != nil {
		stop, err := h.bus.Handle(subject(n), h.hear)
		if err != nil {
			return err
		}
		s.stop = stop
	}
	s.watchers++
	return nil
}

// Close ends the wait. It may be called more than once.
func (w *Watcher) Close() {
	h := w.hub
	h.mu.Lock()
	all := h.watchers[w.place]
	_, there := all[w]
	if delete(all, w); len(all) == 0 {
		delete(h.watchers, w.place)
	}
	h.mu.Unlock()
	w.OnChange(nil)
	if !there {
		return
	}
	s := &h.shards[layout.OfRow(w.place.bucket, w.place.key, shardBits)]
	s.mu.Lock()
	s.watchers--
	s.mu.Unlock()
}

// OnChange has f called at each change from now on, and at once if there was one
// since OnChange was called last. f must not block.
func (w *Watcher) OnChange(f func()) {
	w.mu.Lock()
	w.f = f
	fired := w.fired
	w.fired = false
	w.mu.Unlock()
	if fired && f != nil {
		f()
	}
}

func (w *Watcher) wake() {
	w.mu.Lock()
	f := w.f
	w.fired = f == nil
	w.mu.Unlock()
	if f != nil {
		f()
	}
}

func (w *Watcher) concerned(sorts []string) bool {
	for _, s := range sorts {
		if w.concern(s) {
			return true
		}
	}
	return len(sorts) == 0
}

// Waiting counts who waits.
func (h *Hub) Waiting() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, all := range h.watchers {
		n += len(all)
	}
	return n
}

// Run has those who wait look again in time, until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	if h.bus != nil {
		defer h.bus.OnReconnect(h.lookAgain)()
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	left := 0
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			h.unsubscribe(true)
			return nil
		case <-h.again:
			left = catchUp
			continue
		case <-tick.C:
		}
		h.wake(func(slot int) bool { return slot == n%recheck || left > 0 && slot%catchUp == left%catchUp })
		left = max(left-1, 0)
		if n%recheck == 0 {
			h.unsubscribe(false)
		}
	}
}

// lookAgain has all look again soon.
func (h *Hub) lookAgain() {
	select {
	case h.again <- struct{}{}:
	default: // asked for already
	}
}

func (h *Hub) wake(due func(slot int) bool) {
	h.mu.Lock()
	var woken []*Watcher
	for _, all := range h.watchers {
		for w := range all {
			if due(w.slot) {
				woken = append(woken, w)
			}
		}
	}
	h.mu.Unlock()
	for _, w := range woken {
		w.wake()
	}
}

// unsubscribe stops listening to what nobody waits for.
func (h *Hub) unsubscribe(all bool) {
	for i := range h.shards {
		s := &h.shards[i]
		s.mu.Lock()
		if s.stop != nil && (all || s.watchers == 0) {
			s.stop()
			s.stop = nil
		}
		s.mu.Unlock()
	}
}
