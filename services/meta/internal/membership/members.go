// Package membership decides what a metadata node may say of which partition.
// A node remembers, on stable storage, since which epoch it holds a partition.
// When the layout says otherwise the node was away in between, and what it
// holds is stale: rows that were never acknowledged, or were deleted since.
// That must not show, and is dropped before the node counts as a member again.
//
// Members stands before a table and is a metaapi.Replica itself. The table is
// only ever asked in an epoch whose membership is settled, so that the epoch it
// has adopted and the membership that is remembered always go together: both
// are one update of the store. A request of a newer epoch waits a little for
// the layout, one of an older epoch is refused by the table.
//
// Crash story: settling an epoch adopts it, marks as stale what was lost,
// records what was gained and takes its low marks, in one update. Until that is
// durable nothing of what is gained is served; before it, nothing of what is
// lost is dropped. Dropping goes through all rows in many small updates, each
// with everything derived from its rows; the mark goes in an update after the
// last. A crash in between begins the pass again.
package membership

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hangar/services/meta/internal/record"
	"hangar/services/meta/internal/table"
	"hangar/shared/control"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

const (
	// requestPatience is how long a request waits for the layout of its epoch,
	// which its sender has already. It holds a worker meanwhile.
	requestPatience = 250 * time.Millisecond
	// adoptPatience is how long an order to adopt an epoch waits for it.
	adoptPatience = 5 * time.Second
)

// Members is the membership of one node. All methods are safe for concurrent use.
type Members struct {
	table *table.Table
	bits  uint8
	self  object.NodeID
	log   *slog.Logger

	// mu serializes changes of what is remembered. It guards layout, the last
	// that was followed, and holdings, which are on stable storage.
	mu       sync.Mutex
	layout   *control.Layout
	holdings Holdings

	state   atomic.Pointer[state] // what is in force; stored under mu
	wake    chan struct{}         // room for one: there is something to drop
	dropped atomic.Int64
}

// state is what requests go by. It does not change.
type state struct {
	epoch    uint64 // 0 before the first layout
	holdings Holdings
	hidden   *metaapi.Slices // of what is stale; nil for none
	stale    int
	served   int
	pending  int           // partitions the ring gives us that are not served yet
	replaced chan struct{} // closed when another is in force
}

// serves reports whether the node is a member with a say.
func (s *state) serves(p layout.Partition) bool {
	return int(p) < len(s.holdings) && s.holdings[p].Since != 0
}

var _ metaapi.Replica = (*Members)(nil)

// Open returns the membership of node self, which serves nothing before Follow.
// A store from before membership was kept has been a member of everything it
// may hold since epoch 1. Errors: Corrupt, Internal.
func Open(t *table.Table, bits uint8, self object.NodeID, log *slog.Logger) (*Members, error) {
	m := &Members{table: t, bits: bits, self: self, log: log, wake: make(chan struct{}, 1)}
	b, err := t.Members()
	switch {
	case err != nil:
		return nil, err
	case b == nil:
		m.holdings = always(1 << bits)
	default:
		if m.holdings, err = record.DecodeMembers(b, 1<<bits); err != nil {
			return nil, err
		}
	}
	m.state.Store(&state{replaced: make(chan struct{})})
	return m, nil
}

// Follow settles the node's membership in a layout. When it returns nil that is
// durable and in force. It is called again whenever the layout changes; a nil
// layout, or one without an assignment, changes nothing. Errors: Conflict, the
// layout is older than what the node has adopted; Invalid, it is not of this
// cluster; those of the store. Nothing new is served then.
func (m *Members) Follow(ctx context.Context, l *control.Layout) error {
	if l == nil || l.Meta.Epoch == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	ring := &l.Meta
	if adopted := max(m.state.Load().epoch, m.table.Epoch()); ring.Epoch < adopted {
		return fault.New(fault.Conflict, "the layout is at epoch %d, this node has adopted %d", ring.Epoch, adopted)
	}
	if ring.Bits != m.bits || len(ring.Assign) != len(m.holdings) {
		return fault.New(fault.Invalid, "a layout of %d partitions (%d bits), not %d", len(ring.Assign), ring.Bits, len(m.holdings))
	}
	return m.settle(ctx, l, m.holdings)
}

// settle makes what follows from a layout, and from what would be remembered
// before it, durable and puts it in force. mu is held.
func (m *Members) settle(ctx context.Context, l *control.Layout, from Holdings) error {
	next, gained := from.Step(&l.Meta, m.self, l.MetaLowsEpoch)
	if m.table.Epoch() != l.Meta.Epoch || !slices.Equal(next, m.holdings) {
		lows := make(map[layout.Partition]register.Tag, len(gained))
		for _, p := range gained {
			lows[p] = l.MetaLows[p]
		}
		if err := m.table.Settle(ctx, l.Meta.Epoch, record.EncodeMembers(next), lows); err != nil {
			return err
		}
	}
	m.layout, m.holdings = l, next
	m.publish()
	return nil
}

