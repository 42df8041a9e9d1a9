package wire

import (
	"encoding/json"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"hangar/shared/nodeapi"
)

// WorkerState is a word, or {"throttled": {"durationSecs": n}}.
type WorkerState struct {
	state nodeapi.WorkerState
	rest  time.Duration
}

// WorkerStateSchema is the JSON schema of a WorkerState.
var WorkerStateSchema = &jsonschema.Schema{OneOf: []*jsonschema.Schema{
	{Type: "string", Enum: []any{string(nodeapi.Busy), string(nodeapi.Idle), string(nodeapi.Done)}},
	{Type: "object", Required: []string{"throttled"}, Properties: map[string]*jsonschema.Schema{
		"throttled": {Type: "object", Required: []string{"durationSecs"}, Properties: map[string]*jsonschema.Schema{
			"durationSecs": {Type: "number"},
		}},
	}},
}}

// MarshalJSON implements json.Marshaler.
func (w WorkerState) MarshalJSON() ([]byte, error) {
	if w.state == nodeapi.Throttled {
		return json.Marshal(map[string]map[string]float64{"throttled": {"durationSecs": w.rest.Seconds()}})
	}
	return json.Marshal(w.state)
}

// WorkerError is the last error of a worker.
type WorkerError struct {
	Message string `json:"message"`
	SecsAgo int64  `json:"secsAgo"`
}

// WorkerInfo describes a piece of background work.
type WorkerInfo struct {
	ID                uint64       `json:"id"`
	Name              string       `json:"name"`
	State             WorkerState  `json:"state"`
	Errors            int64        `json:"errors"`
	ConsecutiveErrors int64        `json:"consecutiveErrors"`
	LastError         *WorkerError `json:"lastError"`
	Tranquility       *int         `json:"tranquility"`
	Progress          *string      `json:"progress"`
	QueueLength       *int64       `json:"queueLength"`
	PersistentErrors  *int64       `json:"persistentErrors"`
	Freeform          []string     `json:"freeform"`
}

// DescribeWorker writes a worker as it is at now.
func DescribeWorker(w nodeapi.Worker, now time.Time) WorkerInfo {
	info := WorkerInfo{
		ID: w.ID, Name: w.Name, State: WorkerState{w.State, w.Rest}, Errors: w.Errors, ConsecutiveErrors: w.ConsecutiveErrors,
		Tranquility: w.Tranquility, QueueLength: w.QueueLength, PersistentErrors: w.PersistentErrors, Freeform: NonNil(w.Notes),
	}
	if w.Progress != "" {
		info.Progress = &w.Progress
	}
	if w.LastError != "" {
		info.LastError = &WorkerError{w.LastError, SecondsBetween(w.LastErrorAt, now)}
	}
	return info
}

// SecondsBetween is never negative: clocks of nodes differ.
func SecondsBetween(from, to time.Time) int64 { return int64(max(to.Sub(from), 0) / time.Second) }

// WhichWorkers is the body of ListWorkers.
type WhichWorkers struct {
	BusyOnly  bool `json:"busyOnly,omitempty"`
	ErrorOnly bool `json:"errorOnly,omitempty"`
}

// WhichWorker is the body of GetWorkerInfo.
type WhichWorker struct {
	ID *uint64 `json:"id"`
}

// WhichVariable is the body of GetWorkerVariable; absent means all.
type WhichVariable struct {
	Variable *string `json:"variable,omitempty"`
}

// Variable is the body and the answer of SetWorkerVariable.
type Variable struct {
	Variable string `json:"variable"`
	Value    string `json:"value"`
}
