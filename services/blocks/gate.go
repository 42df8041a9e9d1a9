package blocks

import (
	"context"
	"sync"

	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/object"
)

// gate counts the requests under way, so that the store is closed after the
// last of them: an endpoint that has stopped listening may still be answering.
type gate struct {
	node blockapi.Node

	mu     sync.Mutex
	open   int
	closed bool
	idle   chan struct{} // closed when closed and open is 0
}

var _ blockapi.Node = (*gate)(nil)

func newGate(n blockapi.Node) *gate { return &gate{node: n, idle: make(chan struct{})} }

func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return fault.New(fault.Unavailable, "the node is stopping")
	}
	g.open++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if g.closed && g.open == 0 {
		close(g.idle)
	}
}

// drain lets nobody in and waits for those inside.
func (g *gate) drain(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	if g.open == 0 {
		close(g.idle)
	}
	g.mu.Unlock()
	select {
	case <-g.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) Put(ctx context.Context, owner blockapi.Owner, b blockapi.Block) error {
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	return g.node.Put(ctx, owner, b)
}

func (g *gate) Get(ctx context.Context, h object.Hash) (blockapi.Block, error) {
	if err := g.enter(); err != nil {
		return blockapi.Block{}, err
	}
	defer g.leave()
	return g.node.Get(ctx, h)
}

func (g *gate) Reference(ctx context.Context, owner blockapi.Owner, hashes []object.Hash) ([]object.Hash, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	defer g.leave()
	return g.node.Reference(ctx, owner, hashes)
}

func (g *gate) Release(ctx context.Context, r blockapi.Released) {
	if g.enter() != nil {
		return
	}
	defer g.leave()
	g.node.Release(ctx, r)
}
