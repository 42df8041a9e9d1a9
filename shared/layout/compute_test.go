package layout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"hangar/shared/fault"
	"hangar/shared/object"
)

func nodeN(i int, zone string, capacity int64) Node {
	var id object.NodeID
	id[0], id[1] = byte(i>>8), byte(i)
	id[15] = 1
	return Node{ID: id, Zone: zone, Capacity: capacity}
}

func ringOf(in Input, a Assignment) *Ring {
	return &Ring{Epoch: 1, Bits: in.Bits, Nodes: a.Nodes, Assign: a.Assign}
}

// check asserts everything an assignment must be.
func check(t *testing.T, in Input, a Assignment) {
	t.Helper()
	byID := map[object.NodeID]Node{}
	zones := map[string]bool{}
	for _, n := range in.Nodes {
		byID[n.ID] = n
		if n.Capacity > 0 {
			zones[n.Zone] = true
		}
	}
	want := in.ZoneRedundancy
	if want == 0 {
		want = min(in.ReplicationFactor, len(zones))
	}
	load := map[object.NodeID]int64{}
	if len(a.Assign) != 1<<in.Bits {
		t.Fatalf("%d partitions", len(a.Assign))
	}
	for p, set := range a.Assign {
		seen, z := map[uint16]bool{}, map[string]bool{}
		for _, n := range set {
			seen[n] = true
			z[byID[a.Nodes[n]].Zone] = true
			load[a.Nodes[n]]++
		}
		if len(seen) != in.ReplicationFactor || len(set) != in.ReplicationFactor {
			t.Fatalf("partition %d has %v", p, set)
		}
		if len(z) < want {
			t.Fatalf("partition %d spans %d zones, want %d", p, len(z), want)
		}
	}
	for id, l := range load {
		if l*a.PartitionBytes > byID[id].Capacity {
			t.Fatalf("node %s holds %d × %d bytes over its %d", id, l, a.PartitionBytes, byID[id].Capacity)
		}
	}
}

func TestComputeProperties(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		in := Input{Bits: uint8(2 + rng.IntN(6)), ReplicationFactor: 1 + rng.IntN(4)}
		count := in.ReplicationFactor + rng.IntN(8)
		for i := range count {
			in.Nodes = append(in.Nodes, nodeN(i, fmt.Sprint("z", rng.IntN(4)), int64(1000+rng.IntN(100_000))*1000))
		}
		a, err := Compute(in)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		check(t, in, a)

		in.Previous = ringOf(in, a)
		b, err := Compute(in)
		if err != nil || b.Moves != 0 || b.PartitionBytes != a.PartitionBytes {
			t.Fatalf("seed %d: unchanged input moves %d (%v)", seed, b.Moves, err)
		}
		check(t, in, b)

		// A new zone may ask for more redundancy and so for more room.
		in.Nodes = append(in.Nodes, nodeN(1000, in.Nodes[0].Zone, 50_000_000))
		c, err := Compute(in)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		check(t, in, c)
		if c.PartitionBytes < a.PartitionBytes {
			t.Fatalf("seed %d: a further node made partitions smaller", seed)
		}
	}
}

func TestAddingOneNodeMovesItsShare(t *testing.T) {
	in := Input{Bits: 8, ReplicationFactor: 3}
	for i := range 9 {
		in.Nodes = append(in.Nodes, nodeN(i, fmt.Sprint("z", i%3), 1<<40))
	}
	a, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	in.Previous = ringOf(in, a)
	in.Nodes = append(in.Nodes, nodeN(20, "z0", 1<<40))
	b, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	check(t, in, b)
	// Zone z0 still carries a third of all replicas, now on four nodes.
	if ideal := 256 / 4; b.Moves > ideal+3 {
		t.Fatalf("adding a node moved %d replicas, ideal %d", b.Moves, ideal)
	}
}

