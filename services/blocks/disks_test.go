package blocks_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hangar/services/blocks"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/datadir"
	"hangar/shared/fault"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
)

// TestALostDirectoryIsHealedByTheReplicas: the disk of one of three nodes dies
// with everything on it. The node refuses to start until it is told so, and then
// brings all of it back, onto the disk that is left.
func TestALostDirectoryIsHealedByTheReplicas(t *testing.T) {
	c := newCluster(t, 3, 3)
	id, root := c.ids[1], t.TempDir()
	a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
	for _, dir := range []string{a, b} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.stop(id)
	c.disks[id] = a + "," + b
	c.start(id)
	contents := make(map[object.Hash][]byte)
	for range 60 {
		plain := blocktest.Random(5000)
		contents[c.put(blocktest.Owner(), plain)] = plain
	}
	c.alike(60, c.ids...)
	c.stop(id)
	if err := os.RemoveAll(b); err != nil {
		t.Fatal(err)
	}
	cfg := config1(t, c.dirs[id])
	cfg.DataDirs = c.disks[id]
	s, err := blocks.New(cfg, blocks.Deps{Control: c.ctl, Telemetry: newTelemetry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), b+"=lost") {
		t.Fatalf("a start without a disk: %v", err)
	}
	c.disks[id] = a + "," + b + "=lost"
	c.start(id)
	c.alike(60, c.ids...)
	for h, plain := range contents {
		if err := c.holds(id, h, plain); err != nil {
			t.Errorf("a block after the loss: %v", err)
		}
		if got, err := c.Get(t.Context(), h); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	c.until("it stands for its partitions again", func() bool { return c.worker(id, "move").State == nodeapi.Idle })
}

// A node that has several directories is not opened by a program that knows only
// one, and one that never had is.
func TestFormatOfTheDataDirectory(t *testing.T) {
	c := newCluster(t, 2, 2)
	one, many := c.ids[0], c.ids[1]
	c.stop(many)
	c.disks[many] = "main"
	c.start(many)
	c.stop(many)
	c.disks[many] = ""
	c.start(many)
	if _, err := datadir.Open(c.dirs[one], "blocks", "index", 1); err != nil {
		t.Error(err)
	}
	if _, err := datadir.Open(c.dirs[many], "blocks", "index", 1); !fault.Is(err, fault.Invalid) {
		t.Errorf("an older program: %v", err)
	}
}
