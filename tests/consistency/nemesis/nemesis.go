// Package nemesis does to a cluster what a plan says, and heals it in the end.
package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"hangar/tests/consistency/check"
	"hangar/tests/consistency/plan"
	"hangar/tests/harness/fleet"
	"hangar/tests/harness/netns"
)

// Cluster is what can be done to a cluster of real processes; *fleet.Fleet is one.
type Cluster interface {
	Members() []fleet.Member
	// Kill is kill -9; Start runs an ended process on its data again.
	Kill(name string) error
	Start(name string) error
	Signal(name string, sig syscall.Signal) error
	AwaitHealthy(ctx context.Context, name string) error
	// Add makes a new process; Remove ends one and deletes its data.
	Add(name, service, zone string) error
	Remove(name string) error
	Layouts() fleet.Layouts
	// Network lies between the processes; nil if it cannot be cut.
	Network() *netns.Network
	// SetClock puts a process's clock off by so much, from now on.
	SetClock(name string, offset time.Duration) error
	// Small names the nodes with small disks. Fill takes all free space of
	// one; Free gives it back.
	Small() []string
	Fill(name string) error
	Free(name string) error
}

// Kinds lists the faults that a cluster can suffer, relayout whether its layout
// may change while it holds data.
func Kinds(c Cluster, relayout bool) []plan.Kind {
	kinds := []plan.Kind{plan.Kill, plan.KillMany, plan.Pause, plan.PauseMany, plan.KillAdmin, plan.KillNATS, plan.Skew}
	if c.Network() != nil {
		kinds = append(kinds, plan.IsolateNode, plan.IsolateZone, plan.SplitGateways, plan.OneWay)
	}
	if len(c.Small()) > 0 {
		kinds = append(kinds, plan.FillDisk)
	}
	if relayout {
		kinds = append(kinds, plan.AddNode, plan.RemoveNode, plan.MoveZone, plan.Replace)
	}
	return kinds
}

// Nemesis carries out one plan on one cluster.
type Nemesis struct {
	Cluster Cluster
	// Now is the time of the history that the windows are given in.
	Now func() time.Duration
	// Say gets one line for each thing done.
	Say func(format string, args ...any)

	mu      sync.Mutex
	busy    map[string]bool // processes that a fault has hold of
	windows []check.Window
	errs    []error
	added   int

	layout sync.Mutex // held while the layout changes
	stuck  bool       // guarded by layout: a change did not come to its end
}

// recovery is how long a cluster may take to serve again after the last fault.
const recovery = 90 * time.Second

// Run carries out the plan from now on, heals everything, and returns once the
// cluster is well again: an error if it is not, or if a fault could not be made.
func (n *Nemesis) Run(ctx context.Context, p plan.Plan) ([]check.Window, error) {
	begin := time.Now()
	var wg sync.WaitGroup
	for _, f := range p.Faults {
		if !sleep(ctx, f.At-time.Since(begin)) {
			break
		}
		wg.Go(func() { n.inflict(ctx, f) })
	}
	sleep(ctx, p.Length-time.Since(begin))
	wg.Wait()
	n.note(n.Heal(context.WithoutCancel(ctx)))
	return n.windows, errors.Join(n.errs...)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (n *Nemesis) note(err error) {
	if err == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.errs = append(n.errs, err)
}

// inflict makes one fault and ends it.
func (n *Nemesis) inflict(ctx context.Context, f plan.Fault) {
	w := check.Window{Kind: string(f.Kind), From: n.Now()}
	done, err := n.do(ctx, f)
	w.To = n.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.errs = append(n.errs, fmt.Errorf("%s: %w", f, err))
	}
	if done {
		n.windows = append(n.windows, w)
	}
}

// do reports whether there was something to do.
func (n *Nemesis) do(ctx context.Context, f plan.Fault) (bool, error) {
	switch f.Kind {
	case plan.AddNode, plan.RemoveNode, plan.MoveZone, plan.Replace:
		return n.relayout(ctx, f)
	case plan.IsolateNode, plan.IsolateZone, plan.SplitGateways, plan.OneWay:
		return n.cut(ctx, f)
	}
	names, release := n.take(f)
	defer release()
	if len(names) == 0 {
		return false, nil
	}
	n.Say("%s: %v", f, names)
	before, after := n.Cluster.Kill, n.revive
	switch f.Kind {
	case plan.Pause, plan.PauseMany:
		before = func(name string) error { return n.Cluster.Signal(name, syscall.SIGSTOP) }
		after = func(name string) error { return n.Cluster.Signal(name, syscall.SIGCONT) }
	case plan.Skew:
		before = func(name string) error { return n.Cluster.SetClock(name, f.Amount) }
		after = func(name string) error { return n.Cluster.SetClock(name, 0) }
	case plan.FillDisk:
		before, after = n.Cluster.Fill, n.unfill
	}
	err := each(names, before)
	sleep(ctx, f.For)
	return true, errors.Join(err, each(names, after))
}

