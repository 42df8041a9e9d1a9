package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"hangar/tests/consistency/check"
)

// Load is what all workloads share.
type Load struct {
	Seed     uint64
	Gateways []*Client
	History  *check.History
	// Think is the longest pause of a client between two operations.
	Think time.Duration
	// Prefix of all keys.
	Prefix string
}

// random is the source of one client's choices.
func (l *Load) random(client int) *rand.Rand { return rand.New(rand.NewPCG(l.Seed, uint64(client))) }

// think pauses, and reports whether to go on.
func (l *Load) think(ctx context.Context, rng *rand.Rand) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(rng.Int64N(int64(l.Think) + 1))):
		return true
	}
}

// ask runs one operation to its end, also when ctx ends meanwhile, and notes
// what was answered. The answer is for the caller to read values from.
func (l *Load) ask(ctx context.Context, rng *rand.Rand, o check.Op, r request) (check.Op, answer) {
	return l.askVia(ctx, rng.IntN(len(l.Gateways)), o, r)
}

// askVia is ask through one gateway.
func (l *Load) askVia(ctx context.Context, via int, o check.Op, r request) (check.Op, answer) {
	o.Via = via
	o.Call = l.History.Now()
	a, err := l.Gateways[o.Via].do(context.WithoutCancel(ctx), r)
	o.Return = l.History.Now()
	if err != nil {
		l.History.Violation("the test is wrong: %s: %v", o, err)
	}
	if a.unsent {
		o.Verdict, o.Note = check.Refused, "not reachable"
		return o, a
	}
	verdict, allowed := check.Judged(o.Verb, a.status, a.code)
	o.Verdict, o.Note = verdict, a.note()
	if !allowed {
		l.History.Violation("%s was answered %d %s: %.200s", o, a.status, a.code, a.body)
	}
	return o, a
}

// Registers is a fight over a few hot keys. After some hundred operations, or
// several of unknown fate, a key is given up for the next, which keeps its
// history checkable.
type Registers struct {
	Load
	Keys int

	mu   sync.Mutex
	hot  []hotKey
	init sync.Once
}

type hotKey struct{ generation, used, open int }

const (
	keyLife = 300 // operations on a hot key
	keyOpen = 8   // of them, of unknown fate
)

// use names the present key of a slot.
func (w *Registers) use(slot int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := &w.hot[slot]
	if k.used++; k.used > keyLife || k.open > keyOpen {
		*k = hotKey{generation: k.generation + 1}
	}
	return fmt.Sprintf("%sregister/%d-%d", w.Prefix, slot, k.generation)
}

func (w *Registers) opened(slot int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hot[slot].open++
}

// Run is the life of a client that reads and writes; it ends with ctx.
func (w *Registers) Run(ctx context.Context, client int) {
	w.run(ctx, client, []check.Verb{
		check.Get, check.Get, check.Get, check.Get, check.Put, check.PutAbsent, check.PutMatch, check.PutMatch, check.Delete, check.DelMatch,
	})
}

// Read is the life of a client that reads.
func (w *Registers) Read(ctx context.Context, client int) {
	w.run(ctx, client, []check.Verb{check.Get})
}

func (w *Registers) run(ctx context.Context, client int, verbs []check.Verb) {
	w.init.Do(func() { w.hot = make([]hotKey, w.Keys) })
	rng := w.random(client)
	seen := map[string]string{} // key → a value it held not long ago
	sizes := []int{0, 300, 2 << 10, 40 << 10}
	for n := 0; w.think(ctx, rng); n++ {
		slot := rng.IntN(w.Keys)
		o := check.Op{Client: client, Verb: verbs[rng.IntN(len(verbs))], Key: w.use(slot)}
		value := valueName(client, n, sizes[rng.IntN(len(sizes))])
		o.Want = seen[o.Key]
		if o.Want == "" && (o.Verb == check.PutMatch || o.Verb == check.DelMatch) {
			o.Verb = check.Get
		}
		o = w.one(ctx, rng, o, value)
		switch {
		case o.Verdict == check.Maybe:
			w.opened(slot)
		case o.Verdict != check.Done:
		case o.Verb == check.Get:
			seen[o.Key] = o.Read
		default:
			seen[o.Key] = o.Value
		}
		w.History.Add(o)
	}
}

// one runs an operation on a key.
func (w *Registers) one(ctx context.Context, rng *rand.Rand, o check.Op, value string) check.Op {
	r := request{key: o.Key, header: map[string]string{}}
	switch o.Verb {
	case check.Get:
		r.method = http.MethodGet
	case check.Delete, check.DelMatch:
		r.method = http.MethodDelete
	default:
		r.method, o.Value, r.body = http.MethodPut, value, contentOf(value)
	}
	switch o.Verb {
	case check.PutAbsent:
		r.header["If-None-Match"] = "*"
	case check.PutMatch, check.DelMatch:
		r.header["If-Match"] = etagOf(o.Want)
	}
	if o.Verb != check.PutMatch && o.Verb != check.DelMatch {
		o.Want = ""
	}
	o, a := w.ask(ctx, rng, o, r)
	if o.Verb == check.Get && o.Verdict == check.Done && a.status == http.StatusOK {
		var err error
		if o.Read, err = valueIn(a.body); err != nil {
			w.History.Violation("%s read %v", o, err)
			o.Verdict = check.Refused
		}
	}
	return o
}
