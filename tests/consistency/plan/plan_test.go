package plan

import (
	"reflect"
	"testing"
	"time"
)

var all = []Kind{
	Kill, KillMany, Pause, PauseMany, KillAdmin, KillNATS, IsolateNode, IsolateZone, SplitGateways, OneWay, Skew, FillDisk,
	AddNode, RemoveNode, MoveZone, Replace,
}

func TestSameSeedSamePlan(t *testing.T) {
	for seed := range uint64(50) {
		if a, b := New(seed, time.Minute, all), New(seed, time.Minute, all); !reflect.DeepEqual(a, b) {
			t.Fatalf("seed %d: %v and %v", seed, a, b)
		}
	}
	if reflect.DeepEqual(New(1, time.Minute, all).Faults, New(2, time.Minute, all).Faults) {
		t.Error("two seeds give one plan")
	}
}

// TestPlansAreInBounds: faults come in order, leave calm at both ends, and no
// two of a family are on at once.
func TestPlansAreInBounds(t *testing.T) {
	const length = 90 * time.Second
	seen := map[Kind]int{}
	together := 0
	for seed := range uint64(200) {
		p := New(seed, length, all)
		for i, f := range p.Faults {
			seen[f.Kind]++
			if f.At < warmUp || f.For <= 0 || f.At+f.For > length-coolDown {
				t.Fatalf("seed %d: %s is out of bounds", seed, f)
			}
			for _, g := range p.Faults[:i] {
				if g.At > f.At {
					t.Fatalf("seed %d: %s comes after %s", seed, f, g)
				}
				if g.At+g.For <= f.At {
					continue
				}
				together++
				if g.Kind.family() == f.Kind.family() {
					t.Fatalf("seed %d: %s and %s at once", seed, g, f)
				}
			}
		}
	}
	if len(seen) != len(all) || together == 0 {
		t.Errorf("%d of %d kinds were planned, %d faults overlap", len(seen), len(all), together)
	}
}

func TestNothingToSuffer(t *testing.T) {
	if p := New(1, time.Minute, nil); len(p.Faults) != 0 {
		t.Error(p)
	}
}
