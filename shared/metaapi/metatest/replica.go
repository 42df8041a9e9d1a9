package metatest

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"

	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

// Replica is an in-memory metaapi.Replica. It keeps its rows while it is down.
type Replica struct {
	mu    sync.Mutex
	down  error                              // guarded by mu; what every call answers, when set
	epoch uint64                             // guarded by mu
	rows  map[metaapi.RowKey]*register.State // guarded by mu
	low   map[layout.Partition]register.Tag  // guarded by mu
	// access is the last change of access that the node knows. Guarded by mu.
	access uint64
	// incarnation of the store, the number of its last change and those of rows
	// of the table Items. Guarded by mu.
	incarnation, last uint64
	changes           map[metaapi.RowKey]uint64
}

// NewReplica returns an empty node.
func NewReplica() *Replica {
	return &Replica{
		rows: map[metaapi.RowKey]*register.State{}, low: map[layout.Partition]register.Tag{},
		incarnation: rand.Uint64(), changes: map[metaapi.RowKey]uint64{},
	}
}

// Empty makes the node one that has lost its store, but for the epoch.
func (r *Replica) Empty() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.rows)
	clear(r.low)
	clear(r.changes)
	r.incarnation, r.last = rand.Uint64(), 0
}

// Drop makes the node forget the rows of a partition, which it is no member of
// any more.
func (r *Replica) Drop(p layout.Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.rows {
		if partition(k) == p {
			delete(r.rows, k)
			delete(r.changes, k)
		}
	}
}

// SetDown makes every call fail with err, until it is called with nil.
func (r *Replica) SetDown(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = err
}

// SetAccess tells the node of a change of access.
func (r *Replica) SetAccess(revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.access = revision
}

// behind returns the last change of access if admitted is older, else 0.
func (r *Replica) behind(admitted uint64) uint64 {
	if admitted > 0 && admitted < r.access {
		return r.access
	}
	return 0
}

// admit begins a call: it fences the epoch and reports whether that is old.
func (r *Replica) admit(ctx context.Context, epoch uint64) (old bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, fault.Wrap(fault.Unavailable, err, "before anything was done")
	}
	if r.down != nil {
		return false, r.down
	}
	if epoch < r.epoch {
		return true, nil
	}
	r.epoch = epoch
	return false, nil
}

func partition(k metaapi.RowKey) layout.Partition {
	return layout.OfRow(k.Bucket, k.Key, layout.DefaultBits)
}

