package register

import (
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// MaxTime bounds Tag.Time, so that a clock can always go above what it saw.
// It is some 73,000 years from now: decoders refuse what lies beyond.
const MaxTime = 1 << 61

// Clock is a coordinator's hybrid logical clock. It gives each tag once, above
// every tag it gave or saw before. It is safe for concurrent use.
//
// How wrong the wall clock is has no bearing on correctness: a slow one only
// costs an extra round trip where it meets newer tags.
type Clock struct {
	node uint64
	now  func() time.Time
	last atomic.Int64
}

// NewClock returns a clock that reads the wall through now. node must be
// unique to this start of this process: see NewNode.
func NewClock(node uint64, now func() time.Time) *Clock { return &Clock{node: node, now: now} }

// NewNode returns a random Tag.Node.
func NewNode() uint64 {
	var b [8]byte
	// crypto/rand.Read never fails on the platforms Go supports.
	_, _ = rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// Next returns a new tag, above all that c gave or saw, and above above.
func (c *Clock) Next(above Tag) Tag {
	wall := c.now().UnixMicro()
	for {
		last := c.last.Load()
		t := max(wall, last+1, above.Time+1)
		if c.last.CompareAndSwap(last, t) {
			return Tag{Time: t, Node: c.node}
		}
	}
}

// See makes the tags to come go above t.
func (c *Clock) See(t Tag) {
	for {
		last := c.last.Load()
		if t.Time <= last || c.last.CompareAndSwap(last, t.Time) {
			return
		}
	}
}
