package changes

import (
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

func watch(t *testing.T, h *Hub, b object.BucketID, key, prefix string) (w *Watcher, woken chan struct{}) {
	t.Helper()
	w, err := h.Watch(b, key, func(sort string) bool { return strings.HasPrefix(sort, prefix) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	woken = make(chan struct{}, 100)
	return w, woken
}

func wants(t *testing.T, woken chan struct{}) {
	t.Helper()
	select {
	case <-woken:
	case <-time.After(5 * time.Second):
		t.Fatal("not woken")
	}
}

// TestGatewaysTellEachOther: over a real broker, what one writes wakes who waits
// at another, and nobody else.
func TestGatewaysTellEachOther(t *testing.T) {
	broker := rpctest.NATS(t)
	one := NewHub(rpctest.Connect(t, broker, rpc.Options{Node: object.NewNodeID()}))
	two := NewHub(rpctest.Connect(t, broker, rpc.Options{Node: object.NewNodeID()}))
	b := object.NewBucketID()
	w, woken := watch(t, two, b, "pk", "a")
	_, other := watch(t, two, b, "pk", "b")
	w.OnChange(func() { woken <- struct{}{} })
	one.Publish(t.Context(), b, "other key", "a")
	one.Publish(t.Context(), object.NewBucketID(), "pk", "a")
	one.Publish(t.Context(), b, "pk", "x", "ab")
	wants(t, woken)
	two.Publish(t.Context(), b, "pk", "a")
	wants(t, woken) // of its own process: at once, and not again by the echo
	many := make([]string, maxNamed+1)
	for i := range many {
		many[i] = "z"
	}
	one.Publish(t.Context(), b, "pk", many...)
	wants(t, woken) // too many to name: any
	if len(woken) != 0 || len(other) != 0 {
		t.Errorf("woken %d times too often, another %d times", len(woken), len(other))
	}
	w.Close()
	w.Close()
	if n := two.Waiting(); n != 1 {
		t.Errorf("%d wait", n)
	}
	two.unsubscribe(false)
	if two.shards[0].watchers < 0 {
		t.Error("counted twice")
	}
}

// TestNothingFallsBetween: a change before anybody listens to it is told later.
func TestNothingFallsBetween(t *testing.T) {
	h := NewHub(nil)
	b := object.NewBucketID()
	w, _ := watch(t, h, b, "pk", "")
	h.Publish(t.Context(), b, "pk", "a")
	var n atomic.Int32
	w.OnChange(func() { n.Add(1) })
	if n.Load() != 1 {
		t.Errorf("told %d times", n.Load())
	}
	h.Publish(t.Context(), b, "pk", "a")
	if n.Load() != 2 {
		t.Errorf("told %d times", n.Load())
	}
}

// TestEveryoneLooksAgain: within recheck ticks all are woken, spread over them,
// and after a reconnection within catchUp.
func TestEveryoneLooksAgain(t *testing.T) {
	h := NewHub(nil)
	b := object.NewBucketID()
	var n atomic.Int32
	for range 10 * recheck {
		w, _ := watch(t, h, b, "pk", "")
		w.OnChange(func() { n.Add(1) })
	}
	for tick := range recheck {
		h.wake(func(slot int) bool { return slot == tick })
		if got := n.Load(); got != int32(10*(tick+1)) {
			t.Fatalf("after %d ticks %d were woken", tick+1, got)
		}
	}
	h.lookAgain()
	h.lookAgain()
	if len(h.again) != 1 {
		t.Error("a reconnection is lost, or counted twice")
	}
}

func FuzzParseMessage(f *testing.F) {
	m := message{from: 7, place: place{object.NewBucketID(), "pk"}, sorts: []string{"a", ""}}
	f.Add(m.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		again, err := parseMessage(m.append(nil))
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}
