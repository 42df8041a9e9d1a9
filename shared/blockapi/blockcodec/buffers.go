package blockcodec

import (
	"math/bits"
	"sync"

	"hangar/shared/blockapi"
)

const (
	minClass = 12 // 4 KiB: smaller buffers are not worth keeping
	maxClass = 23 // blockapi.MaxBlockBytes
)

// Compile-time proof that the largest class holds the largest block.
var _ = [1]struct{}{}[(1<<maxClass)-blockapi.MaxBlockBytes]

// Buffers recycles the memory of blocks. Processes that hold both ends of the
// block service share one, so that what one end lets go serves the other. The
// zero value is ready; safe for concurrent use.
type Buffers struct {
	classes [maxClass - minClass + 1]sync.Pool
}

// Get returns a slice of length n whose content is arbitrary.
func (b *Buffers) Get(n int) []byte {
	if n > 1<<maxClass {
		return make([]byte, n)
	}
	class := minClass
	if n > 1<<minClass {
		class = bits.Len(uint(n - 1))
	}
	if p, ok := b.classes[class-minClass].Get().(*[]byte); ok {
		return (*p)[:n]
	}
	return make([]byte, n, 1<<class)
}

// Put hands buf back. The caller must not touch it, nor any other slice of the
// same memory, afterwards. Slices of any origin are welcome.
func (b *Buffers) Put(buf []byte) {
	if cap(buf) < 1<<minClass || cap(buf) > 1<<(maxClass+1) {
		return
	}
	// The largest class whose every member the buffer can serve.
	class := min(bits.Len(uint(cap(buf)))-1, maxClass)
	b.classes[class-minClass].Put(&buf)
}
