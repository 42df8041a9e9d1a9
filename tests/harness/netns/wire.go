package netns

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	// mtuBytes is what most paths through the internet carry.
	mtuBytes = 1500
	// wirePackets may be under way in one direction; the rest is lost, as on a
	// router whose queue is full. At 100 ms it allows some 240 MB/s.
	wirePackets = 16384
)

// wire carries packets from one host to another in order.
type wire struct {
	from, to *Host
	packets  chan packet
	waiting  atomic.Int64
	last     time.Time // when the latest packet is due; owned by from's route
	done     chan struct{}
}

type packet struct {
	due  time.Time
	data []byte
}

// route passes on what h sends until h is closed.
func (n *Network) route(h *Host) {
	buf := make([]byte, mtuBytes)
	for {
		size, err := h.tun.Read(buf)
		if err != nil {
			return // closed
		}
		to, ok := destination(buf[:size])
		if !ok {
			continue // IPv6 neighbour discovery and the like
		}
		w, l, ok := n.find(h, to)
		if !ok || l.Loss > 0 && rand.Float64() < l.Loss {
			n.dropped.Add(1)
			continue
		}
		n.send(w, l, buf[:size])
	}
}

func destination(p []byte) (netip.Addr, bool) {
	if len(p) < 20 || p[0]>>4 != 4 {
		return netip.Addr{}, false
	}
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(p[16:20]))
	return netip.AddrFrom4(a), true
}

// find is the wire from a host to an address; false when nothing goes there.
func (n *Network) find(from *Host, addr netip.Addr) (*wire, Link, bool) {
	n.mu.RLock()
	to := n.hosts[addr]
	if to == nil || n.isCut(from, to) {
		n.mu.RUnlock()
		return nil, Link{}, false
	}
	l := n.links[direction{from.zone, to.zone}]
	w := n.wires[[2]netip.Addr{from.addr, addr}]
	n.mu.RUnlock()
	if w == nil {
		w = n.addWire(from, to)
	}
	return w, l, true
}

// addWire is called by from's route only, so once for each pair.
func (n *Network) addWire(from, to *Host) *wire {
	w := &wire{from: from, to: to, packets: make(chan packet, wirePackets), done: make(chan struct{})}
	n.mu.Lock()
	n.wires[[2]netip.Addr{from.addr, to.addr}] = w
	n.mu.Unlock()
	go n.carry(w)
	return w
}

// send puts a packet on w; it keeps nothing of data.
func (n *Network) send(w *wire, l Link, data []byte) {
	now := time.Now()
	due := now.Add(l.draw())
	if due.Before(w.last) {
		due = w.last
	}
	w.last = due
	if !due.After(now) && w.waiting.Load() == 0 {
		n.deliver(w, data) // saves a hand-over within a zone
		return
	}
	w.waiting.Add(1)
	select {
	case w.packets <- packet{due, append([]byte(nil), data...)}:
	default:
		w.waiting.Add(-1)
		n.dropped.Add(1)
	}
}

// carry delivers what is on w when it is due, until w.packets is closed.
func (n *Network) carry(w *wire) {
	defer close(w.done)
	for p := range w.packets {
		time.Sleep(time.Until(p.due))
		n.mu.RLock()
		cut := n.isCut(w.from, w.to)
		n.mu.RUnlock()
		if cut {
			n.dropped.Add(1)
		} else {
			n.deliver(w, p.data)
		}
		w.waiting.Add(-1)
	}
}

func (n *Network) deliver(w *wire, data []byte) {
	if _, err := w.to.tun.Write(data); err != nil {
		n.dropped.Add(1) // the host is being closed or has no room
		return
	}
	n.delivered.Add(1)
}
