package httpapi

import (
	"context"
	"slices"

	"hangar/services/admin/internal/ops"
	"hangar/services/admin/internal/wire"
	"hangar/shared/fault"
	"hangar/shared/nodeapi"
)

// leftOut makes the test of what is not asked for.
func leftOut(f wire.WhichWorkers) func(nodeapi.Worker) bool {
	return func(w nodeapi.Worker) bool {
		return f.BusyOnly && w.State != nodeapi.Busy && w.State != nodeapi.Throttled || f.ErrorOnly && w.Errors == 0
	}
}

func listWorkers(c call, in wire.WhichWorkers) (answers[[]wire.WorkerInfo], error) {
	return ask(c, ops.WithWorkers, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) ([]wire.WorkerInfo, error) {
		list, err := r.Workers(ctx)
		if err != nil {
			return nil, err
		}
		out := []wire.WorkerInfo{}
		for _, w := range slices.DeleteFunc(list, leftOut(in)) {
			out = append(out, wire.DescribeWorker(w, c.s.ops.Now()))
		}
		return out, nil
	})
}

func getWorkerInfo(c call, in wire.WhichWorker) (answers[wire.WorkerInfo], error) {
	if in.ID == nil {
		return answers[wire.WorkerInfo]{}, invalid("give the id of a worker")
	}
	return ask(c, ops.WithWorkers, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) (info wire.WorkerInfo, err error) {
		list, err := r.Workers(ctx)
		if err != nil {
			return info, err
		}
		for _, w := range list {
			if w.ID == *in.ID {
				return wire.DescribeWorker(w, c.s.ops.Now()), nil
			}
		}
		return info, fault.New(fault.NotFound, "the node has no worker %d", *in.ID)
	})
}

// getWorkerVariable leaves out nodes that do not have the variable when it is
// for all nodes: services have different ones.
func getWorkerVariable(c call, in wire.WhichVariable) (answers[map[string]string], error) {
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
			return nil, fault.New(missing, "the node has no wire.Variable %q", *in.Variable)
		}
		return map[string]string{*in.Variable: value}, nil
	})
}

// setWorkerVariable likewise.
func setWorkerVariable(c call, in wire.Variable) (answers[wire.Variable], error) {
	if in.Variable == "" {
		return answers[wire.Variable]{}, invalid("give the name of a variable")
	}
	all := c.Query("node") == ops.AllNodes
	return ask(c, ops.WithWorkers, ops.QuickAnswer, func(ctx context.Context, r nodeapi.Remote) (wire.Variable, error) {
		err := r.SetVariable(ctx, in.Variable, in.Value)
		if all && fault.Is(err, fault.NotFound) {
			err = fault.Wrap(fault.NotImplemented, err, "the node has no wire.Variable %q", in.Variable)
		}
		return in, err
	})
}
