package httpapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"hangar/services/admin/internal/ops"
	"hangar/services/admin/internal/wire"
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

func getNodeInfo(c call) (answers[wire.NodeInfo], error) {
	return look(c, func(n ops.Node) wire.NodeInfo {
		info := wire.NodeInfo{NodeID: n.ID, GarageVersion: n.Version, GarageFeatures: []string{}, RustVersion: "-", DBEngine: "none", Service: n.Service, Zone: n.Zone}
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

func getNodeStatistics(c call) (answers[wire.NodeStatistics], error) {
	out, err := look(c, func(n ops.Node) wire.NodeStatistics {
		var b strings.Builder
		fmt.Fprintf(&b, "Hangar %s, service %s, zone %s\n", n.Version, n.Service, n.Zone)
		if !n.Started.IsZero() {
			fmt.Fprintf(&b, "Running for: %s\n", c.s.ops.Now().Sub(n.Started).Round(time.Second))
		}
		if n.TotalBytes > 0 {
			fmt.Fprintf(&b, "Disk: %d of %d bytes free\n", n.AvailableBytes, n.TotalBytes)
		}
		return wire.NodeStatistics{Freeform: b.String(), Directories: n.Directories}
	})
	if err != nil {
		return out, err
	}
	told, err := ask(c, ops.WithWorkers, ops.QuickAnswer, tell)
	if err != nil {
		return out, err
	}
	for id, what := range told.Success {
		s, ok := out.Success[id]
		if !ok {
			continue
		}
		s.Add(what.figures, c.s.ops.Now())
		if what.uncounted != nil {
			s.Freeform += "What it holds could not be asked: " + c.s.explain(c.ctx, what.node, what.uncounted) + "\n"
		}
		addWorkers(&s, what.workers, c.s.ops.Now())
		out.Success[id] = s
	}
	for id, why := range told.Error {
		if s, ok := out.Success[id]; ok {
			s.Freeform += "More could not be asked: " + why + "\n"
			out.Success[id] = s
		}
	}
	return out, nil
}

// figures are what a node tells of itself.
type figures struct {
	node      object.NodeID
	workers   []nodeapi.Worker
	figures   nodeapi.Statistics
	uncounted error // why there are no figures
}

func tell(ctx context.Context, r nodeapi.Remote) (f figures, err error) {
	f.node = r.Node
	if f.workers, err = r.Workers(ctx); err != nil || !slices.Contains(ops.StorageServices, r.Service) {
		return f, err
	}
	f.figures, f.uncounted = r.Statistics(ctx)
	return f, nil
}

func addWorkers(s *wire.NodeStatistics, list []nodeapi.Worker, now time.Time) {
	var b strings.Builder
	for _, w := range list {
		s.Workers = append(s.Workers, wire.DescribeWorker(w, now))
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
func connectClusterNodes(c call, in []string) ([]wire.Connected, error) {
	if err := tooMany(len(in)); err != nil {
		return nil, err
	}
	out := make([]wire.Connected, 0, len(in))
	for _, name := range in {
		id, _, _ := strings.Cut(name, "@")
		why := ""
		if parsed, err := object.ParseNodeID(id); err != nil {
			why = err.Error()
		} else if !slices.ContainsFunc(c.s.ops.Nodes(), func(n ops.Node) bool { return n.ID == parsed && n.Up }) {
			why = "the node is not heard of; it joins by itself once it is started with the address of this cluster's NATS server"
		}
		answer := wire.Connected{Success: why == ""}
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

func launchRepairOperation(c call, in wire.RepairOrder) (answers[*nothing], error) {
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