// Handle implements metaapi.Replica.
func (r *Replica) Handle(ctx context.Context, key metaapi.RowKey, q register.Request) (register.Reply, error) {
	if q.Kind == register.Apply && q.Row.Value != nil && key.Table == metaapi.Items {
		if _, _, err := metaapi.ParseItemCounters(q.Row.Value.Head); err != nil {
			return register.Reply{}, fault.Wrap(fault.Invalid, err, "an item")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old, err := r.admit(ctx, q.Epoch)
	if err != nil {
		return register.Reply{}, err
	}
	if old {
		return register.Reply{Code: register.Old, Epoch: r.epoch}, nil
	}
	if last := r.behind(q.Admitted); last > 0 {
		return register.Reply{Code: register.Behind, Revision: last}, nil
	}
	if v := q.Row.Value; v != nil {
		kept := *v
		kept.Body = bytes.Clone(v.Body)
		q.Row.Value = &kept
	}
	st := r.rows[key]
	if st == nil {
		st = &register.State{}
	}
	p := partition(key)
	reply, change, low := register.Handle(st, r.low[p], q)
	if change == register.RowReplaced && key.Table == metaapi.Items {
		r.last++
		r.changes[key] = r.last
	}
	switch change {
	case register.PromiseOnly, register.RowReplaced:
		r.rows[key] = st
	case register.Forgotten:
		delete(r.rows, key)
		delete(r.changes, key)
		r.low[p] = low
	}
	if v := reply.Row.Value; v != nil && q.OmitBody && v.Body != nil {
		short := *v
		short.Body = nil
		reply.Row.Value, reply.BodyOmitted = &short, true
	}
	return reply, nil
}

// Scan implements metaapi.Replica.
func (r *Replica) Scan(ctx context.Context, q metaapi.ScanRequest) (metaapi.ScanReply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, err := r.admit(ctx, q.Epoch)
	if err != nil || old {
		return metaapi.ScanReply{Old: old, Epoch: r.epoch}, err
	}
	if last := r.behind(q.Admitted); last > 0 {
		return metaapi.ScanReply{Behind: last}, nil
	}
	if err := q.Check(); err != nil {
		return metaapi.ScanReply{}, err
	}
	reply := metaapi.ScanReply{Epoch: r.epoch}
	if q.Changes {
		reply.Incarnation, reply.Last = r.incarnation, r.last
	}
	size := 0
	folded := "" // rows that start with it are left out
	for _, k := range r.inOrder(q) {
		if folded != "" && strings.HasPrefix(k.Key, folded) {
			continue
		}
		st := r.rows[k]
		row := metaapi.ScanRow{Key: k.Key, Sub: k.Sub, Tag: st.Tag, Deleted: st.Value == nil}
		if q.Changes {
			row.Change = r.changes[k]
		}
		if st.Value != nil {
			row.Head = st.Value.Head
			folded, row.Folded = metaapi.CommonPrefix(k.Key, q.Prefix, q.Delimiter)
		}
		size += len(row.Key) + len(row.Sub) + len(row.Head)
		if n := len(reply.Rows); n == q.Limit || n > 0 && size > q.MaxBytes {
			return reply, nil
		}
		reply.Rows = append(reply.Rows, row)
	}
	reply.Exhausted = true
	return reply, nil
}

// inOrder returns the keys of rows that q selects. Rows that only promised
// something hold nothing to list.
func (r *Replica) inOrder(q metaapi.ScanRequest) (keys []metaapi.RowKey) {
	for k, st := range r.rows {
		if k.Table != q.Table || k.Bucket != q.Bucket || st.Tag.IsZero() ||
			!strings.HasPrefix(k.Key, q.Prefix) || q.Key != "" && k.Key != q.Key ||
			k.Key < q.FromKey || k.Key == q.FromKey && k.Sub < q.FromSub || q.UntilSub != "" && k.Sub >= q.UntilSub ||
			q.Changes && q.Incarnation == r.incarnation && r.changes[k] <= q.After {
			continue
		}
		keys = append(keys, k)
	}
	defer func() {
		if q.Reverse {
			slices.Reverse(keys)
		}
	}()
	sort.Slice(keys, func(i, j int) bool {
		if keys[i].Key != keys[j].Key {
			return keys[i].Key < keys[j].Key
		}
		return keys[i].Sub < keys[j].Sub
	})
	return keys
}

// HandleMany implements metaapi.Replica.
func (r *Replica) HandleMany(ctx context.Context, rows []metaapi.RowRequest) []metaapi.RowReply {
	replies := make([]metaapi.RowReply, len(rows))
	for i := range rows {
		replies[i].Reply, replies[i].Err = r.Handle(ctx, rows[i].Key, rows[i].Request)
	}
	return replies
}

// Index implements metaapi.Replica.
func (r *Replica) Index(ctx context.Context, q metaapi.IndexRequest) (metaapi.IndexReply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := q.Check(); err != nil {
		return metaapi.IndexReply{}, err
	}
	old, err := r.admit(ctx, q.Epoch)
	if err != nil || old {
		return metaapi.IndexReply{Old: old, Epoch: r.epoch}, err
	}
	if last := r.behind(q.Admitted); last > 0 {
		return metaapi.IndexReply{Behind: last}, nil
	}
	sums := map[string]metaapi.ItemCounters{}
	for k, st := range r.rows {
		if k.Table == q.Table && k.Bucket == q.Bucket && st.Value != nil && k.Key >= q.From && (q.Until == "" || k.Key < q.Until) {
			c, _, err := metaapi.ParseItemCounters(st.Value.Head)
			if err != nil {
				return metaapi.IndexReply{}, err
			}
			sums[k.Key] = sums[k.Key].Plus(c)
		}
	}
	maps.DeleteFunc(sums, func(_ string, c metaapi.ItemCounters) bool { return c.Entries == 0 })
	keys := slices.Sorted(maps.Keys(sums))
	if q.Reverse {
		slices.Reverse(keys)
	}
	reply := metaapi.IndexReply{Epoch: r.epoch, Exhausted: len(keys) <= q.Limit}
	for _, k := range keys[:min(len(keys), q.Limit)] {
		reply.Rows = append(reply.Rows, metaapi.IndexEntry{Key: k, ItemCounters: sums[k]})
	}
	return reply, nil
}

// Counters implements metaapi.Replica.
func (r *Replica) Counters(ctx context.Context, t metaapi.Table, b object.BucketID) (metaapi.PartitionCounters, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.admit(ctx, r.epoch); err != nil {
		return nil, err
	}
	sums := map[layout.Partition]metaapi.Counters{}
	for k, st := range r.rows {
		if k.Table == t && k.Bucket == b && st.Value != nil {
			sum := sums[partition(k)]
			sum.Count += st.Value.Count
			sum.Bytes += st.Value.Bytes
			sums[partition(k)] = sum
		}
	}
	var out metaapi.PartitionCounters
	for p, sum := range sums {
		out = append(out, metaapi.PartitionCounter{Partition: p, Counters: sum})
	}
	return out, nil
}

// Inventory implements metaapi.Replica.
func (r *Replica) Inventory(ctx context.Context, q metaapi.InventoryRequest) (metaapi.InventoryReply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := q.Check(); err != nil {
		return metaapi.InventoryReply{}, err
	}
	old, err := r.admit(ctx, q.Epoch)
	if err != nil || old {
		return metaapi.InventoryReply{Old: old, Epoch: r.epoch}, err
	}
	reply := metaapi.InventoryReply{Epoch: r.epoch}
	positions := map[string]metaapi.RowKey{}
	for k := range r.rows {
		if q.Slices.Has(uint16(layout.OfRow(k.Bucket, k.Key, metaapi.SliceBits))) {
			positions[position(k)] = k
			if q.After == nil && !r.rows[k].Tag.IsZero() {
				reply.Total++
			}
		}
	}
	size := 0
	for _, at := range slices.Sorted(maps.Keys(positions)) {
		if at <= string(q.After) {
			continue
		}
		k := positions[at]
		size += len(k.Key) + len(k.Sub) + metaapi.InventoryRowBytes
		if n := len(reply.Rows); n == q.Limit || n > 0 && size > q.MaxBytes {
			return reply, nil
		}
		st := r.rows[k]
		row := metaapi.InventoryRow{Key: k, Tag: st.Tag, Promised: st.Promised, Live: st.Value != nil}
		if st.Value != nil {
			row.Size = int64(len(st.Value.Head) + len(st.Value.Body))
		}
		reply.Rows, reply.Next = append(reply.Rows, row), []byte(at)
	}
	reply.Done = true
	return reply, nil
}

// position is the key that the metadata service stores a row under, for keys
// without zero bytes.
func position(k metaapi.RowKey) string {
	return "r" + string([]byte{byte(k.Table)}) + string(k.Bucket[:]) + k.Key + "\x00\x01" + k.Sub
}
