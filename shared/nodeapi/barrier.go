package nodeapi

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"

	"hangar/shared/fault"
	"hangar/shared/layout"
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
// of revision, and of the replicas of each partition of ring so many that every
// majority of them holds one that has; nil is no ring. When ctx ends first, or a
// node fails, the error (Unavailable) names those that have not: the change
// itself stands, they follow later.
func AwaitRevision(ctx context.Context, c rpc.Caller, revision uint64, live []Node, ring *layout.Ring) error {
	behind := map[object.NodeID]bool{}
	for _, n := range live {
		behind[n.ID] = true
	}
	waiting := len(behind)
	if ring != nil {
		for _, n := range ring.Nodes {
			behind[n] = true
		}
	}
	if len(behind) == 0 {
		return nil
	}
	alive := make(map[object.NodeID]string, len(live))
	for _, n := range live {
		alive[n.ID] = n.Service
	}
	t := rpc.Target{Subject: barrierSubject, Nodes: slices.Collect(maps.Keys(behind))}
	m := rpc.Message{Head: binary.BigEndian.AppendUint64(nil, revision)}
	done := func() bool { return waiting == 0 && shutOut(ring, behind) }
	err := c.Gather(ctx, t, m, func(a rpc.Answer) bool {
		if a.Err == nil && behind[a.From] {
			delete(behind, a.From)
			if _, ok := alive[a.From]; ok {
				waiting--
			}
		}
		return done()
	})
	switch {
	case done():
		return nil
	case err != nil && !errors.Is(err, context.DeadlineExceeded):
		return err
	}
	var names []string
	for n := range behind {
		if service, ok := alive[n]; ok {
			names = append(names, service+" "+n.String())
		} else {
			names = append(names, "replica "+n.String())
		}
	}
	slices.Sort(names)
	return fault.New(fault.Unavailable, "revision %d is not yet applied by %s", revision, strings.Join(names, ", "))
}

// shutOut reports whether no set of a ring has a majority among those behind.
func shutOut(ring *layout.Ring, behind map[object.NodeID]bool) bool {
	if ring == nil {
		return true
	}
	for p := range ring.Assign {
		for _, set := range ring.Sets(layout.Partition(p)) {
			n := 0
			for _, member := range set {
				if behind[member] {
					n++
				}
			}
			if n >= set.Majority() {
				return false
			}
		}
	}
	return true
}
