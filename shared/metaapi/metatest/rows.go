// Package metatest holds what tests of and around the metadata service share:
// an in-memory Rows, an in-memory Replica, and the conformance suites that
// every implementation of the two passes.
package metatest

import (
	"context"
	"sort"
	"strings"
	"sync"

	"hangar/shared/fault"
	"hangar/shared/metaapi"
	"hangar/shared/object"
	"hangar/shared/register"
)

// Rows is an in-memory metaapi.Rows: one map under one lock.
type Rows struct {
	mu   sync.Mutex
	rows map[metaapi.RowKey]metaapi.Row // guarded by mu; live rows only
	time int64                          // guarded by mu; of the last tag
}

// NewRows returns an empty table.
func NewRows() *Rows { return &Rows{rows: map[metaapi.RowKey]metaapi.Row{}} }

// Get implements metaapi.Rows.
func (r *Rows) Get(ctx context.Context, key metaapi.RowKey) (metaapi.Row, error) {
	if err := ctx.Err(); err != nil {
		return metaapi.Row{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rows[key], nil
}

// Put implements metaapi.Rows.
func (r *Rows) Put(ctx context.Context, key metaapi.RowKey, value *metaapi.Value) (metaapi.Written, error) {
	return r.Update(ctx, key, func(metaapi.Row) (*metaapi.Value, error) { return value, nil })
}

// Update implements metaapi.Rows. decide runs under the table's lock.
func (r *Rows) Update(ctx context.Context, key metaapi.RowKey, decide metaapi.Update) (metaapi.Written, error) {
	if err := ctx.Err(); err != nil {
		return metaapi.Written{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.rows[key]
	value, err := decide(old)
	if err != nil {
		return metaapi.Written{}, err
	}
	r.time++
	w := metaapi.Written{Tag: register.Tag{Time: r.time, Node: 1}}
	if old.Value != nil {
		w.Replaced = [][]byte{old.Value.Head}
	}
	if value == nil {
		delete(r.rows, key)
		return w, nil
	}
	v := *value
	v.Head = append([]byte(nil), v.Head...)
	v.Body = append([]byte(nil), v.Body...)
	r.rows[key] = metaapi.Row{Tag: w.Tag, Value: &v}
	return w, nil
}

// Scan implements metaapi.Rows.
func (r *Rows) Scan(ctx context.Context, q metaapi.Range) (metaapi.Page, error) {
	if err := ctx.Err(); err != nil {
		return metaapi.Page{}, err
	}
	if q.Limit < 1 || q.Limit > 1000 {
		return metaapi.Page{}, fault.New(fault.Invalid, "scan limit %d", q.Limit)
	}
	fromKey, fromSub, ok := q.Start()
	if !ok {
		return metaapi.Page{}, nil
	}
	var page metaapi.Page
	last := ""
	for _, k := range r.keys(q) {
		if k.Key < fromKey || k.Key == fromKey && k.Sub < fromSub {
			continue
		}
		prefix, folds := metaapi.CommonPrefix(k.Key, q.Prefix, q.Delimiter)
		if folds && prefix == last {
			continue
		}
		if len(page.Entries) == q.Limit {
			page.More = true
			break
		}
		if folds {
			last = prefix
			page.Entries = append(page.Entries, metaapi.Entry{Key: prefix, Prefix: true})
			continue
		}
		row, err := r.Get(ctx, k)
		if err != nil {
			return metaapi.Page{}, err
		}
		if row.Value != nil {
			page.Entries = append(page.Entries, metaapi.Entry{Key: k.Key, Sub: k.Sub, Head: row.Value.Head})
		}
	}
	return page, nil
}

// keys returns the keys of live rows in q's table, bucket and prefix, in order.
func (r *Rows) keys(q metaapi.Range) []metaapi.RowKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	var keys []metaapi.RowKey
	for k := range r.rows {
		if k.Table == q.Table && k.Bucket == q.Bucket && strings.HasPrefix(k.Key, q.Prefix) &&
			(q.Key == "" || k.Key == q.Key) {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool {
		if keys[i].Key != keys[j].Key {
			return keys[i].Key < keys[j].Key
		}
		return keys[i].Sub < keys[j].Sub
	})
	return keys
}

// Counters implements metaapi.Rows.
func (r *Rows) Counters(ctx context.Context, t metaapi.Table, b object.BucketID) (metaapi.Counters, error) {
	if err := ctx.Err(); err != nil {
		return metaapi.Counters{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var sum metaapi.Counters
	for k, row := range r.rows {
		if k.Table == t && k.Bucket == b {
			sum.Count += row.Value.Count
			sum.Bytes += row.Value.Bytes
		}
	}
	return sum, nil
}
