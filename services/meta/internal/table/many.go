package table

import (
	"context"
	"errors"

	"hangar/services/meta/internal/record"
	"hangar/shared/kv"
	"hangar/shared/metaapi"
	"hangar/shared/register"
	"hangar/shared/segment"
)

// HandleMany implements metaapi.Replica. What only reads is answered from one
// snapshot; the others share a commit, as far as it has room.
func (t *Table) HandleMany(ctx context.Context, rows []metaapi.RowRequest) []metaapi.RowReply {
	replies := make([]metaapi.RowReply, len(rows))
	if err := t.enter(); err != nil {
		for i := range replies {
			replies[i].Err = err
		}
		return replies
	}
	defer t.leave()
	b := batch{t: t, rows: rows, replies: replies, held: make([]*record.Row, len(rows))}
	for i := range rows {
		b.begin(i)
	}
	b.read()
	b.write(ctx)
	for i := range rows {
		b.finish(ctx, i)
	}
	return replies
}

// batch is one HandleMany.
type batch struct {
	t       *Table
	rows    []metaapi.RowRequest
	replies []metaapi.RowReply
	// held are the rows whose bodies replies still lack, else nil.
	held []*record.Row
	// reads and writes are the requests that are to be run, by number.
	reads, writes []numberedChange
}

type numberedChange struct {
	change
	i int
}

// begin sees what is to be done for a request.
func (b *batch) begin(i int) {
	key, q := b.rows[i].Key, b.rows[i].Request
	r := &b.replies[i]
	if r.Err = checkRow(&key, &q); r.Err != nil {
		return
	}
	if fence, old := b.t.superseded(q.Epoch); old {
		r.Reply = register.Reply{Code: register.Old, Epoch: fence}
		return
	}
	c := numberedChange{change{key: key, row: record.RowKey(key), slice: record.Slice(key.Bucket, key.Key), q: q}, i}
	if q.Kind == register.Read && q.Epoch == b.t.adopted.Load() {
		b.reads = append(b.reads, c)
	} else {
		b.writes = append(b.writes, c)
	}
}

// read answers what only reads.
func (b *batch) read() {
	if len(b.reads) == 0 {
		return
	}
	err := b.t.store.View(func(r kv.Reader) error {
		for _, c := range b.reads {
			b.replies[c.i].Reply, b.held[c.i], b.replies[c.i].Err = b.t.readIn(r, c.change)
		}
		return nil
	})
	for _, c := range b.reads {
		if err != nil {
			b.replies[c.i].Err = err
		}
	}
}

// write runs what may write.
func (b *batch) write(ctx context.Context) {
	var ready []numberedChange
	for _, c := range b.writes {
		settle, err := b.t.prepare(ctx, &c.change)
		if err != nil {
			b.replies[c.i].Err = err
			continue
		}
		defer settle()
		ready = append(ready, c)
	}
	errs := b.t.writer.UpdateMany(ctx, len(ready), func(n int, tx *kv.Tx) (err error) {
		c := &ready[n]
		b.replies[c.i].Reply, b.held[c.i], err = b.t.update(tx, c.change)
		return err
	})
	for n, err := range errs {
		c := &ready[n]
		switch {
		case err != nil:
			b.replies[c.i], b.held[c.i] = metaapi.RowReply{Err: err}, nil
		case b.replies[c.i].Code != register.Old:
			raise(&b.t.adopted, c.q.Epoch)
		}
	}
}

// finish adds the body that a reply lacks. If a compaction has moved it, the
// request is handled again, as every one may be.
func (b *batch) finish(ctx context.Context, i int) {
	r, held := &b.replies[i], b.held[i]
	if r.Err != nil || held == nil {
		return
	}
	key := b.rows[i].Key
	r.Row.Value.Body, r.Err = b.t.bodies.Read(ctx, record.RowKey(key), held.Place, held.BodyBytes)
	if errors.Is(r.Err, segment.ErrGone) {
		r.Reply, r.Err = b.t.Handle(ctx, key, b.rows[i].Request)
	}
}
