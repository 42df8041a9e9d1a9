// Package plan derives from a seed what is done to a cluster and when. It is
// pure: the same seed, shape and length give the same plan.
package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Kind of fault.
type Kind string

// The kinds of fault.
const (
	// Kill ends a process with kill -9 and starts it again.
	Kill Kind = "kill"
	// KillMany does so with most replicas of a service at once.
	KillMany Kind = "kill most replicas"
	// Pause stops a process (SIGSTOP) and lets it go on.
	Pause Kind = "pause"
	// PauseMany does so with most replicas of a service at once.
	PauseMany Kind = "pause most replicas"
	// KillAdmin ends the coordinator.
	KillAdmin Kind = "kill admin"
	// KillNATS ends a NATS server: the only one, or one of several.
	KillNATS Kind = "kill NATS"
	// IsolateNode cuts one node off.
	IsolateNode Kind = "isolate node"
	// IsolateZone cuts all nodes of a zone off the others.
	IsolateZone Kind = "isolate zone"
	// SplitGateways leaves each gateway with a part of the storage nodes.
	SplitGateways Kind = "split gateways"
	// OneWay lets a node hear but not be heard, or the reverse.
	OneWay Kind = "one-way cut"
	// Skew puts a process's clock off by minutes, and back.
	Skew Kind = "clock skew"
	// FillDisk fills the file system of a node.
	FillDisk Kind = "full disk"
	// AddNode, RemoveNode, MoveZone and Replace change the layout. Replace
	// wipes the node's disk first.
	AddNode    Kind = "add node"
	RemoveNode Kind = "remove node"
	MoveZone   Kind = "move zone"
	Replace    Kind = "replace wiped node"
)

// family of kinds of which only one happens at a time; others keep out of each
// other's way by the processes that they take hold of.
func (k Kind) family() Kind {
	switch k {
	case IsolateZone, SplitGateways, OneWay:
		return IsolateNode
	case RemoveNode, MoveZone, Replace:
		return AddNode
	}
	return k
}

// Layout reports whether the kind changes the layout.
func (k Kind) Layout() bool { return k.family() == AddNode }

// Fault is one thing done to the cluster.
type Fault struct {
	Kind Kind
	// At is when it begins, For how long it lasts. A change of the layout
	// lasts as long as it takes.
	At, For time.Duration
	// Service of the processes it hits, and which of them: numbers that the
	// nemesis takes modulo how many there are when the time comes.
	Service string
	Which   []int
	// Amount is how wrong a clock is.
	Amount time.Duration
}

// String is how a fault is shown.
func (f Fault) String() string {
	s := fmt.Sprintf("%6.1fs %s", f.At.Seconds(), f.Kind)
	if f.Service != "" {
		s += fmt.Sprintf(" %s %v", f.Service, f.Which)
	}
	if f.Amount != 0 {
		s += fmt.Sprintf(" by %v", f.Amount)
	}
	if !f.Kind.Layout() {
		s += fmt.Sprintf(" for %.1fs", f.For.Seconds())
	}
	return s
}

// Plan is what is done in one run.
type Plan struct {
	Seed   uint64
	Length time.Duration
	Faults []Fault // ascending by At
}

// String is how a plan is shown.
func (p Plan) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "seed %d, %v\n", p.Seed, p.Length)
	for _, f := range p.Faults {
		fmt.Fprintf(&s, "  %s\n", f)
	}
	return s.String()
}

// warmUp and coolDown are calm, so that a run has something to compare with
// and ends with what operations on a healthy cluster see.
const (
	warmUp   = 2 * time.Second
	coolDown = 4 * time.Second
)

// New makes the plan of a seed. kinds are those that the cluster can suffer.
func New(seed uint64, length time.Duration, kinds []Kind) Plan {
	rng := rand.New(rand.NewPCG(seed, 0x68616e676172))
	p := Plan{Seed: seed, Length: length}
	if len(kinds) == 0 {
		return p
	}
	// Every kind gets its turn before one comes again.
	var bag []Kind
	draw := func() Kind {
		if len(bag) == 0 {
			bag = slices.Clone(kinds)
			rng.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
		}
		k := bag[0]
		bag = bag[1:]
		return k
	}
	for at := warmUp; at < length-coolDown; {
		together := []int{1, 1, 1, 2, 2, 3}[rng.IntN(6)]
		end := at
		taken := map[Kind]bool{}
		for range together {
			k := draw()
			if taken[k.family()] {
				continue
			}
			taken[k.family()] = true
			f := fault(rng, k)
			f.At = at + between(rng, 0, time.Second)
			f.For = min(f.For, length-coolDown-f.At)
			if f.For <= 0 {
				continue
			}
			p.Faults = append(p.Faults, f)
			end = max(end, f.At+f.For)
		}
		at = end + between(rng, 500*time.Millisecond, 3*time.Second)
	}
	slices.SortStableFunc(p.Faults, func(a, b Fault) int { return int(a.At - b.At) })
	return p
}

// fault fills in what a kind needs.
func fault(rng *rand.Rand, k Kind) Fault {
	f := Fault{Kind: k, For: between(rng, 2*time.Second, 6*time.Second), Which: []int{rng.IntN(1 << 10)}}
	storage := []string{"meta", "meta", "blocks"}[rng.IntN(3)]
	switch k {
	case Kill, Pause, Skew, IsolateNode, OneWay:
		f.Service = []string{"meta", "meta", "blocks", "gateway"}[rng.IntN(4)]
	case KillMany, PauseMany:
		f.Service, f.Which = storage, []int{rng.IntN(1 << 10), rng.IntN(1 << 10)}
		f.For = between(rng, 500*time.Millisecond, 3*time.Second)
	case KillAdmin:
		f.Service = "admin"
	case KillNATS:
		f.Service = "nats"
	case FillDisk:
		f.Service = storage
	case AddNode, RemoveNode, Replace, MoveZone:
		f.Service = storage
		f.For = between(rng, 4*time.Second, 8*time.Second) // an estimate, for what comes next
	}
	if k == Skew {
		f.Amount = between(rng, -12*time.Minute, 12*time.Minute).Round(time.Second)
	}
	return f
}

func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(rng.Int64N(int64(high-low)))
}
