package blocktest

import (
	"context"
	"slices"
	"sync"

	"hangar/shared/blockapi"
	"hangar/shared/blockapi/blockcodec"
	"hangar/shared/fault"
	"hangar/shared/object"
)

// Node is a blockapi.Node in memory whose behaviour a test can spoil. Safe for
// concurrent use.
type Node struct {
	codec *blockcodec.Codec

	mu       sync.Mutex
	epoch    uint64
	blocks   map[object.Hash]blockapi.Block
	owners   map[object.Hash]map[blockapi.Owner]bool
	released []blockapi.Released
	before   func(ctx context.Context, op string) error
}

var _ blockapi.Node = (*Node)(nil)

// NewNode returns an empty Node.
func NewNode() *Node {
	codec, err := blockcodec.New(&blockcodec.Buffers{}, 2)
	if err != nil {
		panic(err) // the options are constants
	}
	return &Node{
		codec:  codec,
		blocks: make(map[object.Hash]blockapi.Block),
		owners: make(map[object.Hash]map[blockapi.Owner]bool),
	}
}

// Before makes each later call run f first and fail with what it returns. f
// may block. op is "put", "get" or "reference". Nil stops that.
func (n *Node) Before(f func(ctx context.Context, op string) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.before = f
}

func (n *Node) enter(ctx context.Context, op string) error {
	n.mu.Lock()
	f := n.before
	n.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx, op)
}

// Put implements blockapi.Node.
func (n *Node) Put(ctx context.Context, epoch uint64, owner blockapi.Owner, b blockapi.Block) error {
	if err := n.enter(ctx, "put"); err != nil {
		return err
	}
	if err := n.codec.Verify(b); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.admit(epoch); err != nil {
		return err
	}
	if _, ok := n.blocks[b.Hash]; !ok {
		b.Data = slices.Clone(b.Data)
		n.blocks[b.Hash] = b
		n.owners[b.Hash] = make(map[blockapi.Owner]bool)
	}
	n.owners[b.Hash][owner] = true
	return nil
}

// admit applies the rules of epochs. The caller holds mu.
func (n *Node) admit(epoch uint64) error {
	if epoch < n.epoch {
		return fault.New(fault.OldEpoch, "epoch %d is older than %d", epoch, n.epoch)
	}
	n.epoch = epoch
	return nil
}

// Epoch implements blockapi.Node.
func (n *Node) Epoch() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.epoch
}

// Adopt makes epoch, if it is newer, the one that the node demands.
func (n *Node) Adopt(epoch uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.epoch = max(n.epoch, epoch)
}

// Get implements blockapi.Node.
func (n *Node) Get(ctx context.Context, h object.Hash) (blockapi.Block, error) {
	if err := n.enter(ctx, "get"); err != nil {
		return blockapi.Block{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	b, ok := n.blocks[h]
	if !ok {
		return blockapi.Block{}, fault.New(fault.NotFound, "no block %s", h)
	}
	b.Data = slices.Clone(b.Data)
	return b, nil
}

// Reference implements blockapi.Node.
func (n *Node) Reference(ctx context.Context, epoch uint64, owner blockapi.Owner, hashes []object.Hash) ([]object.Hash, error) {
	if err := n.enter(ctx, "reference"); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.admit(epoch); err != nil {
		return nil, err
	}
	var missing []object.Hash
	for _, h := range hashes {
		if refs, ok := n.owners[h]; ok {
			refs[owner] = true
		} else {
			missing = append(missing, h)
		}
	}
	return missing, nil
}

// Release implements blockapi.Node.
func (n *Node) Release(_ context.Context, r blockapi.Released) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.released = append(n.released, r)
}

// Released lists the hints received, in order.
func (n *Node) Released() []blockapi.Released {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.released)
}

// Has reports whether the node holds a block, and whether owner refers to it.
func (n *Node) Has(h object.Hash, owner blockapi.Owner) (held, referenced bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, held = n.blocks[h]
	return held, n.owners[h][owner]
}

// Lose removes a block.
func (n *Node) Lose(h object.Hash) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.blocks, h)
	delete(n.owners, h)
}

// Corrupt changes the stored content of a block, so that its hash is wrong.
func (n *Node) Corrupt(h object.Hash) {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.blocks[h]
	b.Data = slices.Clone(b.Data)
	b.Data[0] ^= 0x80
	n.blocks[h] = b
}
