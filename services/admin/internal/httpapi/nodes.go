package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"hangar/services/admin/internal/ops"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
)

// answers is what several nodes answered, by node id.
type answers[T any] struct {
	Success map[string]T      `json:"success"`
	Error   map[string]string `json:"error"`
}

// ask puts a question to the nodes that the request names.
func ask[T any](c call, services []string, timeout time.Duration, do func(context.Context, nodeapi.Remote) (T, error)) (answers[T], error) {
	got, err := ops.Ask(c.ctx, c.s.ops, ops.Question{Nodes: c.Query("node"), Services: services, Timeout: timeout}, do)
	if err != nil {
		return answers[T]{}, err
	}
	out := answers[T]{Success: map[string]T{}, Error: map[string]string{}}
	for id, answer := range got.Success {
		out.Success[id.String()] = answer
	}
	for id, err := range got.Failed {
		out.Error[id.String()] = c.s.explain(c.ctx, id, err)
	}
	return out, nil
}

// explain says why a node did not do what it was asked for.
func (s *Server) explain(ctx context.Context, id object.NodeID, err error) string {
	e := classify(err)
	if e.code == "InternalError" {
		s.log.ErrorContext(ctx, "a node failed an operator's request", "node", id, "error", err)
	}
	return e.msg
}

type nodeInfo struct {
	NodeID   object.NodeID `json:"nodeId"`
	Hostname *string       `json:"hostname"`
	// GarageVersion is Hangar's: the name is Garage's.
	GarageVersion  string   `json:"garageVersion" jsonschema:"the version of Hangar"`
	GarageFeatures []string `json:"garageFeatures"`
	RustVersion    string   `json:"rustVersion" jsonschema:"there is no Rust in Hangar: always a dash"`
	DBEngine       string   `json:"dbEngine"`
	// Extensions.
	Service   string     `json:"service"`
	Zone      string     `json:"zone,omitempty"`
	StartedAt *time.Time `json:"startedAt"`
}

// engines are what the services keep their metadata in.
var engines = map[string]string{ops.ServiceMeta: "badger", ops.ServiceBlocks: "badger"}

// look describes the nodes that the request names from what they announce.
func look[T any](c call, describe func(ops.Node) T) (answers[T], error) {
	nodes, err := c.s.ops.Select(ops.Question{Nodes: c.Query("node"), Services: ops.EveryService})
	if err != nil {
		return answers[T]{}, err
	}
	out := answers[T]{Success: map[string]T{}, Error: map[string]string{}}
	for _, n := range nodes {
		switch {
		case n.Up:
			out.Success[n.ID.String()] = describe(n)
		case n.LastSeen.IsZero():
			out.Error[n.ID.String()] = "no node with this id was heard of"
		default:
			out.Error[n.ID.String()] = "the node is down; last heard of at " + n.LastSeen.UTC().Format(time.RFC3339)
		}
	}
	return out, nil
}

func getNodeInfo(c call) (answers[nodeInfo], error) {
	return look(c, func(n ops.Node) nodeInfo {
		info := nodeInfo{NodeID: n.ID, GarageVersion: n.Version, GarageFeatures: []string{}, RustVersion: "-", DBEngine: "none", Service: n.Service, Zone: n.Zone}
		if n.Hostname != "" {
			info.Hostname = &n.Hostname
		}
		if engine, ok := engines[n.Service]; ok {
			info.DBEngine = engine
		}
		if !n.Started.IsZero() {
			info.StartedAt = &n.Started
		}
		return info
	})
}

// nodeStatistics has Garage's optional fields only as far as nodes count the
// same things.
type nodeStatistics struct {
	Freeform string `json:"freeform"`
	// Directories is an extension: where a block node keeps its data.
	Directories []nodeapi.Directory `json:"directories,omitempty"`
	// Workers is an extension; absent for nodes that could not be asked.
	Workers []workerInfo `json:"workers,omitempty"`
}

func getNodeStatistics(c call) (answers[nodeStatistics], error) {
	out, err := look(c, func(n ops.Node) nodeStatistics {
		var b strings.Builder
		fmt.Fprintf(&b, "Hangar %s, service %s, zone %s\n", n.Version, n.Service, n.Zone)
		if !n.Started.IsZero() {
			fmt.Fprintf(&b, "Running for: %s\n", c.s.ops.Now().Sub(n.Started).Round(time.Second))
		}
		if n.TotalBytes > 0 {
			fmt.Fprintf(&b, "Disk: %d of %d bytes free\n", n.AvailableBytes, n.TotalBytes)
		}
		return nodeStatistics{Freeform: b.String(), Directories: n.Directories}
	})
	if err != nil {
		return out, err
	}
	workers, err := ask(c, ops.WithWorkers, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) ([]nodeapi.Worker, error) {
		return r.Workers(ctx)
	})
	if err != nil {
		return out, err
	}
	for id, list := range workers.Success {
		if s, ok := out.Success[id]; ok {
			s.add(list, c.s.ops.Now())
			out.Success[id] = s
		}
	}
	return out, nil
}

