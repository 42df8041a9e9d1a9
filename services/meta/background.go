package meta

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"hangar/services/meta/internal/bodies"
	"hangar/services/meta/internal/journal"
	"hangar/shared/lifecycle"
	"hangar/shared/work"
)

// compactEvery is the time between two looks for files of bodies to compact.
const compactEvery = time.Minute

// restful is how much work rests by default that goes through many rows.
const restful = "1"

// unresting is for work during which redundancy or room is missing.
const unresting = "0"

// background opens the set of the node's background work. It keeps what operators
// set in the data directory.
func (s *Service) background(g *lifecycle.Group) (*work.Set, error) {
	set, err := work.Open(work.Options{
		Service: "meta", File: filepath.Join(s.cfg.Dir, workFile),
		Registry: s.deps.Telemetry.Registry, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	g.Defer("background work", func(context.Context) error { set.Close(); return nil })
	return set, nil
}

// keepTidy runs what keeps the store's files small: checkpoints of the journal,
// and compaction of bodies.
func (s *Service) keepTidy(g *lifecycle.Group, set *work.Set, store *journal.Store, large *bodies.Log) error {
	compaction, err := set.Worker(work.WorkerOptions{Name: "compaction", Notes: func() []string {
		c := large.Counters()
		return []string{fmt.Sprintf("%d files removed, %d bytes moved since the start", c.SegmentsRemoved.Load(), c.BytesMoved.Load())}
	}})
	if err != nil {
		return err
	}
	checkpoints, err := set.Worker(work.WorkerOptions{Name: "checkpoints", Notes: func() []string {
		return []string{fmt.Sprintf("%d made since the start", store.Counters().Checkpoints.Load())}
	}})
	if err != nil {
		return err
	}
	compaction.Go(g, func(ctx context.Context) error { return compaction.Every(ctx, compactEvery, large.Compact) })
	checkpoints.Go(g, func(ctx context.Context) error { return store.Run(ctx, checkpoints.Result) })
	return nil
}
