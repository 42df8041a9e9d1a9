package blocks_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
)

// operate is a node as an operator reaches it, over the broker.
func (c *cluster) operate(id object.NodeID) nodeapi.Remote {
	return nodeapi.Remote{Caller: c.admin, Service: "blocks", Node: id}
}

func (c *cluster) repair(id object.NodeID, kind nodeapi.RepairKind, scrub string) {
	c.t.Helper()
	if err := c.operate(id).Repair(c.t.Context(), nodeapi.Repair{Kind: kind, Scrub: scrub}); err != nil {
		c.t.Fatalf("%s %s: %v", kind, scrub, err)
	}
}

func (c *cluster) worker(id object.NodeID, name string) nodeapi.Worker {
	c.t.Helper()
	list, err := c.operate(id).Workers(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, w := range list {
		if w.Name == name {
			return w
		}
	}
	c.t.Fatalf("no worker %q in %+v", name, list)
	return nodeapi.Worker{}
}

func (c *cluster) variable(id object.NodeID, name string) string {
	c.t.Helper()
	v, err := c.operate(id).Variables(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	value, found := v[name]
	if !found {
		c.t.Fatalf("no variable %q in %v", name, v)
	}
	return value
}

func (c *cluster) set(id object.NodeID, name, value string) {
	c.t.Helper()
	if err := c.operate(id).SetVariable(c.t.Context(), name, value); err != nil {
		c.t.Fatal(err)
	}
}

// completed begins a repair and waits for its end.
func (c *cluster) completed(id object.NodeID, kind nodeapi.RepairKind, name string) nodeapi.Worker {
	c.t.Helper()
	c.repair(id, kind, "")
	var w nodeapi.Worker
	c.until("the end of "+name, func() bool {
		w = c.worker(id, name)
		return w.State == nodeapi.Idle && w.Progress == "100 %"
	})
	if w.Errors > 0 {
		c.t.Errorf("%s: %s", name, w.LastError)
	}
	return w
}

// damage flips a byte of the last block that a node stored.
func (c *cluster) damage(id object.NodeID) {
	c.t.Helper()
	flip(c.t, filepath.Join(c.dirs[id], "segments", "0000000000000001.seg"), -100)
}

func notes(w nodeapi.Worker) string { return strings.Join(w.Notes, "\n") }

// TestScrubReplacesACorruptCopy: nobody reads the block, and it is whole again.
func TestScrubReplacesACorruptCopy(t *testing.T) {
	c := newCluster(t, 3, 3)
	for range 20 {
		c.put(blocktest.Owner(), blocktest.Random(3000))
	}
	plain := blocktest.Random(5000)
	c.alike(20, c.ids...)
	h := c.put(blocktest.Owner(), plain)
	c.alike(21, c.ids...)
	bad := c.ids[1]
	c.damage(bad)
	c.set(bad, "scrub-tranquility", "0")
	w := c.completed(bad, nodeapi.RepairScrub, "scrub")
	if !strings.Contains(notes(w), "21 blocks") || !strings.Contains(notes(w), "1 corrupt") || c.variable(bad, "scrub-corruptions-detected") != "1" {
		t.Errorf("%+v", w)
	}
	c.until("the copy is replaced", func() bool {
		return c.worker(bad, "resync").QueueLength != nil && *c.worker(bad, "resync").QueueLength == 0
	})
	if err := c.holds(bad, h, plain); err != nil {
		t.Error(err)
	}
	if w := c.completed(bad, nodeapi.RepairScrub, "scrub"); !strings.Contains(notes(w), "21 blocks") || !strings.Contains(notes(w), "0 corrupt") {
		t.Errorf("a second run: %+v", w)
	}
	if next, err := time.Parse(time.RFC3339, c.variable(bad, "scrub-next-run")); err != nil ||
		time.Until(next) < 24*24*time.Hour || time.Until(next) > 36*24*time.Hour {
		t.Errorf("the next run at %v, %v", next, err)
	}
}

// TestALostBlockStaysListed: with no good copy left nothing is deleted, until an
// operator gives the block up.
func TestALostBlockStaysListed(t *testing.T) {
	c := newCluster(t, 3, 3)
	owner := blocktest.Owner()
	h := c.put(owner, blocktest.Random(5000))
	c.alike(1, c.ids...)
	first := c.operate(c.ids[0])
	if s, err := first.Statistics(t.Context()); err != nil || s.Rows != nil || s.Blocks.Blocks != 1 || s.Blocks.LiveBytes < 5000 || s.Blocks.Segments != 1 || s.Blocks.Failing != 0 {
		t.Errorf("%+v, %v", s.Blocks, err)
	}
	purge := func() (nodeapi.Purged, error) { return first.PurgeBlocks(t.Context(), []object.Hash{h}) }
	if _, err := purge(); !fault.Is(err, fault.Conflict) {
		t.Fatalf("a whole block: %v", err)
	}
	c.damage(c.ids[0])
	if _, err := purge(); !fault.Is(err, fault.Conflict) {
		t.Fatalf("a block with other copies: %v", err)
	}
	c.until("the copy is replaced", func() bool { return c.holds(c.ids[0], h, make([]byte, 5000)) == nil })
	for _, id := range c.ids {
		c.damage(id)
		c.set(id, "scrub-tranquility", "0")
	}
	for _, id := range c.ids {
		c.completed(id, nodeapi.RepairScrub, "scrub")
	}
	var list []nodeapi.BlockError
	c.until("the loss is listed", func() bool {
		var err error
		list, err = first.BlockErrors(t.Context())
		return err == nil && len(list) == 1
	})
	if e := list[0]; e.Hash != h || e.References != 1 || e.Errors == 0 || e.Message == "" || e.LastTry.IsZero() || !e.NextTry.After(e.LastTry) {
		t.Errorf("%+v", e)
	}
	if w := c.worker(c.ids[0], "resync"); w.PersistentErrors == nil || *w.PersistentErrors != 1 {
		t.Errorf("%+v", w)
	}
	if s, err := first.Statistics(t.Context()); err != nil || s.Blocks.Failing != 1 || s.Blocks.Wanted != 1 {
		t.Errorf("%+v, %v", s.Blocks, err)
	}
	info, err := first.BlockInfo(t.Context(), h)
	if err != nil || info.Present || len(info.Owners) != 1 || info.Owners[0].Key != owner.Key || info.Owners[0].Dead {
		t.Errorf("%+v, %v", info, err)
	}
	if n, err := first.RetryBlocks(t.Context(), nil); err != nil || n != 1 {
		t.Errorf("%d to be tried again, %v", n, err)
	}
	if d := c.all(c.ids[0]); d.Refs != 1 {
		t.Errorf("%+v", d)
	}
	c.stop(c.ids[2])
	if _, err := purge(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("while a replica is away: %v", err)
	}
	c.start(c.ids[2])
	p, err := purge()
	if err != nil || p.Blocks != 1 || p.Objects != 1 || p.Versions != 1 || p.References != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	c.until("nothing is left", func() bool {
		for _, id := range c.ids { // hints are taken after a grace
			c.Release(t.Context(), blockapi.Released{Bucket: owner.Bucket, Key: owner.Key, Version: owner.Version})
			if c.all(id).Refs != 0 {
				return false
			}
		}
		return true
	})
	if _, err := first.BlockInfo(t.Context(), h); !fault.Is(err, fault.NotFound) {
		t.Errorf("after the purge: %v", err)
	}
	if _, err := first.PurgeBlocks(t.Context(), nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("a purge of nothing: %v", err)
	}
}

// Purge implements blockapi.Purger.
func (m *metadata) Purge(_ context.Context, o blockapi.Owner) (blockapi.PurgeResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead[o] {
		return blockapi.PurgedNothing, nil
	}
	m.dead[o] = true
	return blockapi.PurgedObject, nil
}

func TestRepairs(t *testing.T) {
	c := newCluster(t, 3, 3)
	doomed := blocktest.Owner()
	for range 10 {
		c.put(blocktest.Owner(), blocktest.Random(1000))
	}
	c.put(doomed, blocktest.Random(1000))
	c.alike(11, c.ids...)
	id := c.ids[0]
	c.completed(id, nodeapi.RepairBlocks, "repair-blocks")
	c.until("everything is compared", func() bool { return *c.worker(id, "resync").QueueLength == 0 })
	if w := c.completed(id, nodeapi.RepairBlockCounts, "repair-counts"); !strings.Contains(notes(w), " leaves, 0 corrected") {
		t.Errorf("%+v", w)
	}
	c.completed(id, nodeapi.RepairClearResyncQueue, "clear-resync-queue")
	c.completed(id, nodeapi.RepairRebalance, "rebalance")

	c.meta.kill(doomed) // nobody gives a hint
	c.until("the dead reference is found", func() bool {
		c.completed(id, nodeapi.RepairBlockRefs, "repair-references")
		time.Sleep(200 * time.Millisecond)
		return c.all(id).Refs == 10
	})
	for kind, want := range map[nodeapi.RepairKind]fault.Kind{
		nodeapi.RepairTables: fault.NotImplemented, "": fault.NotImplemented,
	} {
		if err := c.operate(id).Repair(t.Context(), nodeapi.Repair{Kind: kind}); !fault.Is(err, want) {
			t.Errorf("%q: %v", kind, err)
		}
	}
	if err := c.operate(id).Snapshot(t.Context()); !fault.Is(err, fault.NotImplemented) {
		t.Error(err)
	}
}

// TestWhatWasSetSurvivesARestart: the variables, and where a scrub stood.
func TestWhatWasSetSurvivesARestart(t *testing.T) {
	c := newCluster(t, 1, 1)
	id := c.ids[0]
	c.put(blocktest.Owner(), blocktest.Random(100))
	c.set(id, "resync-worker-count", "7")
	c.set(id, "scrub-tranquility", "adaptive")
	for order, want := range map[string]fault.Kind{
		"pause": fault.Conflict, "resume": fault.Conflict, "cancel": fault.Conflict, "dance": fault.Invalid,
	} {
		if err := c.operate(id).Repair(t.Context(), nodeapi.Repair{Kind: nodeapi.RepairScrub, Scrub: order}); !fault.Is(err, want) {
			t.Errorf("%s: %v", order, err)
		}
	}
	c.completed(id, nodeapi.RepairScrub, "scrub")
	next := c.variable(id, "scrub-next-run")
	c.stop(id)
	c.start(id)
	if c.variable(id, "resync-worker-count") != "7" || c.variable(id, "scrub-tranquility") != "adaptive" || c.variable(id, "scrub-next-run") != next {
		t.Error("what was set is forgotten")
	}
	if w := c.worker(id, "scrub"); w.Progress != "100 %" || !strings.Contains(notes(w), "1 blocks") {
		t.Errorf("%+v", w)
	}
}
