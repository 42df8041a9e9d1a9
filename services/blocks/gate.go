package blocks

import (
	"context"
	"sync"
	"time"

	"hangar/services/blocks/internal/store"
	"hangar/shared/blockapi"
	"hangar/shared/fault"
	"hangar/shared/layout"
	"hangar/shared/nodeapi"
	"hangar/shared/object"
	"hangar/shared/work"
)

// gate counts the requests under way, so that the store is closed after the
// last of them: an endpoint that has stopped listening may still be answering.
type gate struct {
	node blockapi.Node
	peer blockapi.Peer
	move nodeapi.Transferer
	// foreground is told how long reads and writes take.
	foreground *work.Foreground

	mu     sync.Mutex
	open   int
	closed bool
	idle   chan struct{} // closed when closed and open is 0
}

var (
	_ blockapi.Node = (*gate)(nil)
	_ blockapi.Peer = (*gate)(nil)

	_ nodeapi.Transferer = (*gate)(nil)
)

func newGate(s *store.Store, m nodeapi.Transferer, f *work.Foreground) *gate {
	return &gate{node: s, peer: s, move: m, foreground: f, idle: make(chan struct{})}
}

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

// observe tells background work how long a request took. Small and large ones
// are kept apart: they take different times.
func (g *gate) observe(op string, size int, began time.Time) {
	if size >= 64<<10 {
		op += " large"
	}
	g.foreground.Observe(op, time.Since(began))
}

func (g *gate) Put(ctx context.Context, epoch uint64, owner blockapi.Owner, b blockapi.Block) error {
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	began, size := time.Now(), len(b.Data)
	err := g.node.Put(ctx, epoch, owner, b)
	g.observe("put", size, began)
	return err
}

func (g *gate) Get(ctx context.Context, h object.Hash) (blockapi.Block, error) {
	if err := g.enter(); err != nil {
		return blockapi.Block{}, err
	}
	defer g.leave()
	began := time.Now()
	b, err := g.node.Get(ctx, h)
	g.observe("get", len(b.Data), began)
	return b, err
}

func (g *gate) Epoch() uint64 { return g.node.Epoch() }

func (g *gate) Reference(ctx context.Context, epoch uint64, owner blockapi.Owner, hashes []object.Hash) ([]object.Hash, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	defer g.leave()
	return g.node.Reference(ctx, epoch, owner, hashes)
}

func (g *gate) Release(ctx context.Context, r blockapi.Released) {
	if g.enter() != nil {
		return
	}
	defer g.leave()
	g.node.Release(ctx, r)
}

func (g *gate) List(ctx context.Context, l blockapi.Listing) (blockapi.Page, error) {
	if err := g.enter(); err != nil {
		return blockapi.Page{}, err
	}
	defer g.leave()
	return g.peer.List(ctx, l)
}

func (g *gate) Digests(ctx context.Context, p layout.Partition, s blockapi.Span, known blockapi.Digest) (blockapi.Digests, error) {
	if err := g.enter(); err != nil {
		return blockapi.Digests{}, err
	}
	defer g.leave()
	return g.peer.Digests(ctx, p, s, known)
}

func (g *gate) Confirm(ctx context.Context, epoch uint64, from object.NodeID, entries []blockapi.Entry) ([]int, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	defer g.leave()
	return g.peer.Confirm(ctx, epoch, from, entries)
}

func (g *gate) Transfer(ctx context.Context, t nodeapi.Transfer) (nodeapi.Progress, error) {
	if err := g.enter(); err != nil {
		return nodeapi.Progress{}, err
	}
	defer g.leave()
	return g.move.Transfer(ctx, t)
}

func (g *gate) Adopt(ctx context.Context, epoch uint64) (nodeapi.Adopted, error) {
	if err := g.enter(); err != nil {
		return nodeapi.Adopted{}, err
	}
	defer g.leave()
	return g.move.Adopt(ctx, epoch)
}
