package meta

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"hangar/services/meta/internal/antientropy"
	"hangar/services/meta/internal/leftovers"
	"hangar/services/meta/internal/table"
	"hangar/shared/control"
	"hangar/shared/kv/badgerkv"
	"hangar/shared/metaapi"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/work"
)

// mendTimeout bounds the repair of one damaged row.
const mendTimeout = 10 * time.Second

// What a run of the repair of tables does, step by step: the first byte of its
// cursor. A step of examining goes on at the key behind it.
const (
	verifyStore byte = iota
	examineRows
	recountDigests
	compareReplicas
)

// tables is the repair that checks all that the node holds.
type tables struct {
	store   *badgerkv.Store
	rows    *table.Table
	mend    func(context.Context, metaapi.RowKey) error
	compare *antientropy.Worker
	log     *slog.Logger
	task    *work.Task

	// Of the runs since the start.
	looked, unreadable, damaged, mended, corrected atomic.Int64
}

func (r *tables) notes() []string {
	return []string{fmt.Sprintf("since the start: %d rows examined, %d unreadable, %d with damaged bodies of which %d were mended, %d digests corrected",
		r.looked.Load(), r.unreadable.Load(), r.damaged.Load(), r.mended.Load(), r.corrected.Load())}
}

// step does a part of a run. Damage is logged and counted and does not end it:
// what other nodes have is brought back, body by body or by the comparing of rows
// at the end.
func (r *tables) step(ctx context.Context, cursor []byte) (work.Step, error) {
	phase, at := verifyStore, cursor
	if len(cursor) > 0 {
		phase, at = cursor[0], cursor[1:]
	}
	switch phase {
	case verifyStore:
		if err := r.store.Verify(); err != nil {
			r.log.ErrorContext(ctx, "the store is damaged: rows may be missing", "error", err)
		}
		return work.Step{Cursor: []byte{examineRows}, Progress: "examining rows"}, nil
	case examineRows:
		return r.examine(ctx, at)
	case recountDigests:
		n, err := r.rows.Recount(ctx, table.Digests, r.task.Rest)
		if err != nil {
			return work.Step{}, err
		}
		r.corrected.Add(int64(n))
		return work.Step{Cursor: []byte{compareReplicas}, Progress: "comparing with other nodes"}, nil
	default:
		r.compare.CompareAnew()
		return work.Step{Progress: "done; anti-entropy compares with other nodes", Done: true}, nil
	}
}

func (r *tables) examine(ctx context.Context, at []byte) (work.Step, error) {
	if len(at) == 0 {
		at = nil
	}
	found, err := r.rows.Examine(ctx, at)
	if err != nil {
		return work.Step{}, err
	}
	r.looked.Add(found.Rows)
	r.unreadable.Add(found.Unreadable)
	r.damaged.Add(int64(len(found.Damaged)))
	for _, key := range found.Damaged {
		limited, cancel := context.WithTimeout(ctx, mendTimeout)
		err := r.mend(limited, key)
		cancel()
		if err != nil {
			r.log.ErrorContext(ctx, "a row whose body is damaged is not mended", "table", key.Table, "bucket", key.Bucket, "error", err)
			continue
		}
		r.mended.Add(1)
	}
	if found.End {
		return work.Step{Cursor: []byte{recountDigests}, Progress: "adding digests up"}, nil
	}
	return work.Step{
		Cursor:   append([]byte{examineRows}, found.Next...),
		Progress: fmt.Sprintf("examining rows, %d since the start", r.looked.Load()),
	}, nil
}

// tidying makes the step of a repair that removes left-overs from some tables.
func (s *Service) tidying(n node, first, last metaapi.Table) func(context.Context, []byte) (work.Step, error) {
	t := &leftovers.Tidier{
		Self: s.node, Table: n.rows, Ring: s.ring, Rows: n.client, Now: s.deps.Now,
		HasBucket: func(b object.BucketID) bool {
			v := s.deps.Control.View()
			return v.Bucket(b) != nil || slices.ContainsFunc(v.Deleted(), func(d *control.Bucket) bool { return d.ID == b })
		},
	}
	var removed atomic.Int64 // since the start
	return func(ctx context.Context, at []byte) (work.Step, error) {
		gone, next, end, err := t.Tidy(ctx, at, first, last)
		return work.Step{Cursor: next, Progress: fmt.Sprintf("%d rows removed since the start", removed.Add(gone)), Done: end}, err
	}
}

// repairTasks makes the repairs that operators may order.
func (s *Service) repairTasks(n node, compare *antientropy.Worker) (map[nodeapi.RepairKind]*work.Task, error) {
	all := &tables{store: n.base, rows: n.rows, mend: n.client.Recommit, compare: compare, log: s.log}
	var counters *work.Task
	tasks := map[nodeapi.RepairKind]*work.Task{}
	for _, r := range []struct {
		kind  nodeapi.RepairKind
		name  string
		notes func() []string
		step  func(context.Context, []byte) (work.Step, error)
		task  **work.Task
	}{
		{nodeapi.RepairTables, "tables", all.notes, all.step, &all.task},
		{nodeapi.RepairCounters, "counters", nil, func(ctx context.Context, _ []byte) (work.Step, error) {
			wrong, err := n.rows.Recount(ctx, table.Sums, counters.Rest)
			return work.Step{Progress: fmt.Sprintf("%d counters corrected", wrong), Done: true}, err
		}, &counters},
		{nodeapi.RepairMultipartUploads, "uploads", nil, s.tidying(n, metaapi.Uploads, metaapi.Parts), nil},
		{nodeapi.RepairVersions, "versions", nil, s.tidying(n, metaapi.Manifests, metaapi.Manifests), nil},
	} {
		task, err := n.set.Task(work.TaskOptions{
			WorkerOptions: work.WorkerOptions{Name: "repair-" + r.name, Tranquility: restful, Notes: r.notes}, Step: r.step,
		})
		if err != nil {
			return nil, err
		}
		if tasks[r.kind] = task; r.task != nil {
			*r.task = task
		}
	}
	return tasks, nil
}