// publish puts what is remembered in force. mu is held.
func (m *Members) publish() {
	ring := &m.layout.Meta
	s := &state{epoch: ring.Epoch, holdings: m.holdings, replaced: make(chan struct{})}
	for i, h := range m.holdings {
		p := layout.Partition(i)
		switch _, member := ring.JoinedAt(p, m.self); {
		case h.Since != 0:
			s.served++
		case member:
			s.pending++
		}
		if h.Stale {
			if s.stale++; s.hidden == nil {
				s.hidden = new(metaapi.Slices)
			}
			s.hidden.AddPartition(p, m.bits)
		}
	}
	close(m.state.Swap(s).replaced)
	if s.stale > 0 {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// at returns what is in force once that is settled for an epoch. Errors:
// Unavailable, it was not in time.
func (m *Members) at(ctx context.Context, epoch uint64, patience time.Duration) (*state, error) {
	s := m.state.Load()
	if s.epoch >= epoch && s.epoch > 0 {
		return s, nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		if s = m.state.Load(); s.epoch >= epoch && s.epoch > 0 {
			return s, nil
		}
		select {
		case <-s.replaced:
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		return nil, fault.New(fault.Unavailable, "the node does not know the layout of epoch %d yet", epoch)
	}
}

// Handle implements metaapi.Replica.
func (m *Members) Handle(ctx context.Context, key metaapi.RowKey, q register.Request) (register.Reply, error) {
	if err := m.served(ctx, &key, q.Epoch); err != nil {
		return register.Reply{}, err
	}
	return m.table.Handle(ctx, key, q)
}

// HandleMany implements metaapi.Replica.
func (m *Members) HandleMany(ctx context.Context, rows []metaapi.RowRequest) []metaapi.RowReply {
	replies := make([]metaapi.RowReply, len(rows))
	var served []metaapi.RowRequest
	var at []int
	for i := range rows {
		if err := m.served(ctx, &rows[i].Key, rows[i].Epoch); err != nil {
			replies[i].Err = err
			continue
		}
		served, at = append(served, rows[i]), append(at, i)
	}
	for n, reply := range m.table.HandleMany(ctx, served) {
		replies[at[n]] = reply
	}
	return replies
}

// served is nil once a row's partition may be spoken for in an epoch. An older
// one is the table's to refuse.
func (m *Members) served(ctx context.Context, key *metaapi.RowKey, epoch uint64) error {
	s, err := m.at(ctx, epoch, requestPatience)
	if err != nil {
		return err
	}
	if p := layout.OfRow(key.Bucket, key.Key, m.bits); epoch == s.epoch && !s.serves(p) {
		return fault.New(fault.Unavailable, "partition %d is not served here", p)
	}
	return nil
}

// Index implements metaapi.Replica. What is stale is left out.
func (m *Members) Index(ctx context.Context, q metaapi.IndexRequest) (metaapi.IndexReply, error) {
	s, err := m.at(ctx, q.Epoch, requestPatience)
	if err != nil {
		return metaapi.IndexReply{}, err
	}
	return m.table.IndexWithout(ctx, q, s.hidden)
}

// Scan implements metaapi.Replica. What is stale is left out.
func (m *Members) Scan(ctx context.Context, q metaapi.ScanRequest) (metaapi.ScanReply, error) {
	s, err := m.at(ctx, q.Epoch, requestPatience)
	if err != nil {
		return metaapi.ScanReply{}, err
	}
	return m.table.ScanWithout(ctx, q, s.hidden)
}

// Counters implements metaapi.Replica. What was or became stale meanwhile is
// left out.
func (m *Members) Counters(ctx context.Context, t metaapi.Table, b object.BucketID) (metaapi.PartitionCounters, error) {
	before, err := m.at(ctx, 0, requestPatience)
	if err != nil {
		return nil, err
	}
	all, err := m.table.Counters(ctx, t, b)
	if err != nil {
		return nil, err
	}
	after := m.state.Load()
	return slices.DeleteFunc(all, func(c metaapi.PartitionCounter) bool {
		return !before.serves(c.Partition) || !after.serves(c.Partition)
	}), nil
}

// Inventory implements metaapi.Replica.
func (m *Members) Inventory(ctx context.Context, q metaapi.InventoryRequest) (metaapi.InventoryReply, error) {
	if err := m.settled(ctx, q.Epoch, &q.Slices); err != nil {
		return metaapi.InventoryReply{}, err
	}
	return m.table.Inventory(ctx, q)
}

// Adopt is what the driver of a layout change asks for. An epoch is adopted when its layout
// arrives here, so that it is known which partitions are held in it.
func (m *Members) Adopt(ctx context.Context, epoch uint64) (nodeapi.Adopted, error) {
	s, err := m.at(ctx, epoch, adoptPatience)
	if err != nil {
		return nodeapi.Adopted{}, err
	}
	a := nodeapi.Adopted{Epoch: s.epoch, Marks: map[layout.Partition]json.RawMessage{}}
	for i := range s.holdings {
		p := layout.Partition(i)
		if !s.serves(p) {
			continue
		}
		if a.Marks[p], err = json.Marshal(m.table.Low(p)); err != nil {
			return nodeapi.Adopted{}, fault.Wrap(fault.Internal, err, "encoding a low mark")
		}
	}
	return a, nil
}

// Counts is how many partitions are served, given to the node by the layout but
// not served yet, and being dropped.
func (m *Members) Counts() (served, pending, dropping int) {
	s := m.state.Load()
	return s.served, s.pending, s.stale
}

// Dropped is how many rows were dropped since the start.
func (m *Members) Dropped() int64 { return m.dropped.Load() }
