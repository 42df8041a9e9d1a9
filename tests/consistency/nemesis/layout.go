package nemesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hangar/tests/consistency/plan"
	"hangar/tests/harness/fleet"
)

const (
	// fullService is how many nodes a service has at least, so that each copy
	// has its place.
	fullService = 3
	// transition is how long a change of the layout is waited for while other
	// faults go on. It may take longer: it must end once they are healed.
	transition = 3 * time.Minute
)

// relayout changes the layout under load. Only one change goes on at a time:
// a second disk wiped before the first is replaced is more than three copies
// are for.
func (n *Nemesis) relayout(ctx context.Context, f plan.Fault) (bool, error) {
	if !n.layout.TryLock() {
		return false, nil
	}
	defer n.layout.Unlock()
	if n.stuck {
		return false, nil
	}
	nodes := n.Named(f.Service)
	kind := f.Kind
	if kind == plan.RemoveNode && len(nodes) <= fullService {
		kind = plan.AddNode
	}
	names, release := n.hold(pick(nodes, f.Which))
	defer release()
	if len(names) == 0 {
		return false, nil
	}
	n.stuck = true // until all has gone well
	n.Say("%s: %v", f, names)
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transition)
	defer cancel()
	var err error
	switch kind {
	case plan.AddNode:
		err = n.Grow(ctx, f.Service, somewhere(n.Cluster.Members(), f.Which[0]))
	case plan.RemoveNode:
		err = n.Shrink(ctx, names[0])
	case plan.MoveZone:
		err = n.moveZone(ctx, f, names[0])
	case plan.Replace:
		err = n.Wipe(ctx, f.Service, names[0])
	}
	switch {
	case err == nil:
		n.stuck = false
		n.Say("%s: done after %v", f.Kind, time.Since(begin).Round(time.Millisecond))
	case errors.Is(err, fleet.ErrChanging):
		n.Say("%s: %v", f.Kind, err)
		return true, nil // Heal sees whether it comes to its end
	}
	return true, err
}

// join starts a new node and returns its id once the cluster knows it.
func (n *Nemesis) join(ctx context.Context, service, zone string) (id string, err error) {
	n.mu.Lock()
	n.added++
	name := fmt.Sprintf("%s-new-%d", service, n.added)
	n.mu.Unlock()
	if err := n.Cluster.Add(name, service, zone); err != nil {
		return "", err
	}
	for {
		if id, err = n.id(name); err == nil && n.known(ctx, id) {
			return id, nil
		}
		if !sleep(ctx, 100*time.Millisecond) { // polls other processes
			return "", errors.Join(fmt.Errorf("%s does not join", name), err)
		}
	}
}

func (n *Nemesis) known(ctx context.Context, id string) bool {
	nodes, err := n.Cluster.Layouts().Nodes(ctx)
	for _, node := range nodes {
		if err == nil && node.ID == id && node.IsUp {
			return true
		}
	}
	return false
}

// id of the node that a process is.
func (n *Nemesis) id(name string) (string, error) {
	for _, m := range n.Cluster.Members() {
		if m.Name == name {
			return m.NodeID()
		}
	}
	return "", fmt.Errorf("there is no process %q", name)
}

func (n *Nemesis) zone(name string) string {
	for _, m := range n.Cluster.Members() {
		if m.Name == name {
			return m.Zone
		}
	}
	return ""
}

// apply makes roles the layout and waits until the data is where it belongs.
func (n *Nemesis) apply(ctx context.Context, roles ...fleet.Role) error {
	begin := time.Now()
	defer func() { n.Say("changing %d roles took %v", len(roles), time.Since(begin).Round(time.Millisecond)) }()
	if err := n.Cluster.Layouts().Apply(ctx, roles); err != nil {
		return err
	}
	return n.Cluster.Layouts().AwaitStable(ctx)
}

// Grow adds a node of a service and waits until it holds its share.
func (n *Nemesis) Grow(ctx context.Context, service, zone string) error {
	id, err := n.join(ctx, service, zone)
	if err != nil {
		return err
	}
	return n.apply(ctx, fleet.Role{ID: id, Zone: zone, Capacity: fleet.Capacity})
}

// Shrink takes a node out of the layout and, once others hold its share, ends
// it.
func (n *Nemesis) Shrink(ctx context.Context, name string) error {
	id, err := n.id(name)
	if err != nil {
		return err
	}
	if err := n.apply(ctx, fleet.Role{ID: id, Remove: true}); err != nil {
		return err
	}
	return n.Cluster.Remove(name)
}

// moveZone tells the cluster that a node stands elsewhere.
func (n *Nemesis) moveZone(ctx context.Context, f plan.Fault, name string) error {
	id, err := n.id(name)
	if err != nil {
		return err
	}
	return n.apply(ctx, fleet.Role{ID: id, Zone: somewhere(n.Cluster.Members(), f.Which[0]+1), Capacity: fleet.Capacity})
}

// Wipe wipes the disk of a node and lets a new node take its place.
func (n *Nemesis) Wipe(ctx context.Context, service, name string) error {
	old, err := n.id(name)
	if err != nil {
		return err
	}
	zone := n.zone(name)
	if err := n.Cluster.Remove(name); err != nil {
		return err
	}
	id, err := n.join(ctx, service, zone)
	if err != nil {
		return err
	}
	return n.apply(ctx, fleet.Role{ID: old, Remove: true}, fleet.Role{ID: id, Zone: zone, Capacity: fleet.Capacity})
}

// deafness is longer than any process believes in a silent NATS server.
const deafness = 18 * time.Second

// LeaveBehind cuts a gateway off, replaces most metadata nodes while it hears
// nothing, and lets it back: for a moment it acts by a layout whose majority
// holds none of what was written meanwhile. The replaced nodes go on running,
// as those do that nobody has switched off yet.
func (n *Nemesis) LeaveBehind(ctx context.Context, gateway string) error {
	ctx, cancel := context.WithTimeout(ctx, transition)
	defer cancel()
	old := n.Named(fleet.Meta)
	if len(old) != fullService {
		return fmt.Errorf("this needs %d metadata nodes, there are %d", fullService, len(old))
	}
	var roles []fleet.Role
	for _, name := range old[1:] {
		id, err := n.id(name)
		if err != nil {
			return err
		}
		zone := n.zone(name)
		next, err := n.join(ctx, fleet.Meta, zone)
		if err != nil {
			return err
		}
		roles = append(roles, fleet.Role{ID: id, Remove: true}, fleet.Role{ID: next, Zone: zone, Capacity: fleet.Capacity})
	}
	net := n.Cluster.Network()
	for _, m := range n.Cluster.Members() {
		if m.Name != gateway {
			net.Cut(m.Name, gateway)
		}
	}
	defer net.Heal()
	if err := n.apply(ctx, roles...); err != nil {
		return err
	}
	// Long enough that the gateway gives its connection up, and follows the
	// control state from a new one: on the old one it would hear of the change
	// before anything else.
	sleep(ctx, deafness)
	net.Heal()
	sleep(ctx, 6*time.Second) // for what it does before it knows
	return nil
}
