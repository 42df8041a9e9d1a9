package nodeapi

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// barrierSubject reaches every process that mirrors the control state.
var barrierSubject = rpc.ServiceSubject("control", "barrier")

// ServeBarrier answers AwaitRevision: await returns nil once this process's
// mirror has reached the revision, or an error when ctx ends first.
func ServeBarrier(s rpc.Server, await func(ctx context.Context, revision uint64) error) (stop func(), err error) {
	return s.Handle(barrierSubject, func(ctx context.Context, m rpc.Message) (rpc.Message, error) {
		if len(m.Head) != 8 {
			return rpc.Message{}, fault.New(fault.Invalid, "a barrier request of %d bytes", len(m.Head))
		}
		return rpc.Message{}, await(ctx, binary.BigEndian.Uint64(m.Head))
	})
}

// AwaitRevision returns nil once every live node has applied the control state
// of revision. When ctx ends first, or a node fails, the error (Unavailable)
// names those that have not: the change itself stands, they follow later.
func AwaitRevision(ctx context.Context, c rpc.Caller, revision uint64, live []Node) error {
	if len(live) == 0 {
		return nil
	}
	behind := make([]object.NodeID, len(live))
	for i, n := range live {
		behind[i] = n.ID
	}
	t := rpc.Target{Subject: barrierSubject, Nodes: slices.Clone(behind)}
	m := rpc.Message{Head: binary.BigEndian.AppendUint64(nil, revision)}
	err := c.Gather(ctx, t, m, func(a rpc.Answer) bool {
		if a.Err == nil {
			behind = slices.DeleteFunc(behind, func(n object.NodeID) bool { return n == a.From })
		}
		return false
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if len(behind) == 0 {
		return nil
	}
	var names []string
	for _, n := range live {
		if slices.Contains(behind, n.ID) {
			names = append(names, n.Service+" "+n.ID.String())
		}
	}
	return fault.New(fault.Unavailable, "revision %d is not yet applied by %s", revision, strings.Join(names, ", "))
}
