package store

import (
	"context"
	"fmt"
	"log/slog"

	"hangar/services/blocks/internal/index"
	"hangar/services/blocks/internal/volume"
	"hangar/shared/datadir"
	"hangar/shared/kv"
	"hangar/shared/object"
	"hangar/shared/segment"
)

// loseChange is about how many references of lost blocks are dropped in one
// commit.
const loseChange = 500

// DirectoryFile is the file that marks a further data directory.
const DirectoryFile = datadir.PartFile

// directories brings configuration, index and disks together before anything is
// opened, and says what is to be opened. Every step is durable before the next
// one: a directory is marked before the index knows it, and the index knows it
// before a block is written to it; it forgets a lost one only once nothing in it
// is remembered any more. So a crash anywhere leaves what the next start
// finishes.
func directories(main string, idx kv.Store, opts Options) ([]volume.Dir, error) {
	var known []volume.Known
	var highest volume.Slot
	err := idx.View(func(r kv.Reader) (err error) {
		known, highest, err = index.Directories(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	seen, shared, err := volume.Look(main, opts.Directories)
	if err != nil {
		return nil, err
	}
	plan, err := volume.Reconcile(opts.Node, highest, known, opts.Directories, seen)
	if err != nil {
		return nil, err
	}
	for _, path := range shared {
		opts.Log.Warn("two data directories lie on one file system: they fill each other, and fail together", slog.String("path", path))
	}
	if err := remember(idx, opts.Node, plan); err != nil {
		return nil, err
	}
	for _, k := range plan.Lose {
		if err := lose(idx, k, opts.Log); err != nil {
			return nil, fmt.Errorf("giving up lost data directory %d (%s): %w", k.Slot, k.Path, err)
		}
	}
	for _, k := range plan.Forget {
		if err := change(idx, func(c *kv.Committer) error { return forget(idx, c, k.Slot) }); err != nil {
			return nil, err
		}
		opts.Log.Info("an empty data directory is not listed any more and forgotten", slog.String("path", k.Path))
	}
	return opening(main, opts.Directories, plan), nil
}

// opening lists the directories of a plan with the main one.
func opening(main string, specs []volume.Spec, plan volume.Plan) []volume.Dir {
	first := volume.Dir{Path: main}
	if len(specs) > 0 {
		first.Use = volume.Drain // unless it is listed
	}
	for _, s := range specs {
		if s.Path == volume.Main {
			first.Use, first.CapacityBytes = s.Use, s.CapacityBytes
		}
	}
	dirs := []volume.Dir{first}
	for _, o := range plan.Open {
		dirs = append(dirs, volume.Dir{Slot: o.Slot, Path: o.Path, Use: o.Use, CapacityBytes: o.CapacityBytes})
	}
	return dirs
}

// remember marks the new directories and notes all of them in the index.
func remember(idx kv.Store, node object.NodeID, plan volume.Plan) error {
	if len(plan.Open) == 0 {
		return nil
	}
	var b kv.Batch
	for _, o := range plan.Open {
		if o.New {
			if err := datadir.WritePart(o.Path, "blocks", datadir.Part{Node: node, Number: uint16(o.Slot)}); err != nil {
				return err
			}
		}
		index.SetDirectory(&b, o.Slot, o.Path)
	}
	index.SetHighest(&b, plan.Highest)
	return idx.Commit(&b)
}

// change runs a committer for changes before the store has one.
func change(idx kv.Store, do func(*kv.Committer) error) error {
	c := kv.NewCommitter(idx)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	err := do(c)
	cancel()
	if ended := <-done; err == nil {
		err = ended
	}
	return err
}

// lose drops everything that lies in a lost directory, and the references to it:
// the digests then tell that it is lacking, and it is brought again from other
// nodes. All partitions are incomplete before, so that this node does not stand
// for any of them until it has asked all others.
func lose(idx kv.Store, k volume.Known, log *slog.Logger) error {
	log.Warn("a data directory is given up as lost", slog.String("path", k.Path), slog.Int64("blocks", k.LiveBlocks))
	return change(idx, func(c *kv.Committer) error {
		if err := incomplete(idx, c); err != nil {
			return err
		}
		var from object.Hash
		var blocks int64
		for {
			var page index.Loss
			err := idx.View(func(r kv.Reader) (err error) {
				page, err = index.LossAfter(r, k.Slot, from, loseChange)
				return err
			})
			if err != nil {
				return err
			}
			if page.None {
				break
			}
			if err := c.Update(context.Background(), func(tx *kv.Tx) error { return index.Lose(tx, page) }); err != nil {
				return err
			}
			from = page.Next
			if was := blocks >> 16; (blocks+page.Blocks)>>16 != was {
				log.Info("giving up a lost data directory", slog.String("path", k.Path), slog.Int64("blocks", blocks), slog.Int64("of", k.LiveBlocks))
			}
			blocks += page.Blocks
		}
		if err := forget(idx, c, k.Slot); err != nil {
			return err
		}
		log.Warn("a lost data directory is given up: its blocks are fetched from other nodes, and its entry may be taken out of the configuration",
			slog.String("path", k.Path), slog.Int64("blocks", blocks))
		return nil
	})
}

func incomplete(idx kv.Store, c *kv.Committer) error {
	return c.Update(context.Background(), func(tx *kv.Tx) error {
		return idx.View(func(r kv.Reader) error {
			held, err := index.Memberships(r)
			for p, m := range held {
				m.Complete = false
				index.SetMembership(tx, p, m)
			}
			return err
		})
	})
}

// forget drops what is remembered of a directory in which nothing lives.
func forget(idx kv.Store, c *kv.Committer, s volume.Slot) error {
	for done := false; !done; {
		var usage map[segment.ID]index.Usage
		err := idx.View(func(r kv.Reader) (err error) {
			usage, err = index.Segments(r)
			return err
		})
		if err != nil {
			return err
		}
		err = c.Update(context.Background(), func(tx *kv.Tx) error {
			done = index.DropDirectory(tx, s, usage, index.MaxChange)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Directory is how a data directory fares.
type Directory struct {
	volume.Status
	LiveBytes, LiveBlocks int64
}

// Directories describes all data directories, the main one first.
func (s *Store) Directories() (all []Directory, err error) {
	live, err := s.live()
	if err != nil {
		return nil, err
	}
	for _, st := range s.log.Statuses() {
		d := Directory{Status: st, LiveBytes: live[st.Slot].LiveBytes, LiveBlocks: live[st.Slot].LiveBlocks}
		if d.State == volume.Draining && d.LiveBlocks == 0 && d.UsedBytes == 0 {
			d.State = volume.Empty
		}
		all = append(all, d)
	}
	return all, nil
}

// live sums what lives in each directory.
func (s *Store) live() (map[volume.Slot]index.Usage, error) {
	sums := make(map[volume.Slot]index.Usage)
	err := s.index.View(func(r kv.Reader) error {
		usage, err := index.Segments(r)
		for id, u := range usage {
			sum := sums[volume.SlotOf(id)]
			sum.LiveBytes += u.LiveBytes
			sum.LiveBlocks += u.LiveBlocks
			sums[volume.SlotOf(id)] = sum
		}
		return err
	})
	return sums, err
}

// draining lists the directories that are to be emptied and are not yet; only
// what lives and what their files take is told.
func (s *Store) draining() (left []Directory, err error) {
	live, err := s.live()
	if err != nil {
		return nil, err
	}
	for dir, used := range s.log.Drained() {
		d := Directory{Status: volume.Status{Dir: dir, UsedBytes: used}, LiveBytes: live[dir.Slot].LiveBytes, LiveBlocks: live[dir.Slot].LiveBlocks}
		if d.LiveBlocks > 0 || d.UsedBytes > 0 {
			left = append(left, d)
		}
	}
	return left, nil
}
