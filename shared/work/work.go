// Package work is the background work of a node, as its operator sees it: what
// runs, how far it is, what went wrong, how much it rests, and the variables that
// change that while it runs.
//
// A Set belongs to one service. Worker is work that goes on for ever (resync,
// compaction); Task is work with a beginning and an end, begun by order or by
// itself, that goes on after a restart (scrub, repairs). Both run as parts of a
// lifecycle group: an error of Run stops the group, and a panic is nobody's to
// recover. What goes wrong with a piece of work is noted with Worker.Result,
// shown to the operator, and tried again.
//
// Work rests after each piece (Worker.Rest) by its tranquility: a multiple of
// the time that the piece took, or as much as it takes to keep requests as fast
// as they are without it (see Foreground).
//
// Crash story: variables are durable when they are set. How far a task has come
// is saved every ten seconds and at its end; losing that costs only time.
package work

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hangar/shared/fault"
	"hangar/shared/nodeapi"
)

// Options of a Set. The zero Options are ready for tests.
type Options struct {
	// Service is the label of the metrics: "blocks", "meta".
	Service string
	// File keeps variables and tasks. Without one they last as long as the
	// process.
	File string
	// Registry gets the metrics hangar_worker_…; nil is none.
	Registry prometheus.Registerer
	// Log gets what went wrong; nil drops it.
	Log *slog.Logger
}

// Set is the background work of a service: it implements the half of
// nodeapi.Operator that is the same for all services. Safe for concurrent use.
type Set struct {
	log        *slog.Logger
	memory     *memory
	foreground *Foreground
	registry   prometheus.Registerer
	metrics    *metrics

	mu        sync.Mutex
	workers   []*Worker           // guarded by mu; the place is the id, from 1
	variables map[string]Variable // guarded by mu

	// setting serializes changes of variables: their value and what is kept of
	// it never differ for long.
	setting sync.Mutex
}

// Open makes a Set with what its file remembers. A file that cannot be read is
// logged and begun anew: it holds nothing that has no default. Errors: those of
// the registry.
func Open(o Options) (*Set, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Set{
		log: o.Log, memory: openMemory(o.File, o.Log), foreground: newForeground(),
		registry: o.Registry, variables: make(map[string]Variable),
	}
	if s.registry != nil {
		s.metrics = newMetrics(o.Service, s)
		if err := s.registry.Register(s.metrics); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Close takes the metrics away. The workers have ended before.
func (s *Set) Close() {
	if s.registry != nil {
		s.registry.Unregister(s.metrics)
	}
}

// Foreground is what a service tells how long its requests take, for workers
// whose tranquility is adaptive.
func (s *Set) Foreground() *Foreground { return s.foreground }

// Worker adds a worker. Errors: Invalid (the default of its tranquility),
// AlreadyExists (a variable of that name).
func (s *Set) Worker(o WorkerOptions) (*Worker, error) {
	w := &Worker{opts: o, set: s, state: nodeapi.Idle, since: time.Now(), changed: make(chan struct{})}
	if o.Tranquility != "" {
		if err := w.setTranquility(o.Tranquility); err != nil {
			return nil, err
		}
		err := s.Variable(Variable{Name: o.Name + "-tranquility", Get: w.tranquilityText, Set: w.setTranquility})
		if err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers = append(s.workers, w)
	w.id = uint64(len(s.workers))
	return w, nil
}

func (s *Set) all() []*Worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.workers)
}

// Workers implements nodeapi.Operator.
func (s *Set) Workers(context.Context) ([]nodeapi.Worker, error) {
	list := []nodeapi.Worker{}
	for _, w := range s.all() {
		list = append(list, w.Status())
	}
	return list, nil
}

// Variables implements nodeapi.Operator.
func (s *Set) Variables(context.Context) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make(map[string]string)
	for name, v := range s.variables {
		values[name] = v.Get()
	}
	return values, nil
}

// SetVariable implements nodeapi.Operator. Errors: NotFound, Invalid,
// StorageFull (the value is as before).
func (s *Set) SetVariable(_ context.Context, name, value string) error {
	s.setting.Lock()
	defer s.setting.Unlock()
	s.mu.Lock()
	v, found := s.variables[name]
	s.mu.Unlock()
	switch {
	case !found:
		return fault.New(fault.NotFound, "no variable %q", name)
	case v.Set == nil:
		return fault.New(fault.Invalid, "%s can only be read", name)
	}
	before := v.Get()
	if err := v.Set(value); err != nil {
		return fault.Wrap(fault.Invalid, err, "%s", name)
	}
	if err := s.memory.setVariable(name, v.Get()); err != nil {
		if undone := v.Set(before); undone != nil {
			s.log.Error("a variable has a value that is not kept", "variable", name, "error", undone)
		}
		return err
	}
	return nil
}
