package blocks_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hangar/services/blocks"
	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockrpc"
	"hangar/shared/blockapi/blocktest"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/natsd"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/rpc"
	"hangar/shared/rpc/rpctest"
)

// metadata says which owners live: all but those that were killed.
type metadata struct {
	mu   sync.Mutex
	dead map[blockapi.Owner]bool
}

func (m *metadata) Verify(_ context.Context, o blockapi.Owner) (blockapi.Verdict, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead[o] {
		return blockapi.Dead, nil
	}
	return blockapi.Alive, nil
}

func (m *metadata) kill(o blockapi.Owner) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead[o] = true
}

// cluster is nodes in one process that reach each other over a real broker.
type cluster struct {
	*blockrpc.Client
	t     *testing.T
	nats  *natsd.Server
	ctl   *fixed
	meta  *metadata
	admin *rpc.Conn
	dirs  map[object.NodeID]string
	// disks are the nodes' further data directories, as configured.
	disks map[object.NodeID]string
	nodes map[object.NodeID]*node
	ids   []object.NodeID
}

// bits makes few partitions, so that a look at all of them takes little time.
const bits = 3

// newCluster starts size nodes, of which the first members hold everything.
func newCluster(t *testing.T, size, members int) *cluster {
	c := &cluster{
		t: t, nats: rpctest.NATS(t), ctl: newControl(), meta: &metadata{dead: make(map[blockapi.Owner]bool)},
		dirs: make(map[object.NodeID]string), disks: make(map[object.NodeID]string), nodes: make(map[object.NodeID]*node),
	}
	for range size {
		c.newNode()
	}
	c.ctl.set(everywhere(1, c.ids[:members]...))
	for _, id := range c.ids {
		c.start(id)
	}
	c.connect()
	c.admin = rpctest.Connect(t, c.nats, rpc.Options{})
	return c
}

