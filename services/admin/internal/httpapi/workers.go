package httpapi

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"hangar/services/admin/internal/ops"
	"hangar/shared/fault"
	"hangar/shared/nodeapi"
)

// workerState is a word, or {"throttled": {"durationSecs": n}}.
type workerState struct {
	state nodeapi.WorkerState
	rest  time.Duration
}

var workerStateSchema = &jsonschema.Schema{OneOf: []*jsonschema.Schema{
	{Type: "string", Enum: []any{string(nodeapi.Busy), string(nodeapi.Idle), string(nodeapi.Done)}},
	{Type: "object", Required: []string{"throttled"}, Properties: map[string]*jsonschema.Schema{
		"throttled": {Type: "object", Required: []string{"durationSecs"}, Properties: map[string]*jsonschema.Schema{
			"durationSecs": {Type: "number"},
		}},
	}},
}}

func (w workerState) MarshalJSON() ([]byte, error) {
	if w.state == nodeapi.Throttled {
		return json.Marshal(map[string]map[string]float64{"throttled": {"durationSecs": w.rest.Seconds()}})
	}
	return json.Marshal(w.state)
}

type workerError struct {
	Message string `json:"message"`
	SecsAgo int64  `json:"secsAgo"`
}

type workerInfo struct {
	ID                uint64       `json:"id"`
	Name              string       `json:"name"`
	State             workerState  `json:"state"`
	Errors            int64        `json:"errors"`
	ConsecutiveErrors int64        `json:"consecutiveErrors"`
	LastError         *workerError `json:"lastError"`
	Tranquility       *int         `json:"tranquility"`
	Progress          *string      `json:"progress"`
	QueueLength       *int64       `json:"queueLength"`
	PersistentErrors  *int64       `json:"persistentErrors"`
	Freeform          []string     `json:"freeform"`
}

func describeWorker(w nodeapi.Worker, now time.Time) workerInfo {
	info := workerInfo{
		ID: w.ID, Name: w.Name, State: workerState{w.State, w.Rest}, Errors: w.Errors, ConsecutiveErrors: w.ConsecutiveErrors,
		Tranquility: w.Tranquility, QueueLength: w.QueueLength, PersistentErrors: w.PersistentErrors, Freeform: nonNil(w.Notes),
	}
	if w.Progress != "" {
		info.Progress = &w.Progress
	}
	if w.LastError != "" {
		info.LastError = &workerError{w.LastError, secondsBetween(w.LastErrorAt, now)}
	}
	return info
}

// secondsBetween is never negative: clocks of nodes differ.
func secondsBetween(from, to time.Time) int64 { return int64(max(to.Sub(from), 0) / time.Second) }

type whichWorkers struct {
	BusyOnly  bool `json:"busyOnly,omitempty"`
	ErrorOnly bool `json:"errorOnly,omitempty"`
}

func (f whichWorkers) leavesOut(w nodeapi.Worker) bool {
	return f.BusyOnly && w.State != nodeapi.Busy && w.State != nodeapi.Throttled || f.ErrorOnly && w.Errors == 0
}

func listWorkers(c call, in whichWorkers) (answers[[]workerInfo], error) {
	return ask(c, ops.WithWorkers, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) ([]workerInfo, error) {
		list, err := r.Workers(ctx)
		if err != nil {
			return nil, err
		}
		out := []workerInfo{}
		for _, w := range slices.DeleteFunc(list, in.leavesOut) {
			out = append(out, describeWorker(w, c.s.ops.Now()))
		}
		return out, nil
	})
}

type whichWorker struct {
	ID *uint64 `json:"id"`
}

func getWorkerInfo(c call, in whichWorker) (answers[workerInfo], error) {
	if in.ID == nil {
		return answers[workerInfo]{}, invalid("give the id of a worker")
	}
	return ask(c, ops.WithWorkers, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) (info workerInfo, err error) {
		list, err := r.Workers(ctx)
		if err != nil {
			return info, err
		}
		for _, w := range list {
			if w.ID == *in.ID {
				return describeWorker(w, c.s.ops.Now()), nil
			}
		}
		return info, fault.New(fault.NotFound, "the node has no worker %d", *in.ID)
	})
}

type whichVariable struct {
	Variable *string `json:"variable,omitempty"`
}

// getWorkerVariable leaves out nodes that do not have the variable when it is
// for all nodes: services have different ones.
func getWorkerVariable(c call, in whichVariable) (answers[map[string]string], error) {
	missing := fault.NotFound
	if c.Query("node") == ops.AllNodes {
		missing = fault.NotImplemented
	}
	return ask(c, ops.WithWorkers, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) (map[string]string, error) {
		all, err := r.Variables(ctx)
		if err != nil || in.Variable == nil {
			return all, err
		}
		value, ok := all[*in.Variable]
		if !ok {
			return nil, fault.New(missing, "the node has no variable %q", *in.Variable)
		}
		return map[string]string{*in.Variable: value}, nil
	})
}

type variable struct {
	Variable string `json:"variable"`
	Value    string `json:"value"`
}

// setWorkerVariable likewise.
func setWorkerVariable(c call, in variable) (answers[variable], error) {
	if in.Variable == "" {
		return answers[variable]{}, invalid("give the name of a variable")
	}
	all := c.Query("node") == ops.AllNodes
	return ask(c, ops.WithWorkers, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) (variable, error) {
		err := r.SetVariable(ctx, in.Variable, in.Value)
		if all && fault.Is(err, fault.NotFound) {
			err = fault.Wrap(fault.NotImplemented, err, "the node has no variable %q", in.Variable)
		}
		return in, err
	})
}
