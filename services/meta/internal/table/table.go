// Package table is one node's part of the replicated table: it runs the row
// protocol (package register) on an ordered store. It implements
// metaapi.Replica and knows nothing of the network or of other nodes.
//
// Crash story: everything a request changes (record, counters, digest, low
// mark, adopted epoch, list of vacant rows) is one update of the store's
// committer, which is durable before the reply leaves and never there in part.
// A body that is kept apart becomes durable together with that update: see
// packages journal and bodies.
package table

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"hangar/services/meta/internal/bodies"
	"hangar/services/meta/internal/record"
	"hangar/shared/fault"
	"hangar/shared/kv"
	"hangar/shared/layout"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
	"hangar/shared/segment"
	"hangar/shared/span"
)

// Table holds rows in a store. All methods are safe for concurrent use.
type Table struct {
	store  kv.Store
	writer *kv.Committer
	bodies *bodies.Log
	bits   uint8
	// incarnation tells this store from every other that the node had or will
	// have: numbers of changes are its own.
	incarnation uint64

	// adopted is the epoch on stable storage; fence is at least that, raised
	// already when an adoption is on its way there. What is older than fence is
	// refused, which needs no durability; what is newer than adopted has to be
	// adopted first.
	adopted, fence atomic.Uint64
	// lows are the low marks by partition, nil for zero. Like fence they are
	// raised before they are durable, which only refuses more. Only the
	// committer's goroutine stores.
	lows []atomic.Pointer[register.Tag]

	// using is read-held by every call that touches the store, so that Close
	// can wait for them.
	using  sync.RWMutex
	closed bool // guarded by using

	recounting sync.Mutex // serializes recounts
}

var _ metaapi.Replica = (*Table)(nil)