func (s *nodeStatistics) add(list []nodeapi.Worker, now time.Time) {
	var b strings.Builder
	for _, w := range list {
		s.Workers = append(s.Workers, describeWorker(w, now))
		fmt.Fprintf(&b, "%s: %s", w.Name, w.State)
		if w.QueueLength != nil {
			fmt.Fprintf(&b, ", %d queued", *w.QueueLength)
		}
		if w.PersistentErrors != nil {
			fmt.Fprintf(&b, ", %d failed", *w.PersistentErrors)
		}
		b.WriteByte('\n')
	}
	s.Freeform += b.String()
}

type connected struct {
	Success bool    `json:"success"`
	Error   *string `json:"error"`
}

// mostListed bounds the lists in requests.
const mostListed = 1000

func tooMany(n int) error {
	if n > mostListed {
		return invalid(fmt.Sprintf("a request names at most %d of them", mostListed))
	}
	return nil
}

// connectClusterNodes takes "id" or "id@address". Nodes find each other through
// the message broker; all there is to do is to look.
func connectClusterNodes(c call, in []string) ([]connected, error) {
	if err := tooMany(len(in)); err != nil {
		return nil, err
	}
	out := make([]connected, 0, len(in))
	for _, name := range in {
		id, _, _ := strings.Cut(name, "@")
		why := ""
		if parsed, err := object.ParseNodeID(id); err != nil {
			why = err.Error()
		} else if !slices.ContainsFunc(c.s.ops.Nodes(), func(n ops.Node) bool { return n.ID == parsed && n.Up }) {
			why = "the node is not heard of; it joins by itself once it is started with the address of this cluster's NATS server"
		}
		answer := connected{Success: why == ""}
		if why != "" {
			answer.Error = &why
		}
		out = append(out, answer)
	}
	return out, nil
}

func createMetadataSnapshot(c call, _ nothing) (answers[*nothing], error) {
	return ask(c, ops.WithWorkers, ops.SlowAnswer, func(ctx context.Context, r nodeapi.Remote) (*nothing, error) {
		return nil, r.Snapshot(ctx)
	})
}

// repairType is a word, or {"scrub": command}.
type repairType nodeapi.Repair

var repairWords = []nodeapi.RepairKind{
	nodeapi.RepairTables, nodeapi.RepairBlocks, nodeapi.RepairVersions, nodeapi.RepairMultipartUploads,
	nodeapi.RepairBlockRefs, nodeapi.RepairBlockCounts, nodeapi.RepairRebalance, nodeapi.RepairAliases,
	nodeapi.RepairCounters, nodeapi.RepairClearResyncQueue,
}

var scrubWords = []string{"start", "pause", "resume", "cancel"}

var repairTypeSchema = &jsonschema.Schema{OneOf: []*jsonschema.Schema{
	{Type: "string", Enum: anyOf(repairWords)},
	{Type: "object", Required: []string{"scrub"}, Properties: map[string]*jsonschema.Schema{
		"scrub": {Type: "string", Enum: anyOf(scrubWords)},
	}},
}}

func anyOf[T ~string](words []T) (out []any) {
	for _, w := range words {
		out = append(out, string(w))
	}
	return out
}

func (r *repairType) UnmarshalJSON(b []byte) error {
	var word nodeapi.RepairKind
	if json.Unmarshal(b, &word) == nil {
		if !slices.Contains(repairWords, word) {
			return errors.New("repairType: there is no such repair")
		}
		r.Kind = word
		return nil
	}
	var command struct {
		Scrub *string `json:"scrub"`
	}
	if err := json.Unmarshal(b, &command); err != nil {
		return err
	}
	if command.Scrub == nil || !slices.Contains(scrubWords, *command.Scrub) {
		return errors.New("repairType: want a word, or scrub with start, pause, resume or cancel")
	}
	r.Kind, r.Scrub = nodeapi.RepairScrub, *command.Scrub
	return nil
}

type repairOrder struct {
	RepairType *repairType `json:"repairType"`
}

func launchRepairOperation(c call, in repairOrder) (answers[*nothing], error) {
	if in.RepairType == nil {
		return answers[*nothing]{}, invalid("give a repairType")
	}
	if in.RepairType.Kind == nodeapi.RepairAliases && c.Query("node") == ops.AllNodes {
		// Aliases are control state: one node repairs them for all.
		c.Request().URI().QueryArgs().Set("node", ops.ThisNode)
	}
	return ask(c, ops.WithWorkers, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) (*nothing, error) {
		return nil, r.Repair(ctx, nodeapi.Repair(*in.RepairType))
	})
}
