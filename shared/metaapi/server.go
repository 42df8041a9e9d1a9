package metaapi

import (
	"context"
	"sync"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/object"
	"hangar/shared/rpc"
)

// Server offers a Replica over rpc: to coordinators on the subject of each
// partition that the node is a member of, and on the node's own subjects.
type Server struct {
	srv     rpc.Server
	self    object.NodeID
	replica Replica

	mu    sync.Mutex
	stops map[layout.Partition][]func() // guarded by mu
	own   []func()                      // guarded by mu; stop what is not a partition's
}

// Serve starts to offer r as node self. It serves no partition yet: see Follow.
func Serve(srv rpc.Server, self object.NodeID, r Replica) (*Server, error) {
	s := &Server{srv: srv, self: self, replica: r, stops: map[layout.Partition][]func(){}}
	for op, h := range map[string]rpc.Handler{opScan: s.scan, opCounters: s.counters, opIndex: s.index, opInventory: s.inventory} {
		stop, err := srv.Handle(rpc.NodeSubject(service, op, self), h)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.own = append(s.own, stop)
	}
	return s, nil
}

// Follow serves the partitions that ring gives the node, in either assignment,
// and no others. It is called again whenever the ring changes. After an error
// some partitions may not be served; calling it again tries again.
func (s *Server) Follow(ring *layout.Ring) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	member := map[layout.Partition]bool{}
	if ring != nil {
		for p := range ring.Assign {
			for _, set := range ring.Sets(layout.Partition(p)) {
				if set.Has(s.self) {
					member[layout.Partition(p)] = true
				}
			}
		}
	}
	for p := range s.stops {
		if !member[p] {
			s.stop(p)
		}
	}
	for p := range member {
		if s.stops[p] != nil {
			continue
		}
		for op, h := range map[string]rpc.Handler{opRow: s.row, opRows: s.rows} {
			stop, err := s.srv.Handle(rpc.PartitionSubject(service, op, p), h)
			if err != nil {
				s.stop(p)
				return fault.Wrap(fault.KindOf(err), err, "serving partition %d", p)
			}
			s.stops[p] = append(s.stops[p], stop)
		}
	}
	return nil
}

// stop ends the service of a partition. mu is held.
func (s *Server) stop(p layout.Partition) {
	for _, stop := range s.stops[p] {
		stop()
	}
	delete(s.stops, p)
}

// Close stops serving. Requests that have begun run on.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.stops {
		s.stop(p)
	}
	for _, stop := range s.own {
		stop()
	}
	s.own = nil
}

func (s *Server) row(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	key, q, err := decodeRowRequest(s.self, m)
	if err != nil {
		return rpc.Message{}, err
	}
	reply, err := s.replica.Handle(ctx, key, q)
	if err != nil {
		return rpc.Message{}, err
	}
	return encodeRowReply(&reply)
}

func (s *Server) rows(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	rows, err := decodeRowsRequest(s.self, m)
	if err != nil {
		return rpc.Message{}, err
	}
	return encodeRowsReply(s.replica.HandleMany(ctx, rows))
}

func (s *Server) scan(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	q, err := decodeScanRequest(m)
	if err != nil {
		return rpc.Message{}, err
	}
	reply, err := s.replica.Scan(ctx, q)
	if err != nil {
		return rpc.Message{}, err
	}
	return encodeScanReply(&reply)
}

func (s *Server) counters(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	t, b, err := decodeCountersRequest(m)
	if err != nil {
		return rpc.Message{}, err
	}
	counters, err := s.replica.Counters(ctx, t, b)
	if err != nil {
		return rpc.Message{}, err
	}
	return encodeCounters(counters)
}

func (s *Server) index(ctx context.Context, m rpc.Message) (rpc.Message, error) {
	q, err := decodeIndexRequest(m)
	if err != nil {
		return rpc.Message{}, err
	}
	reply, err := s.replica.Index(ctx, q)
	if err != nil {
		return rpc.Message{}, err
	}
	return encodeIndexReply(&reply)
}
