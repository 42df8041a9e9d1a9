package coordinator

import (
	"context"
	"encoding/json"
	"time"

	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// Status is a change under way, as its driver sees it.
type Status struct {
	Version  uint64    `json:"version"`
	Began    time.Time `json:"began"`
	Services []Service `json:"services"`
}

// Service is how far the change of one service has come.
type Service struct {
	Service         string `json:"service"`
	Epoch           uint64 `json:"epoch"`
	Phase           Phase  `json:"phase"`
	PartitionsTotal int    `json:"partitionsTotal"`
	PartitionsDone  int    `json:"partitionsDone"`
	ItemsDone       int64  `json:"itemsDone"`
	ItemsTotal      int64  `json:"itemsTotal"`
	BytesDone       int64  `json:"bytesDone"`
	BytesTotal      int64  `json:"bytesTotal"`
	// EstimateSeconds is nil when nobody can tell.
	EstimateSeconds *int64    `json:"estimateSeconds"`
	WaitingFor      []Waiting `json:"waitingFor"`
}

func (s *Status) add(service string, epoch uint64, p Plan, seen *Seen, estimate *int64) {
	m := seen.moved()
	waiting := p.Waiting
	if waiting == nil {
		waiting = []Waiting{}
	}
	s.Services = append(s.Services, Service{
		Service: service, Epoch: epoch, Phase: p.Phase, PartitionsTotal: p.Total, PartitionsDone: p.Done,
		ItemsDone: m.Items, ItemsTotal: m.ItemsTotal, BytesDone: m.Bytes, BytesTotal: m.BytesTotal,
		EstimateSeconds: estimate, WaitingFor: waiting,
	})
}

const (
	adminService  = "admin"
	opStatus      = "change-status"
	statusTimeout = 2 * time.Second
)

// Serve answers other admin processes that ask for the status.
func (d *Driver) Serve(srv rpc.Server) (stop func(), err error) {
	return srv.Handle(rpc.NodeSubject(adminService, opStatus, d.o.Node), func(context.Context, rpc.Message) (rpc.Message, error) {
		s := d.status.Load()
		if s == nil {
			return rpc.Message{}, fault.New(fault.Unavailable, "this process does not drive a layout change")
		}
		head, err := json.Marshal(s)
		return rpc.Message{Head: head}, fault.Wrap(fault.Internal, err, "encoding the status")
	})
}

// Status returns how far the change of l has come: nil when none is under way.
// The driver is asked, which may be another process; while none answers, only
// what the layout says is known.
func (d *Driver) Status(ctx context.Context, v *control.View) *Status {
	l := v.Layout
	if l == nil || !l.Joint() || l.Change == nil {
		return nil
	}
	if s := d.fromDriver(ctx, v); s != nil && s.Version == l.Version {
		return s
	}
	s := &Status{Version: l.Version, Began: l.Change.Began}
	for _, service := range control.StorageServices {
		if ring := l.Ring(service); ring.Joint() {
			nothing := Plan{Phase: Fencing, Total: ring.Moves()}
			nothing.Waiting = []Waiting{{Reason: "for an admin process that drives the change", Partitions: nothing.Total}}
			s.add(service, ring.Epoch, nothing, NewSeen(ring.Epoch), nil)
		}
	}
	return s
}

func (d *Driver) fromDriver(ctx context.Context, v *control.View) *Status {
	if s := d.status.Load(); s != nil {
		return s
	}
	if v.Lease == nil || v.Lease.Holder == "" || v.Lease.Node == d.o.Node {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	at := rpc.Target{Subject: rpc.NodeSubject(adminService, opStatus, v.Lease.Node), Nodes: []object.NodeID{v.Lease.Node}}
	m, err := d.o.Caller.Call(ctx, at, rpc.Message{})
	if err != nil {
		return nil
	}
	s := new(Status)
	if json.Unmarshal(m.Head, s) != nil {
		return nil
	}
	return s
}

// pace estimates how long a change will take from what was done lately.
type pace struct{ from, later mark }

// mark is how much was done at a time.
type mark struct {
	at   time.Time
	done float64
}

// window is over how long a pace is measured, at least; twice that at most.
const window = 30 * time.Second

// estimate returns the seconds left, nil when nobody can tell.
func (p *pace) estimate(now time.Time, plan Plan, seen *Seen) *int64 {
	done, total := float64(plan.Done), float64(plan.Total)
	if m := seen.moved(); m.BytesTotal > 0 {
		done, total = float64(m.Bytes), float64(m.BytesTotal)
	} else if m.ItemsTotal > 0 {
		done, total = float64(m.Items), float64(m.ItemsTotal)
	}
	if p.from.at.IsZero() || done < p.from.done {
		p.from, p.later = mark{now, done}, mark{now, done}
	}
	if now.Sub(p.later.at) >= window {
		p.from, p.later = p.later, mark{now, done}
	}
	took, did := now.Sub(p.from.at), done-p.from.done
	if took < time.Second || did <= 0 {
		return nil
	}
	left := max(total-done, 0) / did * took.Seconds()
	return new(int64(left + 0.5))
}
