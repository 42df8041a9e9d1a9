package objects

import (
	"context"
	"sync"
	"time"

	"hangar/shared/fault"
)

// tokens bound how many blocks are in memory at once, over all requests.
type tokens struct{ held chan struct{} }

func newTokens(memory, blockBytes int64) *tokens {
	return &tokens{held: make(chan struct{}, max(1, memory/blockBytes))}
}

// memoryWait bounds the wait for a token: clients that are slow with their
// bytes hold tokens, and must not make others hang with them.
const memoryWait = 30 * time.Second

// acquire waits for a token. Who waits must not hold one, or two waiters could
// wait for each other.
func (t *tokens) acquire(ctx context.Context) error {
	if t.try() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, memoryWait)
	defer cancel()
	select {
	case t.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fault.Wrap(fault.Overloaded, ctx.Err(), "no memory for another block in time")
	}
}

func (t *tokens) try() bool {
	select {
	case t.held <- struct{}{}:
		return true
	default:
		return false
	}
}

func (t *tokens) release() { <-t.held }

// buffers is a bounded pool of block-sized buffers. Idle ones are left to the
// garbage collector.
type buffers struct {
	*tokens
	pool sync.Pool
}

// buffer is a block being filled or on its way.
type buffer struct{ data []byte }

func newBuffers(memory, blockBytes int64) *buffers {
	b := &buffers{tokens: newTokens(memory, blockBytes)}
	b.pool.New = func() any { return &buffer{data: make([]byte, blockBytes)} }
	return b
}

// get waits for a buffer. A writer may hold others meanwhile as long as those
// come back without its doing, as blocks on their way do.
func (b *buffers) get(ctx context.Context) (*buffer, error) {
	if err := b.acquire(ctx); err != nil {
		return nil, err
	}
	return b.pool.Get().(*buffer), nil
}

func (b *buffers) put(buf *buffer) {
	b.pool.Put(buf)
	b.release()
}