// Open returns the table in store, whose one writer is writer and whose large
// bodies are in log. A new store takes the cluster's number of partition bits for ever; any other is Invalid.
// The writer need not run yet. incarnation is a number that no other store of
// this node ever had, also if it began as a copy of this one.
func Open(store kv.Store, writer *kv.Committer, log *bodies.Log, bits uint8, incarnation uint64) (*Table, error) {
	if bits == 0 || bits > layout.MaxBits {
		return nil, fault.New(fault.Invalid, "%d partition bits", bits)
	}
	t := &Table{store: store, writer: writer, bodies: log, bits: bits, incarnation: incarnation, lows: make([]atomic.Pointer[register.Tag], 1<<bits)}
	fresh := false
	err := store.View(func(r kv.Reader) error {
		b, found, err := r.Get(record.BitsKey())
		if err != nil {
			return err
		}
		if fresh = !found; fresh {
			return nil
		}
		if len(b) != 1 || b[0] != bits {
			return fault.New(fault.Invalid, "the store has partition bits %v, the cluster %d", b, bits)
		}
		return t.load(r)
	})
	if err != nil {
		return nil, err
	}
	if fresh {
		var b kv.Batch
		b.Set(record.BitsKey(), []byte{bits})
		b.Set(record.MembersKey(), record.EncodeMembers(make([]record.Holding, 1<<bits)))
		if err := store.Commit(&b); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// load reads what is kept in memory.
func (t *Table) load(r kv.Reader) error {
	if b, found, err := r.Get(record.EpochKey()); err != nil {
		return err
	} else if found {
		epoch, err := record.DecodeEpoch(b)
		if err != nil {
			return err
		}
		t.adopted.Store(epoch)
		t.fence.Store(epoch)
	}
	it := r.Iterate(record.LowPrefix())
	defer it.Close()
	for it.Next() {
		p, err := record.ParseLowKey(it.Key())
		if err != nil {
			return err
		}
		b, err := it.Value()
		if err != nil {
			return err
		}
		low, err := record.DecodeTag(b)
		if err != nil {
			return err
		}
		if int(p) >= len(t.lows) {
			return fault.New(fault.Corrupt, "a low mark of partition %d of %d", p, len(t.lows))
		}
		t.lows[p].Store(&low)
	}
	return it.Err()
}

// Close waits for calls that are under way; later ones fail as Unavailable. It
// closes neither the writer, which must still run, nor the store and the log of
// bodies.
func (t *Table) Close() {
	t.using.Lock()
	defer t.using.Unlock()
	t.closed = true
}

// enter begins a call; leave must follow unless it fails.
func (t *Table) enter() error {
	t.using.RLock()
	if t.closed {
		t.using.RUnlock()
		return fault.New(fault.Unavailable, "the metadata node is stopping")
	}
	return nil
}

func (t *Table) leave() { t.using.RUnlock() }

// Epoch is the layout epoch that this node has durably adopted.
func (t *Table) Epoch() uint64 { return t.adopted.Load() }

// Writable is nil while rows of any size are taken. While it is not, rows may
// still be deleted.
func (t *Table) Writable() error {
	if err := t.store.Writable(); err != nil {
		return err
	}
	return t.bodies.Writable()
}

// DiskBytes is about how much space the table takes.
func (t *Table) DiskBytes() int64 { return t.store.DiskBytes() + t.bodies.DiskBytes() }

func (t *Table) low(p layout.Partition) register.Tag {
	if low := t.lows[p].Load(); low != nil {
		return *low
	}
	return register.Tag{}
}

// Handle implements metaapi.Replica.
func (t *Table) Handle(ctx context.Context, key metaapi.RowKey, q register.Request) (register.Reply, error) {
	if err := t.enter(); err != nil {
		return register.Reply{}, err
	}
	defer t.leave()
	if err := checkRow(&key, &q); err != nil {
		return register.Reply{}, err
	}
	if fence, old := t.superseded(q.Epoch); old {
		return register.Reply{Code: register.Old, Epoch: fence}, nil
	}
	// A compaction may move the body between the look-up and the read, but
	// hardly again and again. Every request may be handled twice.
	for range 10 {
		reply, err := t.handle(ctx, key, q)
		if !errors.Is(err, segment.ErrGone) {
			return reply, err
		}
	}
	return register.Reply{}, fault.New(fault.Corrupt, "a row's body is in a segment that is missing")
}

// checkRow refuses what is no row. Errors: Invalid.
func checkRow(key *metaapi.RowKey, q *register.Request) error {
	if key.Key == "" || len(key.Key) > object.MaxKeyBytes || len(key.Sub) > object.MaxKeyBytes {
		return fault.New(fault.Invalid, "row of key %d and sub %d bytes", len(key.Key), len(key.Sub))
	}
	return checkItem(key, q)
}

// handle is one attempt at Handle. Errors: segment.ErrGone, and Handle's.
func (t *Table) handle(ctx context.Context, key metaapi.RowKey, q register.Request) (reply register.Reply, err error) {
	c := change{key: key, row: record.RowKey(key), slice: record.Slice(key.Bucket, key.Key), q: q}
	var held *record.Row
	if q.Kind == register.Read && q.Epoch == t.adopted.Load() {
		_, s := span.Start(ctx, "badger.get")
		reply, held, err = t.read(c)
		s.End(err)
	} else {
		reply, held, err = t.write(ctx, c)
	}
	if err != nil || held == nil {
		return reply, err
	}
	reply.Row.Value.Body, err = t.bodies.Read(ctx, c.row, held.Place, held.BodyBytes)
	return reply, err
}

// write runs a request through the committer. The row is that whose body the
// reply still lacks, else nil.
func (t *Table) write(ctx context.Context, c change) (reply register.Reply, held *record.Row, err error) {
	settle, err := t.prepare(ctx, &c)
	if err != nil {
		return reply, nil, err
	}
	defer settle()
	err = t.writer.Update(ctx, func(tx *kv.Tx) (err error) {
		reply, held, err = t.update(tx, c)
		return err
	})
	if err != nil {
		return register.Reply{}, nil, err
	}
	if reply.Code != register.Old {
		raise(&t.adopted, c.q.Epoch)
	}
	return reply, held, nil
}

// prepare stores the body that a request brings, if it is to be apart. settle is
// to be called once the request has ended.
func (t *Table) prepare(ctx context.Context, c *change) (settle func(), err error) {
	settle = func() {}
	if c.q.Kind != register.Apply || c.q.Row.Value == nil {
		return settle, nil
	}
	_, s := span.Start(ctx, "segment.append")
	s.Int("hangar.bytes", int64(len(c.q.Row.Value.Body)))
	kept, err := t.keepBody(c)
	s.End(err)
	if kept {
		settle = func() { t.bodies.Settle(c.place) }
	}
	return settle, err
}

// update is change, once the epoch is checked. Runs on the committer's goroutine.
func (t *Table) update(tx *kv.Tx, c change) (reply register.Reply, held *record.Row, err error) {
	if fence, old := t.superseded(c.q.Epoch); old {
		return register.Reply{Code: register.Old, Epoch: fence}, nil, nil
	}
	t.adoptIn(tx, c.q.Epoch)
	return t.change(tx, c)
}

// adoptIn makes a newer epoch part of the update. Runs on the committer's
// goroutine.
func (t *Table) adoptIn(tx *kv.Tx, epoch uint64) {
	raise(&t.fence, epoch)
	if epoch > t.adopted.Load() {
		tx.Set(record.EpochKey(), record.EncodeEpoch(epoch))
	}
}

// superseded reports whether a request of an epoch comes too late, and the
// epoch it should be of.
func (t *Table) superseded(epoch uint64) (newest uint64, old bool) {
	newest = t.fence.Load()
	return newest, epoch < newest && fenced
}

// Adopt returns once epoch, or a newer one, is durably adopted: nothing older
// is served from then on.
func (t *Table) Adopt(ctx context.Context, epoch uint64) error {
	if err := t.enter(); err != nil {
		return err
	}
	defer t.leave()
	return t.adopt(ctx, epoch)
}

// adopt is Adopt within a call.
func (t *Table) adopt(ctx context.Context, epoch uint64) error {
	if epoch <= t.adopted.Load() {
		return nil
	}
	var newest uint64
	err := t.writer.Update(ctx, func(tx *kv.Tx) error {
		newest = max(epoch, t.fence.Load())
		t.adoptIn(tx, newest)
		return nil
	})
	if err == nil {
		raise(&t.adopted, newest)
	}
	return err
}

// raise makes a at least v.
func raise(a *atomic.Uint64, v uint64) {
	for old := a.Load(); old < v && !a.CompareAndSwap(old, v); old = a.Load() {
		continue
	}
}

// read answers a Read from a snapshot. The epoch is checked after the snapshot
// was taken, so that no newer epoch was adopted before it. The row is that whose
// body the reply still lacks, else nil.
func (t *Table) read(c change) (reply register.Reply, held *record.Row, err error) {
	err = t.store.View(func(r kv.Reader) error {
		reply, held, err = t.readIn(r, c)
		return err
	})
	return reply, held, err
}

// readIn is read in a snapshot.
func (t *Table) readIn(r kv.Reader, c change) (reply register.Reply, held *record.Row, err error) {
	row, err := load(r, c.row)
	if err != nil {
		return reply, nil, err
	}
	if fence, old := t.superseded(c.q.Epoch); old {
		return register.Reply{Code: register.Old, Epoch: fence}, nil, nil
	}
	reply, _, _ = register.Handle(&row.State, t.low(t.partition(c.slice)), c.q)
	return reply, finish(&reply, row, c.q.OmitBody), nil
}

// getter is what a kv.Reader and a kv.Tx have in common.
type getter interface {
	Get(key []byte) (value []byte, found bool, err error)
}

// load reads a row, the zero Row when there is none. It aliases the store's memory.
func load(r getter, rk []byte) (*record.Row, error) {
	b, found, err := r.Get(rk)
	if err != nil {
		return nil, err
	}
	if !found {
		return new(record.Row), nil
	}
	return record.Decode(b)
}

// finish gives a reply that carries the row memory of its own, with the body
// unless that is apart: then it returns the row.
func finish(reply *register.Reply, row *record.Row, omit bool) (held *record.Row) {
	reply.Replaced = clone(reply.Replaced)
	v := reply.Row.Value
	if v == nil {
		return nil
	}
	own := &register.Value{Head: clone(v.Head), Count: v.Count, Bytes: v.Bytes}
	reply.Row.Value = own
	switch {
	case row.BodyBytes == 0:
	case omit:
		reply.BodyOmitted = true
	case row.BodyApart():
		return row
	default:
		own.Body = clone(v.Body)
	}
	return nil
}

// clone copies b; empty becomes nil, which is what the stored format knows.
func clone(b []byte) []byte { return append([]byte(nil), b...) }