// connect gives the cluster a client of its own.
func (c *cluster) connect() {
	c.t.Helper()
	client, err := blockrpc.NewClient(rpctest.Connect(c.t, c.nats, rpc.Options{}), c.ctl.ring, blockrpc.Options{
		Buffers: &c.ctl.buffers, WriteTimeout: 5 * time.Second, AttemptTimeout: time.Second,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	c.Client = client
}

// newNode makes a node that is not started.
func (c *cluster) newNode() object.NodeID {
	c.t.Helper()
	dir := c.t.TempDir()
	id, err := blocks.Identify(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	c.ids, c.dirs[id] = append(c.ids, id), dir
	return id
}

func (c *cluster) start(id object.NodeID) {
	c.t.Helper()
	c.nodes[id] = startWith(c.t, c.nats, nil, c.ctl, c.dirs[id], c.meta, func(cfg *blocks.Config) {
		cfg.GCGrace, cfg.GCSweep, cfg.GCUnsafe, cfg.RepairInterval = time.Second, time.Minute, true, time.Second
		cfg.DataDirs = c.disks[id]
	})
}

func (c *cluster) stop(id object.NodeID) {
	c.t.Helper()
	if err := c.nodes[id].stop(); err != nil {
		c.t.Fatal(err)
	}
}

// everywhere is a ring in which all nodes hold all partitions.
func everywhere(epoch uint64, nodes ...object.NodeID) layout.Ring {
	a := assignment(nodes...)
	return layout.Ring{Epoch: epoch, Bits: bits, Nodes: a.Nodes, Assign: a.Assign}
}

func assignment(nodes ...object.NodeID) layout.Assignment {
	a := layout.Assignment{Nodes: nodes}
	for range 1 << bits {
		var set []uint16
		for i := range nodes {
			set = append(set, uint16(i))
		}
		a.Assign = append(a.Assign, set)
	}
	return a
}

func (c *cluster) put(o blockapi.Owner, plain []byte) object.Hash {
	c.t.Helper()
	h, err := c.Put(c.t.Context(), o, plain)
	if err != nil {
		c.t.Fatal(err)
	}
	return h
}

// all is the digest of everything that a node holds.
func (c *cluster) all(id object.NodeID) blockapi.Digest {
	d, err := c.At(id).Digests(c.t.Context(), 0, blockapi.PartitionSpan(0, 0), blockapi.Digest{})
	if err != nil {
		return blockapi.Digest{Refs: -1} // not there, or not yet
	}
	return d.All
}

// until waits for something that nothing tells of.
func (c *cluster) until(what string, is func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, id := range c.ids {
				c.t.Logf("node %s: %+v", id, c.all(id))
			}
			c.t.Fatalf("never: %s", what)
		}
	}
}

// alike waits until nodes hold the same references, refs of them.
func (c *cluster) alike(refs int64, nodes ...object.NodeID) {
	c.t.Helper()
	c.until("the replicas are alike", func() bool {
		first := c.all(nodes[0])
		for _, id := range nodes {
			if d := c.all(id); !d.Same(first) || d.Refs != refs {
				return false
			}
		}
		return true
	})
}

// holds checks that a node itself gives a block back.
func (c *cluster) holds(id object.NodeID, h object.Hash, plain []byte) error {
	b, err := c.Fetch(c.t.Context(), 1<<60, []object.NodeID{id}, h)
	if err == nil && int64(len(plain)) != b.PlainBytes {
		err = errors.New("other content")
	}
	return err
}

// TestANodeThatWasDownCatchesUp: what was written and referred to meanwhile
// comes, what died meanwhile does not, and goes everywhere in the end.
func TestANodeThatWasDownCatchesUp(t *testing.T) {
	c := newCluster(t, 3, 3)
	old := c.put(blocktest.Owner(), blocktest.Random(1000))
	away := c.ids[2]
	c.stop(away)
	copier, doomed := blocktest.Owner(), blocktest.Owner()
	plain := blocktest.Text(100_000)
	h := c.put(blocktest.Owner(), plain)
	for range 20 {
		c.put(blocktest.Owner(), blocktest.Random(2000))
	}
	if err := c.Reference(t.Context(), copier, []object.Hash{old, h}); err != nil {
		t.Fatal(err)
	}
	dead := c.put(doomed, blocktest.Random(500))
	c.Close() // so that no late copy comes to the node after all
	c.connect()
	c.meta.kill(doomed)
	c.start(away)
	c.alike(1+1+20+2, c.ids...)
	if err := c.holds(away, h, plain); err != nil {
		t.Error(err)
	}
	if err := c.holds(away, dead, nil); !fault.Is(err, fault.NotFound) {
		t.Errorf("the block of a dead owner: %v", err)
	}
}

// TestACorruptCopyIsReplaced: reads are right all the same, and the node that
// found the damage has it repaired by itself.
func TestACorruptCopyIsReplaced(t *testing.T) {
	c := newCluster(t, 3, 3)
	plain := blocktest.Random(5000)
	h := c.put(blocktest.Owner(), plain)
	c.alike(1, c.ids...)
	bad := c.ids[1]
	path := filepath.Join(c.dirs[bad], "segments", "0000000000000001.seg")
	flip(t, path, -100)
	if err := c.holds(bad, h, plain); !fault.Is(err, fault.Corrupt) {
		t.Fatalf("the node that was damaged: %v", err)
	}
	for range 6 { // whichever node is asked first
		if got, err := c.Get(t.Context(), h); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	c.until("the copy is replaced", func() bool { return c.holds(bad, h, plain) == nil })
	c.stop(bad)
	c.start(bad)
	if err := c.holds(bad, h, plain); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// flip changes a byte, counted from the end of what the file holds.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end := int64(len(bytes.TrimRight(b, "\x00")))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{b[end+at] ^ 0xff}, end+at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// change carries a layout change through as the driver does, and calls at
// between its steps.
func (c *cluster) change(skip []object.NodeID, at func(step string), to ...object.NodeID) {
	c.t.Helper()
	old := c.ctl.ring()
	joint := old.Begin(assignment(to...))
	c.ctl.set(*joint)
	at("joint")
	for _, n := range append(joint.Sets(0)[0], joint.Sets(0)[1]...) {
		c.until("a majority has adopted the epoch", func() bool {
			a, err := nodeapi.AskAdopt(c.t.Context(), c.admin, "blocks", n, joint.Epoch)
			return err == nil && a.Epoch >= joint.Epoch || contains(skip, n)
		})
	}
	at("adopted")
	order := nodeapi.Transfer{Epoch: joint.Epoch, Skip: skip}
	for p := range 1 << bits {
		order.Partitions = append(order.Partitions, layout.Partition(p))
	}
	for _, n := range joint.Gains(0) {
		c.until("a node is filled", func() bool {
			p, err := nodeapi.AskTransfer(c.t.Context(), c.admin, "blocks", n, order)
			at("polled")
			return err == nil && len(p.Done) == len(order.Partitions) || contains(skip, n)
		})
	}
	at("filled")
	c.ctl.set(*joint.End(false))
	at("ended")
}

func contains(nodes []object.NodeID, n object.NodeID) bool {
	return layout.ReplicaSet(nodes).Has(n)
}

// load writes and reads until stop is called: every block that was acknowledged
// must be readable at any time.
func (c *cluster) load() (stop func() (acknowledged map[object.Hash][]byte)) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var mu sync.Mutex
	written := make(map[object.Hash][]byte)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				plain := blocktest.Random(3000)
				h, err := c.Put(ctx, blocktest.Owner(), plain)
				if err != nil {
					if ctx.Err() == nil {
						c.t.Errorf("Put: %v", err)
					}
					continue
				}
				mu.Lock()
				written[h] = plain
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			mu.Lock()
			var h object.Hash
			var plain []byte
			for h, plain = range written {
				break // any
			}
			mu.Unlock()
			if plain == nil {
				continue
			}
			if got, err := c.Get(ctx, h); ctx.Err() == nil && (err != nil || !bytes.Equal(got, plain)) {
				c.t.Errorf("an acknowledged block: %d bytes, %v", len(got), err)
				return
			}
		}
	})
	return func() map[object.Hash][]byte {
		cancel()
		wg.Wait()
		return written
	}
}

