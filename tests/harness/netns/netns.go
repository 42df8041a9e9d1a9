// Package netns builds a network of test hosts on one Linux machine. A host is
// a network namespace with one interface and one address; the wire between the
// hosts is this process, which delays, loses or cuts what travels from one to
// the other. Processes run inside a host see an ordinary network and are found
// at 10.77.ZONE.HOST.
//
// A wire of its own instead of bridges and tc: queueing disciplines that delay
// are not built into every kernel, rules of a firewall are slow to change and
// easy to leave behind, and here each direction of each pair of hosts can be
// set by itself while packets are on their way.
//
// Nothing is left behind, however the test ends: namespaces have no name, so
// the kernel takes them back with the last process in them; interfaces go with
// the descriptor this process holds, and processes die with the thread that
// started them. Nothing of it is visible in the namespace of the machine.
package netns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Link is what happens to packets in one direction.
type Link struct {
	// Delay of each packet, more or less up to Jitter, evenly spread. Packets
	// from one host to another never overtake each other.
	Delay, Jitter time.Duration
	// Loss is the share of packets that vanish, 0 to 1.
	Loss float64
}

// Network is a set of hosts that reach each other. It is safe for concurrent
// use.
type Network struct {
	mu     sync.RWMutex
	hosts  map[netip.Addr]*Host    // guarded by mu
	byName map[string]*Host        // guarded by mu
	zones  map[string]byte         // guarded by mu; the third byte of the address
	links  map[direction]Link      // guarded by mu; between zones
	cuts   map[direction]struct{}  // guarded by mu; between names of hosts or zones
	wires  map[[2]netip.Addr]*wire // guarded by mu

	delivered, dropped atomic.Int64
	running            sync.WaitGroup
}

// direction is from one name to another.
type direction struct{ from, to string }

// Require names the environment variable that turns the skipping of New into
// failing; continuous integration sets it to 1.
const Require = "HANGAR_TEST_REQUIRE_NETNS"

// New returns a network without hosts. It is taken down when the test ends.
// Where hosts cannot be made (no root, no /dev/net/tun) the test is skipped,
// or fails if Require is set.
func New(t testing.TB) *Network {
	t.Helper()
	if err := Possible(); err != nil {
		if os.Getenv(Require) != "" {
			t.Fatalf("network namespaces are required here: %v", err)
		}
		t.Skipf("no network of test hosts: %v", err)
	}
	n := Open()
	t.Cleanup(n.Close)
	return n
}

// Possible says why there can be no hosts on this machine.
var Possible = sync.OnceValue(func() error {
	n := Open()
	defer n.Close()
	_, err := n.AddHost("probe", "probe")
	return err
})

// Open is New outside of a test: the caller closes it.
func Open() *Network {
	return &Network{
		hosts: map[netip.Addr]*Host{}, byName: map[string]*Host{}, zones: map[string]byte{},
		links: map[direction]Link{}, cuts: map[direction]struct{}{}, wires: map[[2]netip.Addr]*wire{},
	}
}

// Host adds a host to a zone; the test fails when it cannot.
func (n *Network) Host(t testing.TB, name, zone string) *Host {
	t.Helper()
	h, err := n.AddHost(name, zone)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// AddHost adds a host to a zone. No two hosts or zones have the same name.
func (n *Network) AddHost(name, zone string) (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byName[name] != nil || n.zones[name] != 0 || n.byName[zone] != nil {
		return nil, fmt.Errorf("netns: the name of host %q or zone %q is taken", name, zone)
	}
	z := n.zones[zone]
	if z == 0 {
		z = byte(len(n.zones) + 1)
	}
	last := byte(1)
	for _, other := range n.hosts {
		if other.zone == zone {
			last = max(last, other.addr.As4()[3])
		}
	}
	if z > 250 || last >= 250 {
		return nil, errors.New("netns: no address left")
	}
	h, err := newHost(name, zone, netip.AddrFrom4([4]byte{10, 77, z, last + 1}))
	if err != nil {
		return nil, fmt.Errorf("netns: host %s: %w", name, err)
	}
	n.zones[zone] = z
	n.byName[name] = h
	n.hosts[h.addr] = h
	n.running.Go(func() { n.route(h) })
	return h, nil
}

// Link sets both directions between two zones; a zone has a link to itself.
// Links that were never set have no delay.
func (n *Network) Link(a, b string, l Link) {
	n.LinkOneWay(a, b, l)
	n.LinkOneWay(b, a, l)
}

// LinkOneWay sets the direction between two zones.
func (n *Network) LinkOneWay(from, to string, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[direction{from, to}] = l
}

// LinkZones sets all directions between different zones that exist so far.
func (n *Network) LinkZones(l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for a := range n.zones {
		for b := range n.zones {
			if a != b {
				n.links[direction{a, b}] = l
			}
		}
	}
}

// Everyone stands for all other hosts in cuts: with a zone, for those outside.
const Everyone = "*"

// Cut lets nothing pass between two hosts or zones, in neither direction. As
// on a broken wire, nobody is told. What is under way is lost.
func (n *Network) Cut(a, b string) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay lets nothing pass from one host or zone to the other.
func (n *Network) CutOneWay(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range []string{from, to} {
		if name != Everyone && n.byName[name] == nil && n.zones[name] == 0 {
			panic("netns: no host or zone is named " + name)
		}
	}
	n.cuts[direction{from, to}] = struct{}{}
}

// Mend takes back Cut and CutOneWay of the same two.
func (n *Network) Mend(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cuts, direction{a, b})
	delete(n.cuts, direction{b, a})
}

// Heal takes back all cuts. Links stay.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
}

// isCut reports whether nothing passes; n.mu is held.
func (n *Network) isCut(from, to *Host) bool {
	if len(n.cuts) == 0 {
		return false
	}
	for _, a := range []string{from.name, from.zone, Everyone} {
		for _, b := range []string{to.name, to.zone, Everyone} {
			_, cut := n.cuts[direction{a, b}]
			inside := b == Everyone && to.within(a) || a == Everyone && from.within(b)
			if cut && !inside {
				return true
			}
		}
	}
	return false
}

// within reports whether name is the host's or its zone's.
func (h *Host) within(name string) bool { return name == h.name || name == h.zone }

// Close takes the network down and ends the processes of its hosts.
func (n *Network) Close() {
	n.mu.Lock()
	for _, h := range n.hosts {
		h.close()
	}
	n.mu.Unlock()
	n.running.Wait() // the routes: nobody adds to a wire any more
	n.mu.Lock()
	wires := n.wires
	n.wires = map[[2]netip.Addr]*wire{}
	clear(n.hosts)
	clear(n.byName)
	n.mu.Unlock()
	for _, w := range wires {
		close(w.packets)
	}
	for _, w := range wires { // what is under way may take its time, but looks at cuts
		<-w.done
	}
}

// String says what passed, for the log of a test that failed.
func (n *Network) String() string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d packets delivered, %d lost", n.delivered.Load(), n.dropped.Load())
	for c := range n.cuts {
		fmt.Fprintf(&b, "; %s to %s is cut", c.from, c.to)
	}
	for _, h := range n.hosts {
		fmt.Fprintf(&b, "\n%s %s in %s", h.addr, h.name, h.zone)
	}
	return b.String()
}

// draw is the delay of one packet.
func (l Link) draw() time.Duration {
	if l.Jitter == 0 {
		return l.Delay
	}
	return max(0, l.Delay-l.Jitter+rand.N(2*l.Jitter+1))
}
