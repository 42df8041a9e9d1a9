// Package scrub goes through everything that a node holds: it reads every block
// now and then and holds it against its hash, and on an operator's order it
// compares all blocks with the replicas, verifies all references against the
// metadata, recounts the index, or empties the queue of the resynchronisation.
// Each is a work.Task: it goes on after a restart and rests for the sake of
// requests.
//
// What a scrub finds corrupt is queued, and replaced by a copy of another
// replica (package resync). Without one it stays as it is, and stays listed:
// nothing is ever deleted here.
package scrub

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"hangar/services/blocks/internal/index"
	"hangar/services/blocks/internal/store"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/lifecycle"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/work"
)

const (
	day = 24 * time.Hour
	// least and most bound the time between two scrubs.
	least, most = 25 * day, 35 * day
	// piece is about how long a step takes: rests between are what lets
	// requests through.
	piece = 50 * time.Millisecond
	// page is how many blocks are listed at once.
	page = 64
	// crowded is how many wanted blocks keep a comparison from adding more.
	crowded = 10_000
	// cursorFormat stands first in each cursor.
	cursorFormat = 1
)

// Tasks are those of one node. Safe for concurrent use.
type Tasks struct {
	store   *store.Store
	compare func()
	tasks   map[nodeapi.RepairKind]*work.Task
}

// New adds the tasks to a set. compare has what other nodes have looked for once
// everything here was queued. Errors: those of set.
func New(set *work.Set, st *store.Store, compare func()) (*Tasks, error) {
	t := &Tasks{store: st, compare: compare, tasks: make(map[nodeapi.RepairKind]*work.Task)}
	options := map[nodeapi.RepairKind]work.TaskOptions{
		nodeapi.RepairScrub: {
			WorkerOptions: work.WorkerOptions{Name: "scrub", Tranquility: "4", Notes: t.scrubNotes},
			Step:          t.scrub, Least: least, Most: most,
		},
		nodeapi.RepairBlocks:      {WorkerOptions: work.WorkerOptions{Name: "repair-blocks", Tranquility: "1"}, Step: t.queueAll},
		nodeapi.RepairBlockRefs:   {WorkerOptions: work.WorkerOptions{Name: "repair-references", Tranquility: "1"}, Step: t.verifyAll},
		nodeapi.RepairBlockCounts: {WorkerOptions: work.WorkerOptions{Name: "repair-counts", Tranquility: "1", Notes: t.countNotes}, Step: t.recount},
		nodeapi.RepairClearResyncQueue: {
			WorkerOptions: work.WorkerOptions{Name: "clear-resync-queue"}, Step: t.unwant,
		},
		nodeapi.RepairRebalance: {WorkerOptions: work.WorkerOptions{Name: "rebalance", Tranquility: "1", Notes: t.rebalanceNotes}, Step: t.rebalance},
	}
	for _, kind := range []nodeapi.RepairKind{ // in the order that operators see them
		nodeapi.RepairScrub, nodeapi.RepairBlocks, nodeapi.RepairBlockRefs, nodeapi.RepairBlockCounts, nodeapi.RepairClearResyncQueue,
		nodeapi.RepairRebalance,
	} {
		var err error
		if t.tasks[kind], err = set.Task(options[kind]); err != nil {
			return nil, err
		}
	}
	return t, set.Variable(work.Variable{
		Name: "scrub-corruptions-detected",
		Get:  func() string { return fmt.Sprint(t.scrubbed().corrupt) },
	})
}

// Start runs the tasks as parts of g.
func (t *Tasks) Start(g *lifecycle.Group) {
	for _, task := range t.tasks {
		task.Go(g)
	}
}

// Repair carries an order out, as nodeapi.Operator says.
func (t *Tasks) Repair(r nodeapi.Repair) error {
	task := t.tasks[r.Kind]
	switch {
	case task == nil:
		return fault.New(fault.NotImplemented, "%q is no repair of the block service", r.Kind)
	case r.Kind != nodeapi.RepairScrub:
		return task.Start()
	}
	switch r.Scrub {
	case "start", "":
		return task.Start()
	case "pause":
		return task.Pause()
	case "resume":
		return task.Resume()
	case "cancel":
		return task.Cancel()
	}
	return fault.New(fault.Invalid, "a scrub cannot %q: start, pause, resume or cancel", r.Scrub)
}

// tally is the cursor of all tasks: how far a run has come in the order of
// hashes (or of owners), and what it has met so far.
type tally struct {
	at                   []byte
	seen, bytes, corrupt int64
}

const tallyBytes = 1 + 3*8

func (c tally) encode() []byte {
	b := append(make([]byte, 0, tallyBytes+len(c.at)), cursorFormat)
	for _, n := range []int64{c.seen, c.bytes, c.corrupt} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, c.at...)
}

