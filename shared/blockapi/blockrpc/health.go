package blockrpc

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"hangar/shared/object"
)

const (
	// unknownLatency is assumed of a node nobody has asked yet. It is short, so
	// that new nodes are tried.
	unknownLatency = time.Millisecond
	// penalty keeps a node that failed at the end of the queue.
	penalty = 5 * time.Second
	// The bounds of the wait before a second replica is asked.
	minHedge, maxHedge = 20 * time.Millisecond, time.Second
	// hedgeShare of reads, and hedgeBurst on top, may ask a second replica
	// because the first is slow: a cluster that is slow everywhere must not get
	// twice the work.
	hedgeShare, hedgeBurst = 0.1, 16
)

// health remembers how replicas answered lately. Safe for concurrent use.
type health struct {
	mu    sync.Mutex
	nodes map[object.NodeID]*record
	// hedges is how many may be made now.
	hedges float64
}

// record is guarded by health.mu. mean and deviation are moving averages as
// in TCP's retransmission timer (RFC 6298).
type record struct {
	mean, deviation time.Duration
	failedAt        time.Time
}

func newHealth() *health {
	return &health{nodes: make(map[object.NodeID]*record), hedges: hedgeBurst}
}

func (h *health) record(n object.NodeID) *record {
	r := h.nodes[n]
	if r == nil {
		r = &record{}
		h.nodes[n] = r
	}
	return r
}

// answered notes a good answer after took.
func (h *health) answered(n object.NodeID, took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.record(n)
	r.failedAt = time.Time{}
	if r.mean == 0 {
		r.mean, r.deviation = took, took/2
		return
	}
	r.deviation += ((took - r.mean).Abs() - r.deviation) / 4
	r.mean += (took - r.mean) / 8
}

// failed notes that a node did not answer.
func (h *health) failed(n object.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.record(n).failedAt = time.Now()
}

// order sorts nodes, best first, and returns how long to wait for the first
// before asking the second as well. Nodes about equally fast share the load.
func (h *health) order(nodes []object.NodeID) (hedge time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hedges = min(h.hedges+hedgeShare, hedgeBurst)
	scores := make(map[object.NodeID]float64, len(nodes))
	for _, n := range nodes {
		scores[n] = h.score(n)
	}
	slices.SortFunc(nodes, func(a, b object.NodeID) int {
		switch {
		case scores[a] < scores[b]:
			return -1
		case scores[a] > scores[b]:
			return 1
		}
		return 0
	})
	r := h.nodes[nodes[0]]
	if r == nil || r.mean == 0 {
		return maxHedge / 4
	}
	return min(max(r.mean+4*r.deviation, minHedge), maxHedge)
}

// score is lower for better nodes. The caller holds mu.
func (h *health) score(n object.NodeID) float64 {
	r := h.nodes[n]
	if r == nil {
		return unknownLatency.Seconds()
	}
	s := r.mean.Seconds() * (0.75 + rand.Float64()/2)
	if !r.failedAt.IsZero() && time.Since(r.failedAt) < penalty {
		s += penalty.Seconds()
	}
	return s
}

// mayHedge takes one of the hedges allowed.
func (h *health) mayHedge() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hedges < 1 {
		return false
	}
	h.hedges--
	return true
}
