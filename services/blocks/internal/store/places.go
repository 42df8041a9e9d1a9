package store

import (
	"sync"

	"hangar/shared/object"
	"hangar/shared/segment"
)

// maxPlaces bounds the blocks remembered as unreadable. Those beyond it are
// remembered when they are read again.
const maxPlaces = 1 << 14

// places remembers where blocks lie that could not be read, until somebody
// brings their content again: a Put of a block that is known would otherwise
// refer to content that is lost. The zero value is ready; safe for concurrent
// use.
type places struct {
	mu sync.RWMutex
	m  map[object.Hash]segment.Location // guarded by mu
}

// note remembers that a block cannot be read at a place.
func (p *places) note(h object.Hash, at segment.Location) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = make(map[object.Hash]segment.Location)
	}
	if len(p.m) < maxPlaces {
		p.m[h] = at
	}
}

// at is where a block could not be read, the zero Location for all others.
func (p *places) at(h object.Hash) segment.Location {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.m[h]
}

func (p *places) forget(h object.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.m, h)
}
