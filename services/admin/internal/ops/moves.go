package ops

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hangar/shared/control"
	"hangar/shared/layout"
	"hangar/shared/object"
)

// Move is a number of partitions that one node hands to another.
type Move struct {
	Service    string
	From, To   object.NodeID
	Partitions int
	// Bytes is an estimate from the room that is taken on From's disk, hence at
	// most that; 0 when it is not known.
	Bytes int64
}

// Space is what a service can hold.
type Space struct {
	Service                   string
	PartitionsMoved           int
	Partitions                int
	UsableBefore, UsableAfter int64
	ZonesBefore, ZonesAfter   int
	// RedundancyAfter is the least number of zones that a partition spans.
	RedundancyAfter int
	Nodes           []NodeSpace
}

// NodeSpace is what one node holds before and after.
type NodeSpace struct {
	Node                              object.NodeID
	Zone                              string
	Capacity                          int64
	PartitionsBefore, PartitionsAfter int
	UsableAfter                       int64
}

func gains(l *control.Layout, p int) []object.NodeID { return l.Blocks.Gains(layout.Partition(p)) }

// moves pairs, partition by partition, who loses it with who gains it.
func (o *Ops) moves(service string, ring *layout.Ring) (moves []Move) {
	type pair struct{ from, to object.NodeID }
	count := map[pair]int{}
	for i := range ring.Next {
		p := layout.Partition(i)
		sets, gained := ring.Sets(p), ring.Gains(p)
		for _, n := range sets[0] {
			if len(gained) > 0 && !sets[1].Has(n) {
				count[pair{n, gained[0]}]++
				gained = gained[1:]
			}
		}
	}
	held, _ := PartitionUse(&layout.Ring{Nodes: ring.Nodes, Assign: ring.Assign}, nil)
	used := map[object.NodeID]int64{}
	for _, n := range o.fleet.Nodes() {
		if n.Service == service && n.TotalBytes > 0 {
			used[n.ID] = n.TotalBytes - n.AvailableBytes
		}
	}
	for k, n := range count {
		moves = append(moves, Move{service, k.from, k.to, n, used[k.from] / int64(held[k.from]) * int64(n)})
	}
	slices.SortFunc(moves, func(a, b Move) int {
		return cmp.Or(slices.Compare(a.From[:], b.From[:]), slices.Compare(a.To[:], b.To[:]))
	})
	return moves
}

// space compares what a service holds in two layouts.
func space(service string, before, after *control.Layout) Space {
	from, to := before.Ring(service), after.Ring(service)
	s := Space{Service: service, Partitions: len(to.Assign), PartitionsMoved: to.Moves()}
	heldBefore, sizeBefore := PartitionUse(from, before.Roles)
	heldAfter, sizeAfter := PartitionUse(to, after.Roles)
	s.UsableBefore, s.UsableAfter = sizeBefore*int64(len(from.Assign)), sizeAfter*int64(len(to.Assign))
	zones, all := map[object.NodeID]string{}, map[object.NodeID]control.Role{}
	count := map[string]bool{}
	for _, r := range before.Roles {
		if r.Service == service {
			all[r.Node], count[r.Zone] = r, true
		}
	}
	s.ZonesBefore = len(count)
	clear(count)
	for _, r := range after.Roles {
		if r.Service == service {
			all[r.Node], zones[r.Node], count[r.Zone] = r, r.Zone, true
		}
	}
	s.ZonesAfter = len(count)
	for p := range to.Assign {
		sets := to.Sets(layout.Partition(p))
		spans := map[string]bool{}
		for _, n := range sets[len(sets)-1] {
			spans[zones[n]] = true
		}
		if p == 0 || len(spans) < s.RedundancyAfter {
			s.RedundancyAfter = len(spans)
		}
	}
	for n, r := range all {
		s.Nodes = append(s.Nodes, NodeSpace{n, r.Zone, r.CapacityBytes, heldBefore[n], heldAfter[n], int64(heldAfter[n]) * sizeAfter})
	}
	slices.SortFunc(s.Nodes, func(a, b NodeSpace) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), slices.Compare(a.Node[:], b.Node[:]))
	})
	return s
}

// explain says it line by line, in columns.
func (p *LayoutPlan) explain() {
	for _, s := range p.Space {
		p.say("%s: version %d, %d of %d partitions change hands, %d zones (each partition in at least %d)",
			s.Service, p.Layout.Version, s.PartitionsMoved, s.Partitions, s.ZonesAfter, s.RedundancyAfter)
		p.say("  %-16s  %-12s  %10s  %22s  %10s", "NODE", "ZONE", "CAPACITY", "PARTITIONS", "USABLE")
		for _, n := range s.Nodes {
			change := fmt.Sprintf("%d", n.PartitionsAfter)
			if n.PartitionsAfter != n.PartitionsBefore {
				change = fmt.Sprintf("%d -> %d", n.PartitionsBefore, n.PartitionsAfter)
			}
			p.say("  %-16s  %-12s  %10s  %22s  %10s", n.Node.String()[:16], n.Zone, bytesText(n.Capacity), change, bytesText(n.UsableAfter))
		}
		p.say("  usable capacity %s (before: %s)", bytesText(s.UsableAfter), bytesText(s.UsableBefore))
		for _, m := range p.Moves {
			if m.Service != s.Service {
				continue
			}
			size := ""
			if m.Bytes > 0 {
				size = ", at most " + bytesText(m.Bytes)
			}
			p.say("  %s -> %s: %d partitions%s", m.From.String()[:16], m.To.String()[:16], m.Partitions, size)
		}
		p.say("")
	}
	p.Message = p.Message[:max(0, len(p.Message)-1)]
}

func (p *LayoutPlan) say(format string, args ...any) {
	p.Message = append(p.Message, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// bytesText writes a size for people.
func bytesText(n int64) string {
	v, unit := float64(n), 0
	for v >= 1024 && unit < 6 {
		v, unit = v/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[unit-1])
}
