package resync

import (
	"context"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/shared/object"
)

// Failure is a wanted block whose last try failed.
type Failure struct {
	Hash  object.Hash `json:"hash"`
	Tries uint32      `json:"tries"`
	First time.Time   `json:"first"`
	Last  time.Time   `json:"last"`
	Next  time.Time   `json:"next"`
	// Error is why the last try failed.
	Error string `json:"error"`
}

// Failures lists up to limit failures in the order of hashes, after one (the
// zero hash: from the first).
func (w *Worker) Failures(after object.Hash, limit int) ([]Failure, error) {
	list, err := w.Store.Failing(after, limit)
	if err != nil {
		return nil, err
	}
	failures := make([]Failure, len(list))
	for i, e := range list {
		failures[i] = Failure{
			Hash: e.Hash, Tries: e.Tries, First: e.FirstFailed, Last: e.LastFailed,
			Next: time.Now().Add(w.Store.Until(e)), Error: e.Error,
		}
	}
	return failures, nil
}

// Retry makes failures due at once; without hashes all of them. It returns how
// many there were.
func (w *Worker) Retry(ctx context.Context, hashes ...object.Hash) (int, error) {
	return w.each(ctx, hashes, func(e index.Wanted) error { return w.Store.Retry(ctx, []index.Wanted{e}) })
}

// Purge takes failures off the queue; without hashes all of them. The
// comparison of replicas queues again what is still missing.
func (w *Worker) Purge(ctx context.Context, hashes ...object.Hash) (int, error) {
	return w.each(ctx, hashes, func(e index.Wanted) error { return w.Store.Settle(ctx, e) })
}

func (w *Worker) each(ctx context.Context, hashes []object.Hash, do func(index.Wanted) error) (n int, err error) {
	chosen := make(map[object.Hash]bool)
	for _, h := range hashes {
		chosen[h] = true
	}
	for after := (object.Hash{}); ctx.Err() == nil; {
		list, err := w.Store.Failing(after, batch)
		if err != nil || len(list) == 0 {
			return n, err
		}
		for _, e := range list {
			if len(chosen) > 0 && !chosen[e.Hash] {
				continue
			}
			if err := do(e); err != nil {
				return n, err
			}
			n++
		}
		after = list[len(list)-1].Hash
	}
	return n, ctx.Err()
}