// decodeTally takes what it cannot read for a beginning.
func decodeTally(b []byte) (c tally) {
	if len(b) < tallyBytes || b[0] != cursorFormat {
		return c
	}
	for i, n := range []*int64{&c.seen, &c.bytes, &c.corrupt} {
		*n = int64(binary.BigEndian.Uint64(b[1+8*i:]))
	}
	c.at = b[tallyBytes:]
	return c
}

func (c tally) hash() (h object.Hash) { copy(h[:], c.at); return h }

// step is c as a step of a run.
func (c tally) step(done bool) work.Step {
	s := work.Step{Cursor: c.encode(), Progress: store.Share(c.at), Done: done}
	if done {
		s.Progress = "100 %"
	}
	return s
}

func (t *Tasks) scrubbed() tally { return decodeTally(t.tasks[nodeapi.RepairScrub].Cursor()) }

func (t *Tasks) scrubNotes() []string {
	c := t.scrubbed()
	return []string{fmt.Sprintf("this run or the last: %d blocks, %d MiB, %d corrupt", c.seen, c.bytes>>20, c.corrupt)}
}

// scrub reads some blocks and verifies them.
func (t *Tasks) scrub(ctx context.Context, cursor []byte) (work.Step, error) {
	c, began := decodeTally(cursor), time.Now()
	hashes, err := t.store.Blocks(c.hash(), page)
	if err != nil {
		return work.Step{}, err
	}
	for i, h := range hashes {
		if i > 0 && time.Since(began) >= piece {
			return c.step(false), nil
		}
		n, err := t.store.Verify(ctx, h)
		switch {
		case fault.Is(err, fault.Corrupt):
			c.corrupt++ // it is logged and queued by now
		case fault.Is(err, fault.NotFound): // collected meanwhile
		case err != nil:
			return work.Step{}, err
		}
		c.seen, c.bytes, c.at = c.seen+1, c.bytes+n, h[:]
	}
	return c.step(len(hashes) < page), nil
}

// queueAll queues some blocks, to be compared with all replicas one by one. What
// this node does not even know of, the comparison of digests finds.
func (t *Tasks) queueAll(ctx context.Context, cursor []byte) (work.Step, error) {
	c := decodeTally(cursor)
	if t.store.Wanted() > crowded {
		return c.step(false), lifecycle.Sleep(ctx, time.Second) // they are worked off meanwhile
	}
	hashes, err := t.store.Blocks(c.hash(), page)
	if err != nil {
		return work.Step{}, err
	}
	want := make([]index.Wanted, len(hashes))
	for i, h := range hashes {
		want[i], c.at = index.Wanted{Hash: h}, h[:]
	}
	if err := t.store.Want(ctx, want); err != nil {
		return work.Step{}, err
	}
	c.seen += int64(len(hashes))
	done := len(hashes) < page
	if done {
		t.compare()
	}
	return c.step(done), nil
}

// verifyAll asks the metadata about some owners, as the sweep does.
func (t *Tasks) verifyAll(ctx context.Context, cursor []byte) (work.Step, error) {
	c := decodeTally(cursor)
	var after index.OwnerID
	copy(after[:], c.at)
	last, n, err := t.store.SweepAfter(ctx, after)
	if err != nil {
		return work.Step{}, err
	}
	c.at, c.seen = last[:], c.seen+int64(n)
	return c.step(last == (index.OwnerID{})), nil
}

func (t *Tasks) countNotes() []string {
	c := decodeTally(t.tasks[nodeapi.RepairBlockCounts].Cursor())
	return []string{fmt.Sprintf("this run or the last: %d leaves, %d corrected", c.seen, c.corrupt)}
}

// recount recounts some leaves, the slices of the hashes that digests are kept
// of. The cursor is the next leaf.
func (t *Tasks) recount(ctx context.Context, cursor []byte) (work.Step, error) {
	c, began := decodeTally(cursor), time.Now()
	var leaf blockapi.Leaf
	if len(c.at) == 2 {
		leaf = blockapi.Leaf(binary.BigEndian.Uint16(c.at))
	}
	for time.Since(began) < piece {
		next, found, err := t.store.NextLeaf(leaf)
		if err != nil || !found {
			return c.step(true), err
		}
		r, err := t.store.Recount(ctx, next)
		if err != nil {
			return work.Step{}, err
		}
		if r.Digest || r.Blocks > 0 {
			c.corrupt++
		}
		c.seen++
		if next == math.MaxUint16 {
			return c.step(true), nil
		}
		leaf = next + 1
		c.at = binary.BigEndian.AppendUint16(nil, uint16(leaf))
	}
	return c.step(false), nil
}

// unwant takes some blocks off the queue of the resynchronisation. What is still
// missing, the comparison of digests queues again.
func (t *Tasks) unwant(ctx context.Context, cursor []byte) (work.Step, error) {
	c := decodeTally(cursor)
	last, n, err := t.store.Unwant(ctx, c.hash(), page)
	if err != nil {
		return work.Step{}, err
	}
	c.at, c.seen = last[:], c.seen+int64(n)
	return c.step(n < page), nil
}