// revive starts a process and waits until it runs: a process that can only
// serve once others do is not waited for to the end.
func (n *Nemesis) revive(name string) error { return n.Cluster.Start(name) }

// unfill frees a disk. The process may have ended when it could not write.
func (n *Nemesis) unfill(name string) error {
	return errors.Join(n.Cluster.Free(name), n.Cluster.Start(name))
}

// each does something to several processes at once.
func each(names []string, do func(string) error) error {
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { errs[i] = do(name) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// take chooses the processes that a fault hits among those no other has hold of.
func (n *Nemesis) take(f plan.Fault) (names []string, release func()) {
	can := n.Named(f.Service)
	if f.Kind == plan.FillDisk {
		can = n.Cluster.Small()
	}
	return n.hold(pick(can, f.Which))
}

// pick takes one name for each number.
func pick(can []string, which []int) (names []string) {
	for _, i := range which {
		if len(can) == 0 {
			return names
		}
		j := i % len(can)
		names = append(names, can[j])
		can = slices.Delete(slices.Clone(can), j, j+1)
	}
	return names
}

// hold keeps other faults away from processes; those that are held already are
// left out.
func (n *Nemesis) hold(want []string) (names []string, release func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range want {
		if !n.busy[name] {
			if n.busy == nil {
				n.busy = map[string]bool{}
			}
			n.busy[name] = true
			names = append(names, name)
		}
	}
	return names, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, name := range names {
			delete(n.busy, name)
		}
	}
}

// Named returns the processes of a service.
func (n *Nemesis) Named(service string) (names []string) {
	for _, m := range n.Cluster.Members() {
		if m.Service == service {
			names = append(names, m.Name)
		}
	}
	return names
}

// Heal ends every fault and waits until all processes serve and no change of the
// layout is under way.
func (n *Nemesis) Heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	var errs []error
	if net := n.Cluster.Network(); net != nil {
		net.Heal()
	}
	errs = append(errs, each(n.Cluster.Small(), n.Cluster.Free))
	for _, m := range n.Cluster.Members() {
		errs = append(errs, n.Cluster.SetClock(m.Name, 0), n.Cluster.Signal(m.Name, syscall.SIGCONT), n.Cluster.Start(m.Name))
	}
	for _, m := range n.Cluster.Members() {
		if err := n.Cluster.AwaitHealthy(ctx, m.Name); err != nil {
			errs = append(errs, fmt.Errorf("%v after the last fault: %w", recovery, err))
		}
	}
	if err := n.Cluster.Layouts().AwaitStable(ctx); err != nil {
		errs = append(errs, fmt.Errorf("%v after the last fault: %w", recovery, err))
	}
	return errors.Join(errs...)
}

// cut makes a fault of the network.
func (n *Nemesis) cut(ctx context.Context, f plan.Fault) (bool, error) {
	net := n.Cluster.Network()
	all := n.Cluster.Members()
	var one, rest []string
	split := func(in func(fleet.Member) bool) {
		for _, m := range all {
			if in(m) {
				one = append(one, m.Name)
			} else {
				rest = append(rest, m.Name)
			}
		}
	}
	switch f.Kind {
	case plan.IsolateZone:
		zone := all[f.Which[0]%len(all)].Zone
		split(func(m fleet.Member) bool { return m.Zone == zone })
	case plan.SplitGateways:
		// Each gateway with its zone, and the zones without a gateway to the first.
		gateways := n.Named(fleet.Gateway)
		var zone string
		for _, m := range all {
			if m.Name == gateways[f.Which[0]%len(gateways)] {
				zone = m.Zone
			}
		}
		split(func(m fleet.Member) bool { return m.Zone == zone && m.Service != fleet.NATS })
	default:
		name := pick(n.Named(f.Service), f.Which)[0]
		split(func(m fleet.Member) bool { return m.Name == name })
	}
	n.Say("%s: %v", f, one)
	for _, a := range one {
		for _, b := range rest {
			if f.Kind != plan.OneWay || f.Which[0]%2 == 0 {
				net.CutOneWay(a, b)
			}
			if f.Kind != plan.OneWay || f.Which[0]%2 == 1 {
				net.CutOneWay(b, a)
			}
		}
	}
	sleep(ctx, f.For)
	net.Heal()
	return true, nil
}

// zones that nodes of a cluster stand in.
func zones(all []fleet.Member) (zones []string) {
	for _, m := range all {
		if m.Zone != "" && !slices.Contains(zones, m.Zone) {
			zones = append(zones, m.Zone)
		}
	}
	return zones
}

// somewhere is a zone that follows from a number.
func somewhere(all []fleet.Member, which int) string {
	z := zones(all)
	return z[rand.New(rand.NewPCG(uint64(which), 0)).IntN(len(z))]
}
