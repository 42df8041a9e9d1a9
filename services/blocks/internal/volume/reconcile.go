package volume

import (
	"slices"

	"hangar/shared/fault"
	"hangar/shared/object"
)

// Known is what the node remembers of one of its further directories.
type Known struct {
	Slot Slot
	// Path is where it was last, LiveBlocks how many blocks live in it.
	Path       string
	LiveBlocks int64
}

// Seen is what was found at the path of a Spec.
type Seen struct {
	// Missing: there is no directory. Segments: there are segment files.
	Missing, Segments bool
	// Node and Slot are what the directory says it is; zero when it says nothing.
	Node object.NodeID
	Slot Slot
}

// Plan is what a configuration means.
type Plan struct {
	// Open are the further directories in use, in the order of the configuration.
	Open []Opening
	// Lose are those that were declared lost, Forget those that were left out of
	// the configuration once nothing lived in them.
	Lose, Forget []Known
	// Highest is the highest slot that was ever given.
	Highest Slot
}

// Opening is a directory in use.
type Opening struct {
	Spec
	Slot Slot
	// New: it is to be marked as a directory of this node before anything else.
	New bool
}

// Reconcile holds a configuration against what the node, self, remembers and
// what is there; seen has an entry for each of specs. It never takes a directory
// with blocks for gone or for a new one: errors (Invalid) say what to do then.
func Reconcile(self object.NodeID, highest Slot, known []Known, specs []Spec, seen map[string]Seen) (Plan, error) {
	r := reconciler{self: self, known: known, specs: specs, seen: seen, plan: Plan{Highest: highest}}
	for _, s := range specs {
		var err error
		switch {
		case s.Path == Main:
			continue
		case s.Use == Lost:
			err = r.lose(s)
		default:
			err = r.open(s)
		}
		if err != nil {
			return Plan{}, err
		}
	}
	return r.plan, r.rest()
}

type reconciler struct {
	self  object.NodeID
	known []Known
	specs []Spec
	seen  map[string]Seen
	plan  Plan
}

// remembered is the directory that was last at a path.
func (r *reconciler) remembered(path string) (Known, bool) {
	i := slices.IndexFunc(r.known, func(k Known) bool { return k.Path == path })
	if i < 0 {
		return Known{}, false
	}
	return r.known[i], true
}

// found reports whether a directory is at any configured path.
func (r *reconciler) found(slot Slot) bool {
	return slices.ContainsFunc(r.specs, func(s Spec) bool {
		at := r.seen[s.Path]
		return at.Slot == slot && at.Node == r.self
	})
}

func (r *reconciler) lose(s Spec) error {
	k, is := r.remembered(s.Path)
	if !is {
		return nil // it was lost before: nothing is left to be done
	}
	if r.found(k.Slot) {
		return fault.New(fault.Invalid, "%s is declared lost, but data directory %d is there: write %s=ro to move its blocks away, or unmount the disk if it cannot be read", s.Path, k.Slot, s.Path)
	}
	r.plan.Lose = append(r.plan.Lose, k)
	return nil
}

func (r *reconciler) open(s Spec) error {
	at := r.seen[s.Path]
	k, was := r.remembered(s.Path)
	was = was && !r.found(k.Slot) // else it has moved
	isKnown := slices.ContainsFunc(r.known, func(k Known) bool { return k.Slot == at.Slot })
	lost := "mount its disk; if the disk is gone for good, write " + s.Path + "=lost, and its blocks are fetched from other nodes"
	switch {
	case at.Missing && was:
		return fault.New(fault.Invalid, "%s is not there, but held data directory %d with %d blocks: %s", s.Path, k.Slot, k.LiveBlocks, lost)
	case at.Missing:
		return fault.New(fault.Invalid, "%s is not there: mount its disk and create the directory; it is not created by itself, for it would lie on the wrong disk", s.Path)
	case at.Slot == 0 && was:
		return fault.New(fault.Invalid, "%s holds no data directory, but held number %d with %d blocks: %s", s.Path, k.Slot, k.LiveBlocks, lost)
	case at.Slot == 0 && at.Segments:
		return fault.New(fault.Invalid, "%s holds segments of blocks, but nothing says of which node: give an empty directory", s.Path)
	case at.Slot == 0 && s.Use == Drain:
		return fault.New(fault.Invalid, "%s is read-only, but never held blocks of this node: leave it out, or write its capacity", s.Path)
	case at.Slot == 0:
		return r.add(s)
	case at.Node != r.self:
		return fault.New(fault.Invalid, "%s is a data directory of node %s, and this is node %s: give an empty directory", s.Path, at.Node, r.self)
	case !isKnown && !at.Segments && s.Use == Write:
		return r.add(s) // as good as new: a crash came between its mark and the index, or it was left out once
	case slices.ContainsFunc(r.plan.Open, func(o Opening) bool { return o.Slot == at.Slot }):
		return fault.New(fault.Invalid, "%s is data directory %d, and so is another one listed: one is a copy of the other, list only the original", s.Path, at.Slot)
	case !isKnown && at.Slot > r.plan.Highest:
		return fault.New(fault.Invalid, "%s is data directory %d of this node and holds blocks, but the index knows nothing of it: restore the index, or empty the directory", s.Path, at.Slot)
	}
	// One that was forgotten or lost and comes back holds nothing that is
	// remembered: it is cleared as any segment in which nothing lives.
	r.plan.Open = append(r.plan.Open, Opening{Spec: s, Slot: at.Slot})
	return nil
}

// add gives a directory the next number.
func (r *reconciler) add(s Spec) error {
	if r.plan.Highest == 1<<16-1 {
		return fault.New(fault.Invalid, "this node has used up all numbers of data directories: start a new node")
	}
	r.plan.Highest++
	r.plan.Open = append(r.plan.Open, Opening{Spec: s, Slot: r.plan.Highest, New: true})
	return nil
}

// rest sees to the directories that are remembered and not listed.
func (r *reconciler) rest() error {
	for _, k := range r.known {
		opened := slices.ContainsFunc(r.plan.Open, func(o Opening) bool { return o.Slot == k.Slot })
		lost := slices.ContainsFunc(r.plan.Lose, func(l Known) bool { return l.Slot == k.Slot })
		switch {
		case opened || lost:
		case k.LiveBlocks > 0:
			return fault.New(fault.Invalid, "%s (data directory %d) is not listed any more, but holds %d blocks: list it as %s=ro until it is empty, or as %s=lost if its disk is gone for good",
				k.Path, k.Slot, k.LiveBlocks, k.Path, k.Path)
		default:
			r.plan.Forget = append(r.plan.Forget, k)
		}
	}
	return nil
}