// TestOptimalAgainstBruteForce compares size and moves with exhaustive search.
func TestOptimalAgainstBruteForce(t *testing.T) {
	for seed := range uint64(120) {
		rng := rand.New(rand.NewPCG(seed, 2))
		in := Input{Bits: 2, ReplicationFactor: 1 + rng.IntN(2), ZoneRedundancy: 1}
		in.ZoneRedundancy += rng.IntN(in.ReplicationFactor)
		count := in.ReplicationFactor + 1 + rng.IntN(2)
		for i := range count {
			in.Nodes = append(in.Nodes, nodeN(i, fmt.Sprint("z", i%2), int64(4+rng.IntN(20))))
		}
		prev := &Ring{Bits: 2}
		for _, n := range in.Nodes {
			prev.Nodes = append(prev.Nodes, n.ID)
		}
		for range 4 {
			var set []uint16
			for _, n := range rng.Perm(count)[:in.ReplicationFactor] {
				set = append(set, uint16(n))
			}
			prev.Assign = append(prev.Assign, set)
		}
		in.Previous = prev
		size, moves := bruteForce(in)
		a, err := Compute(in)
		if size == 0 {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("seed %d: want Invalid, got %v", seed, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		check(t, in, a)
		if a.PartitionBytes != size || a.Moves != moves {
			t.Fatalf("seed %d: size %d moves %d, best is size %d moves %d", seed, a.PartitionBytes, a.Moves, size, moves)
		}
	}
}

// bruteForce tries every assignment.
func bruteForce(in Input) (size int64, moves int) {
	var sets [][]int
	for mask := range 1 << len(in.Nodes) {
		var set []int
		zones := map[string]bool{}
		for n := range in.Nodes {
			if mask>>n&1 == 1 {
				set = append(set, n)
				zones[in.Nodes[n].Zone] = true
			}
		}
		if len(set) == in.ReplicationFactor && len(zones) >= in.ZoneRedundancy {
			sets = append(sets, set)
		}
	}
	load := make([]int64, len(in.Nodes))
	var try func(part, moved int)
	try = func(part, moved int) {
		if part == 1<<in.Bits {
			s := int64(1 << 60)
			for n, l := range load {
				if l > 0 {
					s = min(s, in.Nodes[n].Capacity/l)
				}
			}
			if s > size || (s == size && moved < moves) {
				size, moves = s, moved
			}
			return
		}
		for _, set := range sets {
			m := moved
			for _, n := range set {
				load[n]++
				if !slices.Contains(in.Previous.Assign[part], uint16(n)) {
					m++
				}
			}
			try(part+1, m)
			for _, n := range set {
				load[n]--
			}
		}
	}
	try(0, 0)
	return size, moves
}

func TestComputeRefuses(t *testing.T) {
	three := []Node{nodeN(1, "a", 100000), nodeN(2, "a", 100000), nodeN(3, "b", 100000)}
	for name, in := range map[string]Input{
		"too few nodes":     {Bits: 8, ReplicationFactor: 4, Nodes: three},
		"too few zones":     {Bits: 8, ReplicationFactor: 3, ZoneRedundancy: 3, Nodes: three},
		"no bits":           {Bits: 0, ReplicationFactor: 1, Nodes: three},
		"factor out of 1-7": {Bits: 8, ReplicationFactor: 8, Nodes: three},
		"tiny capacity":     {Bits: 8, ReplicationFactor: 3, Nodes: []Node{nodeN(1, "a", 1), nodeN(2, "a", 1), nodeN(3, "b", 1)}},
		"no capacity":       {Bits: 8, ReplicationFactor: 1, Nodes: []Node{nodeN(1, "a", 0)}},
	} {
		if _, err := Compute(in); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPartitionsSpread(t *testing.T) {
	var count [256]int
	b := object.NewBucketID()
	for i := range 25600 {
		count[OfRow(b, fmt.Sprint("key", i), 8)]++
	}
	for p, n := range count {
		if n < 40 || n > 180 {
			t.Errorf("partition %d holds %d of 25,600 keys", p, n)
		}
	}
}

func TestOfRowCostsNoMemory(t *testing.T) {
	b, key := object.NewBucketID(), strings.Repeat("k", object.MaxKeyBytes)
	if n := testing.AllocsPerRun(100, func() { OfRow(b, key, 8) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCompute100Nodes4096Partitions(b *testing.B) {
	in := Input{Bits: 12, ReplicationFactor: 3}
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 100 {
		in.Nodes = append(in.Nodes, nodeN(i, fmt.Sprint("z", i%5), int64(1+rng.IntN(8))<<40))
	}
	first, err := Compute(in)
	if err != nil {
		b.Fatal(err)
	}
	in.Previous = ringOf(in, first)
	in.Nodes = append(in.Nodes[3:], nodeN(500, "z1", 4<<40))
	for b.Loop() {
		start := time.Now()
		a, err := Compute(in)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(a.Moves), "moves")
		b.ReportMetric(time.Since(start).Seconds(), "s/layout")
	}
}