// TestReplacementUnderLoad: a whole replica set is replaced while blocks are
// written, read and collected, and nodes crash in between. Every acknowledged
// block is readable all the time; the old nodes are empty in the end.
func TestReplacementUnderLoad(t *testing.T) {
	c := newCluster(t, 6, 3)
	old, fresh := c.ids[:3], c.ids[3:]
	var doomed []blockapi.Owner
	for range 10 {
		o := blocktest.Owner()
		c.put(o, blocktest.Random(1000))
		doomed = append(doomed, o)
	}
	stop := c.load()
	restarted := map[string]bool{}
	again := func(step string, id object.NodeID) {
		if !restarted[step] {
			restarted[step] = true
			c.stop(id)
			c.start(id)
		}
	}
	c.change(nil, func(step string) {
		switch step {
		case "joint":
			again(step, fresh[0])
		case "adopted":
			for _, o := range doomed {
				c.meta.kill(o)
				c.Release(t.Context(), blockapi.Released{Bucket: o.Bucket, Key: o.Key, Version: o.Version})
			}
		case "polled":
			again(step, fresh[1])
		case "filled":
			again(step, fresh[2])
		case "ended":
			again(step, old[0])
		}
	}, fresh...)
	c.until("the old nodes are empty", func() bool {
		for _, id := range old {
			if c.all(id).Refs != 0 {
				return false
			}
		}
		return true
	})
	written := stop()
	c.until("the dead are gone", func() bool {
		for _, o := range doomed { // what a sweep would find
			c.Release(t.Context(), blockapi.Released{Bucket: o.Bucket, Key: o.Key, Version: o.Version})
		}
		time.Sleep(time.Second)
		d := c.all(fresh[0])
		return d.Refs <= int64(len(written))+10 && c.all(fresh[1]).Same(d) && c.all(fresh[2]).Same(d)
	})
	for _, id := range old {
		c.stop(id)
	}
	for h, plain := range written {
		for _, id := range fresh {
			if err := c.holds(id, h, plain); err != nil {
				t.Fatalf("node %s: %v", id, err)
			}
		}
	}
	t.Logf("%d blocks were written", len(written))
}

// TestAWipedNodeIsReplaced: the disk of a node is lost; a new one takes its
// place although the lost one never answers.
func TestAWipedNodeIsReplaced(t *testing.T) {
	c := newCluster(t, 4, 3)
	plain := map[object.Hash][]byte{}
	for range 30 {
		p := blocktest.Random(2000)
		plain[c.put(blocktest.Owner(), p)] = p
	}
	lost, spare := c.ids[0], c.ids[3]
	c.stop(lost)
	c.change([]object.NodeID{lost}, func(string) {}, c.ids[1], c.ids[2], spare)
	c.alike(30, c.ids[1], c.ids[2], spare)
	for h, p := range plain {
		if err := c.holds(spare, h, p); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAPartitionComesBack: a node leaves and returns before it has dropped what
// it held. What was referred to in between is not lost by it.
func TestAPartitionComesBack(t *testing.T) {
	c := newCluster(t, 3, 2)
	a, b, d := c.ids[0], c.ids[1], c.ids[2]
	h := c.put(blocktest.Owner(), blocktest.Random(100))
	c.alike(1, a, b)
	c.change(nil, func(step string) {
		if step == "filled" {
			c.stop(a) // it does not see the end, and drops nothing
		}
	}, b, d)
	if err := c.Reference(t.Context(), blocktest.Owner(), []object.Hash{h}); err != nil {
		t.Fatal(err)
	}
	later := c.put(blocktest.Owner(), blocktest.Random(200))
	c.change([]object.NodeID{a}, func(step string) {
		if step == "adopted" {
			c.start(a)
		}
	}, a, b, d)
	c.alike(3, a, b, d)
	if err := c.holds(a, later, make([]byte, 200)); err != nil {
		t.Error(err)
	}
}
